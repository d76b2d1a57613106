"""`dfdetect models --convert`: downloaded weights become a file that the tool describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_models_converts_a_download(dfdetect: Command, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from tests.detectors.peers import published_keys, random_state

    source, out = tmp_path / "meso4_best.pth", tmp_path / "meso4.safetensors"
    torch.save(random_state(published_keys()["DeepfakeBench__meso4"]), source)
    answer = dfdetect("models", "--convert", "deepfakebench/meso4", source, "--out", out)
    assert answer.code == 0
    facts = {line[:24].strip(): line[24:] for line in answer.lines}
    assert facts["source"] == "meso4_best.pth"
    assert facts["face crop"] == "aligned, 1.3 × the face, 256 px"
    assert facts["licence"].startswith("CC BY-NC 4.0")
    assert facts["calibrated on"].startswith("nothing yet")
    again = dfdetect("models", "--detector", out)
    assert again.out == answer.out


def test_models_lists_what_can_be_converted(dfdetect: Command) -> None:
    pytest.importorskip("torch")
    answer = dfdetect("models")
    assert "\n  deepfakebench/xception " in answer.out
    assert "capsule_net" not in answer.out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["--convert", "deepfakebench/meso4", "weights.pth"],
            "--convert and --out belong together",
        ),
        (["--out", "ours.safetensors"], "--convert and --out belong together"),
        (["--convert", "meso", "a.pth", "--out", "b.safetensors"], "unknown conversion 'meso'"),
        (
            ["--convert", "deepfakebench/ffd", "a.pth", "--out", "b.safetensors"],
            "cannot be converted: there is no FFD",
        ),
    ],
)
def test_wrong_requests(dfdetect: Command, words: list[str], reason: str) -> None:
    answer = dfdetect("models", *words)
    assert answer.code == 2
    assert reason in answer.complaint
