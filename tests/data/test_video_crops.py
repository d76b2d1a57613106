"""One video becomes rows and crops; a forgery may take over the faces of its original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from dfdetect.data.reuse import Given, Reuse
from dfdetect.data.shards import CropRow, Crops
from dfdetect.data.video_crops import Cut, Cutter
from dfdetect.data.videos import ManifestRow
from dfdetect.faces.crop import crop_landmarks, face_quality
from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.media import FrameSampler, probe
from dfdetect.types import CropPolicy, Face, FaceBox, Frame, Image

POLICIES = [
    CropPolicy("square", 1.3, 96),
    CropPolicy("square", 1.0, 96),
    CropPolicy("aligned", 1.3, 96),
]
SQUARE = POLICIES[0]
LOSSLESS = {"pix_fmt": "yuv444p", "options": {"crf": "0"}}
EVERY = FrameSampler("all")


@dataclass(slots=True)
class CountingFinder:
    """A finder that counts how many whole frames it searched."""

    finder: FaceFinder
    n_found: int = 0

    def find(self, frame: Frame) -> tuple[Face, ...]:
        self.n_found += 1
        return self.finder.find(frame)

    def find_near(self, frame: Frame, box: FaceBox) -> tuple[Face, ...]:
        return self.finder.find_near(frame, box)


@dataclass(frozen=True, slots=True)
class SteadyFinder:
    """A finder that sees the same faces in every frame."""

    faces: tuple[Face, ...]

    def find(self, frame: Frame) -> tuple[Face, ...]:
        return tuple(replace(face, frame_index=frame.index) for face in self.faces)

    def find_near(self, frame: Frame, box: FaceBox) -> tuple[Face, ...]:
        return self.find(frame)


@cache
def mtcnn() -> FaceFinder:
    return create_finder("onnx")


def two_people(portrait: Image, n_frames: int = 6) -> list[Image]:
    """A small face on the left and a large one on the right, both drifting."""
    small, large = cv2.resize(portrait, (300, 300)), cv2.resize(portrait, (400, 400))
    frames = []
    for step in range(n_frames):
        frame = np.full((420, 760, 3), 90, np.uint8)
        frame[60 + step : 360 + step, 10 : 10 + 300] = small
        frame[10 : 10 + 400, 330 + 2 * step : 730 + 2 * step] = large
        frames.append(frame)
    return frames


def marked(frames: Sequence[Image]) -> list[Image]:
    """The same frames with another lower left corner."""
    changed = [frame.copy() for frame in frames]
    for frame in changed:
        frame[-40:, :80] = (200, 40, 90)
    return changed


def lay(clips: ModuleType, root: Path, name: str, frames: Sequence[Image]) -> ManifestRow:
    """Write a lossless clip and return its row; names that begin with f are forgeries."""
    path = clips.write_clip(root / f"{name}.mp4", frames, **LOSSLESS)
    info = probe(path)
    return ManifestRow(
        video_id=f"set/{name}",
        dataset="set",
        method="painted" if name.startswith("f") else "original",
        label=int(name.startswith("f")),
        split="train",
        source_ids=(name,),
        compression="c0",
        path=path.name,
        sha256="0" * 64,
        fps=info.fps,
        n_frames=info.n_frames,
        width=info.width,
        height=info.height,
        duration_s=info.duration_s,
    )


def through_the_table(cuts: Sequence[Cut]) -> Crops:
    return Crops.of([row for row, _ in cuts])


def assert_same_but_for_the_name(mine: Sequence[Cut], other: Sequence[Cut]) -> None:
    assert len(mine) == len(other) > 0
    for (row, image), (other_row, other_image) in zip(mine, other, strict=True):
        facts = {"crop_id": "", "video_id": "", "box_from": None}
        assert replace(row, **facts) == replace(other_row, **facts)
        assert (image is None) == (other_image is None)
        if image is not None and other_image is not None:
            assert np.array_equal(image, other_image)


# what a row says


@pytest.mark.parametrize("policy", POLICIES)
def test_points_are_those_of_the_source(
    tmp_path: Path, clips: ModuleType, portrait: Image, policy: CropPolicy
) -> None:
    row = lay(clips, tmp_path, "real", two_people(portrait, 2))
    frames = {frame.index: frame for frame in EVERY.sample(probe(tmp_path / row.path))}
    for crop, _ in Cutter(policy, EVERY, "all").cut(row, tmp_path, mtcnn()):
        found = mtcnn().find(frames[crop.frame_index])[crop.track_id]
        assert (crop.box, crop.points) == (found.box, found.landmarks)
        assert crop.landmarks == crop_landmarks(found, policy)
        assert crop.box_from is None


def test_a_crop_is_the_one_that_the_stored_box_gives(
    tmp_path: Path, clips: ModuleType, portrait: Image
) -> None:
    # this square ends between two pixels, and the last digits that float32 drops choose which
    edge = 100.5 + 1e-9
    places = ((120, 120), (160, 121), (140, 140), (125, 165), (158, 164))
    points = tuple((x + 1e-9, float(y)) for x, y in places)
    face = Face(0, 0.0, FaceBox(edge, 90.0, edge + 81, 171.0), points, 0.99)
    rows = [lay(clips, tmp_path, name, [portrait, portrait]) for name in ("real", "fake")]
    cutter = Cutter(CropPolicy("square", 1.0, 81), EVERY, reuse_boxes=True)
    finder = SteadyFinder((face,))
    original = list(cutter.cut(rows[0], tmp_path, finder))
    given = Given(rows[0], through_the_table(original))
    reused = list(cutter.cut(rows[1], tmp_path, finder, given))
    assert [row.box_from for row, _ in reused] == ["set/real"] * 2
    assert_same_but_for_the_name(reused, original)


# boxes of the original


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("keep", ["largest", "all", "tracks"])
def test_reuse_cuts_what_a_search_would(
    tmp_path: Path, clips: ModuleType, portrait: Image, policy: CropPolicy, keep: str
) -> None:
    frames = two_people(portrait)
    real, fake = lay(clips, tmp_path, "real", frames), lay(clips, tmp_path, "fake", marked(frames))
    cutter = Cutter(policy, EVERY, keep, reuse_boxes=True)
    given = Given(real, through_the_table(list(cutter.cut(real, tmp_path, mtcnn()))))
    searched = list(cutter.cut(fake, tmp_path, mtcnn()))
    finder = CountingFinder(mtcnn())
    reused = list(cutter.cut(fake, tmp_path, finder, given))
    assert_same_but_for_the_name(reused, searched)
    assert {row.box_from for row, _ in searched} == {None}
    assert {row.box_from for row, _ in reused} == {"set/real"}
    assert len(reused) == (6 if keep == "largest" else 12)
    assert finder.n_found == 1  # the first frame bears the others out


def test_quality_is_of_the_forgery(tmp_path: Path, clips: ModuleType, portrait: Image) -> None:
    frames = two_people(portrait, 3)
    blurred = [np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.5), np.uint8) for frame in frames]
    real, fake = lay(clips, tmp_path, "real", frames), lay(clips, tmp_path, "fake", blurred)
    cutter = Cutter(SQUARE, EVERY, reuse_boxes=True)
    original = list(cutter.cut(real, tmp_path, mtcnn()))
    reused = list(cutter.cut(fake, tmp_path, mtcnn(), Given(real, [row for row, _ in original])))
    seen = list(EVERY.sample(probe(tmp_path / fake.path)))
    for (row, _), (source, _), frame in zip(reused, original, seen, strict=True):
        assert (row.box, row.points) == (source.box, source.points)
        assert row.confidence == source.confidence
        assert row.box is not None
        face = Face(0, 0.0, row.box, row.points, row.confidence or 0.0)
        assert row.quality == face_quality(frame.image, face)
        assert source.quality is not None
        assert row.quality.sharpness < 0.5 * source.quality.sharpness


def test_small_faces_and_empty_frames_are_taken_over_too(
    tmp_path: Path, clips: ModuleType, portrait: Image
) -> None:
    people = two_people(portrait, 3)
    blank = np.full_like(people[0], 90)
    frames = [blank, people[0], blank, people[1], people[2]]
    real, fake = lay(clips, tmp_path, "real", frames), lay(clips, tmp_path, "fake", marked(frames))
    cutter = Cutter(SQUARE, EVERY, "all", min_side_px=70, reuse_boxes=True)
    given = Given(real, through_the_table(list(cutter.cut(real, tmp_path, mtcnn()))))
    finder = CountingFinder(mtcnn())
    reused = [row for row, _ in cutter.cut(fake, tmp_path, finder, given)]
    assert [row.status for row in reused] == [
        "no_face", *("ok", "too_small"), "no_face", *("ok", "too_small") * 2,
    ]  # fmt: skip
    # the first frame was searched, for nothing had been borne out yet
    assert [row.box_from for row in reused] == [None, *["set/real"] * 7]
    assert finder.n_found == 2


def test_other_faces_than_the_originals_are_searched(
    tmp_path: Path, clips: ModuleType, portrait: Image
) -> None:
    frames = two_people(portrait)
    turned = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
    real, fake = lay(clips, tmp_path, "real", frames), lay(clips, tmp_path, "fake", turned)
    cutter = Cutter(SQUARE, EVERY, "all", reuse_boxes=True)
    given = Given(real, [row for row, _ in cutter.cut(real, tmp_path, mtcnn())])
    cuts = list(cutter.cut(fake, tmp_path, mtcnn(), given))
    assert {row.box_from for row, _ in cuts} == {None}
    assert_same_but_for_the_name(cuts, list(cutter.cut(fake, tmp_path, mtcnn())))


def test_a_face_where_the_original_has_none_is_a_disagreement() -> None:
    row = CropRow("a/0", "set/real", -1, 0, 0.0, "no_face")
    later = CropRow("a/1", "set/real", 0, 1, 0.1, "ok", FaceBox(0, 0, 9, 9), (), ((1, 2),) * 5)
    reuse = reuse_of((row, later), SteadyFinder((FACE,)))
    pictures = [Frame(index, index / 10, np.zeros((9, 9, 3), np.uint8)) for index in range(2)]
    assert [reuse(frame).box_from for frame in pictures] == [None, None]


FACE = Face(0, 0.0, FaceBox(0, 0, 9, 9), ((1.0, 2.0),) * 5, 0.99)


def reuse_of(rows: Sequence[CropRow], finder: FaceFinder, *, tracks: bool = False) -> Reuse:
    row = ManifestRow("set/real", "set", "original", 0, None, (), "c0", "a", "0", 10, 9, 9, 9, 0.9)
    given = Given(row, rows)
    return Reuse(given, lambda frame: tuple(enumerate(finder.find(frame))), tracks=tracks)


@pytest.mark.parametrize(("tracks", "free"), [(False, 0), (True, 8)])
def test_a_frame_that_the_original_lacks_is_searched(tracks: bool, free: int) -> None:
    rows = [
        CropRow(f"a/{n}", "set/real", 7, n, n / 10, "ok", FACE.box, (), FACE.landmarks, 0.99)
        for n in (0, 2)
    ]
    reuse = reuse_of(rows, SteadyFinder((FACE,)), tracks=tracks)
    pictures = [Frame(index, index / 10, np.zeros((9, 9, 3), np.uint8)) for index in range(3)]
    seen = [reuse(frame) for frame in pictures]
    assert [each.box_from for each in seen] == ["set/real", None, "set/real"]
    # a track of the search must not join one of the original
    assert [each.faces[0][0] for each in seen] == [7, free, 7]


def test_a_first_frame_that_the_original_lacks_settles_it() -> None:
    row = CropRow("a/1", "set/real", 0, 1, 0.1, "ok", FACE.box, (), FACE.landmarks, 0.99)
    reuse = reuse_of((row,), SteadyFinder((FACE,)))
    pictures = [Frame(index, index / 10, np.zeros((9, 9, 3), np.uint8)) for index in range(2)]
    assert [reuse(frame).box_from for frame in pictures] == [None, None]


@pytest.mark.parametrize(
    "other",
    [
        {"width": 762},
        {"height": 422},
        {"fps": 12.0},
        {"n_frames": 7},
        {"n_frames": None, "duration_s": 0.8},
    ],
)
def test_files_that_differ_do_not_line_up(
    tmp_path: Path, clips: ModuleType, portrait: Image, other: dict[str, float]
) -> None:
    frames = two_people(portrait)
    real, fake = lay(clips, tmp_path, "real", frames), lay(clips, tmp_path, "fake", marked(frames))
    cutter = Cutter(SQUARE, EVERY, reuse_boxes=True)
    rows = [row for row, _ in cutter.cut(real, tmp_path, mtcnn())]
    assert Given(real, rows).lines_up_with(fake)
    # header rates are rounded, and a container without a count has a duration
    assert Given(replace(real, fps=10.001, n_frames=None), rows).lines_up_with(fake)
    odd = Given(replace(real, **other), rows)  # type: ignore[arg-type]
    assert not odd.lines_up_with(fake)
    assert {row.box_from for row, _ in cutter.cut(fake, tmp_path, mtcnn(), odd)} == {None}


def test_an_original_that_broke_off_gives_nothing(
    tmp_path: Path, clips: ModuleType, portrait: Image
) -> None:
    frames = two_people(portrait)
    real, fake = lay(clips, tmp_path, "real", frames), lay(clips, tmp_path, "fake", marked(frames))
    cutter = Cutter(SQUARE, EVERY, reuse_boxes=True)
    rows = [row for row, _ in cutter.cut(real, tmp_path, mtcnn())]
    broken = CropRow("a/decode_error", real.video_id, -1, -1, 0.0, "decode_error")
    pointless = replace(rows[-1], points=())
    for damaged in ([*rows, broken], [*rows[:-1], pointless], []):
        cuts = list(cutter.cut(fake, tmp_path, mtcnn(), Given(real, damaged)))
        assert [row.box_from for row, _ in cuts] == [None] * 6


def test_only_forgeries_reuse_and_only_when_asked(
    tmp_path: Path, clips: ModuleType, portrait: Image
) -> None:
    frames = two_people(portrait, 2)
    real, fake = lay(clips, tmp_path, "real", frames), lay(clips, tmp_path, "fake", marked(frames))
    again = lay(clips, tmp_path, "real2", frames)
    asked, unasked = Cutter(SQUARE, EVERY, reuse_boxes=True), Cutter(SQUARE, EVERY)
    whole = Cutter(CropPolicy("whole", 1.0, 64), EVERY, reuse_boxes=True)
    given = Given(real, [row for row, _ in asked.cut(real, tmp_path, mtcnn())])
    for cutter, row in ((unasked, fake), (asked, again), (whole, fake)):
        cuts = list(cutter.cut(row, tmp_path, mtcnn(), given))
        assert {crop.box_from for crop, _ in cuts} == {None}


@pytest.mark.shared
def test_boxes_of_real_originals_hold_for_their_forgeries(shared_data: Path) -> None:
    root = shared_data / "clips" / "FaceForensics++"
    sequences = {"real": "original_sequences/youtube", "fake": "manipulated_sequences/Deepfakes"}
    rows = []
    for kind, stem in (("real", "828"), ("fake", "828_830")):
        info = probe(root / sequences[kind] / "c23" / "videos" / f"{stem}.mp4")
        rows.append(
            ManifestRow(
                f"set/{stem}", "set", kind, int(kind == "fake"), "train", (stem,), "c23",
                info.path.relative_to(root).as_posix(), "0", info.fps, info.n_frames, info.width,
                info.height, info.duration_s,
            )
        )  # fmt: skip
    cutter = Cutter(SQUARE, FrameSampler(count=8), reuse_boxes=True)
    given = Given(rows[0], [row for row, _ in cutter.cut(rows[0], root, mtcnn())])
    reused = [row for row, _ in cutter.cut(rows[1], root, mtcnn(), given)]
    searched = [row for row, _ in cutter.cut(rows[1], root, mtcnn())]
    assert {row.box_from for row in reused} == {"set/828"}
    for mine, other in zip(reused, searched, strict=True):
        assert mine.box is not None
        assert other.box is not None
        assert mine.box.iou(other.box) > 0.7
