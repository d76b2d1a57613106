"""LSDA: augmentations and losses against numpy, what trains what, and that teachers stay behind."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dfdetect.data.datasets import ffpp
from dfdetect.detectors import DETECTORS, create_detector, lsda
from dfdetect.detectors.arcface import FaceEncoder, ResidualUnit
from dfdetect.detectors.checkpoint import load_checkpoint, make_header, save_checkpoint
from dfdetect.detectors.fidelity import fidelity_card
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.lsda import (
    KEEP_IDENTITY,
    METHODS,
    Lesson,
    Lsda,
    augmented,
    grouped,
    identity_loss,
    mixed,
)
from dfdetect.detectors.network import BatchNeeds, TrainingBatch
from dfdetect.detectors.testing import check_detector
from dfdetect.errors import UsageError

LIGHT = {"model_name": "test_efficientnet", "size": 64}
FACE = (1, 1, 1, 1)


def small(seed: int = 0, **kwargs: object) -> Lsda:
    torch.manual_seed(seed)
    network = create_detector("lsda", **{**LIGHT, **kwargs})
    assert isinstance(network, Lsda)
    return network


def groups(n: int = 2) -> TrainingBatch:
    methods = torch.arange(5).repeat(n)
    pixels = torch.randn(5 * n, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    return TrainingBatch(pixels, (methods > 0).float(), methods=methods)


def maps(n: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 2, 2, generator=generator, dtype=torch.float64)


def test_the_networks_of_the_paper() -> None:
    with torch.device("meta"):
        network = create_detector("lsda")
        assert isinstance(network, Lsda)
        assert network.teaching is not None
        assert network.student(torch.zeros(2, 3, 256, 256)).shape == (2, 512, 8, 8)
        encoder = 17_548_616 + (1792 + 1) * 512
        assert sum(each.numel() for each in network.student.parameters()) == encoder
        assert sum(each.numel() for each in network.teaching.teachers.parameters()) == 4 * encoder
        assert network.teaching.real(torch.zeros(2, 3, 256, 256)).shape == (2, 512, 8, 8)
        fused = network.teaching.fuse(torch.zeros(8, 1024, 8, 8))
        assert fused.shape == (8, 512, 8, 8)
    assert network.needs == BatchNeeds(methods=METHODS, grouped=True)
    assert set(METHODS) < set(ffpp.METHODS)
    assert set(METHODS) > KEEP_IDENTITY


def test_arcface_s_network_is_resnet_100() -> None:
    with torch.device("meta"):
        encoder = FaceEncoder()
        assert encoder(torch.zeros(2, 3, 256, 256)).shape == (2, 512, 7, 7)
    embedding = 512 * 49 * 512 + 512 + 2 * 512
    # 65.16 million with the embedding that the map is turned into
    assert sum(each.numel() for each in encoder.parameters()) + embedding == 65_156_160
    convolutions = [each for each in encoder.modules() if isinstance(each, nn.Conv2d)]
    # with the embedding these make a hundred layers
    assert sum(each.kernel_size == (3, 3) for each in convolutions) == 99


def test_a_residual_unit_is_what_the_paper_draws() -> None:
    torch.manual_seed(0)
    unit = ResidualUnit(4, 6, stride=2).double().train()
    pixels = torch.randn(3, 4, 8, 8, dtype=torch.float64)

    def normed(x: torch.Tensor) -> torch.Tensor:
        mean, variance = x.mean((0, 2, 3), True), x.var((0, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt()

    inner = nn.functional.conv2d(normed(pixels), unit.conv1.weight, padding=1)
    inner = normed(inner)
    inner = torch.where(inner > 0, inner, 0.25 * inner)
    inner = normed(nn.functional.conv2d(inner, unit.conv2.weight, padding=1, stride=2))
    short = normed(nn.functional.conv2d(pixels, unit.downsample[0].weight, stride=2))
    torch.testing.assert_close(unit(pixels), inner + short)


def test_groups_are_taken_apart_by_domain() -> None:
    domains = grouped(torch.arange(15).float()[:, None])
    assert [domain.flatten().tolist() for domain in domains] == [
        [place, place + 5, place + 10] for place in range(5)
    ]


def shares(moved: torch.Tensor, start: torch.Tensor, direction: torch.Tensor) -> np.ndarray:
    """How far each map moved in its direction; fails where it moved in another."""
    change, along = (each.flatten(1).numpy() for each in (moved - start, direction))
    lengths = (along**2).sum(1)
    share = (change * along).sum(1) / np.where(lengths > 0, lengths, 1)
    np.testing.assert_allclose(change, share[:, None] * along, atol=1e-12)
    return share


def test_forgeries_move_towards_the_hardest_and_away_from_the_mean() -> None:
    given = maps()
    torch.manual_seed(0)
    centre = given.mean(0)
    distances = [float((each - centre).norm()) for each in given]
    hardest = int(np.argmax(distances))
    for kind, direction in (("hardest", given[hardest] - given), ("outwards", given - centre)):
        found = shares(augmented(given, kind), given, direction)
        moving = np.arange(len(given)) != hardest if kind == "hardest" else slice(None)
        assert 0 < found[moving].min() < found[moving].max() < 1
    assert torch.equal(augmented(given, "hardest")[hardest], given[hardest])


def test_forgeries_move_by_differences_and_by_noise_of_the_domain_s_size() -> None:
    given = maps(4)
    torch.manual_seed(1)
    change = augmented(given, "difference") - given
    for each in change.numpy():
        fits = [
            np.abs(each - share * step).max()
            for one in given.numpy()
            for other in given.numpy()
            for step in [one - other]
            for share in [float((each * step).sum() / max((step**2).sum(), 1e-12))]
            if 0 <= share <= 1
        ]
        assert min(fits) < 1e-12
    many = 3 * maps(4000) + 7
    noise = (augmented(many, "noise") - many).numpy()
    # a uniform share of a normal draw with deviation 3: its variance is 9 · E[share²] = 3
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert noise.var() == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("kind", lsda.WITHIN)
def test_one_group_alone_moves_nowhere_and_has_a_gradient(kind: str) -> None:
    given = maps(1).requires_grad_()
    moved = augmented(given, kind)
    torch.testing.assert_close(moved, given)
    moved.square().sum().backward()
    assert given.grad is not None
    assert bool(given.grad.isfinite().all())


def test_domains_are_mixed_with_one_share_each_with_one_partner() -> None:
    domains = tuple(maps(2, seed) for seed in range(4))
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found = mixed(domains).chunk(4)
        partners, parts = [], []
        for own, result in zip(domains, found, strict=True):
            change = (result - own).flatten().numpy()
            if np.abs(change).max() < 1e-12:
                partners.append(next(i for i, each in enumerate(domains) if each is own))
                continue
            fits = []
            for number, other in enumerate(domains):
                step = (other - own).flatten().numpy()
                part = float(change @ step / max(step @ step, 1e-12))
                fits.append((np.abs(change - part * step).max(), number, part))
            error, partner, part = min(fits)
            assert error < 1e-6
            partners.append(partner)
            parts.append(1 - part)
        assert sorted(partners) == [0, 1, 2, 3]
        assert all(0 <= part <= 1 for part in parts)
        assert np.ptp(parts or [0]) < 1e-6
        seen.add(tuple(partners))
    assert len(seen) > 5


def test_the_identity_term_pulls_two_methods_and_pushes_two() -> None:
    generator = torch.Generator().manual_seed(0)
    genuine, *forged = torch.randn(5, 3, 6, 2, 2, generator=generator, dtype=torch.float64)
    found = float(identity_loss(Lesson(genuine, tuple(forged))))
    expected = []
    for method, each in zip(METHODS, forged, strict=True):
        one, other = each.numpy().mean((2, 3)), genuine.numpy().mean((2, 3))
        cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        kept = method in ("Face2Face", "NeuralTextures")
        expected.append(1 - cosine if kept else np.maximum(cosine, 0))
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


def test_terms_are_those_of_the_paper_and_equal_independent_computations() -> None:
    network, batch = small().eval(), groups()
    teaching = network.teaching
    assert teaching is not None
    torch.manual_seed(9)
    terms = {term.name: term for term in network.loss_terms(batch)}
    weights = {name: term.weight for name, term in terms.items()}
    assert weights == {"bce": 0.5, "real": 1.0, "fake": 1.0, "domain": 1.0, "identity": 1.0}
    with torch.no_grad():
        student = network.student(batch.pixels)
        domains = grouped(batch.pixels)
        forged = [
            teacher(each) for teacher, each in zip(teaching.teachers, domains[1:], strict=True)
        ]
        genuine = teaching.real(domains[0])
        torch.manual_seed(9)
        targets = teaching.targets(tuple(forged)).unflatten(0, (4, 2))
        linear = teaching.domain
    rows = student.numpy().reshape(2, 5, *student.shape[1:])
    # the stand-in's map has the student's size here
    assert genuine.shape == (2, *student.shape[1:])
    real = np.mean((rows[:, 0] - genuine.numpy()) ** 2)
    fake = np.mean([(rows[:, 1 + i] - targets[i].numpy()) ** 2 for i in range(4)])
    crossed = []
    for label, each in enumerate([genuine, *forged]):
        scores = each.numpy().mean((2, 3)) @ linear.weight.detach().numpy().T
        scores = scores + linear.bias.detach().numpy()
        crossed.append(np.log(np.exp(scores).sum(1)) - scores[:, label])
    logits = network(batch.pixels)
    bce = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
    found = {name: float(term.value.detach()) for name, term in terms.items()}
    assert found["bce"] == pytest.approx(float(bce.detach()), rel=1e-5)
    assert found["real"] == pytest.approx(float(real), rel=1e-4)
    assert found["fake"] == pytest.approx(float(fake), rel=1e-4)
    assert found["domain"] == pytest.approx(float(np.mean(crossed)), rel=1e-4)


def test_each_term_trains_what_it_should() -> None:
    network, batch = small().train(), groups()
    student = {"student", "head"}
    fuse, teachers, domain = "teaching.fuse", "teaching.teachers", "teaching.domain"
    expected = {
        "bce": student,
        "real": {"student"},
        "fake": {"student", fuse, teachers},
        "domain": {teachers, domain},
        "identity": {teachers},
    }
    for term in network.loss_terms(batch):
        network.zero_grad()
        term.value.backward(retain_graph=True)
        reached = {
            ".".join(key.split(".")[: 1 + key.startswith("teaching.")])
            for key, each in network.named_parameters()
            if each.grad is not None and bool(each.grad.abs().sum() > 0)
        }
        assert reached == expected[term.name], term.name


def test_the_encoder_of_genuine_faces_is_frozen() -> None:
    network = small().train()
    assert network.teaching is not None
    real = network.teaching.real
    before = {key: value.clone() for key, value in real.state_dict().items()}
    assert network.teaching.training
    assert not any(each.training for each in real.modules())
    total_loss(network.loss_terms(groups())).backward()
    assert all(torch.equal(before[key], value) for key, value in real.state_dict().items())
    assert not any(each.requires_grad for each in real.parameters())


def test_files_of_weights_hold_the_student_alone(tmp_path: Path) -> None:
    network = small().eval()
    path = tmp_path / "student.safetensors"
    save_checkpoint(path, network, make_header(network, trained=True))
    with safetensors.safe_open(path, framework="pt") as stream:
        assert {key.partition(".")[0] for key in stream.keys()} == {"student", "head"}  # noqa: SIM118
    loaded = load_checkpoint(path).network
    assert isinstance(loaded, Lsda)
    assert loaded.teaching is None
    assert loaded.needs == BatchNeeds()
    pixels = groups().pixels
    with torch.inference_mode():
        assert torch.equal(loaded(pixels), network(pixels))
    # what is loaded can go on as a plain classifier, and be stored again
    assert [term.name for term in loaded.loss_terms(groups())] == ["bce"]
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, loaded, make_header(loaded, trained=True))
    assert again.read_bytes() == path.read_bytes()


def test_resuming_and_averaging_keep_the_teachers(tmp_path: Path) -> None:
    from dfdetect.training.state import load_state, save_state

    network, other = small(), small(seed=1)
    average = AveragedModel(network)
    assert {"student", "head"} == {key.partition(".")[0] for key in average.module.stored_state()}

    def run(of: Lsda, step: int) -> SimpleNamespace:
        trained = [each for each in of.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(trained)
        return SimpleNamespace(
            network=of, average=None, step=step, optimizers=lambda: optimizer, settings=None
        )

    save_state(tmp_path, run(network, 7))
    load_state(tmp_path, run(other, 0))
    state = other.state_dict()
    assert any(key.startswith("teaching.") for key in state)
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_arcface_is_a_file_that_the_user_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a hundred layers would take this test seconds
    monkeypatch.setattr(lsda, "FaceEncoder", lambda: FaceEncoder(FACE))
    torch.manual_seed(0)
    published = FaceEncoder(FACE)
    embedding = {"fc.weight": torch.rand(512, 25088), "features.bias": torch.rand(512)}
    path = tmp_path / "arcface.safetensors"
    safetensors.torch.save_file({**published.state_dict(), **embedding}, path)
    network = small(real_encoder=str(path))
    assert network.teaching is not None
    encoder = network.teaching.real.encoder
    assert all(
        torch.equal(encoder.state_dict()[key], value)
        for key, value in published.state_dict().items()
    )
    seen = []
    encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    white = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (0, 255)])
    network.teaching.real(torch.from_numpy(network.preprocess.normalise(white)))
    torch.testing.assert_close(seen[0][0], torch.full((3, 64, 64), -1.0))
    torch.testing.assert_close(seen[0][1], torch.full((3, 64, 64), 1.0))
    # its map of 7 × 7 is brought to the student's size
    total_loss(network.train().loss_terms(groups())).backward()
    assert "real_encoder" not in dict(network.kwargs)
    path.unlink()
    safetensors.torch.save_file({"conv1.weight": torch.rand(3)}, path)
    for kwargs, reason in (
        ({"real_encoder": str(path)}, "does not fit this backbone"),
        ({"real_encoder": str(path), "real_init": "download"}, "real_init belongs to the stand-in"),
        ({"real_init": "nowhere.safetensors"}, "nowhere.safetensors is no readable"),
    ):
        with pytest.raises(UsageError, match=reason):
            small(**kwargs)


def test_draws_are_those_of_torch_s_seed() -> None:
    network, batch = small().eval(), groups()
    values = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        values.append(float(total_loss(network.loss_terms(batch)).detach()))
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("teachers", [True, False])
def test_light_settings_keep_the_contract(teachers: bool) -> None:
    check_detector("lsda", **LIGHT, teachers=teachers)


def test_it_learns_two_groups_by_heart() -> None:
    network, batch = small().train(), groups()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(24):
        terms = {term.name: term for term in network.loss_terms(batch)}
        optimizer.zero_grad()
        total_loss(tuple(terms.values())).backward()
        optimizer.step()
    assert float(terms["bce"].value.detach()) < 0.1
    assert float(terms["domain"].value.detach()) < 0.1


def test_the_card_flags_the_encoder() -> None:
    card = fidelity_card(DETECTORS.get("lsda"))
    assert "real_encoder" in card.differs
    assert "random weights" in card.differs
