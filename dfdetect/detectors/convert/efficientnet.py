"""Names of an EfficientNet in timm and in efficientnet-pytorch, which many projects built on."""

from __future__ import annotations

import re

from dfdetect.detectors.convert.conversion import Source, Sources
from dfdetect.detectors.network import Detector

BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)\.(\w+)")

AROUND = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
SQUEEZE = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
# a block of the first stage does not widen, and timm counts its layers from 1
NARROW = {
    "conv_dw": "_depthwise_conv",
    "bn1": "_bn1",
    "conv_pw": "_project_conv",
    "bn2": "_bn2",
    **SQUEEZE,
}
WIDE = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
    **SQUEEZE,
}


def lukemelas_names(network: Detector, ours: str, theirs: str) -> Sources:
    """Return the sources of an EfficientNet of timm's in a file with efficientnet-pytorch's names.

    Its classifier is left out.

    Args:
        network: Our detector.
        ours: What stands before timm's names in it.
        theirs: What stands before efficientnet-pytorch's names in the file.
    """
    body = {
        key.removeprefix(ours): tuple(tensor.shape)
        for key, tensor in network.stored_state().items()
        if key.startswith(ours)
    }
    # blocks are numbered through, where timm counts within stages
    places = sorted(
        {tuple(map(int, found.groups()[:2])) for found in map(BLOCK.match, body) if found}
    )
    numbers = {place: number for number, place in enumerate(places)}
    sources = {}
    for key, shape in body.items():
        layer, _, part = key.rpartition(".")
        if found := BLOCK.fullmatch(key):
            stage, place = int(found[1]), int(found[2])
            name = (WIDE if stage else NARROW)[found[3]]
            renamed = f"_blocks.{numbers[stage, place]}.{name}.{part}"
        elif layer in AROUND:
            renamed = f"{AROUND[layer]}.{part}"
        else:
            continue
        sources[ours + key] = Source((theirs + renamed,), shape)
    return sources
