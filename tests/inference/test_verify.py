import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dfdetect.errors import ContractError, UsageError
from dfdetect.evidence.hashes import hash_clip
from dfdetect.inference.report import ReportFiles, write_report
from dfdetect.inference.verify import Check, VerifyResult, verify_report
from dfdetect.provenance import sha256_file
from dfdetect.types import Analysis


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the clip as received")
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights" / "default.onnx"
    path.parent.mkdir()
    path.write_bytes(b"numbers")
    return path


@pytest.fixture
def report(
    make_analysis: Callable[..., Analysis],
    make_person: Callable[..., object],
    clip: Path,
    weights: Path,
    tmp_path: Path,
) -> ReportFiles:
    analysis = make_analysis(make_person(4.5))
    card = replace(analysis.detector, weights_sha256=sha256_file(weights))
    analysis = replace(analysis, hashes=hash_clip(clip), detector=card)
    return write_report(analysis, tmp_path / "out")


def stands(result: VerifyResult) -> dict[str, Check]:
    return {line.part: line.check for line in result.lines}


def test_an_untouched_report_stands(report: ReportFiles, clip: Path, weights: Path) -> None:
    result = verify_report(report.json, clip, weights)
    assert set(stands(result)) == {"schema", "report.json", "report.html", "clip", "weights"}
    assert result.is_complete
    assert not result.is_altered


def test_the_clip_is_found_beside_or_above_the_report(
    report: ReportFiles, clip: Path, weights: Path
) -> None:
    assert stands(verify_report(report.json, weights=weights))["clip"] is Check.OK
    clip.rename(clip.with_name("elsewhere.mp4"))
    result = verify_report(report.json, weights=weights)
    assert stands(result)["clip"] is Check.MISSING
    assert not result.is_altered
    assert not result.is_complete


@pytest.mark.parametrize("part", ["clip", "weights", "report.html"])
def test_one_flipped_bit_is_found(
    report: ReportFiles, clip: Path, weights: Path, part: str
) -> None:
    path = {"clip": clip, "weights": weights, "report.html": report.html}[part]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = verify_report(report.json, clip, weights)
    assert [line.part for line in result.lines if line.check is Check.ALTERED] == [part]


@pytest.mark.parametrize("part", ["clip", "weights", "report.html"])
def test_a_missing_part_is_named(report: ReportFiles, clip: Path, weights: Path, part: str) -> None:
    {"clip": clip, "weights": weights, "report.html": report.html}[part].unlink()
    result = verify_report(report.json, clip, weights)
    assert [line.part for line in result.lines if line.check is Check.MISSING] == [part]


def test_a_changed_verdict_is_found(report: ReportFiles, clip: Path, weights: Path) -> None:
    document = json.loads(report.json.read_bytes())
    document["verdict"]["band"] = "none"
    report.json.write_text(json.dumps(document))
    result = verify_report(report.json, clip, weights)
    assert stands(result)["report.json"] is Check.ALTERED


def test_the_page_of_another_report_is_found(
    report: ReportFiles, make_analysis: Callable[..., Analysis], clip: Path, weights: Path
) -> None:
    other = write_report(make_analysis(), report.html.parent.parent / "other")
    report.html.write_bytes(other.html.read_bytes())
    result = stands(verify_report(report.json, clip, weights))
    assert result["report.json"] is result["report.html"] is Check.ALTERED


def test_pretty_printing_alters_nothing(report: ReportFiles, clip: Path, weights: Path) -> None:
    document = json.loads(report.json.read_bytes())
    report.json.write_text(json.dumps(document, indent=8))
    assert verify_report(report.json, clip, weights).is_complete


def test_other_weights_than_the_bundled_are_not_called_altered(
    report: ReportFiles, clip: Path
) -> None:
    line = next(line for line in verify_report(report.json, clip).lines if line.part == "weights")
    assert line.check is Check.MISSING


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "..", ""])
def test_a_strangers_report_reads_no_other_file(
    report: ReportFiles, clip: Path, weights: Path, name: str
) -> None:
    document = json.loads(report.json.read_bytes())
    document["time"]["artefacts"][0]["path"] = name
    document["input"]["name"] = name
    report.json.write_text(json.dumps(document))
    result = verify_report(report.json, weights=weights)
    for line in result.lines:
        if line.part in {name, "clip"}:
            assert line.check is Check.MISSING


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"{}", b'{"schema": "dfdetect.report"}', b"[" * 100_000],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(ContractError, match="report"):
        verify_report(path)


def test_a_report_of_a_later_version_is_refused(report: ReportFiles) -> None:
    document = json.loads(report.json.read_bytes())
    document["schema_version"] = 2
    report.json.write_text(json.dumps(document))
    with pytest.raises(ContractError, match="version of dfdetect that wrote it"):
        verify_report(report.json)


def test_a_report_without_its_parts_is_refused(report: ReportFiles) -> None:
    document = json.loads(report.json.read_bytes())
    del document["time"]
    report.json.write_text(json.dumps(document))
    with pytest.raises(ContractError, match="lacks parts"):
        verify_report(report.json)


def test_a_missing_report_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        verify_report(tmp_path / "report.json")


def test_a_page_whose_hash_was_dropped_is_altered(
    report: ReportFiles, clip: Path, weights: Path
) -> None:
    document = json.loads(report.json.read_bytes())
    document["time"]["artefacts"] = []
    report.json.write_text(json.dumps(document))
    report.html.write_bytes(report.html.read_bytes() + b"<p>It is genuine.</p>")
    assert stands(verify_report(report.json, clip, weights))["report.html"] is Check.ALTERED


def test_a_changed_date_is_found(report: ReportFiles, clip: Path, weights: Path) -> None:
    document = json.loads(report.json.read_bytes())
    document["time"]["analysed_at"] = "2020-01-01T00:00:00+00:00"
    report.json.write_text(json.dumps(document))
    assert stands(verify_report(report.json, clip, weights))["report.json"] is Check.ALTERED


def test_a_verdict_that_stands_twice_is_refused(report: ReportFiles) -> None:
    text = report.json.read_text()
    report.json.write_text(text.replace("{", '{"verdict": {"band": "none"},', 1))
    with pytest.raises(ContractError, match="twice"):
        verify_report(report.json)


def test_a_name_that_no_file_can_have_is_no_fault(report: ReportFiles, weights: Path) -> None:
    document = json.loads(report.json.read_bytes())
    document["input"]["name"] = document["time"]["artefacts"][0]["path"] = "x" * 5000
    report.json.write_text(json.dumps(document))
    found = stands(verify_report(report.json, weights=weights))
    assert found["clip"] is found["x" * 5000] is Check.MISSING
    assert stands(verify_report(report.json, Path("x" * 5000), weights))["clip"] is Check.MISSING
