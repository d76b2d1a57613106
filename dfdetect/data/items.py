"""What loading hands over: one crop with what is known of it, and batches of them.

The same facts stand in `key.json` beside every picture of a shard, so that a crop is the same
whether it was read from the table's offset or came by in a stream.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.shards import CropRow
from dfdetect.data.videos import ManifestRow
from dfdetect.detectors.score import CropBatch, CropKey
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import FAKE, REAL, CropPolicy, Image, Point

Transform: TypeAlias = Callable[[Image, np.random.Generator], Image]
"""Changes one picture by chance that comes from the generator alone."""

# pictures that were cropped before carry no scale of their own; MTCNN's box is about this tight
WHOLE_SCALE = 1.05


@dataclass(frozen=True, slots=True)
class CropFacts:
    """What is known of a crop.

    `landmarks` are the five points in the stored crop's own pixels, empty when unknown;
    `crop_scale` is the crop's side as a multiple of the face box.
    """

    key: CropKey
    label: int
    dataset: str
    method: str
    split: str | None
    source_ids: tuple[str, ...]
    landmarks: tuple[Point, ...]
    crop_scale: float

    @classmethod
    def of(cls, crop: CropRow, video: ManifestRow, policy: CropPolicy) -> CropFacts:
        """Put together what two tables and the crop policy say."""
        return cls(
            key=crop.key,
            label=video.label,
            dataset=video.dataset,
            method=video.method,
            split=video.split,
            source_ids=video.source_ids,
            landmarks=crop.landmarks,
            crop_scale=policy_scale(policy),
        )

    def as_json(self, crop_id: str) -> dict[str, Any]:
        """Return what is written beside the picture."""
        return {
            "crop_id": crop_id,
            "video_id": self.key.video_id,
            "track_id": self.key.track_id,
            "frame_index": self.key.frame_index,
            "time_s": self.key.time_s,
            "label": self.label,
            "dataset": self.dataset,
            "method": self.method,
            "split": self.split,
            "source_ids": self.source_ids,
            "landmarks": self.landmarks,
            "crop_scale": self.crop_scale,
        }

    @classmethod
    def from_json(cls, content: bytes, crop_id: str, where: str) -> CropFacts:
        """Read what was written beside the picture of a crop, trusting none of it.

        Raises:
            ContractError: It is no JSON, lacks something or is of another crop; `where` names the
                place.
        """
        try:
            told = json.loads(content)
            if told["crop_id"] != crop_id:
                raise ValueError("it is of another crop")
            return _facts(told)
        except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
            raise ContractError(
                f"{where} does not say what its picture is ({type(error).__name__}: {error}); "
                "extract again with `dfdetect extract manifest=FILE out=FOLDER`"
            ) from None


@dataclass(frozen=True, slots=True)
class CropItem:
    """One crop as a dataset or a stream hands it over: RGB uint8, H × W × 3, and its facts."""

    image: Image = field(repr=False, compare=False)
    facts: CropFacts

    @property
    def label(self) -> int:
        """1 for a forged face, 0 for a genuine one."""
        return self.facts.label

    @property
    def key(self) -> CropKey:
        """What a score of this crop is filed under."""
        return self.facts.key


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """Crops and their labels: float32, one a crop, 1 = fake."""

    crops: CropBatch
    labels: NDArray[np.float32] = field(repr=False, compare=False)


class Draw(int):
    """A position that a sampler drew, and which draw of which epoch it was.

    It serves wherever a whole number does. A dataset takes the chance for its transform from
    `epoch` and `number`, so that a crop that is drawn twice is changed in two ways, whatever the
    number of workers and however long they live.

    Example:
        >>> draw = Draw.of(3, epoch=1, number=70)
        >>> [10, 20, 30, 40][draw], draw.epoch, draw.number
        (40, 1, 70)
    """

    epoch: int
    number: int

    @classmethod
    def of(cls, position: int, epoch: int, number: int) -> Draw:
        """Return a position that knows its draw; `number` counts over all ranks, from 0."""
        draw = cls(position)
        draw.epoch, draw.number = epoch, number
        return draw


def collate(samples: Sequence[CropItem | tuple[CropItem, ...]]) -> LabelledBatch:
    """Lay crops, or groups of T crops, end to end in one batch; nothing in it is a torch object.

    Images of groups are those of the first group, then of the second, and so on:
    `images.reshape(-1, T, S, S, 3)` gives the groups back.

    Raises:
        UsageError: The pictures are of several sizes.

    Example:
        >>> batch = collate([])
        >>> batch.crops.keys, batch.labels.shape
        ((), (0,))
    """
    items = list(_flat(samples))
    shapes = sorted({item.image.shape for item in items})
    if len(shapes) > 1:
        raise UsageError(
            f"crops of shape {shapes[0]} and {shapes[1]} fit in no batch; give the dataset a "
            "transform that brings them to one size"
        )
    images = np.stack([item.image for item in items]) if items else np.empty((0, 0, 0, 3), np.uint8)
    keys = tuple(item.key for item in items)
    labels = np.array([item.label for item in items], dtype=np.float32)
    return LabelledBatch(CropBatch(keys, images), labels)


def policy_scale(policy: CropPolicy) -> float:
    """Return the side of a policy's crops as a multiple of the face box."""
    return WHOLE_SCALE if policy.name == "whole" else policy.scale


def _flat(samples: Iterable[CropItem | tuple[CropItem, ...]]) -> Iterable[CropItem]:
    for sample in samples:
        if isinstance(sample, CropItem):
            yield sample
        else:
            yield from sample


def _facts(told: dict[str, Any]) -> CropFacts:
    label, split = told["label"], told["split"]
    if type(label) is not int or label not in (REAL, FAKE):
        raise ValueError("label is neither 0 nor 1")
    points = [(_number(x), _number(y)) for x, y in told["landmarks"]]
    if len(points) not in (0, 5):
        raise ValueError(f"{len(points)} landmarks, not 5")
    scale = _number(told["crop_scale"])
    if scale <= 0:
        raise ValueError("crop_scale is not above 0")
    return CropFacts(
        key=CropKey(
            _text(told["video_id"]),
            _whole(told["track_id"]),
            _whole(told["frame_index"]),
            _number(told["time_s"]),
        ),
        label=label,
        dataset=_text(told["dataset"]),
        method=_text(told["method"]),
        split=None if split is None else _text(split),
        source_ids=tuple(_text(source) for source in told["source_ids"]),
        # the table holds them in single precision, and both must say the same
        landmarks=tuple((float(np.float32(x)), float(np.float32(y))) for x, y in points),
        crop_scale=scale,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {type(value).__name__}")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"a whole number was expected, not {type(value).__name__}")
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"a number was expected, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError("a number is not finite")
    return float(value)
