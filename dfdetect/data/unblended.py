"""Pairs that leave the loader unblended, for a device to blend: what they cannot have."""

from __future__ import annotations

from dfdetect.data.augment_settings import AugmentSettings
from dfdetect.data.shapes import Shapes
from dfdetect.detectors.base import BatchNeeds
from dfdetect.errors import UsageError


def require_unblended(
    has_others: bool, settings: AugmentSettings, needs: BatchNeeds, shapes: Shapes | None
) -> None:
    """Refuse what pairs cannot have that are blended where they are trained on.

    Args:
        has_others: Whether some blends are of two people.
        settings: How faces are changed.
        needs: What the method asks for.
        shapes: Landmarks beyond the five points, None where there are none.

    Raises:
        UsageError: One of these the batched blend does not have.
    """
    for asked, what in (
        (needs.frames > 1, "clips"),
        (needs.views > 1, "several views of a face"),
        (needs.grouped, "groups of a face and its forgeries"),
        (has_others, "blends of two people (blend=xray)"),
        (shapes is not None, "blends by 68 or 81 landmarks (landmarks)"),
        (settings.codec > 0, "the video codec (augment.codec)"),
        (settings.cutout > 0 or settings.erase > 0, "cut-outs (augment.cutout, augment.erase)"),
    ):
        if asked:
            raise UsageError(f"the batched blend has no {what}; set trainer.blend_on=loader")
