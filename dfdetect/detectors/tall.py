"""TALL: a clip's frames laid out as one picture of thumbnails, judged by a picture transformer.

Source: Xu, Liang, Jia, Yang, Zhang, He, "TALL: Thumbnail Layout for Deepfake Video Detection", ICCV
2023, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from timm.models.swin_transformer import SwinTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from dfdetect.detectors.backbone import (
    IMAGENET,
    Adapt,
    crop_policy,
    load_initial,
    start_undecided,
    timm_network,
)
from dfdetect.detectors.base import BatchNeeds, Preprocess, Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm, binary_cross_entropy
from dfdetect.detectors.network import Detector, TrainingBatch


@DETECTORS.register("tall")
class Tall(Detector):
    """TALL, a Swin transformer on four consecutive faces laid out as one picture.

    Paper: Xu et al., "TALL: Thumbnail Layout for Deepfake Video Detection", ICCV 2023, section 3.

    Same: 4 consecutive frames of 112 px, row by row in a picture of 224 px; one cut-out of 16 px a
    clip, at the same place in all of its frames, while training; Swin-B with windows of 14, 14, 14
    and 7; ImageNet's mean and std; cross-entropy.

    Differs: one logit instead of two, which is the same classifier. timm's Swin has no table of
    absolute positions, which the authors' has; its ImageNet weights (give `init`) are for windows
    of 7, whose tables of relative positions are interpolated for `window` 14. What is cut out has
    the mean colour (recalled: black). The paper's AdamW at 1.5e-5, 60 epochs and the mean over 8
    clips a video are matters of training and evaluation.

    Published: video AUC 0.9079 Celeb-DF-v2, 0.7678 DFDC, trained on FF++ c23 (paper, recalled).
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType(
        {"model_name": "swin_tiny_patch4_window7_224", "size": 64}
    )

    def __init__(
        self,
        model_name: str = "swin_base_patch4_window7_224.ms_in1k",
        frames: int = 4,
        size: int = 224,
        window: int = 14,
        crop_scale: float = 1.3,
        crop: str = "square",
        cut_out: int = 16,
        dropout: float = 0.0,
        init: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            model_name: A Swin transformer of timm's, with or without a weights tag.
            frames: Frames a clip, a square number.
            size: Side of the laid-out picture in pixels; crops have size / √frames.
            window: Side of the windows of attention in patches, at most that of the map.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            cut_out: Side in crop pixels of the square that training hides; 0: none.
            dropout: Probability in front of the last layer.
            init: A timm state dict or `download`, see `load_initial`; None: random weights.

        Raises:
            ValueError: A value is out of range, or a file does not fit.
        """
        side = math.isqrt(max(frames, 0))
        if side < 2 or side**2 != frames:
            raise ValueError(f"frames must be a square number from 4 on, not {frames}")
        if size % side:
            raise ValueError(f"size {size} cannot be divided into {side} thumbnails a row")
        policy = crop_policy(crop, crop_scale, size // side)
        if not 0 <= cut_out < policy.size:
            raise ValueError(f"cut_out must lie in 0…{policy.size - 1}, not {cut_out}")
        if window < 1:
            raise ValueError(f"window must be 1 or more, not {window}")
        super().__init__(Preprocess(policy.size, *IMAGENET, policy))
        self.frames, self.cut_out = frames, cut_out
        network = timm_network(model_name, size, dropout=dropout, num_classes=1, window_size=window)
        start_undecided(network)
        if init is not None:
            load_initial(network, init, _to_windows(network))
        self.network = network

    @property
    def needs(self) -> BatchNeeds:
        """Clips."""
        return BatchNeeds(frames=self.frames)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised clips, float B × T × 3 × S × S."""
        logits: Tensor = self.network(thumbnails(pixels)).squeeze(1)
        return logits

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return the cross-entropy over clips, of which training hides a square."""
        clips = hide_squares(batch.pixels, self.cut_out) if self.training else batch.pixels
        logits = self(clips)
        return (LossTerm("bce", binary_cross_entropy(logits, batch.labels, smoothing)),)


def thumbnails(clips: Tensor) -> Tensor:
    """Lay each clip's frames out in a square, row by row: B × n² × C × S × S → B × C × nS × nS.

    Example:
        >>> clips = torch.arange(4.0).reshape(1, 4, 1, 1, 1)
        >>> thumbnails(clips).tolist()
        [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    n_frames, channels, height, width = clips.shape[1:]
    side = math.isqrt(n_frames)
    grid = clips.reshape(-1, side, side, channels, height, width)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, side * height, side * width)


def hide_squares(clips: Tensor, side: int) -> Tensor:
    """Set a square of each clip to 0, the mean colour, at one random place in all its frames.

    Args:
        clips: Normalised pixels, B × T × 3 × S × S; they stay as they are.
        side: Of the square, in pixels; it lies wholly inside.
    """
    if side == 0:
        return clips
    size = clips.shape[-1]
    corners = torch.randint(size - side + 1, (2, len(clips), 1), device=clips.device)
    along = torch.arange(size, device=clips.device)
    rows, columns = (along >= corners) & (along < corners + side)
    hidden = rows[:, :, None] & columns[:, None, :]
    return clips.masked_fill(hidden[:, None, None], 0.0)


def _to_windows(network: nn.Module) -> Adapt | None:
    if not isinstance(network, SwinTransformer):
        return None

    def adapt(state: dict[str, Tensor]) -> dict[str, Tensor]:
        try:
            resized: dict[str, Tensor] = checkpoint_filter_fn(state, network)
        except (RuntimeError, AttributeError) as error:
            raise ValueError(f"its tensors are of no such Swin: {error}") from None
        return resized

    return adapt
