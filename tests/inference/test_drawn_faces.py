"""Drawn faces through the whole chain: no verdict, with a reason in words, counted and written."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.detectors.checkpoint import bundled_detector, load_detector, read_header
from dfdetect.faces.finder import create_finder
from dfdetect.inference.pipeline import Analyzer, analyze
from dfdetect.inference.report import write_report
from dfdetect.types import Band, CropPolicy
from tests.cli.conftest import CALIBRATION

SIZE = 64


@pytest.fixture(scope="module")
def drawings(project_root: Path) -> ModuleType:
    """The script that draws faces."""
    spec = importlib.util.spec_from_file_location(
        "drawn_faces", project_root / "scripts" / "drawn_faces.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # its dataclasses look their module up
    sys.modules["drawn_faces"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawing(drawings: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first drawn doll that the finder takes for a face."""
    finder = create_finder()
    for seed in range(40):
        picture = drawings.shaded(np.random.default_rng(seed))
        faces = finder.find(SimpleNamespace(index=0, time_s=0.0, image=picture))
        if faces and faces[0].confidence > 0.99:
            path = tmp_path_factory.mktemp("drawing") / "doll.png"
            cv2.imwrite(str(path), picture[..., ::-1])
            return path
    raise AssertionError("no drawing was taken for a face")


class Knowing:
    """A detector that is sure of every fake, and calls smooth crops strange."""

    def __init__(self, limit: float | None) -> None:
        preprocess = Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.3, SIZE))
        self.header = CheckpointHeader(
            "meso4", (), preprocess, CALIBRATION, (), True, strangeness_limit=limit
        )
        self.weights_sha256 = "0" * 64

    def logits(self, crops: Any) -> Any:
        return np.full(len(crops), 6.0, np.float32)

    def judge(self, crops: Any) -> Any:
        return self.logits(crops), np.full(len(crops), 4.0, np.float32)


def test_the_reason_reaches_the_report(drawing: Path, tmp_path: Path, project_root: Path) -> None:
    found = Analyzer(Knowing(2.5), create_finder()).analyze(drawing)
    assert found.verdict.band is Band.INCONCLUSIVE
    assert found.verdict.reasons[0].startswith("this face is unlike the photographed faces")
    assert dict(found.skipped)["face_too_strange"] == 1
    assert dict(found.settings)["gates.max_strangeness"] == "2.5"
    (track,) = found.tracks
    assert (track.usable, track.score, track.strangeness) == ((False,), None, 4.0)
    write_report(found, tmp_path / "report")
    document = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    (told,) = document["tracks"]
    assert (told["strangeness"], told["faces"][0]["strangeness"]) == (4.0, 4.0)
    assert document["skipped"]["face_too_strange"] == 1
    schema = project_root / "dfdetect" / "inference" / "report.schema.json"
    jsonschema.validate(document, json.loads(schema.read_text(encoding="utf-8")))
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "unlike the photographed faces" in page


def test_a_detector_without_a_limit_judges_as_before(drawing: Path) -> None:
    found = Analyzer(Knowing(None), create_finder()).analyze(drawing)
    assert found.verdict.band in (Band.MODERATE, Band.STRONG)
    assert dict(found.skipped)["face_too_strange"] == 0


def test_the_bundled_detector_does_not_judge_a_drawing(drawing: Path) -> None:
    if read_header(bundled_detector()).strangeness_limit is None:
        pytest.skip("the bundled weights do not tell strangeness yet")
    found = analyze(drawing, detector=load_detector())
    assert found.verdict.band is Band.INCONCLUSIVE
    assert "unlike the photographed faces" in found.verdict.reasons[0]


@pytest.mark.parametrize("kind", ["flat", "inked", "manga", "doll", "painted", "pencil"])
def test_drawings_follow_from_their_seed(drawings: ModuleType, kind: str) -> None:
    one, same, other = (drawings.DRAWN[kind](np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.dtype == np.uint8
    assert one.shape == (512, 512, 3)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_photographs_turn_into_drawings(drawings: ModuleType, portrait: np.ndarray) -> None:
    for style in drawings.STYLES.values():
        made = style(portrait)
        assert (made.dtype, made.shape) == (np.uint8, portrait.shape)
        assert np.abs(made.astype(int) - portrait).mean() > 2


def test_rates_are_counted_and_written(
    portrait: np.ndarray, project_root: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "portrait.png"), portrait[..., ::-1])
    (photos / "broken.png").write_bytes(b"no picture")
    script = project_root / "scripts" / "gate_rates.py"
    words = [str(script), str(tmp_path / "rates.json"), "--photos", str(photos), "--n", "2"]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    record = json.loads((tmp_path / "rates.json").read_text(encoding="utf-8"))
    kinds = {rate["kind"]: rate for rate in record["kinds"]}
    assert record["weights_sha256"] == load_detector().weights_sha256
    assert record["seed"] == 0
    assert len({"drawn: doll", "drawn over: comic", "under 40 px"} & kinds.keys()) == 3
    for rate in kinds.values():
        outcomes = ("inconclusive", "no_face", "flagged", "cleared")
        assert sum(rate[name] for name in outcomes) == rate["n"]
    control = kinds["control: photographs"]
    assert (control["n"], control["skipped"]) == (1, 1)
    for kind in ("under 40 px", "blur: 0.04 sides"):
        assert kinds[kind]["flagged"] + kinds[kind]["cleared"] == 0, kind
