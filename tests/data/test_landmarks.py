"""Landmark files: both formats say the same, and a faulty one is refused with its reason."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dfdetect.data.landmarks import in_crop, read_landmarks
from dfdetect.errors import ContractError
from dfdetect.faces.crop import crop_landmarks
from dfdetect.types import CropPolicy, Face, FaceBox
from tests.blend_measures import face_81

POINTS = np.random.default_rng(0).uniform(0, 200, (3, 68, 2)).round(3)
FIVE = ((60.0, 50.0), (90.0, 52.0), (75.0, 70.0), (64.0, 85.0), (88.0, 86.0))


def write_csv(
    path: Path, keys: list[str], names: list[list[str]], points: NDArray[np.float64]
) -> Path:
    header = [f"{axis}{n}" for n in range(points.shape[1]) for axis in "xy"]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*keys, *header])
        for name, face in zip(names, points, strict=True):
            writer.writerow([*name, *face.ravel()])
    return path


def test_crops_are_looked_up_in_either_format(tmp_path: Path) -> None:
    names = ["a/0", "a/1", "b/0"]
    np.savez(tmp_path / "marks.npz", crop_id=names, points=POINTS)
    told = write_csv(tmp_path / "marks.csv", ["crop_id"], [[name] for name in names], POINTS)
    for path in (told, tmp_path / "marks.npz"):
        marks = read_landmarks(path)
        assert len(marks) == 3
        assert np.array_equal(marks.of_crop("a/1"), POINTS[1])
        assert marks.of_crop("c/0") is None
        assert marks.of_frame("a/1", 0) is None


def test_frames_are_looked_up_in_either_format(tmp_path: Path) -> None:
    frames = [["v", "0"], ["v", "25"], ["w", "0"]]
    points = np.stack([face_81(64 + n) for n in range(3)])
    np.savez(
        tmp_path / "marks.npz", video_id=["v", "v", "w"], frame_index=[0, 25, 0], points=points
    )
    told = write_csv(tmp_path / "marks.csv", ["video_id", "frame_index"], frames, points)
    for path in (told, tmp_path / "marks.npz"):
        marks = read_landmarks(path)
        assert np.array_equal(marks.of_frame("v", 25), points[1])
        assert marks.of_frame("v", 1) is None
        assert marks.of_crop("v") is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"file,x0,y0\na,1,2\n", "does not begin with"),
        ("m.csv", b"", "does not begin with"),
        ("m.csv", b"crop_id,x0,y0\na,1,2\n", r"shape \(1, 1, 2\)"),
        ("m.csv", b"crop_id,x0,y0\na,1\n", "line 2: 2 columns"),
        ("m.csv", b"crop_id,x0,y0\na,1,2\nb,1,up\n", "line 3: could not convert"),
        ("m.csv", b"video_id,frame_index,x0,y0\na,first,1,2\n", "line 2: invalid literal"),
        ("m.npz", b"PK but no archive", "no file of landmarks"),
        ("m.npz", b"", "no file of landmarks"),
        ("m.txt", b"", "neither .csv nor .npz"),
    ],
)
def test_a_faulty_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ContractError, match=message):
        read_landmarks(tmp_path / name)


def test_arrays_that_say_too_little_or_run_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    with pytest.raises(ContractError, match="missing"):
        read_landmarks(path)
    for arrays in (
        {"crop_id": ["a"]},
        {"points": POINTS},
        {"points": POINTS, "crop_id": np.array([{}, 1, 2], dtype=object)},
        {"points": POINTS, "video_id": ["a", "b", "c"], "frame_index": [0.5, 1, 2]},
    ):
        np.savez(path, **arrays)  # type: ignore[arg-type]
        with pytest.raises(ContractError, match="no file of landmarks"):
            read_landmarks(path)
    np.savez(path, points=POINTS, crop_id=["a"])
    with pytest.raises(ContractError, match="names 1 faces"):
        read_landmarks(path)


def test_a_face_twice_and_a_point_nowhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, points=POINTS, crop_id=["a", "b", "a"])
    with pytest.raises(ContractError, match="has a twice"):
        read_landmarks(path)
    broken = POINTS.copy()
    broken[1, 5, 0] = np.nan
    np.savez(path, points=broken, video_id=["v", "v", "v"], frame_index=[0, 1, 2])
    with pytest.raises(ContractError, match="a point of v, frame 1 is not finite"):
        read_landmarks(path)


@pytest.mark.parametrize("name", ["square", "aligned", "whole"])
def test_points_of_a_frame_arrive_where_the_finder_s_do(name: str) -> None:
    face = Face(0, 0.0, FaceBox(50, 30, 100, 100), FIVE, 1.0)
    policy = CropPolicy(name, 1.3, 128)
    moved = in_crop(np.array(FIVE), face, policy)
    assert np.abs(moved - np.array(crop_landmarks(face, policy))).max() < 1e-6
    # any further point keeps its place among the five
    middle = in_crop(np.array(FIVE).mean(axis=0, keepdims=True), face, policy)
    assert np.abs(middle - moved.mean(axis=0)).max() < 1e-6
