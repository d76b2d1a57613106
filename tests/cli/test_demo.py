"""`dfdetect demo`: two clips that differ in the face only, and two reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dfdetect.inference import demo

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> demo.DemoClips:
    return demo.make_demo_clips(tmp_path_factory.mktemp("demo"))


def read(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames)


def test_the_portrait_is_the_one_that_is_credited(portrait: np.ndarray) -> None:
    copy = demo.portrait()
    # JPEG, hence not equal
    assert np.abs(copy.astype(int) - portrait).mean() < 2
    folder = Path(demo.__file__).parent / "portrait"
    assert (folder / "astronaut.jpg").stat().st_size <= 120_000
    credit = (folder / "CREDIT.txt").read_text()
    assert "NASA" in credit
    assert "public domain" in credit


def test_the_landmarks_are_the_portraits() -> None:
    from dfdetect.faces.finder import create_finder
    from dfdetect.types import Frame

    (face,) = create_finder("onnx").find(Frame(0, 0.0, demo.portrait()))
    assert np.abs(np.array(face.landmarks) - demo.LANDMARKS).max() < 6


def test_clips_are_as_described(made: demo.DemoClips) -> None:
    for path in (made.genuine, made.forged):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height) == (640, 480)
            assert stream.average_rate == 25
        assert len(read(path)) == 100


def test_the_twins_differ_in_the_face_only_and_keep_differing(made: demo.DemoClips) -> None:
    genuine, forged = read(made.genuine).astype(int), read(made.forged).astype(int)
    difference = np.abs(genuine - forged).mean(axis=(0, 3))
    rows, columns = np.nonzero(difference > 8)
    # the middle of the picture, where the face is, and not the rest of it
    assert 100 < rows.mean() < 340
    assert 220 < columns.mean() < 420
    assert 0.03 < len(rows) / difference.size < 0.3
    each = np.abs(genuine - forged).mean(axis=(1, 2, 3))
    assert each.min() > 0.5 * each.max()


def test_the_camera_moves_and_no_two_frames_are_equal(made: demo.DemoClips) -> None:
    frames = read(made.genuine)
    assert len({hashlib.sha256(frame.tobytes()).digest() for frame in frames}) == len(frames)


def test_the_same_pixels_again(made: demo.DemoClips, tmp_path: Path) -> None:
    again = demo.make_demo_clips(tmp_path, n_frames=10)
    twice = demo.make_demo_clips(tmp_path / "twice", n_frames=10)
    assert again.forged.read_bytes() == twice.forged.read_bytes()


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    demo.make_demo_clips(tmp_path, lambda done, total: calls.append((done, total)), n_frames=3)
    assert calls == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("kind", ["strong", "undecided"])
def test_demo_writes_both_reports(
    dfdetect: Command, detectors: Any, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "my demo"
    answer = dfdetect("demo", "--out", out, "--detector", getattr(detectors, kind))
    # an inconclusive answer is an answer, too
    assert answer.code == 0, answer.err
    assert len(answer.lines) == 9
    for name in ("genuine", "forged"):
        document = json.loads((out / name / "report.json").read_bytes())
        assert document["input"]["name"] == f"demo-{name}.mp4"
        assert len(document["tracks"]) == 1, "one person in the portrait"
        assert document["tracks"][0]["n_usable"] == 32
        assert (out / name / "report.html").is_file()
        # the clip is found beside the folder of its report
        verified = dfdetect(
            "verify", out / name / "report.json", "--detector", getattr(detectors, kind)
        )
        assert verified.code == 0, verified.out
    assert str(out) in answer.lines[-1]
    assert "made-up demonstration, not a measure of accuracy" in answer.lines[-1]


def test_demo_with_untrusted_weights_says_so(
    dfdetect: Command, detectors: Any, tmp_path: Path
) -> None:
    answer = dfdetect("demo", "--out", tmp_path / "out", "--detector", detectors.untrained)
    assert answer.code == 2
    assert "untrained" in answer.complaint
