"""Face X-ray: a picture of where a face was blended into another, and a verdict from it.

Source: Li, Bao, Zhang, Yang, Chen, Wen and Guo, "Face X-ray for More General Face Forgery
Detection", CVPR 2020, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.backbone import IMAGENET, crop_policy, timm_features
from dfdetect.detectors.base import Preprocess, Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm, binary_cross_entropy
from dfdetect.detectors.network import BatchNeeds, Detector, TrainingBatch

# stride 4 and what is coarser; finer maps would cost most of the time
SCALES = (1, 2, 3, 4)
WIDE, NARROW = 256, 128
CLASSIFIERS = ("map", "mean")


@DETECTORS.register("face_xray")
class FaceXray(Detector):
    """Face X-ray: HRNet-W48 draws the seam of a blend, and a classifier judges the drawing.

    Paper: Li et al., "Face X-ray for More General Face Forgery Detection", CVPR 2020, sections 3
    and 4.

    Same: HRNet-W48, whose maps at four scales are brought to a quarter of the input and laid
    together (720 channels); convolutions to 256, 128 and 1 channel, brought to the input's size;
    the X-ray 4·M·(1 − M) of the blending mask M as the target, nothing for a genuine face; loss =
    100 · pixel-wise cross-entropy + cross-entropy of the verdict (the 100 is recalled).

    Differs: the verdict is made by two hidden layers (1024 and 128) on the halved X-ray, as in
    DeepfakeBench; the paper's mean over the X-ray and one linear layer is `classifier=mean`, whose
    input moves by a few hundredths only, so that it hardly starts to learn. One logit instead of
    two, which is the same classifier. The pixel-wise term is logged less the entropy of its target,
    which no network can go below and no gradient depends on. Blends are made by
    `dfdetect.data.blend`, whatever training asks for; a hard mask has no seam at all. Without
    `init` the weights are random; other backbones than HRNet-W48 are ours.

    Published: AUC 0.8058 Celeb-DF (paper, recalled; level and version not checked); frame AUC
    0.9592 FF++ c23, 0.6786 Celeb-DF-v2, trained on FF++ c23 (DeepfakeBench README). Several people
    report that they could not make it converge.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType(
        {"model_name": "hrnet_w18_small", "size": 64}
    )

    def __init__(
        self,
        model_name: str = "hrnet_w48.ms_in1k",
        classifier: str = "map",
        xray_weight: float = 100.0,
        size: int = 256,
        crop_scale: float = 1.3,
        crop: str = "square",
        init: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            model_name: A timm network with maps at 1/4, 1/8, 1/16 and 1/32: the paper's by default;
                `hrnet_w18_small` or `tf_efficientnet_lite0` are light.
            classifier: What judges the X-ray: map (hidden layers on its pixels) or mean.
            xray_weight: How often the pixel-wise term counts.
            size: Side of the input in pixels, a multiple of 32.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            init: A timm state dict or `download`, see `load_initial`; None: random weights.

        Raises:
            ValueError: A value is out of range, or a file does not fit.
        """
        if classifier not in CLASSIFIERS:
            raise ValueError(f"classifier must be one of {', '.join(CLASSIFIERS)}")
        if size % 32:
            raise ValueError(f"size must be a multiple of 32, not {size}")
        if not xray_weight >= 0:
            raise ValueError(f"xray_weight must not be negative, as {xray_weight} is")
        super().__init__(Preprocess(size, *IMAGENET, crop_policy(crop, crop_scale, size)))
        # HRNet's own maps, before the layers that widen them for ImageNet
        options = {"feature_location": ""} if model_name.startswith("hrnet") else {}
        self.backbone = timm_features(model_name, out_indices=SCALES, init=init, **options)
        self.draw = _drawing(sum(self.backbone.feature_info.channels()))
        self.judge = _verdict(size) if classifier == "map" else _mean_verdict()
        self._weight = xray_weight

    @property
    def needs(self) -> BatchNeeds:
        """Masks of where faces were blended in."""
        return BatchNeeds(masks=True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S."""
        return self._judged(self._drawn(pixels))

    def localise(self, pixels: Tensor) -> Tensor:
        """Return the predicted X-ray, B × 1 × S × S in [0, 1]: 1 where two pictures meet.

        Args:
            pixels: Normalised pixels, float B × 3 × S × S.
        """
        return self._drawn(pixels).sigmoid()

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return `xray`, against the seams of the masks, and `bce`, against the labels."""
        assert batch.masks is not None  # noqa: S101 — `needs` asks for them
        drawn = self._drawn(batch.pixels)
        verdict = binary_cross_entropy(self._judged(drawn), batch.labels, smoothing)
        seams = xray_divergence(drawn, xray_of(batch.masks))
        return LossTerm("xray", seams, self._weight), LossTerm("bce", verdict)

    def _drawn(self, pixels: Tensor) -> Tensor:
        finest, *coarser = self.backbone(pixels)
        size = finest.shape[-2:]
        wide = [_resized(features, size) for features in coarser]
        small = self.draw(torch.cat([finest, *wide], dim=1))
        return _resized(small, pixels.shape[-2:])

    def _judged(self, drawn: Tensor) -> Tensor:
        logits: Tensor = self.judge(drawn.sigmoid()).squeeze(1)
        return logits


def xray_of(masks: Tensor) -> Tensor:
    """Return the X-ray 4·M·(1 − M) of blending masks in [0, 1]; equation 2 of the paper.

    Example:
        >>> xray_of(torch.tensor([0.0, 0.25, 0.5, 1.0]))
        tensor([0.0000, 0.7500, 1.0000, 0.0000])
    """
    return 4 * masks * (1 - masks)


def xray_divergence(drawn: Tensor, xray: Tensor) -> Tensor:
    """Return the mean pixel-wise cross-entropy of drawn logits, less the entropy of the X-ray.

    Its gradient is that of the cross-entropy, and it is 0 where the drawing is exact.
    """
    crossed = functional.binary_cross_entropy_with_logits(drawn, xray)
    # written out: CUDA's mixed precision refuses a cross-entropy of probabilities
    entropy = -(torch.xlogy(xray, xray) + torch.xlogy(1 - xray, 1 - xray)).mean()
    return crossed - entropy


def _resized(features: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)


def _drawing(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, WIDE, 3, padding=1),
        nn.BatchNorm2d(WIDE),
        nn.ReLU(),
        nn.Conv2d(WIDE, NARROW, 3, padding=1),
        nn.BatchNorm2d(NARROW),
        nn.ReLU(),
        nn.Conv2d(NARROW, 1, 1),
    )


def _verdict(size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear((size // 2) ** 2, 1024),
        nn.BatchNorm1d(1024),
        nn.ReLU(),
        nn.Linear(1024, NARROW),
        nn.BatchNorm1d(NARROW),
        nn.ReLU(),
        nn.Linear(NARROW, 1),
    )


def _mean_verdict() -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1))
