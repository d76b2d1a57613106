"""Effort: a CLIP tower of which only the weakest singular directions of the attention learn.

Source: Yan et al., "Orthogonal Subspace Decomposition for Generalizable AI-Generated Image
Detection", ICML 2025 (PMLR 267), section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.precision import full_precision
from dfdetect.detectors.vit import CLIP_LARGE, FrozenTransformer

QKV = 3
# the strength of the directions of random weights, about that of a single weight of a transformer
RANDOM_VALUE = 0.02


class SplitLinear(nn.Module):
    """A linear layer whose weight is a frozen main part plus a few trainable directions.

    The weight is taken as K blocks of equal height, such as those of queries, keys and values,
    each of which is M + U diag(s) V: `main` holds M, `left` U (K × O × n), `values` s (K × n) and
    `right` V (K × n × I). `start_*` are what U, s and V were before training.

    All of it is state: what a file of weights holds replaces it, and nothing is decomposed again.
    """

    start_left: Tensor
    start_values: Tensor
    start_right: Tensor

    def __init__(self, linear: nn.Linear, blocks: int, n_trainable: int) -> None:
        """Take over a layer's weight and bias, with random directions beside the main part.

        The main part loses what it has along those directions, so that they are orthogonal to it
        as they are after `decompose`. No weight's value is looked at.

        Args:
            linear: The layer; the new one is where it was, on the same device.
            blocks: K.
            n_trainable: n, singular directions of each block that learn.

        Raises:
            ValueError: `n_trainable` is below 1 or above what a block has.
        """
        super().__init__()
        n_out, n_in = linear.weight.shape
        height = n_out // blocks
        if not 1 <= n_trainable <= min(height, n_in):
            raise ValueError(
                f"n_trainable must lie in 1…{min(height, n_in)}, not {n_trainable}, for an "
                f"attention of {n_in} channels"
            )
        weight = linear.weight.detach()
        left = weight.new_empty(blocks, height, n_trainable)
        right = weight.new_empty(blocks, n_trainable, n_in)
        for number in range(blocks):
            nn.init.orthogonal_(left[number])
            nn.init.orthogonal_(right[number])
        main = weight.view(blocks, height, n_in)
        main = main - left @ (left.mT @ main)
        main = main - (main @ right.mT) @ right
        self.main = nn.Parameter(main.reshape(n_out, n_in), requires_grad=False)
        self.bias = linear.bias
        self.left = nn.Parameter(left)
        self.values = nn.Parameter(torch.full_like(left[:, 0], RANDOM_VALUE))
        self.right = nn.Parameter(right)
        self.register_buffer("start_left", left.clone())
        self.register_buffer("start_values", self.values.detach().clone())
        self.register_buffer("start_right", right.clone())

    def forward(self, features: Tensor) -> Tensor:
        """Return … × K·O for … × I features."""
        n_blocks, n_directions = self.values.shape
        along = functional.linear(features, self.right.flatten(0, 1)) * self.values.flatten()
        along = along.reshape(*features.shape[:-1], n_blocks, n_directions)
        added = torch.einsum("...kn,kon->...ko", along, self.left).flatten(-2)
        return functional.linear(features, self.main, self.bias) + added

    def residual(self) -> Tensor:
        """Return U diag(s) V of every block, K × O × I."""
        return (self.left * self.values[:, None]) @ self.right

    def weight(self) -> Tensor:
        """Return the layer's whole weight, K·O × I."""
        return self.main + self.residual().flatten(0, 1)

    @torch.no_grad()
    def decompose(self, weight: Tensor) -> None:
        """Take a weight apart by its singular values; each block's n smallest are what learns.

        Args:
            weight: K·O × I.
        """
        blocks = weight.view(len(self.values), -1, weight.shape[1])
        left, values, right = torch.linalg.svd(blocks, full_matrices=False)
        n_directions = self.values.shape[1]
        for part, found in (
            ("left", left[..., -n_directions:]),
            ("values", values[..., -n_directions:]),
            ("right", right[..., -n_directions:, :]),
        ):
            getattr(self, part).copy_(found)
            getattr(self, f"start_{part}").copy_(found)
        self.main.copy_(weight - self.residual().flatten(0, 1))

    def orthogonality(self) -> Tensor:
        """Return ‖ÛᵀÛ − I‖² + ‖V̂ᵀV̂ − I‖² of every block, K.

        Û are the frozen directions with the trained ones. The frozen ones need not be stored: what
        of a vector lies in their space is what does not lie along the directions at the start.
        """
        with full_precision(self.main):
            left = _departure(self.left, self.start_left)
            return left + _departure(self.right.mT, self.start_right.mT)

    def energy_change(self) -> Tensor:
        """Return |‖Ŵ‖² − ‖W‖²| of every block, K: how far the sum of squares is from the start."""
        with full_precision(self.main):
            residual = self.residual()
            main = self.main.view(residual.shape)
            now = (residual.square() + 2 * main * residual).sum((1, 2))
            return (now - self.start_values.square().sum(1)).abs()


