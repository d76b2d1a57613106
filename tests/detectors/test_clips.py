"""Detectors of clips: what headers, preprocessing, scoring and loading make of T frames."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfdetect.detectors import DETECTORS, create_detector, load_detector, save_checkpoint
from dfdetect.detectors.base import BatchNeeds, CheckpointHeader, Preprocess
from dfdetect.detectors.checkpoint import load_checkpoint, make_header
from dfdetect.detectors.header import decode_header, encode_header
from dfdetect.detectors.network import Detector, channels_last
from dfdetect.detectors.score import CropBatch, CropKey, clip_key, score
from dfdetect.detectors.tensor_file import encode_tensors
from dfdetect.detectors.testing import check_detector
from dfdetect.errors import ContractError, UntrustedCheckpoint, UsageError
from dfdetect.faces.finder import create_finder
from dfdetect.inference.pipeline import Analyzer
from dfdetect.types import CropPolicy

HALF = Preprocess(16, (0.5,) * 3, (0.5,) * 3, CropPolicy(size=16))
HEADER = CheckpointHeader("flicker", (), HALF, None, (), True)


class Flicker(Detector):
    """How much brighter the last frame is than the first, times a weight."""

    def __init__(self, frames: int = 3, mixes: bool = False) -> None:
        super().__init__(HALF)
        self.frames, self.mixes = frames, mixes
        self.weight = nn.Parameter(torch.ones(1))
        self.convolution = nn.Conv3d(3, 3, 1)

    @property
    def needs(self) -> BatchNeeds:
        return BatchNeeds(frames=self.frames)

    def forward(self, pixels: Tensor) -> Tensor:
        moments = self.convolution(pixels.transpose(1, 2)).mean((1, 3, 4))
        logits = (moments[:, -1] - moments[:, 0]) * self.weight
        return logits - logits.mean() if self.mixes else logits


@pytest.fixture(autouse=True)
def flicker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "meso4" in DETECTORS
    monkeypatch.setitem(DETECTORS._entries, "flicker", Flicker)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "flicker.safetensors"
    network = create_detector("flicker")
    save_checkpoint(path, network, make_header(network, trained=True))
    return path


def clips(n: int = 2, frames: int = 3) -> Any:
    return np.random.default_rng(0).integers(0, 256, (n, frames, 16, 16, 3), np.uint8)


def keys(n: int = 2) -> tuple[CropKey, ...]:
    return tuple(CropKey("a.mp4", 0, 10 * number, number / 2) for number in range(n))


def test_a_clip_is_prepared_like_its_crops() -> None:
    given = clips()
    pixels = HALF.normalise(given)
    assert pixels.shape == (2, 3, 3, 16, 16)
    assert pixels.flags.c_contiguous
    for clip, expected in zip(pixels, given, strict=True):
        np.testing.assert_array_equal(clip, HALF.normalise(expected))
    assert HALF.normalise(clips(0)).shape == (0, 3, 3, 16, 16)
    with pytest.raises(ValueError, match="crops must be uint8"):
        HALF.normalise(clips()[None])


def test_a_header_says_how_many_frames_only_where_there_are_several() -> None:
    single = encode_header(HEADER)
    assert "frames" not in json.loads(single)
    assert decode_header(single, "an older file").frames == 1
    several = dataclasses.replace(HEADER, frames=16)
    assert json.loads(encode_header(several))["frames"] == 16
    assert decode_header(encode_header(several), "file") == several


@pytest.mark.parametrize("frames", [0, -1, 257, "4", 4.0, True, None])
def test_a_number_of_frames_that_makes_no_sense_is_refused(frames: object) -> None:
    plain = json.loads(encode_header(HEADER))
    with pytest.raises(UntrustedCheckpoint, match=r"header\.frames"):
        decode_header(json.dumps({**plain, "frames": frames}), "file")
    with pytest.raises(ContractError, match="cannot be stored"):
        encode_header(dataclasses.replace(HEADER, frames=frames))  # type: ignore[arg-type]


def test_the_bundled_header_is_unchanged() -> None:
    """Equal bytes: the digest of every file that was written before covers its header's text."""
    assert load_detector().header.frames == 1


def test_a_file_that_says_another_number_of_frames_is_refused(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    assert checkpoint.header.frames == 3
    arrays = {name: tensor.numpy() for name, tensor in checkpoint.network.state_dict().items()}
    for frames in (1, 4):
        header = dataclasses.replace(checkpoint.header, frames=frames)
        saved.write_bytes(encode_tensors(arrays, header))
        with pytest.raises(UntrustedCheckpoint, match=f"judges {frames} frames.* expected 3"):
            load_detector(saved)
        with pytest.raises(ContractError, match="another network"):
            save_checkpoint(saved, checkpoint.network, header)


def test_clips_are_scored_one_by_one(saved: Path) -> None:
    detector, given = load_detector(saved), clips(4)
    scores = score(detector, [CropBatch(keys(3), given[:3]), CropBatch(keys(4)[3:], given[3:])])
    assert [each.frame_index for each in scores] == [0, 10, 20, 30]
    network = load_checkpoint(saved).network
    with torch.no_grad():
        expected = network(torch.from_numpy(HALF.normalise(given))).tolist()
    assert [each.logit for each in scores] == pytest.approx(expected, abs=1e-6)
    assert score(detector, [CropBatch((), given[:0])]) == ()


@pytest.mark.parametrize("images", [clips()[:, 0], clips(2, 4), clips(3)])
def test_clips_that_do_not_fit_are_refused(saved: Path, images: Any) -> None:
    with pytest.raises(ContractError, match=r"of shape \(2, 3, 16, 16, 3\)"):
        score(load_detector(saved), [CropBatch(keys(), images)])


@pytest.mark.parametrize(("n", "middle"), [(1, 0), (2, 1), (3, 1), (16, 8)])
def test_a_clip_goes_by_its_middle(n: int, middle: int) -> None:
    assert clip_key(keys(n)) == keys(n)[middle]


def test_predict_says_that_it_collects_no_clips(saved: Path) -> None:
    detector = load_detector(saved)
    with pytest.raises(UsageError, match=r"judges clips of 3 consecutive frames.*predict"):
        Analyzer(detector, create_finder())


def test_the_contract_holds_of_clips() -> None:
    check_detector("flicker")
    with pytest.raises(ContractError, match="depends on its batch"):
        check_detector("flicker", mixes=True)


def test_checks_take_the_lighter_network(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Heavy(Flicker):
        """Too many frames for a check."""

        check_kwargs = {"frames": 2}  # noqa: RUF012

        def __init__(self, frames: int = 200) -> None:
            super().__init__(frames)
            made.append((frames, self.weight.is_meta))

    monkeypatch.setitem(DETECTORS._entries, "heavy", Heavy)
    check_detector("heavy")
    assert made[0] == (200, True)
    assert {frames for frames, is_meta in made if not is_meta} == {2}
    made.clear()
    check_detector("heavy", frames=5)
    assert {frames for frames, _ in made} == {5}


def test_only_weights_of_pictures_change_their_layout() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv3d(4, 4, 3), nn.Linear(4, 4))
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert channels_last(network) is network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous()
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[key])


def test_a_twin_of_clips_has_a_free_batch(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="exporting needs dfdetect[export]")
    from dfdetect.export import export_onnx

    report = export_onnx(saved, tmp_path / "twin.onnx")
    twin, network = load_detector(report.path), load_detector(saved)
    assert twin.header.frames == 3
    for n in (1, 5):
        np.testing.assert_allclose(twin.logits(clips(n)), network.logits(clips(n)), atol=1e-5)
