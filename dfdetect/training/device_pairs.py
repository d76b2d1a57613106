"""Pairs that are blended where they are trained on: all of a batch at once, on the GPU.

The loader hands over genuine faces after the geometry alone (region, flip, rotation) and where
their five points lie. Blending, and everything that must hit both halves of a pair after it
(colour, blur, change of size, noise, JPEG), happens here. Three things differ from pairs that the
loader blends: faces are blended at the size that the network sees and not at that of the stored
crop; by the recipe `published` of `sbi-5pt`, the only one that the batched blend has; and each of
several processes draws by its own chance, so that two see other blends than one alone would. The
video codec and cut-outs are not among what happens here; `TrainingItems` refuses them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dfdetect.data.augment_settings import AugmentSettings
from dfdetect.detectors.base import BatchNeeds, Preprocess
from dfdetect.detectors.network import TrainingBatch
from dfdetect.training.batch_blend import Draws, blend_batch
from dfdetect.training.batch_degrade import degrade, draw_degradations


class Unblended(NamedTuple):
    """A batch of B pairs as a loader hands it over.

    Attributes:
        genuine: uint8, B × S × S × 3.
        forged: uint8, B × S × S × 3: the forged face where a pair is not to be blended; None where
            all are.
        points: B × 5 × 2, the bits of float32 as int32, which no half precision rounds; NaN where
            the forged face is to be taken.
        methods: 2 · B as in a `TrainingBatch`; None unless needed.
    """

    genuine: Tensor
    forged: Tensor | None
    points: Tensor
    methods: Tensor | None


class DevicePairs:
    """Makes batches of handed over faces; all chance comes from the generator it is given."""

    def __init__(
        self, preprocess: Preprocess, needs: BatchNeeds, settings: AugmentSettings
    ) -> None:
        """Remember what the network sees, and what happens to both halves of a pair."""
        self._preprocess, self._needs, self._settings = preprocess, needs, settings

    @torch.no_grad()
    def __call__(self, given: Unblended, generator: torch.Generator) -> TrainingBatch:
        """Return the pairs, genuine and forged by turns, in float32 and in full precision."""
        genuine = given.genuine.permute(0, 3, 1, 2)
        with torch.autocast(genuine.device.type, enabled=False):
            points = given.points.view(torch.float32)
            blend = blend_batch(genuine, points, generator)
            pairs = torch.stack([blend.real, blend.fake], 1)
            if given.forged is not None:
                stored = torch.stack([genuine, given.forged.permute(0, 3, 1, 2)], 1)
                blended = points.isfinite().flatten(1).all(1)
                pairs = torch.where(blended[:, None, None, None, None], pairs, stored)
            draw = Draws(generator, genuine.device, len(genuine))
            changes = draw_degradations(draw, self._settings, genuine.shape[-1])
            pixels = self._normalised(degrade(pairs.to(torch.float32), changes).flatten(0, 1))
        labels = torch.tensor([0.0, 1.0], device=genuine.device).repeat(len(genuine))
        masks = None
        if self._needs.masks:
            masks = torch.stack([torch.zeros_like(blend.mask), blend.mask], 1).flatten(0, 1)
        return TrainingBatch(pixels, labels, masks, given.methods)

    def _normalised(self, pictures: Tensor) -> Tensor:
        # as `Preprocess.normalise` does it, bit for bit
        told = self._preprocess
        factor = [1 / (255 * std) for std in told.std]
        offset = [mean / std for mean, std in zip(told.mean, told.std, strict=True)]
        by, less = (
            torch.tensor(values, device=pictures.device)[:, None, None]
            for values in (factor, offset)
        )
        return pictures * by - less
