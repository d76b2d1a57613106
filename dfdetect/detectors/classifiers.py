"""Plain classifiers that papers are compared with: a timm network, one logit, cross-entropy.

What makes them differ is the network and how they are fed; the training data that is a method's
point (self-blended faces, blurred and compressed ones) comes from `dfdetect.data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from dfdetect.detectors.backbone import NONE, TimmClassifier, crop_policy, statistics_called
from dfdetect.detectors.base import Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.padding import DEEPFAKEBENCH_B4, fix_padding

# TensorFlow's padding, as published; the tags are timm's AutoAugment and AdvProp weights
EFFICIENTNET_B4 = "tf_efficientnet_b4.aa_in1k"
EFFICIENTNET_B4_ADVPROP = "tf_efficientnet_b4.ap_in1k"
PADDINGS = ("same", "deepfakebench")
RESNETS = {34: "resnet34.tv_in1k", 50: "resnet50.tv_in1k"}


@DETECTORS.register("efficientnet_b4")
class EfficientNetB4(TimmClassifier):
    """EfficientNet-B4, the other baseline of deepfake benchmarks.

    Paper: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    ICML 2019, table 1; as a detector in Bonettini et al., ICPR 2020, and DeepfakeBench, NeurIPS
    2023.

    Same: the network with TensorFlow's padding, 380 px, dropout 0.4 in front of the last layer,
    ImageNet statistics; cross-entropy.

    Differs: one logit instead of two, which is the same classifier; without `init` the weights are
    random. DeepfakeBench feeds 256 px in [-1, 1] (`size`, `statistics=half`), drops the dropout,
    puts an untrained first layer without padding in front and pads the rest as for 380 px:
    `padding=deepfakebench`, which its weights need.
    Bonettini et al. feed 224 px and add attention and a triplet loss, neither of which is here.

    Published: frame AUC 0.9567 FF++ c23, 0.7487 Celeb-DF-v2, trained on FF++ c23 at 256 px
    (DeepfakeBench README).
    """

    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 128})

    def __init__(
        self,
        size: int = 380,
        crop_scale: float = 1.3,
        statistics: str = "imagenet",
        dropout: float = 0.4,
        init: str | None = None,
        crop: str = "square",
        padding: str = "same",
        classes: int = 1,
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            statistics: Mean and std of the pixels: imagenet, half or none.
            dropout: Probability in front of the last layer.
            init: A timm state dict or `download`, see `load_initial`; None: random weights.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            padding: same, which follows the picture, or deepfakebench, see `padding`.
            classes: Outputs of the last layer; with several, the second one means fake.

        Raises:
            ValueError: A value is out of range, or a file does not fit.
        """
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, not {padding!r}")
        policy, pixels = crop_policy(crop, crop_scale, size), statistics_called(statistics)
        super().__init__(EFFICIENTNET_B4, policy, dropout, init, pixels, classes)
        if padding == "deepfakebench":
            fix_padding(self.network, DEEPFAKEBENCH_B4)


@DETECTORS.register("cnn_aug")
class CnnAug(TimmClassifier):
    """ResNet-50 for blurred and JPEG-compressed training pictures, the texture baseline.

    Paper: Wang, Wang, Zhang, Owens and Efros, "CNN-generated images are surprisingly easy to
    spot… for now", CVPR 2020, section 4.

    Same: ResNet-50 from ImageNet (give `init`), 224 px, ImageNet statistics, one logit, binary
    cross-entropy.

    Differs: it judges face crops, not whole pictures cropped at random to 224 px. The method's
    point is its augmentation, which is part of the training data and not of this network: blur of
    sigma 0 to 3 and JPEG of quality 30 to 100, each for half (or a tenth) of the pictures. The
    paper trains on pictures of one GAN with Adam at 1e-4, a tenth of it on a plateau (recalled).
    `depth=34` is DeepfakeBench's network, there without that augmentation. Without `init` the
    weights are random.

    Published: nothing on face forgeries in the paper. ResNet-34: frame AUC 0.8493 FF++ c23, 0.7027
    Celeb-DF-v2, trained on FF++ c23 at 256 px (DeepfakeBench README).
    """

    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})

    def __init__(
        self,
        depth: int = 50,
        size: int = 224,
        crop_scale: float = 1.3,
        statistics: str = "imagenet",
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            depth: 50, as in the paper, or 34.
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            statistics: Mean and std of the pixels: imagenet, half or none.
            init: A timm state dict or `download`, see `load_initial`; None: random weights.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.

        Raises:
            ValueError: A value is out of range, or a file does not fit.
        """
        if depth not in RESNETS:
            raise ValueError(f"depth must be one of {', '.join(map(str, RESNETS))}, not {depth}")
        policy = crop_policy(crop, crop_scale, size)
        super().__init__(RESNETS[depth], policy, 0.0, init, statistics_called(statistics))


@DETECTORS.register("sbi")
class Sbi(TimmClassifier):
    """EfficientNet-B4 as it is trained on self-blended images, without any forged video.

    Paper: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022,
    sections 3 and 4.1.

    Same: EfficientNet-B4, started from AdvProp's ImageNet weights (give `init`); 380 px; pixels in
    [0, 1] without mean and std; cross-entropy.

    Differs: one logit instead of two, which is the same classifier. The method is its training
    data, which `dfdetect.data.blend` makes: batches of genuine faces and blends of them, there
    called `sbi-5pt` where only five landmarks are known. Faces are cut square at 1.25 times the
    box's longer side; the paper's crops are the box with an eighth of its width and height on each
    side (so 1.25 too; while training each side is drawn from 0.05 to 0.2), stretched to a square.
    SAM with SGD, 100 epochs and the mean of 32 frames, with the largest face score of each, are
    matters of training and evaluation. Without `init` the weights are random.

    Published: video AUC 0.9318 Celeb-DF-v2, 0.9756 DFD, 0.7242 DFDC, 0.8615 DFDC preview, trained
    on genuine FF++ raw videos (paper, as others cite it); released weights run by the authors:
    0.9382 raw and 0.9287 c23 on Celeb-DF-v2 (their README). Others who trained it anew report
    0.898 to 0.913 on Celeb-DF-v2; with a plain hull of the landmarks it loses about 0.10.
    """

    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 128})

    def __init__(
        self,
        size: int = 380,
        crop_scale: float = 1.25,
        dropout: float = 0.4,
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            dropout: Probability in front of the last layer.
            init: A timm state dict or `download`, see `load_initial`; None: random weights.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.

        Raises:
            ValueError: A value is out of range, or a file does not fit.
        """
        policy = crop_policy(crop, crop_scale, size)
        super().__init__(EFFICIENTNET_B4_ADVPROP, policy, dropout, init, NONE)
