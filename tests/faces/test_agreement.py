"""Agreement with full-resolution facenet on real clips: the gate of the ONNX finder.

The reference needs half a second a frame, so few frames are compared here; the table over all
clips is printed by scripts/bench_faces.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfdetect.faces.agreement import Agreement, compare
from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.faces.track import FaceTracker
from dfdetect.media import FrameSampler, probe
from dfdetect.types import Frame

pytestmark = pytest.mark.shared

FRAMES = 32
FFPP = "FaceForensics++/original_sequences/youtube/c23/videos"
LONE = (
    f"{FFPP}/055.mp4",
    f"{FFPP}/253.mp4",
    f"{FFPP}/830.mp4",
    "FaceForensics++/manipulated_sequences/FaceSwap/c23/videos/469_481.mp4",
    "DFDC/dfdc_train_part_0/brtujopkby.mp4",
)


@pytest.fixture(scope="module")
def reference() -> FaceFinder:
    return create_finder("facenet")


@pytest.fixture(scope="module")
def clips_folder(shared_data: Path) -> Path:
    return shared_data / "clips"


def sampled(path: Path) -> Iterator[Frame]:
    return iter(FrameSampler(count=FRAMES).sample(probe(path)))


def measured(
    frames: Iterator[Frame], reference: FaceFinder, every: int
) -> tuple[Agreement, Agreement, FaceTracker]:
    """Track all frames and compare every n-th: whole-frame searches, the tracker, its state."""
    finder = create_finder()
    tracker = FaceTracker(finder)
    whole, tracked = Agreement(), Agreement()
    for rank, frame in enumerate(frames):
        found = [face for _, face in tracker.update(frame)]
        if rank % every == every // 2:
            wanted = reference.find(frame)
            whole += compare(wanted, finder.find(frame))
            tracked += compare(wanted, found)
    return whole, tracked, tracker


def assert_gate(agreement: Agreement, at_least: int) -> None:
    assert agreement.n_wanted >= at_least
    assert agreement.recall >= 0.99
    assert agreement.mean_iou >= 0.88
    assert agreement.n_extra <= 0.02 * agreement.n_found


def test_clips_of_one_person(clips_folder: Path, reference: FaceFinder) -> None:
    whole, tracked = Agreement(), Agreement()
    for name in LONE:
        one_whole, one_tracked, tracker = measured(sampled(clips_folder / name), reference, 8)
        whole, tracked = whole + one_whole, tracked + one_tracked
        assert [len(track.faces) for track in tracker.tracks] == [FRAMES], name
        assert tracker.n_full_searches <= FRAMES // 3, name
    assert_gate(whole, at_least=20)
    assert_gate(tracked, at_least=20)


def side_by_side(
    clips: Sequence[Iterator[Frame]], sizes: Sequence[tuple[int, int]]
) -> Iterator[Frame]:
    """Show clips next to each other, each in a cell of its own width and height."""
    height = max(size[1] for size in sizes)
    for frames in zip(*clips, strict=True):
        row = np.full((height, sum(size[0] for size in sizes), 3), 30, np.uint8)
        left = 0
        for frame, (width, tall) in zip(frames, sizes, strict=True):
            cell = cv2.resize(frame.image, (width, tall), interpolation=cv2.INTER_AREA)
            row[:tall, left : left + width] = cell
            left += width
        yield Frame(frames[0].index, frames[0].time_s, row)


def test_clips_of_several_people(clips_folder: Path, reference: FaceFinder) -> None:
    names, sizes = ("055", "339", "830", "828"), ((640, 480), (480, 360), (300, 240), (320, 240))
    clips = [sampled(clips_folder / FFPP / f"{name}.mp4") for name in names]
    whole, tracked, tracker = measured(side_by_side(clips, sizes), reference, 6)
    assert_gate(whole, at_least=20)
    assert_gate(tracked, at_least=20)
    assert [len(track.faces) for track in tracker.tracks] == [FRAMES] * len(names)


def test_cuts_between_people(clips_folder: Path, reference: FaceFinder) -> None:
    names = ("055", "183", "339", "942")

    def cut() -> Iterator[Frame]:
        for rank, name in enumerate(names):
            for number, frame in enumerate(sampled(clips_folder / FFPP / f"{name}.mp4")):
                if number >= FRAMES // len(names):
                    break
                index = rank * FRAMES + number
                image = cv2.resize(frame.image, (960, 540), interpolation=cv2.INTER_AREA)
                yield Frame(index, index * 0.4, image)

    whole, tracked, tracker = measured(cut(), reference, 4)
    assert_gate(whole, at_least=7)
    assert_gate(tracked, at_least=7)
    assert [len(track.faces) for track in tracker.tracks] == [FRAMES // len(names)] * len(names)


def test_real_pictures_without_a_face(clips_folder: Path, reference: FaceFinder) -> None:
    def lowest_quarters() -> Iterator[Frame]:
        for name in LONE:
            for frame in sampled(clips_folder / name):
                if frame.index == 0:
                    image = frame.image[-(frame.image.shape[0] // 4) :]
                    yield Frame(LONE.index(name), float(LONE.index(name)), image)
                    break

    whole, tracked, tracker = measured(lowest_quarters(), reference, 1)
    assert whole == tracked == Agreement()
    assert tracker.tracks == ()
