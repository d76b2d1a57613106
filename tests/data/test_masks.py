"""A mask says which face of a forgery was painted, and when."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.data.masks import MaskReader, painted_face, painted_pixels, share_inside
from dfdetect.data.reuse import Given
from dfdetect.data.shards import CropRow, Crops
from dfdetect.data.video_crops import Cut, Cutter
from dfdetect.data.videos import ManifestRow
from dfdetect.errors import UnreadableVideo
from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.media import FrameSampler, probe
from dfdetect.types import CropPolicy, Face, FaceBox, Frame, Image

WIDTH, HEIGHT = 760, 420
# x0 y0 x1 y1 of the two faces and of a place without one
SMALL, LARGE, NOBODY = (115, 98, 168, 162), (472, 62, 540, 146), (0, 370, 60, 420)
SQUARE = CropPolicy("square", 1.3, 64)
EVERY = FrameSampler("all")


@cache
def mtcnn() -> FaceFinder:
    return create_finder("onnx")


@pytest.fixture(scope="module")
def people(portrait: Image) -> Image:
    """A small face on the left and a large one on the right."""
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    frame[60:360, 10:310] = cv2.resize(portrait, (300, 300))
    frame[10:410, 330:730] = cv2.resize(portrait, (400, 400))
    return frame


def mask_of(*boxes: tuple[int, int, int, int], grey: int = 235) -> Image:
    image = np.full((HEIGHT, WIDTH, 3), 16, np.uint8)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = grey
    return image


def lay(
    clips: ModuleType,
    root: Path,
    frames: Sequence[Image],
    masks: Sequence[Image] | None,
    name: str = "fake",
    *,
    mask_fps: float = 10,
) -> ManifestRow:
    """Write a clip and its mask, and return the row; names that begin with f are forgeries."""
    info = probe(clips.write_clip(root / f"{name}.mp4", frames))
    if masks is not None:
        # masks of public datasets are strongly compressed
        clips.write_clip(root / f"{name}_mask.mp4", masks, fps=mask_fps, options={"crf": "30"})
    return ManifestRow(
        video_id=f"set/{name}",
        dataset="set",
        method="painted",
        label=int(name.startswith("f")),
        split="train",
        source_ids=(name,),
        compression="c0",
        path=f"{name}.mp4",
        sha256="0" * 64,
        fps=info.fps,
        n_frames=info.n_frames,
        width=info.width,
        height=info.height,
        duration_s=info.duration_s,
        mask_path=None if masks is None else f"{name}_mask.mp4",
    )


def cut(
    root: Path, row: ManifestRow, keep: str = "mask", sampler: FrameSampler = EVERY
) -> list[Cut]:
    return list(Cutter(SQUARE, sampler, keep).cut(row, root, mtcnn()))


def who(rows: Sequence[CropRow]) -> list[str]:
    """Say in words what each row shows."""
    return [
        row.status if row.box is None else "small" if row.box.centre[0] < 320 else "large"
        for row in rows
    ]


# which face


def test_the_painted_face_is_kept_not_the_largest(
    tmp_path: Path, clips: ModuleType, people: Image
) -> None:
    row = lay(clips, tmp_path, [people] * 3, [mask_of(SMALL)] * 3)
    assert who([crop for crop, _ in cut(tmp_path, row, "largest")]) == ["large"] * 3
    cuts = cut(tmp_path, row)
    assert who([crop for crop, _ in cuts]) == ["small"] * 3
    assert [crop.track_id for crop, _ in cuts] == [0] * 3
    assert all(image is not None and image.shape == (64, 64, 3) for _, image in cuts)


def test_each_frame_goes_by_its_own_mask(tmp_path: Path, clips: ModuleType, people: Image) -> None:
    masks = [mask_of(LARGE), mask_of(), mask_of(SMALL), mask_of(NOBODY), mask_of(SMALL)]
    row = lay(clips, tmp_path, [people] * 5, masks)
    cuts = cut(tmp_path, row)
    assert who([crop for crop, _ in cuts]) == ["large", "untouched", "small", "no_face", "small"]
    assert [image is None for _, image in cuts] == [False, True, False, True, False]
    assert [crop.frame_index for crop, _ in cuts] == list(range(5))
    sampled = cut(tmp_path, row, sampler=FrameSampler(count=2))
    assert [crop.frame_index for crop, _ in sampled] == [1, 3]
    assert who([crop for crop, _ in sampled]) == ["untouched", "no_face"]


def test_a_mask_of_another_resolution_is_scaled(
    tmp_path: Path, clips: ModuleType, people: Image
) -> None:
    masks = [
        np.asarray(cv2.resize(mask_of(box), (320, 320), interpolation=cv2.INTER_NEAREST), np.uint8)
        for box in (SMALL, LARGE)
    ]
    row = lay(clips, tmp_path, [people] * 2, masks)
    assert who([crop for crop, _ in cut(tmp_path, row)]) == ["small", "large"]


def test_without_a_mask_the_largest_is_kept(
    tmp_path: Path, clips: ModuleType, people: Image
) -> None:
    genuine = lay(clips, tmp_path, [people] * 2, [mask_of(SMALL)] * 2, "real")
    unmasked = lay(clips, tmp_path, [people] * 2, None)
    for row in (genuine, unmasked):
        assert who([crop for crop, _ in cut(tmp_path, row)]) == ["large"] * 2


def test_a_mask_chooses_beyond_the_boxes_that_are_taken_over(
    tmp_path: Path, clips: ModuleType, people: Image
) -> None:
    real = lay(clips, tmp_path, [people] * 3, None, "real")
    row = lay(clips, tmp_path, [people] * 3, [mask_of(LARGE), mask_of(SMALL), mask_of(LARGE)])
    cutter = Cutter(SQUARE, EVERY, "mask", reuse_boxes=True)
    rows = Crops.of([crop for crop, _ in cutter.cut(real, tmp_path, mtcnn())])
    cuts = [crop for crop, _ in cutter.cut(row, tmp_path, mtcnn(), Given(real, rows))]
    assert who(cuts) == ["large", "small", "large"]
    assert [crop.box_from for crop in cuts] == ["set/real", None, "set/real"]


# masks that do not fit


@pytest.mark.parametrize("damage", ["missing", "unreadable"])
def test_a_forgery_without_its_mask_costs_one_row(
    tmp_path: Path, clips: ModuleType, people: Image, damage: str
) -> None:
    row = lay(clips, tmp_path, [people] * 2, [mask_of(SMALL)] * 2)
    if damage == "missing":
        (tmp_path / "fake_mask.mp4").unlink()
    else:
        (tmp_path / "fake_mask.mp4").write_text("no video any more")
    ((crop, image),) = cut(tmp_path, row)
    assert (crop.status, crop.frame_index, image) == ("mask_error", -1, None)
    assert who([crop for crop, _ in cut(tmp_path, row, "largest")]) == ["large"] * 2


def test_frames_that_the_mask_does_not_reach_are_told(
    tmp_path: Path, clips: ModuleType, people: Image
) -> None:
    row = lay(clips, tmp_path, [people] * 5, [mask_of(SMALL)] * 3)
    assert who([crop for crop, _ in cut(tmp_path, row)]) == ["small"] * 3 + ["mask_error"] * 2


def coded_reader(
    clips: ModuleType, root: Path, n_masks: int, fps: float, n_frames: int = 40
) -> tuple[MaskReader, list[Frame]]:
    """A mask whose frame n is painted in the column n, and the frames it belongs to."""
    masks = [np.full((48, 96, 3), 16, np.uint8) for _ in range(n_masks)]
    for index, mask in enumerate(masks):
        mask[:, 2 * index : 2 * index + 2] = 235
    clips.write_clip(root / "mask.mp4", masks, fps=fps, pix_fmt="yuv444p")
    video = probe(clips.write_clip(root / "video.mp4", n_frames, fps=10))
    sampler = FrameSampler(count=10)
    return MaskReader(root / "mask.mp4", sampler, video), list(sampler.sample(video))


def shown_by(reader: MaskReader, frame: Frame) -> int | None:
    painted = reader.at(frame)
    return None if painted is None else int(np.flatnonzero(painted.any(axis=0))[0] // 2)


@pytest.mark.parametrize(
    ("n_masks", "fps", "index_of"),
    [
        (40, 10, lambda frame: frame.index),
        (40, 8, lambda frame: frame.index),  # as many frames: the clock of the mask is wrong
        (20, 5, lambda frame: frame.index // 2 if frame.index % 2 == 0 else None),
        (44, 10, lambda frame: frame.index),
        (30, 10, lambda frame: frame.index if frame.index < 30 else None),
        (48, Fraction(32, 3), lambda frame: round(frame.time_s * 32 / 3)),
    ],
)
def test_frames_find_their_mask(
    tmp_path: Path, clips: ModuleType, n_masks: int, fps: float, index_of: object
) -> None:
    reader, frames = coded_reader(clips, tmp_path, n_masks, fps)
    assert [shown_by(reader, frame) for frame in frames] == [index_of(f) for f in frames]  # type: ignore[operator]


def test_few_frames_of_a_mask_are_held(tmp_path: Path, clips: ModuleType) -> None:
    clips.write_clip(tmp_path / "mask.mp4", 60, width=640, height=480)
    video = probe(clips.write_clip(tmp_path / "video.mp4", 59))
    tracemalloc.start()
    try:
        reader = MaskReader(tmp_path / "mask.mp4", EVERY, video)
        frames = [Frame(n, n / 10, np.empty((0, 0, 3), np.uint8)) for n in range(59)]
        answers = [reader.at(frame) is not None for frame in frames]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(answers)
    assert peak < 6 * 640 * 480 * 3


def test_a_missing_mask_is_named(tmp_path: Path, clips: ModuleType) -> None:
    video = probe(clips.write_clip(tmp_path / "video.mp4", 3))
    with pytest.raises(UnreadableVideo, match=r"none\.mp4 is missing; restore the mask"):
        MaskReader(tmp_path / "none.mp4", EVERY, video)


# shares


@given(
    seed=st.integers(0, 99),
    box=st.tuples(*[st.integers(-5, 25)] * 4),
    scale=st.sampled_from([1, 2, 3]),
)
def test_share_is_that_of_a_count(seed: int, box: tuple[int, ...], scale: int) -> None:
    painted = np.random.default_rng(seed).random((12, 20)) < 0.3
    painted[0, 0] = True
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    wanted = sum(
        x0 <= x < x1 and y0 <= y < y1 for y, x in np.argwhere(painted).tolist()
    ) / np.count_nonzero(painted)  # fmt: skip
    corners = FaceBox(*(scale * edge for edge in (x0, y0, x1, y1)))
    assert share_inside(painted, corners, 20 * scale, 12 * scale) == wanted


def test_half_of_the_paint_makes_a_face_the_painted_one() -> None:
    frame = Frame(0, 0.0, np.zeros((10, 20, 3), np.uint8))
    painted = np.zeros((10, 20), np.bool_)
    painted[:, :10] = True
    left, right = FaceBox(0, 0, 5, 10), FaceBox(5, 0, 20, 10)
    faces = tuple(
        (number, Face(0, 0.0, box, ((0.0, 0.0),) * 5, 0.99))
        for number, box in enumerate((left, right))
    )
    assert painted_face(painted, faces, frame) == faces[:1]  # a tie goes to the first
    assert painted_face(painted, faces[::-1], frame) == faces[1:]
    less = tuple((n, replace(face, box=FaceBox(0, 0, 4, 10))) for n, face in faces)
    assert painted_face(painted, less, frame) == ()
    assert painted_face(painted, (), frame) == ()


def test_what_compression_leaves_of_black_is_not_paint() -> None:
    noise = np.random.default_rng(0).integers(0, 60, (8, 8, 3), dtype=np.uint8)
    assert not painted_pixels(noise).any()
    noise[2, 3] = (20, 200, 20)
    assert np.argwhere(painted_pixels(noise)).tolist() == [[2, 3]]
