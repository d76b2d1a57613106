"""Exported files say what they cost: parity on real crops, int8 only where it holds, no pickles."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from dfdetect.cli.main import main
from dfdetect.data.crops import CropStore
from dfdetect.detectors import create_detector, load_detector, save_checkpoint
from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.checkpoint import Checkpoint, load_checkpoint, make_header, read_header
from dfdetect.errors import ContractError, UntrustedCheckpoint, UsageError
from dfdetect.export import ExportPlan, Int8Settings
from dfdetect.export.crops import item_batches, parted, split_items
from dfdetect.export.parity import Subject, made_up_parity, real_parity
from dfdetect.export.program import MadeProgram, read_program_header
from dfdetect.export.run import export_detector
from dfdetect.export.twin import onnx_twin
from dfdetect.provenance import sha256_file
from tests.stores import clip_row, make_clips, make_store

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnxscript") is None, reason="exporting needs dfdetect[export]"
)


def trained(folder: Path, name: str = "meso4", **kwargs: Any) -> Path:
    """A checkpoint of random weights that claims, in this folder, a training."""
    torch.manual_seed(0)
    network = create_detector(name, **kwargs)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
    folder.mkdir(exist_ok=True)
    path = folder / "weights.safetensors"
    save_checkpoint(path, network, make_header(network, trained=True, provenance={"n": "a test"}))
    return path


@pytest.fixture(scope="module")
def store(portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    folder = tmp_path_factory.mktemp("crops") / "toy"
    return make_store(folder, portrait, n_videos=4, n_frames=4, splits=("train", "val"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(
        tmp_path_factory.mktemp("run"), "backbone", model_name="test_efficientnet", size=64
    )


@pytest.fixture
def one_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace each checkpoint once for all tests: that is most of an export's time."""

    def twin(loaded: Checkpoint) -> bytes:
        if loaded.sha256 not in TWINS:
            TWINS[loaded.sha256] = onnx_twin(loaded)
        return TWINS[loaded.sha256]

    monkeypatch.setattr("dfdetect.export.run.onnx_twin", twin)


TWINS: dict[str, bytes] = {}
LENIENT = Int8Settings(calibration_faces=8, float_layers=(0,), max_auc_drop=1, max_logit_change=99)


# --- torch.export


