"""The inference loop: order, probabilities, and batches or answers that make no sense."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.detectors.score import CropBatch, CropKey, score, sigmoid
from dfdetect.errors import ContractError, UntrustedCheckpoint
from dfdetect.types import CropPolicy


class Brightness:
    """A detector that answers with the mean level of red, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        preprocess = Preprocess(16, (0.0,) * 3, (1.0,) * 3, CropPolicy(size=16))
        self.header = CheckpointHeader("brightness", (), preprocess, None, (), True)
        self.weights_sha256 = "0" * 64
        self.factor = factor

    def logits(self, crops: Any) -> Any:
        pixels = self.header.preprocess.normalise(crops)
        return pixels[:, 0].mean((1, 2)) * np.float32(self.factor)


def batch(levels: list[int], first: int = 0) -> CropBatch:
    keys = tuple(CropKey("a.mp4", 2, first + n, (first + n) / 10) for n in range(len(levels)))
    images = np.zeros((len(levels), 16, 16, 3), np.uint8)
    images[..., 0] = np.asarray(levels, np.uint8)[:, None, None]
    return CropBatch(keys, images)


def test_scores_come_in_the_order_of_the_crops() -> None:
    scores = score(Brightness(), iter([batch([0, 255]), batch([]), batch([51], first=2)]))
    assert [each.frame_index for each in scores] == [0, 1, 2]
    assert [each.logit for each in scores] == pytest.approx([0, 1, 0.2])
    assert [each.p_fake for each in scores] == pytest.approx([0.5, 0.7310586, 0.549834])
    assert (scores[2].video_id, scores[2].track_id, scores[2].time_s) == ("a.mp4", 2, 0.2)
    assert score(Brightness(), []) == ()


@given(st.floats(-700, 700))
def test_sigmoid_is_symmetric_and_monotonous(logit: float) -> None:
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1)
    assert 0 <= sigmoid(logit) <= sigmoid(math.nextafter(logit, math.inf)) <= 1


def test_sigmoid_keeps_small_probabilities() -> None:
    assert sigmoid(-600) == pytest.approx(math.exp(-600))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 24, 24, 3), np.uint8),
        np.zeros((1, 16, 16, 3), np.float32),
        np.zeros((1, 16, 16), np.uint8),
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((0, 16, 16, 3), np.uint8),
    ],
)
def test_batches_that_do_not_fit_are_refused(images: Any) -> None:
    wrong = dataclasses.replace(batch([1]), images=images)
    with pytest.raises(ContractError, match="expects uint8 crops"):
        score(Brightness(), [wrong])


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused(factor: float) -> None:
    with pytest.raises(UntrustedCheckpoint, match="one finite logit"):
        score(Brightness(factor), [batch([255])])
