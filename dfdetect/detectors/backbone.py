"""Any timm backbone with a head of one logit: EfficientNet, Xception, ResNet, ViT and so on.

Source: Wightman, "PyTorch Image Models" (timm), whose names and normalisation constants are used
as they are. Nothing is downloaded unless `init=download` asks for it: initial weights come from a
local file, or are random.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from dfdetect.detectors.base import RGB, Preprocess
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector
from dfdetect.types import CropPolicy

# timm also takes names such as "hf-hub:…" and "local-dir:…" that fetch or read what they name
DOWNLOAD = "download"

Adapt: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]
Statistics: TypeAlias = tuple[RGB, RGB]

IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP: Statistics = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
NONE: Statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
STATISTICS = {"imagenet": IMAGENET, "clip": CLIP, "half": HALF, "none": NONE}
"""Mean and std by the name that a detector's argument takes."""

PLAIN_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
CROPS = ("square", "aligned", "whole")


class TimmClassifier(Detector):
    """A timm network with one logit, trained by binary cross-entropy: what classifiers share.

    A subclass names the network and the crops in its own constructor; see `classifiers`.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})

    def __init__(
        self,
        model_name: str,
        crop: CropPolicy,
        dropout: float = 0.0,
        init: str | None = None,
        statistics: Statistics | None = None,
        classes: int = 1,
    ) -> None:
        """Make the network.

        Args:
            model_name: A name of timm's, with or without a weights tag.
            crop: How faces are cut out; its size is the input's.
            dropout: Probability in front of the last layer.
            init: See `load_initial`; None: random weights.
            statistics: Mean and std of pixels in [0, 1]; None: those of the tag.
            classes: Outputs of the last layer; with several, the second one means fake.

        Raises:
            ValueError: No such timm model, a value out of range, or a file that does not fit.
        """
        if classes < 1:
            raise ValueError(f"there must be at least one class, not {classes}")
        network = timm_network(model_name, crop.size, dropout=dropout, num_classes=classes)
        start_undecided(network)
        mean, std = statistics or _statistics(network)
        super().__init__(Preprocess(crop.size, mean, std, crop))
        self.network = network
        if init is not None:
            load_initial(network, init)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S."""
        return _verdicts(self.network(pixels))

    @property
    def n_traits(self) -> int:
        """One number for each channel behind each stage; 0 where timm does not list them."""
        stages = getattr(self.network, "feature_info", None)
        if not isinstance(stages, list) or not hasattr(self.network, "forward_intermediates"):
            return 0
        return sum(int(stage["num_chs"]) for stage in stages)

    def observe(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B,) and the mean of each channel behind each stage."""
        last, stages = self.network.forward_intermediates(pixels)
        traits = torch.cat([stage.mean((2, 3)) for stage in stages], dim=1)
        return _verdicts(self.network.forward_head(last)), traits


def _verdicts(logits: Tensor) -> Tensor:
    return logits.squeeze(1) if logits.shape[1] == 1 else second_class_logit(logits)


@DETECTORS.register("backbone")
class Backbone(TimmClassifier):
    """A timm backbone with one logit; tf_efficientnet_lite0 unless told otherwise.

    Paper: none as a detector; the networks are those of Wightman, "PyTorch Image Models", each with
    a paper of its own. The default is EfficientNet-Lite0, the mobile variant of Tan and Le, ICML
    2019.

    Same: network, mean and std of the weights tag as timm has them; binary cross-entropy.

    Differs: the classifier of 1000 classes gives way to one logit that starts close to 0; without
    `init` the weights are random.

    Published: nothing for Lite0 on forgeries; the weights that ship with dfdetect have a card with
    what was measured.
    """

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
        super().__init__(model_name, crop_policy(crop, crop_scale, size), dropout, init)


def timm_network(
    model_name: str, size: int, *, dropout: float = 0.0, num_classes: int, **options: Any
) -> Any:
    """Return a network of timm's with random weights; nothing is fetched.

    Args:
        model_name: A name from `timm.list_models()`, with or without a weights tag.
        size: Side of the input in pixels, for networks that depend on it.
        dropout: Probability in front of the last layer.
        num_classes: Outputs of the last layer; 0: no last layer.
        options: What else `timm.create_model` shall know.

    Raises:
        ValueError: No such timm model, or it cannot be made so.
    """
    architecture = _known(model_name).partition(".")[0]
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
    options = {"num_classes": num_classes, "drop_rate": dropout, **options}
    published = timm.get_pretrained_cfg(architecture)
    if published is not None and published.fixed_input_size:
        # transformers whose position table depends on the input
        options["img_size"] = size
    try:
        return timm.create_model(model_name, pretrained=False, **options)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"timm cannot make {model_name} at {size} px: {error}") from None


def timm_features(
    model_name: str, *, out_indices: tuple[int, ...], init: str | None = None, **options: Any
) -> Any:
    """Return a convolutional network of timm's that gives feature maps, cut off behind the last.

    Args:
        model_name: A name from `timm.list_models()`, with or without a weights tag.
        out_indices: Which of the maps that timm lists, coarser and coarser.
        init: See `load_initial`, with the state dict of the whole network; what lies behind the
            cut is left out. None: random weights.
        options: What else `timm.create_model` shall know.

    Raises:
        ValueError: No such timm model, it has no such maps, or a file that does not fit.
    """
    try:
        network = timm.create_model(
            _known(model_name), features_only=True, out_indices=out_indices, **options
        )
    except (RuntimeError, AssertionError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"timm gives no such feature maps of {model_name}: {error}") from None
    if init is not None:
        load_initial(network, init, _cut_to(network))
    return network


def _cut_to(network: nn.Module) -> Adapt:
    # where timm cuts a list of layers, the names of its parts lose their dots
    places = {key.replace(".", "_"): key for key in network.state_dict()}

    def adapt(state: dict[str, Tensor]) -> dict[str, Tensor]:
        flat = {key.replace(".", "_"): tensor for key, tensor in state.items()}
        return {places[key]: tensor for key, tensor in flat.items() if key in places}

    return adapt


def _known(model_name: str) -> str:
    if not (PLAIN_NAME.fullmatch(model_name) and timm.is_model(model_name)):
        raise ValueError(f"timm knows no model {model_name!r}; see timm.list_models()")
    return model_name


def second_class_logit(logits: Tensor) -> Tensor:
    """Return the logit of the second class's softmax against all others: B × C → B.

    Example:
        >>> import torch
        >>> second_class_logit(torch.tensor([[1.0, 3.0], [0.0, 0.0]]))
        tensor([2., 0.])
        >>> second_class_logit(torch.tensor([[0.0, 1.0, 0.0]])).sigmoid()
        tensor([0.5761])
        >>> torch.tensor([0.0, 1.0, 0.0]).softmax(0)[1]
        tensor(0.5761)
    """
    others = torch.cat([logits[:, :1], logits[:, 2:]], dim=1)
    return logits[:, 1] - others.logsumexp(dim=1)


def start_undecided(network: nn.Module) -> None:
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


def crop_policy(crop: str, scale: float, size: int) -> CropPolicy:
    """Return the policy that a detector's arguments describe.

    Raises:
        ValueError: `crop` is none of `CROPS`.
    """
    if crop not in CROPS:
        raise ValueError(f"crop must be one of {', '.join(CROPS)}, not {crop!r}")
    return CropPolicy(crop, scale, size)


def statistics_called(name: str) -> Statistics:
    """Return the entry of `STATISTICS`.

    Raises:
        ValueError: There is none.
    """
    if name not in STATISTICS:
        raise ValueError(f"statistics must be one of {', '.join(STATISTICS)}, not {name!r}")
    return STATISTICS[name]


def _statistics(network: nn.Module) -> Statistics:
    published = network.pretrained_cfg
    assert isinstance(published, dict)  # noqa: S101 — timm sets it on every model it makes
    red, green, blue = map(float, published["mean"])
    mean = (red, green, blue)
    red, green, blue = map(float, published["std"])
    return mean, (red, green, blue)


def load_initial(
    network: nn.Module, init: str, adapt: Adapt | None = None, *, with_head: bool = False
) -> None:
    """Load initial weights into a timm network, all but its head; every tensor must fit.

    Args:
        network: A network that timm made.
        init: A `.safetensors` file with the state dict of the same timm model, or `download`.
        adapt: Changes the published state dict before it is compared, such as a first layer that
            takes more channels here.
        with_head: Load the last layer, too, such as the projection of a CLIP image tower.

    Raises:
        ValueError: The file cannot be read or fetched, or does not fit.
    """
    state = _downloaded(network) if init == DOWNLOAD else read_state(Path(init))
    if adapt is not None:
        state = adapt(state)
    heads = frozenset[str]() if with_head else _head_keys(network)
    load_all_but(heads, network, state, init)


def load_all_but(
    heads: frozenset[str], network: nn.Module, state: dict[str, Tensor], source: str
) -> None:
    """Load a state dict but for the tensors in `heads`; the others must fit, every one.

    Raises:
        ValueError: They do not fit; `source` names the file in the message.
    """
    given = {key: tensor for key, tensor in state.items() if key not in heads}
    expected = {key: tensor for key, tensor in network.state_dict().items() if key not in heads}
    unfit = sorted(
        key
        for key in given.keys() | expected.keys()
        if key not in given or key not in expected or given[key].shape != expected[key].shape
    )
    if unfit:
        raise ValueError(
            f"{source} does not fit this backbone in {len(unfit)} tensors, such as {unfit[0]!r}; "
            "give the state dict of the same timm model at the same size"
        )
    network.load_state_dict(given, strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file by name.

    Raises:
        ValueError: It cannot be read.
    """
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
    # a network of feature maps has none
    names = published.get("classifier", ())
    heads = (names,) if isinstance(names, str) else tuple(names)
    ends = (f"{head}.{part}" for head in heads for part in ("weight", "bias"))
    return frozenset(ends)
