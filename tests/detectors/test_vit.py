"""CLIP-linear: CLIP's own arithmetic in the tower, and nothing but the linear layer learns."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from timm.layers import QuickGELU
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors import create_detector, load_detector, save_checkpoint
from dfdetect.detectors.checkpoint import make_header
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.vit import CLIP_LARGE, LIGHT, VitLinear
from dfdetect.errors import UsageError
from dfdetect.export import export_onnx

SIZE, PATCH, WIDTH, DEPTH, HEADS, EMBEDDING = 64, 16, 256, 10, 4, 512
TOWER = ".transformer.resblocks."


def made(**kwargs: str | int | bool) -> VitLinear:
    torch.manual_seed(0)
    network = create_detector("vit_linear", **{"model_name": LIGHT, "size": SIZE, **kwargs})
    assert isinstance(network, VitLinear)
    return network


def openai_state(size: int = SIZE) -> dict[str, Tensor]:
    """Random weights, named and shaped as OpenAI's CLIP has them, with two of its text side."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int, around: float = 0.0) -> Tensor:
        return around + 0.05 * torch.randn(shape, generator=generator)

    state = {
        "logit_scale": drawn(1),
        "token_embedding.weight": drawn(10, EMBEDDING),
        "visual.class_embedding": drawn(WIDTH),
        "visual.positional_embedding": drawn((size // PATCH) ** 2 + 1, WIDTH),
        "visual.conv1.weight": drawn(WIDTH, 3, PATCH, PATCH),
        "visual.proj": drawn(WIDTH, EMBEDDING),
    }
    norms = ["visual.ln_pre", "visual.ln_post"]
    for number in range(DEPTH):
        block = f"visual{TOWER}{number}"
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        layers = {
            "attn.in_proj_": (3 * WIDTH, WIDTH),
            "attn.out_proj.": (WIDTH, WIDTH),
            "mlp.c_fc.": (4 * WIDTH, WIDTH),
            "mlp.c_proj.": (WIDTH, 4 * WIDTH),
        }
        for name, shape in layers.items():
            state[f"{block}.{name}weight"] = drawn(*shape)
            state[f"{block}.{name}bias"] = drawn(shape[0])
    for name in norms:
        state[f"{name}.weight"] = drawn(WIDTH, around=1.0)
        state[f"{name}.bias"] = drawn(WIDTH)
    return state


def clip_embedding(state: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """CLIP's image encoder as Radford et al. (ICML 2021) describe it, from OpenAI's names."""
    given = {key.removeprefix("visual."): tensor for key, tensor in state.items()}

    def norm(tokens: Tensor, name: str) -> Tensor:
        return functional.layer_norm(
            tokens, (WIDTH,), given[f"{name}.weight"], given[f"{name}.bias"], 1e-5
        )

    patches = functional.conv2d(pixels, given["conv1.weight"], stride=PATCH)
    tokens = patches.flatten(2).mT
    first = given["class_embedding"].expand(len(pixels), 1, -1)
    tokens = torch.cat([first, tokens], dim=1) + given["positional_embedding"]
    tokens = norm(tokens, "ln_pre")
    for number in range(DEPTH):
        block = f"transformer.resblocks.{number}"
        attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        prefix = f"{block}.attn."
        attention.load_state_dict(
            {key.removeprefix(prefix): t for key, t in given.items() if key.startswith(prefix)}
        )
        seen = norm(tokens, f"{block}.ln_1")
        tokens = tokens + attention(seen, seen, seen)[0]
        hidden = norm(tokens, f"{block}.ln_2") @ given[f"{block}.mlp.c_fc.weight"].T
        # this tower's activation; OpenAI's own models have x · sigmoid(1.702 x)
        hidden = functional.gelu(hidden + given[f"{block}.mlp.c_fc.bias"])
        tokens = tokens + hidden @ given[f"{block}.mlp.c_proj.weight"].T
        tokens = tokens + given[f"{block}.mlp.c_proj.bias"]
    return norm(tokens[:, 0], "ln_post") @ given["proj"]


def faces(n: int = 4, size: int = SIZE, seed: int = 0) -> TrainingBatch:
    pixels = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return TrainingBatch(pixels, torch.tensor([0.0, 1.0] * (n // 2)))


def test_clip_weights_give_clips_embedding(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    state = openai_state()
    safetensors.torch.save_file(state, path)
    network = made(init=str(path)).eval()
    pixels = faces().pixels
    with torch.no_grad():
        expected = clip_embedding(state, pixels)
        torch.testing.assert_close(network.network(pixels), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(network(pixels), network.head(expected)[:, 0], atol=1e-4, rtol=0)
        # in front of the projection
        plain = made(init=str(path), projected=False).eval()
        torch.testing.assert_close(
            plain.network(pixels) @ state["visual.proj"], expected, atol=1e-4, rtol=1e-4
        )


def test_the_same_weights_come_in_timms_names_and_for_another_size(tmp_path: Path) -> None:
    path, again = tmp_path / "clip.safetensors", tmp_path / "timm.safetensors"
    safetensors.torch.save_file(openai_state(), path)
    network = made(init=str(path))
    safetensors.torch.save_file(network.network.state_dict(), again)
    for key, tensor in made(init=str(again)).network.state_dict().items():
        assert torch.equal(tensor, network.network.state_dict()[key]), key
    larger = made(init=str(path), size=96).network
    assert larger.pos_embed.shape == (1, 1 + 6 * 6, WIDTH)
    assert torch.equal(larger.blocks[3].mlp.fc1.weight, network.network.blocks[3].mlp.fc1.weight)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    state = openai_state()
    del state["visual.ln_pre.weight"]
    safetensors.torch.save_file(state, path)
    with pytest.raises(UsageError, match="does not fit this backbone in 1 tensors"):
        made(init=str(path))


def test_the_default_is_openais_tower_with_its_own_activation() -> None:
    with torch.device("meta"):
        network = create_detector("vit_linear")
    assert isinstance(network, VitLinear)
    assert dict(network.kwargs)["model_name"] == CLIP_LARGE
    assert isinstance(network.network.blocks[0].mlp.act, QuickGELU)
    assert network.head[1].weight.shape == (1, 768)
    # Radford et al., appendix F: ViT-L/14 is 24 layers of 1024; 303.97 M with the projection
    assert sum(tensor.numel() for tensor in network.network.parameters()) == 303_966_976
    trained = [each for each in network.parameters() if each.requires_grad]
    assert sum(tensor.numel() for tensor in trained) == 769
    assert network.preprocess.mean == (0.48145466, 0.4578275, 0.40821073)


def test_only_the_linear_layer_learns() -> None:
    network = made().train()
    assert network.training
    assert not network.network.training
    (term,) = network.loss_terms(faces())
    term.value.backward()
    reached = {key for key, value in network.named_parameters() if value.grad is not None}
    assert reached == {"head.1.weight", "head.1.bias"}


def test_tuning_trains_everything() -> None:
    network = made(tune=True).train()
    assert network.network.training
    network.loss_terms(faces())[0].value.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("tune", [False, True])
def test_a_few_faces_are_learnt(tune: bool) -> None:
    network = made(tune=tune).train()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=1e-3 if tune else 0.1)
    batch = faces()
    for _ in range(15 if tune else 90):
        optimizer.zero_grad()
        loss = network.loss_terms(batch)[0].value
        loss.backward()
        optimizer.step()
    assert network.loss_terms(batch)[0].value.item() < 0.05


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"model_name": "vit_nothing"}, "timm knows no model"),
        ({"statistics": "moon"}, "statistics must be one of"),
        ({"model_name": "vit_small_patch14_dinov2.lvd142m"}, "give projected=false"),
    ],
)
def test_wrong_requests_are_answered(kwargs: dict[str, str], reason: str) -> None:
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
    assert load_detector(report.path).header.frames == 1
