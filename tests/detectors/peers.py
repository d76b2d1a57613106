"""Published networks written out as plain functions of a state dict with their own names.

From descriptions in words of what each layer does, with none of the package's modules: what a
converted network is held against.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.fft import dctn, idctn
from torch import Tensor
from torch.nn import functional

State = Mapping[str, Tensor]
Keys = list[tuple[str, tuple[int, ...], str]]

KEYS = Path(__file__).with_name("checkpoint_keys.json.xz")


def published_keys() -> dict[str, Keys]:
    """Names, shapes and types of the tensors of published checkpoints, by project and network."""
    plain = json.loads(lzma.decompress(KEYS.read_bytes()))
    return {
        stem: [(name, tuple(shape), dtype) for name, shape, dtype in keys]
        for stem, keys in plain.items()
    }


def random_state(keys: Keys, seed: int = 0) -> dict[str, Tensor]:
    """Numbers with which a deep network neither dies nor explodes."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape, dtype in keys:
        if dtype == "int64":
            state[name] = torch.tensor(7)
            continue
        draw = torch.randn(shape, generator=generator)
        if len(shape) >= 2:
            draw *= 1.4 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("running_var"):
            draw = 1 + 0.2 * draw.tanh()
        else:
            draw = 0.1 * draw + (1.0 if name.endswith("weight") else 0.0)
        state[name] = draw
    return state


def conv(s: State, name: str, x: Tensor, **options: int) -> Tensor:
    return functional.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), **options)


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


_settling = False


