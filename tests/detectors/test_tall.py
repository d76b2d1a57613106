"""TALL: where each frame lies in the picture, one hidden square a clip, windows of any size."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from dfdetect.detectors import create_detector, load_detector, save_checkpoint
from dfdetect.detectors.checkpoint import make_header
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.tall import Tall, hide_squares, thumbnails
from dfdetect.errors import UsageError
from dfdetect.export import export_onnx

TINY = "swin_tiny_patch4_window7_224"


def made(**kwargs: str | int | float) -> Tall:
    torch.manual_seed(0)
    network = create_detector("tall", **{"model_name": TINY, "size": 64, **kwargs})
    assert isinstance(network, Tall)
    return network


def clips(n: int = 4, side: int = 32, seed: int = 0) -> TrainingBatch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(n, 4, 3, side, side, generator=generator)
    return TrainingBatch(pixels, torch.tensor([0.0, 1.0] * (n // 2)))


@pytest.mark.parametrize("side", [2, 3])
def test_frames_lie_row_by_row(side: int) -> None:
    frames = np.random.default_rng(0).random((2, side**2, 3, 5, 5))
    expected = np.stack(
        [
            np.concatenate(
                [
                    np.concatenate(list(clip[row * side : (row + 1) * side]), axis=2)
                    for row in range(side)
                ],
                axis=1,
            )
            for clip in frames
        ]
    )
    np.testing.assert_array_equal(thumbnails(torch.from_numpy(frames)).numpy(), expected)


def test_one_square_is_hidden_at_the_same_place_in_all_frames() -> None:
    torch.manual_seed(1)
    given = torch.ones(200, 4, 3, 32, 32)
    hidden = hide_squares(given, 16)
    assert given.min() == 1
    assert (hidden == hidden[:, :1, :1]).all()
    away = hidden[:, 0, 0] == 0
    assert (away.sum((1, 2)) == 16 * 16).all()
    rows, columns = away.any(2), away.any(1)
    assert (rows.sum(1) == 16).all()
    assert (columns.sum(1) == 16).all()
    # every place from corner to corner, each clip for itself
    tops, lefts = rows.int().argmax(1), columns.int().argmax(1)
    assert set(tops.tolist()) == set(lefts.tolist()) == set(range(17))
    assert not tops.equal(lefts)
    torch.manual_seed(1)
    assert hide_squares(given, 16).equal(hidden)
    assert hide_squares(given, 0) is given


def test_training_alone_hides_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    network = made().eval()
    seen = []
    monkeypatch.setattr(
        network.network, "forward", lambda x: seen.append(x) or x.sum((1, 2, 3))[:, None]
    )
    batch = TrainingBatch(torch.ones(2, 4, 3, 32, 32), torch.tensor([0.0, 1.0]))
    network(batch.pixels)
    network.loss_terms(batch)
    network.train().loss_terms(batch)
    shown, judged, hidden = seen
    assert shown.shape == judged.shape == hidden.shape == (2, 3, 64, 64)
    assert (shown == 1).all()
    assert (judged == 1).all()
    assert ((hidden == 0).sum((1, 2, 3)) == 3 * 4 * 16 * 16).all()


def test_sizes_windows_and_parameters_are_the_papers() -> None:
    with torch.device("meta"):
        network = create_detector("tall")
    assert isinstance(network, Tall)
    assert network.preprocess.size == 112
    assert network.needs.frames == 4
    stages = network.network.layers
    assert [stage.blocks[0].window_size[0] for stage in stages] == [14, 14, 14, 7]
    assert [stage.blocks[0].input_resolution[0] for stage in stages] == [56, 28, 14, 7]
    assert [len(stage.blocks) for stage in stages] == [2, 2, 18, 2]
    assert [stage.blocks[0].attn.num_heads for stage in stages] == [4, 8, 16, 32]
    assert network.network.embed_dim == 128
    # Liu et al., ICCV 2021: Swin-B is 88 M with its 1000 classes, 1.0 M of it for them
    assert sum(tensor.numel() for tensor in network.parameters()) == 86_918_969


def test_the_order_of_frames_counts() -> None:
    network = made().eval()
    pixels = clips(2).pixels
    with torch.no_grad():
        assert not torch.allclose(network(pixels), network(pixels.flip(1)), atol=1e-4)


def test_imagenet_weights_fit_any_window(tmp_path: Path) -> None:
    torch.manual_seed(5)
    given = timm.create_model(TINY, img_size=64)
    for block in given.layers[0].blocks:
        torch.nn.init.normal_(block.attn.relative_position_bias_table)
    path = tmp_path / "swin.safetensors"
    safetensors.torch.save_file(given.state_dict(), path)
    same, wider = made(window=7, init=str(path)), made(window=14, init=str(path))
    for key, tensor in same.network.state_dict().items():
        if not key.startswith("head."):
            assert torch.equal(tensor, given.state_dict()[key]), key
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    found, source = wider.network.state_dict()[table], given.state_dict()[table]
    assert found.shape == (27 * 27, 3)
    # no shift at all stands in the middle of both tables
    grid, before = found.reshape(27, 27, 3), source.reshape(13, 13, 3)
    torch.testing.assert_close(grid[13, 13], before[6, 6], atol=0.2, rtol=0)
    weight = "layers.1.blocks.0.mlp.fc1.weight"
    assert torch.equal(wider.network.state_dict()[weight], given.state_dict()[weight])


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"frames": 5}, "must be a square number"),
        ({"frames": 1}, "must be a square number"),
        ({"frames": -4}, "must be a square number"),
        ({"size": 65}, "cannot be divided into 2 thumbnails"),
        ({"cut_out": 32}, "cut_out must lie in 0…31"),
        ({"window": 0}, "window must be 1 or more"),
        ({"model_name": "resnet18"}, "timm cannot make resnet18"),
    ],
)
def test_wrong_requests_are_answered(kwargs: dict[str, str | int], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        made(**kwargs)


@pytest.mark.slow
def test_its_twin_answers_alike(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="exporting needs dfdetect[export]")
    network = made()
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, network, make_header(network, trained=True))
    report = export_onnx(path, tmp_path / "twin.onnx")
    assert report.max_difference < 1e-4
    assert load_detector(report.path).header.frames == 4
