"""LSDA: a student learns from features of forgeries that lie between and beyond the known ones.

Source: Yan, Luo, Lyu, Liu and Wu, "Transcending Forgery Specificity with Latent Space Augmentation
for Generalizable Deepfake Detection", CVPR 2024, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.arcface import FaceEncoder
from dfdetect.detectors.backbone import IMAGENET, crop_policy, load_initial, timm_network
from dfdetect.detectors.base import Preprocess, Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm, binary_cross_entropy
from dfdetect.detectors.network import BatchNeeds, Detector, TrainingBatch
from dfdetect.detectors.precision import at_least_single
from dfdetect.detectors.xception import logit_layer, pooled

WIDTH = 512
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
# these change what a face does, and not whose it is
KEEP_IDENTITY = frozenset({"Face2Face", "NeuralTextures"})
GROUP = 1 + len(METHODS)
# a stand-in for ArcFace whose last map has as many channels
STAND_IN = "resnet34.tv_in1k"
WITHIN = ("hardest", "outwards", "noise", "difference")


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How often each term of the loss counts; the two distillation terms share one weight."""

    domain: float
    verdict: float
    distil: float
    identity: float


@DETECTORS.register("lsda")
class Lsda(Detector):
    """LSDA: EfficientNet-B4 that learns from augmented features of one teacher a forgery method.

    Paper: Yan et al., "Transcending Forgery Specificity with Latent Space Augmentation for
    Generalizable Deepfake Detection", CVPR 2024, section 3.

    Same: student and four teachers are EfficientNet-B4 with a 1×1 convolution to 512 channels;
    groups of a genuine face and its four FF++ forgeries; within a domain one of four augmentations
    (towards the hardest example, away from the mean, noise, a difference of two), between domains
    mixup; three convolutions fuse both into what the student's maps of forgeries shall be, and a
    frozen encoder of faces says what its maps of genuine ones shall be; five domains are told
    apart; forgeries that keep the identity stay close to the genuine face, the others do not. The
    student alone judges, and only it is stored.

    Differs: the ArcFace encoder is a file that the user brings (`real_encoder`); without it a
    frozen ResNet-34 stands in, from `real_init`, or from random weights, which know nothing of
    faces. Faces are cut square, not aligned as ArcFace expects. Written from a description, so that
    details are recalled or ours: the domains are told from features before augmentation; the
    identity term compares teachers with the frozen encoder by cosine; gradients flow into both
    sides of the distillation; the paper's rotations of features are left out. `teachers=false` is
    a plain EfficientNet-B4. One logit instead of two, which is the same classifier.

    Published: frame AUC 0.867 Celeb-DF-v1, 0.830 Celeb-DF-v2, 0.880 DFD, 0.736 DFDC, 0.815 DFDC
    preview, trained on FF++ c23 (paper, as others cite it); 133 M parameters with teachers.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init", "real_encoder", "real_init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType(
        {"model_name": "test_efficientnet", "size": 64}
    )
    training_only: ClassVar[frozenset[str]] = frozenset({"teaching"})

    def __init__(
        self,
        model_name: str = "tf_efficientnet_b4.aa_in1k",
        size: int = 256,
        crop_scale: float = 1.3,
        crop: str = "square",
        teachers: bool = True,
        domain_weight: float = 1.0,
        verdict_weight: float = 0.5,
        distil_weight: float = 1.0,
        identity_weight: float = 1.0,
        init: str | None = None,
        real_encoder: str | None = None,
        real_init: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            model_name: A convolutional timm network for student and teachers.
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            teachers: Whether to train by the method; False: the student by cross-entropy.
            domain_weight: How often telling the domains apart counts.
            verdict_weight: How often the student's cross-entropy counts.
            distil_weight: How often each distance of the student to its targets counts.
            identity_weight: How often the identity term counts.
            init: Where student and teachers start: a timm state dict or `download`, see
                `load_initial`; None: random weights.
            real_encoder: A `.safetensors` file with ArcFace's ResNet-100, see
                `dfdetect.detectors.arcface`; None: a frozen ResNet-34.
            real_init: Weights of that ResNet-34, as for `init`.

        Raises:
            ValueError: A value is out of range, or a file does not fit.
        """
        super().__init__(Preprocess(size, *IMAGENET, crop_policy(crop, crop_scale, size)))
        weights = LossWeights(domain_weight, verdict_weight, distil_weight, identity_weight)
        self._weights = weights
        self.student = Encoder(model_name, size, init)
        self.head = logit_layer(WIDTH)
        self.teaching: Teaching | None = None
        if teachers:
            real = _real_encoder(real_encoder, real_init, size)
            self.teaching = Teaching([Encoder(model_name, size, init) for _ in METHODS], real)

    @property
    def needs(self) -> BatchNeeds:
        """Groups of a genuine face and its forgeries, where there are teachers."""
        if self.teaching is None:
            return BatchNeeds()
        return BatchNeeds(methods=METHODS, grouped=True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S."""
        return self._judged(self.student(pixels))

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return `bce` of the student, `real` and `fake` distillation, `domain` and `identity`."""
        if self.teaching is None:
            return super().loss_terms(batch, smoothing)
        maps = self.student(batch.pixels)
        verdict = binary_cross_entropy(self._judged(maps), batch.labels, smoothing)
        genuine, *forged = grouped(maps)
        lesson = self.teaching(grouped(batch.pixels), genuine.shape[-2:])
        targets = self.teaching.targets(lesson.forged)
        weights = self._weights
        return (
            LossTerm("bce", verdict, weights.verdict),
            LossTerm("real", functional.mse_loss(genuine, lesson.genuine), weights.distil),
            LossTerm("fake", functional.mse_loss(torch.cat(forged), targets), weights.distil),
            LossTerm("domain", self.teaching.domain_loss(lesson), weights.domain),
            LossTerm("identity", identity_loss(lesson), weights.identity),
        )

    def _judged(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.head(pooled(maps)).squeeze(1)
        return logits


class Encoder(nn.Module):
    """A timm network without its classifier, and a 1×1 convolution to 512 channels."""

    def __init__(self, model_name: str, size: int, init: str | None) -> None:
        """Make the network; see `load_initial` for `init`."""
        super().__init__()
        self.network = timm_network(model_name, size, num_classes=0)
        if init is not None:
            load_initial(self.network, init)
        self.narrow = nn.Conv2d(self.network.num_features, WIDTH, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return B × 512 × S/32 × S/32."""
        maps: Tensor = self.narrow(self.network.forward_features(pixels))
        return maps


@dataclass(frozen=True, slots=True)
class Lesson:
    """Maps of a batch's groups, G × 512 × H × W: of the genuine faces, and of each method's."""

    genuine: Tensor
    forged: tuple[Tensor, ...]


class Teaching(nn.Module):
    """What only training needs: teachers, frozen encoder, fusion and the domains' classifier."""

    def __init__(self, teachers: list[Encoder], real: nn.Module) -> None:
        """Take one teacher a method, and the encoder of genuine faces, which is frozen."""
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.real = real.requires_grad_(False).eval()
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * WIDTH, WIDTH, 1),
            nn.LeakyReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.LeakyReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.LeakyReLU(),
        )
        self.domain = nn.Linear(WIDTH, GROUP)

    def train(self, mode: bool = True) -> Teaching:
        """Set the mode of all but the frozen encoder, whose statistics must not move."""
        super().train(mode)
        self.real.eval()
        return self

    def forward(self, groups: tuple[Tensor, ...], size: torch.Size) -> Lesson:
        """Return what teachers and the frozen encoder see in the pictures of each domain.

        Args:
            groups: Pixels of the genuine faces, then of each method's: G × 3 × S × S each.
            size: Height and width of the student's maps.
        """
        genuine, *forged = groups
        with torch.no_grad():
            seen = self.real(genuine)
        seen = functional.interpolate(seen, size=size, mode="bilinear", align_corners=False)
        taught = zip(self.teachers, forged, strict=True)
        return Lesson(seen, tuple(teacher(pixels) for teacher, pixels in taught))

    def targets(self, forged: tuple[Tensor, ...]) -> Tensor:
        """Return what the student shall see in the forgeries, method after method: 4·G maps."""
        kinds = torch.randint(len(WITHIN), (len(forged),)).tolist()
        within = [augmented(maps, WITHIN[kind]) for maps, kind in zip(forged, kinds, strict=True)]
        fused: Tensor = self.fuse(torch.cat([torch.cat(within), mixed(forged)], dim=1))
        return fused

    def domain_loss(self, lesson: Lesson) -> Tensor:
        """Return the cross-entropy of telling genuine faces and the four methods apart."""
        domains = (lesson.genuine, *lesson.forged)
        logits = self.domain(pooled(torch.cat(domains)))
        labels = torch.arange(GROUP, device=logits.device)
        return functional.cross_entropy(logits, labels.repeat_interleave(len(lesson.genuine)))


def grouped(rows: Tensor) -> tuple[Tensor, ...]:
    """Return the first row of every group, then all second rows, and so on.

    Example:
        >>> [rows.tolist() for rows in grouped(torch.arange(10))]
        [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]
    """
    groups = rows.reshape(-1, GROUP, *rows.shape[1:])
    return groups.unbind(dim=1)


def augmented(maps: Tensor, kind: str) -> Tensor:
    """Return one domain's maps (G × C × H × W) moved within the domain, each by a share in [0, 1].

    Args:
        maps: The domain's maps.
        kind: hardest (towards the map farthest from the mean), outwards (away from the mean),
            noise (of the domain's deviation) or difference (of two other maps).
    """
    share = torch.rand(len(maps), 1, 1, 1, device=maps.device)
    centre = maps.mean(dim=0, keepdim=True)
    if kind == "hardest":
        distance = (maps - centre).square().flatten(1).sum(dim=1)
        return maps + share * (maps[distance.argmax()] - maps)
    if kind == "outwards":
        return maps + share * (maps - centre)
    if kind == "noise":
        # the deviation of equal maps has no gradient
        deviation = maps.detach().std(dim=0, correction=0)
        return maps + share * deviation * torch.randn_like(maps)
    one, other = (torch.randperm(len(maps), device=maps.device) for _ in range(2))
    return maps + share * (maps[one] - maps[other])


def mixed(domains: tuple[Tensor, ...]) -> Tensor:
    """Return each domain's maps mixed with those of a domain drawn by lot, one after the other."""
    concentration = torch.empty(()).uniform_(0.5, 2)
    share = float(torch.distributions.Beta(concentration, concentration).sample())
    partners = torch.randperm(len(domains)).tolist()
    return torch.cat(
        [
            share * maps + (1 - share) * domains[partner]
            for maps, partner in zip(domains, partners, strict=True)
        ]
    )


def identity_loss(lesson: Lesson) -> Tensor:
    """Return how far forgeries that keep the identity are from the genuine face, others how near.

    The mean over methods of 1 - cosine, or of the cosine where it is positive.
    """
    genuine = pooled(at_least_single(lesson.genuine))
    distances = []
    for method, maps in zip(METHODS, lesson.forged, strict=True):
        cosine = functional.cosine_similarity(pooled(at_least_single(maps)), genuine)
        distance = 1 - cosine if method in KEEP_IDENTITY else cosine.clamp(min=0)
        distances.append(distance.mean())
    return torch.stack(distances).mean()


class _ArcFace(nn.Module):
    """ArcFace's encoder, fed with the pixels that the student gets."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: FaceEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.encoder(2 * (pixels * self.std + self.mean) - 1)
        return maps


class _StandIn(nn.Module):
    """A network of ImageNet's classes in ArcFace's place, cut off behind its last map."""

    def __init__(self, size: int, init: str | None) -> None:
        super().__init__()
        self.network = timm_network(STAND_IN, size, num_classes=0)
        if init is not None:
            load_initial(self.network, init)

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.network.forward_features(pixels)
        return maps


def _real_encoder(path: str | None, init: str | None, size: int) -> nn.Module:
    if path is None:
        return _StandIn(size, init)
    if init is not None:
        raise ValueError("real_init belongs to the stand-in; leave it out with real_encoder")
    encoder = FaceEncoder()
    encoder.load(Path(path))
    return _ArcFace(encoder)
