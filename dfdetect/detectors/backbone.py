"""Any timm backbone with a head of one logit: EfficientNet, Xception, ResNet, ViT and so on.

Source: Wightman, "PyTorch Image Models" (timm), whose names and normalisation constants are used
as they are. Nothing is downloaded unless `init=download` asks for it: initial weights come from a
local file, or are random.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import safetensors
import safetensors.torch
import timm
from torch import Tensor, nn

from dfdetect.detectors.base import RGB, Preprocess
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector
from dfdetect.types import CropPolicy

# timm also takes names such as "hf-hub:…" and "local-dir:…" that fetch or read what they name
DOWNLOAD = "download"

Adapt = Callable[[dict[str, Tensor]], dict[str, Tensor]]

PLAIN_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
CROPS = ("square", "aligned", "whole")


@DETECTORS.register("backbone")
class Backbone(Detector):
    """A timm backbone with one logit; tf_efficientnet_lite0 unless told otherwise."""

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})

    def __init__(
        self,
        model_name: str = "tf_efficientnet_lite0",
        size: int = 224,
        crop: str = "square",
        crop_scale: float = 1.3,
        dropout: float = 0.0,
        init: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            model_name: A name from `timm.list_models()`, with or without a weights tag; the tag
                decides nothing but mean and std.
            size: Side of the input in pixels.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            dropout: Probability in front of the last layer.
            init: A `.safetensors` file with the backbone's state dict, such as
                `scripts/imagenet_lite0.py` writes; its last layer is left out. `download` lets
                timm fetch the weights of the tag in `model_name`. None: random.

        Raises:
            ValueError: No such timm model, a value out of range, or a file that does not fit.
        """
        if not (PLAIN_NAME.fullmatch(model_name) and timm.is_model(model_name)):
            raise ValueError(f"timm knows no model {model_name!r}; see timm.list_models()")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
        if crop not in CROPS:
            raise ValueError(f"crop must be one of {', '.join(CROPS)}, not {crop!r}")
        network = _timm_network(model_name, size, dropout)
        mean, std = _statistics(network)
        super().__init__(Preprocess(size, mean, std, CropPolicy(crop, crop_scale, size)))
        self.network = network
        if init is not None:
            load_initial(network, init)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S."""
        logits: Tensor = self.network(pixels).squeeze(1)
        return logits


def _timm_network(model_name: str, size: int, dropout: float) -> nn.Module:
    options: dict[str, Any] = {"num_classes": 1, "drop_rate": dropout, "pretrained": False}
    architecture = model_name.partition(".")[0]
    published = timm.get_pretrained_cfg(architecture)
    if published is not None and published.fixed_input_size:
        # transformers whose position table depends on the input
        options["img_size"] = size
    try:
        network: nn.Module = timm.create_model(model_name, **options)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"timm cannot make {model_name} at {size} px: {error}") from None
    _start_undecided(network)
    return network


def _start_undecided(network: nn.Module) -> None:
    """Give the last layer small weights, so that training starts from p close to ½.

    Some of timm's heads scale with the number of classes; for one class EfficientNet's draws from
    [-1, 1], whose first losses are several times those of a guess.
    """
    parameters = dict(network.named_parameters())
    for key in _head_keys(network):
        if key in parameters:
            if key.endswith("weight"):
                nn.init.normal_(parameters[key], std=0.01)
            else:
                nn.init.zeros_(parameters[key])


def _statistics(network: nn.Module) -> tuple[RGB, RGB]:
    published = network.pretrained_cfg
    assert isinstance(published, dict)  # noqa: S101 — timm sets it on every model it makes
    red, green, blue = map(float, published["mean"])
    mean = (red, green, blue)
    red, green, blue = map(float, published["std"])
    return mean, (red, green, blue)


def load_initial(network: nn.Module, init: str, adapt: Adapt | None = None) -> None:
    """Load initial weights into a timm network, all but its head; every tensor must fit.

    Args:
        network: A network that timm made.
        init: A `.safetensors` file with the state dict of the same timm model, or `download`.
        adapt: Changes the published state dict before it is compared, such as a first layer that
            takes more channels here.

    Raises:
        ValueError: The file cannot be read or fetched, or does not fit.
    """
    state = _downloaded(network) if init == DOWNLOAD else _read_state(Path(init))
    if adapt is not None:
        state = adapt(state)
    heads = _head_keys(network)
    wanted = network.state_dict()
    given = {key: tensor for key, tensor in state.items() if key not in heads}
    expected = {key: tensor for key, tensor in wanted.items() if key not in heads}
    unfit = sorted(
        key
        for key in given.keys() | expected.keys()
        if key not in given or key not in expected or given[key].shape != expected[key].shape
    )
    if unfit:
        raise ValueError(
            f"{init} does not fit this backbone in {len(unfit)} tensors, such as {unfit[0]!r}; "
            "give the state dict of the same timm model at the same size"
        )
    network.load_state_dict(given, strict=False)


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path} is no readable .safetensors file ({error}); make one with "
            "scripts/imagenet_lite0.py, or give init=download"
        ) from None


def _downloaded(network: nn.Module) -> dict[str, Tensor]:
    published = network.pretrained_cfg
    assert isinstance(published, dict)  # noqa: S101 — timm sets it on every model it makes
    name = ".".join(filter(None, (published["architecture"], published.get("tag"))))
    options = {"img_size": published["input_size"][-1]} if published.get("fixed_input_size") else {}
    try:
        fetched: nn.Module = timm.create_model(name, pretrained=True, **options)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"timm cannot fetch the weights of {name} ({type(error).__name__}); go online, or give "
            "init=FILE.safetensors"
        ) from None
    return fetched.state_dict()


def _head_keys(network: nn.Module) -> frozenset[str]:
    published = network.pretrained_cfg
    assert isinstance(published, dict)  # noqa: S101 — timm sets it on every model it makes
    names = published["classifier"]
    heads = (names,) if isinstance(names, str) else tuple(names)
    ends = (f"{head}.{part}" for head in heads for part in ("weight", "bias"))
    return frozenset(ends)
