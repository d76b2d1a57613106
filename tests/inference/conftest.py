"""A tiny detector whose weights are seeded, and made-up analyses of every kind of clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dfdetect.inference.stills import make_still
from dfdetect.inference.timeline import find_spans
from dfdetect.scoring.verdict import QualityGates, decide, gather_evidence
from dfdetect.types import (
    Analysis,
    Band,
    BandRate,
    Calibration,
    ClipHashes,
    CropPolicy,
    DetectorCard,
    Face,
    FaceBox,
    FaceQuality,
    FaceScore,
    Frame,
    OperatingPoint,
    SamplingSummary,
    ScoredFace,
    SetRates,
    Timing,
    TrackAnalysis,
    VideoInfo,
)

CALIBRATION = Calibration(
    method="platt",
    slope=1.0,
    intercept=0.0,
    lr_min=1 / 200,
    lr_max=150.0,
    n_real=412,
    n_fake=398,
    set_name="made-up clips",
    date="2026-03-01",
    rates=(
        BandRate(Band.STRONG, 3, 412, 180, 398),
        BandRate(Band.MODERATE, 11, 412, 260, 398),
        BandRate(Band.WEAK, 30, 412, 310, 398),
        BandRate(Band.NONE, 330, 412, 41, 398),
    ),
    covariance=(0.01, 0.0, 0.02),
    operating_points=(
        OperatingPoint(0.01, 3.21987654, 412, 4, 398, 190),
        OperatingPoint(0.001, None, 412, 0, 398, 0),
    ),
    sets=(SetRates("made-up", 412, 398, (BandRate(Band.STRONG, 3, 412, 180, 398),)),),
)
BOXES = (FaceBox(60, 50, 140, 160), FaceBox(200, 40, 280, 150))


@dataclass(frozen=True)
class MadeUpPerson:
    """A person of a made-up clip: the mean logit, where seen, and how wide the face is."""

    logit: float
    frames: Sequence[int] = range(32)
    side_px: float = 120.0


@pytest.fixture(scope="session")
def make_person() -> type[MadeUpPerson]:
    return MadeUpPerson


@pytest.fixture(scope="session")
def make_analysis() -> Callable[..., Analysis]:
    return made_up


def made_up(
    *people: MadeUpPerson,
    name: str = "clip.mp4",
    n_frames: int = 32,
    duration_s: float = 41.3,
    started_at: str = "2026-03-03T14:03:11+00:00",
    tags: tuple[tuple[str, str], ...] = (("encoder", "Lavf61"),),
) -> Analysis:
    rng = np.random.default_rng(7)
    gates = QualityGates()
    sampled = tuple(
        (index * 30, (index + 0.5) * duration_s / n_frames) for index in range(n_frames)
    )
    picture = rng.integers(0, 256, (240, 320, 3), np.uint8)
    faces = {number: _faces(number, who, sampled) for number, who in enumerate(people)}
    evidence = {
        number: gather_evidence(found, n_frames, CALIBRATION, gates)
        for number, found in faces.items()
    }
    tracks = tuple(
        TrackAnalysis(
            track_id=number,
            faces=found,
            usable=tuple(gates.is_usable(each.face.quality) for each in found),
            followed=2 * len(found) >= min(gates.min_faces, n_frames),
            spans=find_spans(sampled, found),
            score=evidence[number].score,
            still=make_still(
                Frame(found[0].face.frame_index, found[0].face.time_s, picture),
                found[0].face,
                [],
                "seed",
            ),
        )
        for number, found in faces.items()
    )
    return Analysis(
        video=VideoInfo(
            path=Path("/home/somebody") / name,
            container="mov,mp4",
            codec="h264",
            pixel_format="yuv420p",
            width=320,
            height=240,
            fps=25.0,
            duration_s=duration_s,
            n_frames=int(duration_s * 25),
            has_audio=True,
            tags=tags,
        ),
        hashes=ClipHashes("ab" * 32, "cd" * 16, 12345678),
        sampling=SamplingSummary("even", n_frames, n_frames, n_frames),
        sampled=sampled,
        tracks=tracks,
        verdict=decide(tuple(evidence.values()), CALIBRATION, gates),
        detector=DetectorCard(
            name="meso4",
            kwargs=(),
            crop=CropPolicy(),
            weights_sha256="ef" * 32,
            provenance=(("trained_on", "nothing real"),),
            calibration=CALIBRATION,
        ),
        skipped=tuple(
            (key, 0)
            for key in (
                "face_not_usable",
                "face_too_blurred",
                "face_too_small",
                "face_too_strange",
                "face_turned_away",
                "frame_not_read",
                "frame_without_face",
                "packet_not_decoded",
            )
        ),
        settings=(("finder", "onnx"), ("sampling.count", str(n_frames))),
        environment=(("dfdetect", "0.1.0"), ("python", "3.11")),
        timing=Timing(started_at, (("decode", 0.5), ("total", 1.25))),
    )


def _faces(
    number: int, who: MadeUpPerson, sampled: Sequence[tuple[int, float]]
) -> tuple[ScoredFace, ...]:
    quality = FaceQuality(who.side_px, who.side_px * 0.4, 200.0, 0.1, 0.99)
    found = []
    for place, (index, time_s) in enumerate(sampled):
        if place not in who.frames:
            continue
        logit = who.logit + 0.3 * math.sin(place)
        face = Face(index, time_s, BOXES[number % 2], (), 0.99, quality)
        p_fake = 1 / (1 + math.exp(-logit))
        found.append(ScoredFace(face, FaceScore("clip", number, index, time_s, logit, p_fake)))
    return tuple(found)


@pytest.fixture(scope="session")
def clips_of_each_band() -> dict[Band, Analysis]:
    """One made-up analysis for each band there is."""
    found = {
        Band.STRONG: made_up(MadeUpPerson(4.5), MadeUpPerson(-3.0, frames=range(6, 20))),
        Band.MODERATE: made_up(MadeUpPerson(2.8)),
        Band.WEAK: made_up(MadeUpPerson(1.6)),
        Band.NONE: made_up(MadeUpPerson(-3.0), MadeUpPerson(-4.0)),
        Band.INCONCLUSIVE: made_up(MadeUpPerson(3.0, side_px=40.0)),
        Band.NO_FACE: made_up(),
    }
    assert all(analysis.verdict.band is band for band, analysis in found.items())
    return found


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded Meso4 as ONNX; its training is claimed in this temporary folder only."""
    import torch

    from dfdetect.detectors import create_detector
    from dfdetect.detectors.checkpoint import make_header, save_checkpoint
    from dfdetect.export import export_onnx

    pytest.importorskip("onnxscript", reason="exporting needs the extra dfdetect[export]")
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    network = create_detector("meso4").eval()
    for calibration in (CALIBRATION, None):
        header = make_header(
            network,
            trained=True,
            calibration=calibration,
            provenance={"trained_on": "nothing: a test"},
        )
        name = "tiny" if calibration else "uncalibrated"
        save_checkpoint(folder / f"{name}.safetensors", network, header)
        export_onnx(folder / f"{name}.safetensors", folder / f"{name}.onnx")
    return folder / "tiny.onnx"


@pytest.fixture(scope="session")
def portrait_clip(
    clips: ModuleType, portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Three seconds of a portrait that drifts to the right."""
    pictures = [
        np.ascontiguousarray(portrait[:360, start : start + 400])
        for start in np.linspace(80, 20, 60).astype(int)
    ]
    path: Path = clips.write_clip(
        tmp_path_factory.mktemp("clips") / "portrait.mp4", pictures, fps=20
    )
    return path
