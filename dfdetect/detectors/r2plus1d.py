"""R(2+1)D: the baseline that claims about time are compared with.

Source: Tran, Wang, Torresani, Ray, LeCun, Paluri, "A Closer Look at Spatiotemporal Convolutions for
Action Recognition", CVPR 2018; the network is torchvision's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.error import URLError

from torch import Tensor, nn
from torchvision.models.video import R2Plus1D_18_Weights, r2plus1d_18

from dfdetect.detectors.backbone import (
    DOWNLOAD,
    Statistics,
    crop_policy,
    load_all_but,
    read_state,
)
from dfdetect.detectors.base import BatchNeeds, Preprocess, Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector
from dfdetect.detectors.xception import logit_layer

KINETICS: Statistics = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
HEAD = frozenset({"fc.weight", "fc.bias"})


@DETECTORS.register("r2plus1d")
class R2Plus1d(Detector):
    """R(2+1)D-18, convolutions over place and then time, a baseline for clips of faces.

    Paper: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR
    2018, section 3, which recognises actions; it is no detector of forgeries.

    Same: torchvision's network of 18 layers, 16 frames of 112 px, the mean and std of its Kinetics
    weights (give `init`).

    Differs: the classifier of 400 actions gives way to one logit; binary cross-entropy. Without
    `init` the weights are random. On a CPU, train it in float32: where two moments are left, as in
    its last stage, torch 2.15 gives gradients that are not finite in bfloat16.

    Published: nothing on face forgeries that we know of; it is here so that what a temporal method
    gains can be told from what any network over time gains.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"frames": 4, "size": 32})

    def __init__(
        self,
        frames: int = 16,
        size: int = 112,
        crop_scale: float = 1.3,
        crop: str = "square",
        dropout: float = 0.0,
        init: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            frames: Frames a clip.
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            dropout: Probability in front of the last layer.
            init: A `.safetensors` file with the state dict of torchvision's `r2plus1d_18`, its last
                layer left out; `download` lets torchvision fetch its Kinetics-400 weights. None:
                random.

        Raises:
            ValueError: A value is out of range, or a file does not fit.
        """
        if frames < 2:
            raise ValueError(f"frames must be 2 or more, not {frames}")
        super().__init__(Preprocess(size, *KINETICS, crop_policy(crop, crop_scale, size)))
        self.frames = frames
        network: Any = r2plus1d_18()
        if init is not None:
            state = _downloaded() if init == DOWNLOAD else read_state(Path(init))
            load_all_but(HEAD, network, state, init)
        self.head = logit_layer(network.fc.in_features, dropout)
        network.fc = nn.Identity()
        self.network = network

    @property
    def needs(self) -> BatchNeeds:
        """Clips."""
        return BatchNeeds(frames=self.frames)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised clips, float B × T × 3 × S × S."""
        # torchvision has time behind the channels
        logits: Tensor = self.head(self.network(pixels.transpose(1, 2))).squeeze(1)
        return logits


def _downloaded() -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = R2Plus1D_18_Weights.KINETICS400_V1.get_state_dict()
    except (URLError, OSError, RuntimeError) as error:
        raise ValueError(
            f"torchvision cannot fetch its Kinetics-400 weights ({type(error).__name__}); go "
            "online, or give init=FILE.safetensors"
        ) from None
    return state