@DETECTORS.register("effort")
class Effort(FrozenTransformer):
    """Effort, a frozen CLIP tower in which each attention matrix's last singular direction learns.

    Paper: Yan et al., "Orthogonal Subspace Decomposition for Generalizable AI-Generated Image
    Detection", ICML 2025, section 3.

    Same: with OpenAI's CLIP weights (give `init`), CLIP ViT-L/14 with its own activation, 224 px,
    CLIP's mean and std; the matrices of queries, keys, values and output of every attention are
    taken apart by singular values, all but the smallest direction frozen, that one's vectors and
    value trained (196,704 numbers; the paper says 0.19 M); cross-entropy on the features of the
    class token, 1024 numbers.

    Differs: one logit instead of two, which is the same classifier. timm holds queries, keys and
    values in one matrix, which is taken apart block by block. The paper's losses of orthogonality
    and of singular values are there, but their weights are 0 unless set: the released code leaves
    them out, and the paper's weights are recalled as small, not known; here they are means over
    matrices. Without `init` the tower is random, and so are the directions that learn. The frozen
    matrices are stored with the weights, since a file must do without CLIP's.

    Published: video AUC, trained on FF++ c23: 0.956 Celeb-DF-v2, 0.965 DFD, 0.843 DFDC, 0.909 DFDC
    preview, 0.977 DeeperForensics, 0.848 WildDeepfake, 0.921 FFIW (paper, table 1).
    """

    def __init__(
        self,
        model_name: str = CLIP_LARGE,
        size: int = 224,
        crop_scale: float = 1.3,
        crop: str = "square",
        statistics: str = "clip",
        n_trainable: int = 1,
        orthogonality_weight: float = 0.0,
        energy_weight: float = 0.0,
        init: str | None = None,
    ) -> None:
        """Make the network; with `init`, decompose its weights, which takes a while once.

        Args:
            model_name: A vision transformer of timm's, with a weights tag.
            size: Side of the input in pixels; tables of positions are resized to it.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            statistics: Mean and std of the pixels: clip, imagenet, half or none.
            n_trainable: Singular directions of each attention matrix that learn.
            orthogonality_weight: How often the loss of orthogonality counts; 0: it is left out.
            energy_weight: How often the change of the singular values' sum of squares counts.
            init: See `vit.load_tower`; None: random weights.

        Raises:
            ValueError: No such model, a value out of range, or a file that does not fit.
        """
        super().__init__(model_name, size, crop_scale, crop, statistics, init, projected=False)
        self.orthogonality_weight = orthogonality_weight
        self.energy_weight = energy_weight
        # a file's weights are loaded over what this makes; it then holds no `init`
        _split_attention(self.network, n_trainable, decompose=init is not None)

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return the cross-entropy, and of the other two losses those that have a weight."""
        terms = super().loss_terms(batch, smoothing)
        layers = self.split_layers()
        if self.orthogonality_weight:
            away = torch.cat([layer.orthogonality() for layer in layers]).mean()
            terms += (LossTerm("orthogonality", away, self.orthogonality_weight),)
        if self.energy_weight:
            change = torch.cat([layer.energy_change() for layer in layers]).mean()
            terms += (LossTerm("energy", change, self.energy_weight),)
        return terms

    def split_layers(self) -> tuple[SplitLinear, ...]:
        """Return the layers of which a part learns, from the input on."""
        return tuple(each for each in self.network.modules() if isinstance(each, SplitLinear))


def _split_attention(network: nn.Module, n_trainable: int, *, decompose: bool) -> None:
    attentions: list[Any] = [
        module
        for module in network.modules()
        if isinstance(getattr(module, "qkv", None), nn.Linear)
        and isinstance(getattr(module, "proj", None), nn.Linear)
    ]
    if not attentions:
        raise ValueError("it has no attention with layers qkv and proj; take a ViT of timm's")
    for attention in attentions:
        for name, blocks in (("qkv", QKV), ("proj", 1)):
            linear = getattr(attention, name)
            split = SplitLinear(linear, blocks, n_trainable)
            if decompose:
                split.decompose(linear.weight)
            setattr(attention, name, split)


def _departure(vectors: Tensor, start: Tensor) -> Tensor:
    """Return ‖ÛᵀÛ − I‖² for columns `vectors` beside the complement of columns `start`."""
    gram = vectors.mT @ vectors
    itself = (gram - torch.eye(gram.shape[-1], device=gram.device)).square().sum((1, 2))
    crossing = vectors.square().sum((1, 2)) - (start.mT @ vectors).square().sum((1, 2))
    return itself + 2 * crossing
