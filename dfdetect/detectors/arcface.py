"""ArcFace's face encoder, whose weights the user brings: what LSDA takes for genuine faces.

Source: Deng, Guo, Xue and Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face
Recognition", CVPR 2019, section 3.1 (ResNet-100 of improved residual units: BN-Conv-BN-PReLU-Conv-
BN). timm has no such network. Names of tensors are those of the common releases (InsightFace's
`iresnet100`), so that a state dict saved as `.safetensors` fits as it is.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.backbone import load_all_but, read_state

SIZE = 112
WIDTH = 512
UNITS = (3, 13, 30, 3)
WIDTHS = (64, 128, 256, 512)
# behind the map: what turns it into an embedding
HEADS = ("fc", "features")


class FaceEncoder(nn.Module):
    """ArcFace's ResNet-100 up to its last map: faces in [-1, 1] → B × 512 × 7 × 7."""

    def __init__(self, units: tuple[int, ...] = UNITS) -> None:
        """Make the network with random weights; `units` are the residual units of each stage."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        before = 64
        for number, (count, width) in enumerate(zip(units, WIDTHS, strict=True), start=1):
            others = (ResidualUnit(width, width) for _ in range(count - 1))
            stage = nn.Sequential(ResidualUnit(before, width, stride=2), *others)
            self.add_module(f"layer{number}", stage)
            before = width
        self.bn2 = nn.BatchNorm2d(WIDTH)

    def load(self, path: Path) -> None:
        """Load a `.safetensors` file; its embedding layers `fc` and `features` are left out.

        Raises:
            ValueError: It cannot be read or does not fit.
        """
        state = read_state(path)
        heads = frozenset(key for key in state if key.partition(".")[0] in HEADS)
        load_all_but(heads, self, state, str(path))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the map for pixels in [-1, 1] of any size, which are brought to 112 px."""
        small = functional.interpolate(
            pixels, size=(SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True
        )
        features = self.prelu(self.bn1(self.conv1(small)))
        for number in range(1, len(WIDTHS) + 1):
            features = self.get_submodule(f"layer{number}")(features)
        last: Tensor = self.bn2(features)
        return last


class ResidualUnit(nn.Module):
    """BN-Conv-BN-PReLU-Conv-BN beside the input; the second convolution takes the stride."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        """Make the unit."""
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels != width:
            short = nn.Conv2d(channels, width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(short, nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        """Return `width` channels at the size divided by the stride."""
        change = self.prelu(self.bn2(self.conv1(self.bn1(features))))
        moved: Tensor = self.bn3(self.conv2(change)) + self.downsample(features)
        return moved