@pytest.mark.parametrize(
    ("name", "kwargs"), [("meso4", {}), ("r2plus1d", {"frames": 4, "size": 32})]
)
def test_a_program_answers_like_its_checkpoint_for_any_batch(
    name: str, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    path = trained(tmp_path / "run", name, **kwargs)
    record = export_detector(ExportPlan(path, tmp_path / "x.pt2", "torch_export"))
    assert record.parity.source == "made-up"
    assert record.parity.max_relative <= 1e-4
    before = load_detector(path)
    # our own file, made just now
    program = torch.export.load(tmp_path / "x.pt2").module()
    size, frames = before.header.preprocess.size, before.header.frames
    clip = (frames,) if frames > 1 else ()
    crops = np.random.default_rng(2).integers(0, 256, (5, *clip, size, size, 3), np.uint8)
    pixels = torch.from_numpy(before.header.preprocess.normalise(crops))
    for number in (1, 2, 5):
        with torch.inference_mode():
            found = program(pixels[:number]).numpy()
        np.testing.assert_allclose(found, before.logits(crops[:number]), rtol=1e-4, atol=1e-5)


def test_a_program_says_what_it_is_but_not_where_it_was_made(tmp_path: Path) -> None:
    path = trained(tmp_path / "run")
    for name in ("a.pt2", "b.pt2"):
        export_detector(ExportPlan(path, tmp_path / name, "torch_export"))
    assert sha256_file(tmp_path / "a.pt2") == sha256_file(tmp_path / "b.pt2")
    header, parent = read_program_header(tmp_path / "a.pt2"), read_header(path)
    assert dict(header.provenance) == {"n": "a test", "checkpoint_sha256": sha256_file(path)}
    assert dataclasses.replace(header, provenance=parent.provenance) == parent
    with zipfile.ZipFile(tmp_path / "a.pt2") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    for trace in (
        b"site-packages",
        str(tmp_path).encode(),
        str(Path.home()).encode() + b"/",
        b".py",
    ):
        assert trace not in content


def test_nobody_elses_program_is_loaded_or_unpickled(tmp_path: Path) -> None:
    """`torch.export.load` would run this file's code; nothing of ours does."""

    class Gadget:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    hostile = tmp_path / "x.pt2"
    with zipfile.ZipFile(hostile, "w") as archive:
        archive.writestr("archive/data/weights/weight_0", pickle.dumps(Gadget()))
    with pytest.raises(UntrustedCheckpoint, match="0 headers"):
        read_program_header(hostile)
    with pytest.raises(UsageError, match=r"expected \.safetensors or \.onnx"):
        load_detector(hostile)
    assert main(["export", f"checkpoint={hostile}", f"out={tmp_path / 'y.onnx'}"]) == 2
    (tmp_path / "no.pt2").write_bytes(b"no archive")
    with pytest.raises(UntrustedCheckpoint, match="no program of dfdetect"):
        read_program_header(tmp_path / "no.pt2")
    assert not (tmp_path / "ran").exists()


# --- parity


class Fixed:
    """A detector whose logit is the crop's mean, plus something."""

    def __init__(self, header: CheckpointHeader, slope: float, noise: float) -> None:
        self.header, self.weights_sha256 = header, "0" * 64
        self.slope, self.noise = slope, noise

    def logits(self, crops: np.ndarray) -> np.ndarray:
        values = crops.reshape(len(crops), -1).astype(np.float64)
        wobble = np.sin(values.sum(1))
        return np.asarray(self.slope * values.mean(1) / 10 + self.noise * wobble, np.float32)


def header_of(size: int = 64) -> CheckpointHeader:
    network = create_detector("backbone", model_name="test_efficientnet", size=size)
    return make_header(network, trained=True)


def test_parity_is_what_the_crops_say(store: CropStore) -> None:
    header = header_of()
    before, after = Fixed(header, 1.0, 0.2), Fixed(header, 1.0, 1.5)
    items = split_items([store], header, None)
    rows = items.videos.by_id
    videos = {name: Subject(row.dataset, row.label) for name, row in rows.items()}
    parity = real_parity(before, after, item_batches(items, header), videos, "x", n_bootstrap=300)

    batches = list(item_batches(items, header))
    old = np.concatenate([before.logits(batch.images) for batch in batches]).astype(float)
    new = np.concatenate([after.logits(batch.images) for batch in batches]).astype(float)
    assert parity.n_items == len(old) == 8 * 4
    assert parity.n_videos == 8
    assert parity.max_difference == pytest.approx(np.abs(new - old).max())
    assert parity.mean_difference == pytest.approx(np.abs(new - old).mean())
    assert parity.mean_shift == pytest.approx((new - old).mean())
    of = np.array([key.video_id for batch in batches for key in batch.keys])
    ids = sorted(set(of))
    labels = [rows[video].label for video in ids]
    means = [[values[of == video].mean() for video in ids] for values in (old, new)]
    (auc,) = parity.aucs
    assert (auc.dataset, auc.n_real, auc.n_fake) == ("toy", 4, 4)
    assert auc.before.value == pytest.approx(roc_auc_score(labels, means[0]))
    assert auc.after.value == pytest.approx(roc_auc_score(labels, means[1]))
    assert auc.drop.value == pytest.approx(auc.before.value - auc.after.value)
    assert auc.drop.interval is not None
    assert auc.drop.interval.low <= auc.drop.value <= auc.drop.interval.high
    furthest = max(abs(a - b) for a, b in zip(*means, strict=True))
    assert parity.max_video_difference == pytest.approx(furthest)


def test_equal_detectors_differ_in_nothing_but_time(store: CropStore) -> None:
    header = header_of()
    same = Fixed(header, 1.0, 0.3)
    items = split_items([store], header, 2)
    videos = {name: Subject("toy", row.label) for name, row in items.videos.by_id.items()}
    parity = real_parity(same, same, item_batches(items, header), videos, "x", n_bootstrap=200)
    assert (parity.n_items, parity.max_difference, parity.mean_shift) == (16, 0, 0)
    drop = parity.aucs[0].drop
    assert drop.interval is not None
    assert (drop.value, drop.interval.low, drop.interval.high) == (0, 0, 0)
    assert parity.timing.speedup > 0
    # one class only: no AUC, and it is said for which dataset
    one = {name: Subject("toy", 0) for name in videos}
    alone = real_parity(same, same, item_batches(items, header), one, "x", n_bootstrap=200)
    assert (alone.aucs, alone.undefined) == ((), ("toy",))
    made_up = made_up_parity(same, same, np.zeros((3, 64, 64, 3), np.uint8))
    assert (made_up.n_videos, made_up.max_video_difference, made_up.aucs) == (0, None, ())


@pytest.mark.parametrize("wanted", [1, 8, 1000])
def test_calibration_and_measurement_share_no_crop(store: CropStore, wanted: int) -> None:
    items = split_items([store], header_of(), None)
    some, others = parted(items, wanted, 1)
    keys = [{face.key for face in part} for part in (some, others)]
    assert len(some) == min(wanted, len(items) // 2)
    assert not keys[0] & keys[1]
    assert keys[0] | keys[1] == {face.key for face in items}
    if wanted >= 8:
        assert {key.video_id for key in keys[0]} == set(items.videos.by_id)


# --- int8


@needs_onnx
@pytest.mark.usefixtures("one_twin")
def test_int8_runs_as_any_onnx_file_and_says_what_it_is(
    store: CropStore, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.onnx"
    record = export_detector(ExportPlan(checkpoint, out, "int8", (store,), int8=LENIENT))
    detector, parent = load_detector(out), load_detector(checkpoint)
    told = dict(detector.header.provenance)
    assert told["checkpoint_sha256"] == sha256_file(checkpoint)
    assert "0 layers left in float32, ranges of 8 items of val (toy)" in told["quantised"]
    assert detector.header.preprocess == parent.header.preprocess
    assert record.n_calibrated == 8
    assert record.parity.n_items == 32 - 8
    assert 0 < record.parity.max_difference < 99
    by_role = {one.role: one for one in record.files}
    assert by_role["int8"].sha256 == detector.weights_sha256 == sha256_file(out)
    assert by_role["int8"].n_bytes < 0.5 * by_role["float32 twin"].n_bytes
    crops = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), np.uint8)
    alone = np.concatenate([detector.logits(crop[None]) for crop in crops])
    np.testing.assert_allclose(detector.logits(crops), alone, atol=1e-5)
    assert not (detector.logits(crops) == parent.logits(crops)).all()


@pytest.mark.slow
@needs_onnx
def test_int8_of_clips(portrait: np.ndarray, tmp_path: Path) -> None:

    videos = [clip_row(f"{name}{label}", label, split="val") for name in "abc" for label in (0, 1)]
    clips = make_clips(tmp_path / "clips", portrait, videos, 8)
    path = trained(tmp_path / "run", "r2plus1d", frames=4, size=32)
    plan = ExportPlan(path, tmp_path / "x.onnx", "int8", (clips,), int8=LENIENT)
    record = export_detector(plan)
    # two clips of four crops a video; eight crops to calibrate on are two clips
    assert (record.n_calibrated, record.parity.n_items, record.parity.n_videos) == (2, 10, 6)
    assert load_detector(plan.out).header.frames == 4


@needs_onnx
@pytest.mark.usefixtures("one_twin")
@pytest.mark.parametrize(
    ("allowed", "told"),
    [({"max_logit_change": 0.0}, "a logit moves by"), ({"max_auc_drop": 0.0}, "AUC by video")],
)
def test_int8_that_costs_too_much_is_refused_and_nothing_is_written(
    allowed: dict[str, float],
    told: str,
    store: CropStore,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "max_auc_drop" in allowed:
        compare = real_parity

        def worse(*args: Any, **kwargs: Any) -> Any:
            parity = compare(*args, **kwargs)
            (auc,) = parity.aucs
            drop = dataclasses.replace(auc.drop, value=0.01)
            return dataclasses.replace(parity, aucs=(dataclasses.replace(auc, drop=drop),))

        monkeypatch.setattr("dfdetect.export.run.real_parity", worse)
    strict = dataclasses.replace(LENIENT, **allowed)
    with pytest.raises(ContractError, match=f"does not hold.*{told}.*nothing was written"):
        export_detector(ExportPlan(checkpoint, tmp_path / "x.onnx", "int8", (store,), int8=strict))
    assert list(tmp_path.iterdir()) == []


@needs_onnx
@pytest.mark.usefixtures("one_twin")
def test_int8_tries_in_turn_and_keeps_the_first_that_holds(
    store: CropStore, checkpoint: Path, tmp_path: Path
) -> None:
    probe = dataclasses.replace(LENIENT, float_layers=(0, 6, 9999))
    plan = ExportPlan(checkpoint, tmp_path / "x.onnx", "int8", (store,), int8=probe)
    limit = export_detector(plan).parity.max_difference
    strict = dataclasses.replace(probe, max_logit_change=0.999 * limit)
    try:
        record = export_detector(dataclasses.replace(plan, int8=strict))
    except ContractError as error:
        assert "0 layers in float32" in str(error)  # noqa: PT017 — either outcome is right
        assert "6 layers in float32" in str(error)  # noqa: PT017
    else:
        assert [one.float_layers for one in record.attempts] == [0, 6]
        assert record.attempts[0].refused
        assert record.parity.max_difference <= strict.max_logit_change


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"format": "int4"}, "unknown format 'int4'"),
        ({"format": "int8"}, "give a crop store"),
        ({"format": "torch_export"}, r"must end in \.pt2"),
    ],
)
def test_a_plan_that_cannot_be_met_is_a_sentence(kwargs: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ExportPlan(Path("c.safetensors"), Path("x.onnx"), **kwargs)


# --- the command


@needs_onnx
@pytest.mark.usefixtures("one_twin")
def test_the_command_writes_file_figures_and_card(
    store: CropStore, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.onnx"
    words = [f"checkpoint={checkpoint}", f"out={out}", f"crops=[{store.folder}]", "n_bootstrap=100"]
    assert main(["export", *words]) == 0
    printed = capsys.readouterr().out
    assert "AUC by video on toy, n=4+4" in printed
    beside = ("card.json", "card.md", "parity.json", "parity.md")
    names = {"x.onnx", *(f"x.onnx.{ending}" for ending in beside)}
    assert {path.name for path in tmp_path.iterdir()} == names
    record = json.loads((tmp_path / "x.onnx.parity.json").read_text())
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert record["files"][-1] == {
        "role": "onnx", "name": "x.onnx", "n_bytes": out.stat().st_size, "sha256": digest,
    }  # fmt: skip
    assert record["parity"]["max_relative"] <= 1e-4
    assert record["parity"]["aucs"][0]["drop"]["value"] == 0
    assert record["command"].startswith("dfdetect export")
    assert record["parents"][0][0] == "crops of toy"
    for name in ("x.onnx.card.json", "x.onnx.card.md", "x.onnx.parity.md"):
        text = (tmp_path / name).read_text()
        assert digest in text
        assert "AUC by video" in text
    assert "Nobody has written down the limits" in (tmp_path / "x.onnx.card.md").read_text()


def test_a_wrong_request_is_a_sentence_and_code_2(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for words, told in (
        (["format=int8", f"out={tmp_path / 'x.onnx'}"], "give a crop store"),
        (["format=onnx", f"out={tmp_path / 'x.pt2'}"], "must end in .onnx"),
        (["int8.float_layers=[]", f"out={tmp_path / 'x.onnx'}"], "int8.float_layers"),
        (["bundle=true", "format=int8", f"out={tmp_path}"], "bundle=true ships ONNX"),
    ):
        assert main(["export", f"checkpoint={checkpoint}", *words]) == 2
        assert told in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_made_programs_are_detectors(tmp_path: Path) -> None:
    loaded = load_checkpoint(trained(tmp_path))
    made = MadeProgram(loaded, loaded.header)
    assert made.weights_sha256 == hashlib.sha256(made.content).hexdigest()
    size = made.header.preprocess.size
    assert made.logits(np.zeros((2, size, size, 3), np.uint8)).shape == (2,)