def norm(s: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    mean, var, weight, bias = (
        s[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    if _settling:
        mean.copy_(x.mean((0, 2, 3)))
        var.copy_(x.var((0, 2, 3), correction=0))
    scaled = (x - mean[:, None, None]) / torch.sqrt(var + eps)[:, None, None]
    return scaled * weight[:, None, None] + bias[:, None, None]


def settle(s: State, forward: Callable[[State, Tensor], Tensor], x: Tensor) -> None:
    """Give the norms the statistics of these pictures, so that no layer drowns the others."""
    global _settling
    _settling = True
    try:
        with torch.inference_mode():
            forward(s, x)
    finally:
        _settling = False


def fake_less_real(logits: Tensor) -> Tensor:
    return logits[:, 1] - logits[:, 0]


# Xception, and what is built on it


def separable(s: State, name: str, x: Tensor) -> Tensor:
    deep = functional.conv2d(x, s[f"{name}.conv1.weight"], padding=1, groups=x.shape[1])
    return conv(s, f"{name}.pointwise", deep)


def xception_block(s: State, name: str, x: Tensor) -> Tensor:
    """Separable convolutions with norms; a ReLU before each, but for a first one called rep.0."""
    given, places = x, [n for n in range(9) if f"{name}.rep.{n}.conv1.weight" in s]
    for place in places:
        x = x if place == 0 else x.relu()
        x = norm(s, f"{name}.rep.{place + 1}", separable(s, f"{name}.rep.{place}", x))
    if f"{name}.skip.weight" not in s:
        return x + given
    pooled = functional.max_pool2d(x, 3, stride=2, padding=1)
    return pooled + norm(s, f"{name}.skipbn", conv(s, f"{name}.skip", given, stride=2))


def xception_blocks(s: State, prefix: str, x: Tensor, first: int, last: int) -> Tensor:
    for number in range(first, last + 1):
        x = xception_block(s, f"{prefix}block{number}", x)
    return x


def xception_first(s: State, prefix: str, x: Tensor) -> Tensor:
    return norm(s, f"{prefix}bn1", conv(s, f"{prefix}conv1", x, stride=2)).relu()


def xception_second(s: State, prefix: str, x: Tensor) -> Tensor:
    return norm(s, f"{prefix}bn2", conv(s, f"{prefix}conv2", x)).relu()


def xception_end(s: State, prefix: str, x: Tensor) -> Tensor:
    """Up to the last batch norm, without a ReLU after it."""
    x = norm(s, f"{prefix}bn3", separable(s, f"{prefix}conv3", x)).relu()
    return norm(s, f"{prefix}bn4", separable(s, f"{prefix}conv4", x))


def xception_maps(s: State, prefix: str, x: Tensor) -> Tensor:
    x = xception_second(s, prefix, xception_first(s, prefix, x))
    return xception_end(s, prefix, xception_blocks(s, prefix, x, 1, 12))


def xception(s: State, prefix: str, head: str, x: Tensor) -> Tensor:
    features = xception_maps(s, prefix, x).relu().mean((2, 3))
    return fake_less_real(linear(s, head, features))


def f3net(s: State, x: Tensor) -> Tensor:
    """Four filtered pictures: cosine transform, base + 2 sigmoid(learnt) - 1, back, by scipy."""
    spectrum = dctn(x.numpy(), axes=(2, 3), norm="ortho")
    pictures = []
    for number in range(4):
        name = f"FAD_head.filters.{number}"
        mask = s[f"{name}.base"] + 2 * s[f"{name}.learnable"].sigmoid() - 1
        pictures.append(idctn(spectrum * mask.numpy(), axes=(2, 3), norm="ortho"))
    joined = torch.from_numpy(np.concatenate(pictures, axis=1)).float()
    return xception(s, "backbone.", "backbone.last_linear.1", joined)


def f3net_constants() -> dict[str, Tensor]:
    """The cosine matrix from scipy, and the bands of i + j with both ends included."""
    matrix = torch.from_numpy(dctn(np.eye(256), axes=(0,), norm="ortho")).float()
    diagonal = torch.arange(256)[:, None] + torch.arange(256)
    bands = [(0, 90), (90, 128), (128, 512), (0, 512)]
    return {
        "FAD_head._DCT_all": matrix,
        "FAD_head._DCT_all_T": matrix.T.contiguous(),
        **{
            f"FAD_head.filters.{n}.base": ((diagonal >= low) & (diagonal <= high)).float()
            for n, (low, high) in enumerate(bands)
        },
    }


def spsl(s: State, x: Tensor) -> Tensor:
    spectrum = torch.fft.fft2(x.double().mean(1, keepdim=True))
    phase = torch.fft.ifft2(spectrum / spectrum.abs()).real.float()
    joined = torch.cat([x, phase], 1)
    return xception(s, "backbone.", "backbone.last_linear", joined)


def recce(s: State, prefix: str, x: Tensor) -> Tensor:
    """The logits of the last layer, one or two."""
    s = {key.removeprefix(prefix): value for key, value in s.items() if key.startswith(prefix)}
    maps = xception_second(s, "encoder.", xception_first(s, "encoder.", x))
    maps = xception_blocks(s, "encoder.", maps, 1, 4)
    coarse = xception_block(s, "decoder2", grown(s, "decoder1", maps))
    fine = xception_block(s, "decoder4", grown(s, "decoder3", coarse))
    face = conv(s, "decoder6.0", grown(s, "decoder5", fine)).tanh()
    face = functional.interpolate(face, x.shape[-2:], mode="bilinear", align_corners=True)
    maps = xception_blocks(s, "encoder.", maps, 5, 7)
    maps = xception_block(s, "encoder.block8", maps + reasoning(s, maps, coarse, fine))
    missed = functional.interpolate(
        (x - face).abs(), maps.shape[-2:], mode="bilinear", align_corners=True
    )
    gate = conv(s, "attention.gated.0", missed, padding=1).relu()
    gate = conv(s, "attention.gated.2", gate).sigmoid()
    maps = gate * norm(s, "attention.h.1", conv(s, "attention.h.0", maps)).relu() + maps
    maps = xception_end(s, "encoder.", xception_blocks(s, "encoder.", maps, 9, 12)).relu()
    return linear(s, "fc", maps.mean((2, 3)))


def grown(s: State, name: str, x: Tensor) -> Tensor:
    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return norm(s, f"{name}.2", separable(s, f"{name}.1", doubled)).relu()


def reasoning(s: State, maps: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
    """One vertex after the other; what its neighbours say, the gates' complement times it."""
    vertex = conv(s, "reasoning.va_embedding.0", maps).relu()
    vertex = conv(s, "reasoning.va_embedding.2", vertex)
    joined = []
    for part, finer, ratio in (("b", coarse, 2), ("c", fine, 4)):
        gate = 1 - conv(s, f"reasoning.va_gated_{part}.0", maps).sigmoid()
        told = torch.empty_like(vertex)
        for row in range(maps.shape[2]):
            for column in range(maps.shape[3]):
                top, left = row * ratio, column * ratio
                below = finer[:, :, top : top + ratio, left : left + ratio].flatten(2).mT
                below = linear(s, f"reasoning.v{part}_embedding.0", below).relu()
                below = linear(s, f"reasoning.v{part}_embedding.2", below)
                here = vertex[:, None, :, row, column].expand_as(below)
                pair = torch.cat([here, below], dim=2)
                shares = linear(s, f"reasoning.reweight_a{part}.0", pair).relu().softmax(1)
                told[:, :, row, column] = (shares * below).sum(1)
        joined.append(gate * told)
    both = torch.cat([*joined, vertex], dim=1).sigmoid()
    return conv(s, "reasoning.reproject.2", conv(s, "reasoning.reproject.0", both).relu())


def ucf(s: State, x: Tensor) -> Tensor:
    maps = conv(s, "encoder_f.adjust_channel.0", xception_maps(s, "encoder_f.", x))
    maps = norm(s, "encoder_f.adjust_channel.1", maps).relu()
    for place in (0, 2, 4):
        maps = conv(s, f"block_sha.conv2d.{place}", maps)
        maps = functional.leaky_relu(maps, 0.01) if place < 4 else maps
    hidden = functional.leaky_relu(linear(s, "head_sha.mlp.0", maps.mean((2, 3))), 0.01)
    return fake_less_real(linear(s, "head_sha.mlp.2", hidden))


# EfficientNet-B4 with the padding of a 380 px picture, and ResNet-34

STRIDES = {2: (0, 1, 0, 1), 6: (2, 2, 2, 2), 10: (0, 1, 0, 1), 22: (1, 2, 1, 2)}


def efficientnet(s: State, prefix: str, x: Tensor, stem: tuple[int, int, int, int]) -> Tensor:
    """EfficientNet-B4's pooled features; `stem` are the margins of the first convolution."""
    eps = 1e-3
    x = conv(s, f"{prefix}_conv_stem", functional.pad(x, stem), stride=2)
    x = functional.silu(norm(s, f"{prefix}_bn0", x, eps))
    for number in range(32):
        name, given = f"{prefix}_blocks.{number}.", x
        if f"{name}_expand_conv.weight" in s:
            x = functional.silu(norm(s, f"{name}_bn0", conv(s, f"{name}_expand_conv", x), eps))
        reach = s[f"{name}_depthwise_conv.weight"].shape[-1] // 2
        margins = STRIDES.get(number, (reach,) * 4)
        stride = 2 if number in STRIDES else 1
        x = conv(
            s,
            f"{name}_depthwise_conv",
            functional.pad(x, margins),
            stride=stride,
            groups=x.shape[1],
        )
        x = functional.silu(norm(s, f"{name}_bn1", x, eps))
        weights = conv(s, f"{name}_se_reduce", x.mean((2, 3), keepdim=True))
        x = x * conv(s, f"{name}_se_expand", functional.silu(weights)).sigmoid()
        x = norm(s, f"{name}_bn2", conv(s, f"{name}_project_conv", x), eps)
        x = x + given if x.shape == given.shape else x
    x = functional.silu(norm(s, f"{prefix}_bn1", conv(s, f"{prefix}_conv_head", x), eps))
    return x.mean((2, 3))


def resnet34(s: State, x: Tensor) -> Tensor:
    x = norm(s, "backbone.resnet.1", conv(s, "backbone.resnet.0", x, stride=2, padding=3)).relu()
    x = functional.max_pool2d(x, 3, stride=2, padding=1)
    for stage, blocks in ((4, 3), (5, 4), (6, 6), (7, 3)):
        for block in range(blocks):
            name, stride = f"backbone.resnet.{stage}.{block}", 2 if stage > 4 and block == 0 else 1
            made = conv(s, f"{name}.conv1", x, stride=stride, padding=1)
            made = norm(s, f"{name}.bn1", made).relu()
            made = norm(s, f"{name}.bn2", conv(s, f"{name}.conv2", made, padding=1))
            if stride == 2:
                x = conv(s, f"{name}.downsample.0", x, stride=2)
                x = norm(s, f"{name}.downsample.1", x)
            x = (made + x).relu()
    return fake_less_real(linear(s, "backbone.fc", x.mean((2, 3))))


# DeepfakeBench's MesoNets: shared norms, no biases


def meso4(s: State, x: Tensor) -> Tensor:
    for number, (shared, pool) in enumerate(((1, 2), (1, 2), (2, 2), (2, 4)), start=1):
        x = conv(s, f"backbone.conv{number}", x, padding=1 if number == 1 else 2).relu()
        x = functional.max_pool2d(norm(s, f"backbone.bn{shared}", x), pool)
    return meso_head(s, x)


def meso_inception4(s: State, x: Tensor) -> Tensor:
    for layer in (1, 2):
        name = f"backbone.Incption{layer}_"
        parts = [conv(s, f"{name}conv1", x)]
        for branch, dilation in ((2, 1), (3, 2), (4, 3)):
            narrow = conv(s, f"{name}conv{branch}_1", x)
            parts.append(
                conv(s, f"{name}conv{branch}_2", narrow, padding=dilation, dilation=dilation)
            )
        x = functional.max_pool2d(norm(s, f"{name}bn", torch.cat(parts, 1)), 2)
    for number, pool in ((1, 2), (2, 4)):
        x = conv(s, f"backbone.conv{number}", x, padding=2).relu()
        x = functional.max_pool2d(norm(s, "backbone.bn1", x), pool)
    return meso_head(s, x)


def meso_head(s: State, x: Tensor) -> Tensor:
    hidden = functional.leaky_relu(linear(s, "backbone.fc1", x.flatten(1)), 0.1)
    return fake_less_real(linear(s, "backbone.fc2", hidden))
