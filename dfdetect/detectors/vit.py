"""A linear layer on a vision transformer's picture embedding: CLIP-linear, and its fine-tuning.

Source: Ojha, Li, Lee, "Towards Universal Fake Image Detectors that Generalize Across Generative
Models", CVPR 2023, section 4.2. The transformers are timm's; their weights are brought by the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import timm
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from typing_extensions import Self

from dfdetect.detectors.backbone import (
    Adapt,
    crop_policy,
    load_initial,
    statistics_called,
    timm_network,
)
from dfdetect.detectors.base import Preprocess, Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector
from dfdetect.detectors.xception import logit_layer

# OpenAI's CLIP ViT-L/14 with the activation that it was trained with; timm's name without
# "quickgelu" is the same weights under another activation
CLIP_LARGE = "vit_large_patch14_clip_quickgelu_224.openai"
LIGHT = "vit_xsmall_patch16_clip_224"
"""The smallest CLIP tower that timm names, for checks."""


class FrozenTransformer(Detector):
    """A timm vision transformer whose weights stay as they are, with a linear layer on top.

    It stays in evaluation mode while the detector trains, unless `tune` is set.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType(
        {"model_name": LIGHT, "size": 64}
    )

    def __init__(
        self,
        model_name: str,
        size: int,
        crop_scale: float,
        crop: str,
        statistics: str,
        init: str | None,
        *,
        projected: bool,
        tune: bool = False,
    ) -> None:
        """Make the transformer and the linear layer.

        Args:
            model_name: A vision transformer of timm's, with a weights tag.
            size: Side of the input in pixels; tables of positions are resized to it.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            statistics: Mean and std of the pixels, a name in `backbone.STATISTICS`.
            init: See `load_tower`; None: random weights.
            projected: Keep the last layer of the tag's weights, which in CLIP's towers maps to
                the space that pictures share with texts.
            tune: Train all weights.

        Raises:
            ValueError: No such model, a value out of range, or a file that does not fit.
        """
        policy = crop_policy(crop, crop_scale, size)
        super().__init__(Preprocess(size, *statistics_called(statistics), policy))
        self.tune = tune
        network = timm_network(model_name, size, num_classes=_n_projected(model_name, projected))
        if init is not None:
            load_tower(network, init, with_head=projected)
        network.requires_grad_(tune)
        self.network = network
        self.head = logit_layer(network.num_classes or network.num_features)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a transformer that is not tuned has no training mode."""
        super().train(mode)
        if not self.tune:
            self.network.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S."""
        logits: Tensor = self.head(self.network(pixels)).squeeze(1)
        return logits


@DETECTORS.register("vit_linear")
class VitLinear(FrozenTransformer):
    """A linear layer on a frozen vision transformer; CLIP-linear where the weights are CLIP's.

    Paper: Ojha, Li and Lee, "Towards Universal Fake Image Detectors that Generalize Across
    Generative Models" (UnivFD), CVPR 2023, section 4.2.

    Same: with OpenAI's CLIP weights (give `init`), CLIP ViT-L/14 with its own activation
    (QuickGELU), 224 px, CLIP's mean and std; its weights frozen; one linear layer on the picture
    embedding of 768 numbers; one logit, binary cross-entropy.

    Differs: it is CLIP-linear only with CLIP's weights. Without `init` the transformer is random
    and what stands on it learns next to nothing: say `vit-linear` of such results, and of other
    transformers. It judges face crops, not whole pictures cropped at random to 224 px. The blur and
    JPEG of the paper's training (half of the pictures each; Adam at 1e-4: recalled) are matters of
    the training data. `tune=true` trains all weights, as DeepfakeBench's `clip` does, a ViT-B/16
    on pixels in [-1, 1]: `projected=false`, `statistics=half` and
    `vit_base_patch16_clip_quickgelu_224.openai`.

    Published: nothing on face forgeries in the paper, which tests on generated pictures.
    """

    def __init__(
        self,
        model_name: str = CLIP_LARGE,
        size: int = 224,
        crop_scale: float = 1.3,
        crop: str = "square",
        statistics: str = "clip",
        projected: bool = True,
        tune: bool = False,
        init: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            model_name: A vision transformer of timm's, with a weights tag.
            size: Side of the input in pixels; tables of positions are resized to it.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            statistics: Mean and std of the pixels: clip, imagenet, half or none.
            projected: Take the embedding behind the last layer of the tag's weights (CLIP's
                projection), or the features in front of it.
            tune: Train all weights, not the linear layer alone.
            init: See `load_tower`; None: random weights.

        Raises:
            ValueError: No such model, a value out of range, or a file that does not fit.
        """
        super().__init__(
            model_name, size, crop_scale, crop, statistics, init, projected=projected, tune=tune
        )


def load_tower(network: nn.Module, init: str, *, with_head: bool) -> None:
    """Load initial weights into a vision transformer; every tensor must fit.

    Args:
        network: A transformer that timm made.
        init: A `.safetensors` file with the state dict of the same timm model, or of a whole CLIP
            model as OpenAI and OpenCLIP name its tensors (`visual.…`, those of the text tower are
            left out); or `download`. Tables of positions for another size are interpolated.
        with_head: Load the last layer, too.

    Raises:
        ValueError: The file cannot be read or fetched, or does not fit.
    """
    load_initial(network, init, _as_timm(network), with_head=with_head)


def _as_timm(network: nn.Module) -> Adapt | None:
    if not isinstance(network, VisionTransformer):
        return None

    def adapt(state: dict[str, Tensor]) -> dict[str, Tensor]:
        try:
            renamed: dict[str, Tensor] = checkpoint_filter_fn(state, network)
        except (RuntimeError, AssertionError, KeyError, ValueError) as error:
            raise ValueError(f"its tensors are of no such transformer: {error}") from None
        return renamed

    return adapt


def _n_projected(model_name: str, projected: bool) -> int:
    if not projected:
        return 0
    published: Any = timm.get_pretrained_cfg(model_name)
    n_classes = getattr(published, "num_classes", None)
    # an unknown name is refused by `timm_network`, with the reason
    if published is not None and not n_classes:
        raise ValueError(f"{model_name} has no last layer to project with; give projected=false")
    return n_classes or 0
