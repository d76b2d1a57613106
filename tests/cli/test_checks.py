"""`verify`, `models` and `doctor`: they look, say what they see, and write nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def report(dfdetect: Command, detectors: Any, film: Path, tmp_path: Path) -> Path:
    """A report beside a copy of its clip."""
    clip = shutil.copy(film, tmp_path)
    dfdetect("predict", clip, "--detector", detectors.strong, "--out", tmp_path)
    (path,) = tmp_path.rglob("report.json")
    return path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_verify_agrees(dfdetect: Command, detectors: Any, report: Path, tmp_path: Path) -> None:
    before = contents(tmp_path)
    for named in (report, report.parent):
        answer = dfdetect("verify", named, "--detector", detectors.strong)
        assert answer.code == 0, answer.out
        assert all(line.startswith("ok ") for line in answer.lines[:-1])
        assert answer.lines[-1] == "Everything agrees with the report."
    assert contents(tmp_path) == before


def test_verify_says_what_it_could_not_compare(
    dfdetect: Command, detectors: Any, report: Path, film: Path
) -> None:
    (report.parent.parent / "clip.mp4").unlink()
    answer = dfdetect("verify", report, "--detector", detectors.strong)
    assert answer.code == 3
    assert "missing clip: it is not here" in answer.out
    named = dfdetect("verify", report, "--detector", detectors.strong, "--clip", film)
    assert named.code == 0


@pytest.mark.parametrize("altered", ["clip", "page", "data", "weights"])
def test_verify_finds_changes(
    dfdetect: Command, detectors: Any, report: Path, altered: str
) -> None:
    weights = detectors.clear if altered == "weights" else detectors.strong
    if altered == "data":
        document = json.loads(report.read_bytes())
        document["verdict"]["band"] = "none"
        report.write_text(json.dumps(document))
    elif altered != "weights":
        name = {"clip": report.parent.parent / "clip.mp4", "page": report.with_suffix(".html")}
        with name[altered].open("ab") as stream:
            stream.write(b" ")
    answer = dfdetect("verify", report, "--detector", weights)
    assert answer.code == 1
    assert "altered " in answer.out
    assert answer.lines[-1] == "Something was altered after the report was written."


@pytest.mark.parametrize("content", [b"", b"no json", b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_verify_refuses_what_is_no_report(
    dfdetect: Command, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    answer = dfdetect("verify", path)
    assert answer.code == 2
    assert "report.json" in answer.complaint


def test_models_describes_a_file(dfdetect: Command, detectors: Any) -> None:
    answer = dfdetect("models", "--detector", detectors.strong)
    assert answer.code == 0
    facts = {line[:24].strip(): line[24:] for line in answer.lines}
    assert facts["trained on"] == "nothing: seeded weights for a test"
    assert len(facts["sha256"]) == 64
    assert "500 authentic, 500 manipulated" in facts["calibrated on"]
    answer = dfdetect("models", "--detector", detectors.uncalibrated)
    assert "nothing yet" in answer.out


def test_models_lists_what_can_be_trained(dfdetect: Command) -> None:
    pytest.importorskip("torch")
    from dfdetect.detectors import DETECTORS, bundled_detector
    from dfdetect.errors import UsageError

    answer = dfdetect("models")
    assert answer.code == 0
    for name in DETECTORS:
        assert f"\n  {name} " in f"\n{answer.out}"
    try:
        bundled = bundled_detector()
    except UsageError:
        pytest.skip("this installation has no bundled detector yet")
    assert answer.lines[0].startswith("Bundled detector")
    assert str(bundled) in answer.out
    assert "trained on" in answer.out


def test_doctor_looks_and_writes_nothing(
    dfdetect: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = dfdetect("doctor")
    assert list(tmp_path.iterdir()) == []
    lines = {line[8:].partition(":")[0]: line for line in answer.lines[:-1]}
    assert set(lines) == {
        "system",
        "packages",
        "codecs",
        "network",
        "faces",
        "weights",
        "device",
    }
    for part in ("system", "packages", "codecs", "network", "faces", "device"):
        assert lines[part].startswith("ok "), lines[part]
    assert "h264, hevc, vp9, av1, prores can be decoded" in lines["codecs"]
    assert "off: " in lines["network"]
    is_well = all(line.startswith("ok ") for line in lines.values())
    assert answer.code == (0 if is_well else 1)
    assert answer.lines[-1] == ("All is well." if is_well else "Not well: weights.")


def test_doctor_finds_weights_that_are_not_those_shipped(
    dfdetect: Command, detectors: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(detectors.strong, tmp_path / "default.onnx")
    (tmp_path / "WEIGHTS.sha256").write_text(f"{'0' * 64}  default.onnx\n")
    monkeypatch.setattr("dfdetect.detectors.checkpoint.WEIGHTS_DIR", tmp_path)
    answer = dfdetect("doctor")
    assert answer.code == 1
    assert "NOT OK  weights: " in answer.out
    assert "reinstall dfdetect" in answer.out


def test_doctor_looks_for_a_graphics_card_when_asked(dfdetect: Command) -> None:
    pytest.importorskip("torch")
    answer = dfdetect("doctor", "--gpu")
    device = next(line for line in answer.lines if "device: " in line)
    assert "torch" in device


def test_models_prints_a_fidelity_card(dfdetect: Command) -> None:
    answer = dfdetect("models", "recce")
    assert answer.code == 0
    assert answer.out.startswith("recce: ")
    for field in ("paper", "same", "differs", "published"):
        assert f"\n  {field} " in answer.out
    unknown = dfdetect("models", "recc")
    assert unknown.code == 2
    assert "did you mean 'recce'" in unknown.complaint
