"""`dfdetect strangeness` through the command, on a tiny network and crops of one portrait."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfdetect.data.augment_settings import AugmentSettings
from dfdetect.detectors import create_detector, load_detector, read_header, save_checkpoint
from dfdetect.detectors.checkpoint import load_checkpoint, make_header
from dfdetect.evaluation.run_files import write_run
from dfdetect.evaluation.runs import network_facts
from dfdetect.evaluation.strangeness.fit import fit_on_crops
from dfdetect.evaluation.strangeness.settings import StrangenessSettings
from dfdetect.provenance import sha256_file
from dfdetect.types import Calibration
from tests.score_runs import run_of, video
from tests.stores import face_crop, make_store

Command = Callable[..., Any]

CALIBRATION = Calibration("platt", 1.0, 0.0, 1e-3, 1e3, 500, 500, "made up", "2026-01-01")
FACTS = {"trained_on": "a test", "strangeness_by": "an earlier fit"}


@pytest.fixture(scope="module")
def made(portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated checkpoint of random weights, and two stores."""
    folder = tmp_path_factory.mktemp("strangeness")
    torch.manual_seed(0)
    network = create_detector("backbone", model_name="test_efficientnet", size=64)
    header = make_header(network, trained=True, calibration=CALIBRATION, provenance=FACTS)
    save_checkpoint(folder / "mine.safetensors", network, header)
    meso = create_detector("meso4")
    save_checkpoint(folder / "meso.safetensors", meso, make_header(meso, trained=True))
    make_store(folder / "toy", portrait, "toy", n_videos=10, n_frames=8, splits=("train", "val"))
    make_store(folder / "few", portrait, "few", n_videos=2, n_frames=4, splits=("train", "val"))
    fit_on_crops(
        StrangenessSettings(
            checkpoint=folder / "mine.safetensors",
            crops=(folder / "toy", folder / "few"),
            out=folder / "strange.safetensors",
            share=0.1,
            views=1,
            per_video=None,
            per_dataset=None,
            augment=AugmentSettings(),
            seed=0,
        ),
        "dfdetect strangeness",
    )
    make_store(folder / "train", portrait, "train", n_videos=2, splits=("train",))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own with all that was made."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


GOOD = ("checkpoint=mine.safetensors", "crops=[toy,few]", "share=0.1")


def test_the_same_weights_come_back_and_tell_strangeness(
    place: Path, portrait: np.ndarray, dfdetect: Command
) -> None:
    answer = dfdetect("strangeness", *GOOD, "out=new/strange.safetensors")
    assert answer.code == 0, answer.err
    before, after = load_checkpoint("mine.safetensors"), load_checkpoint("new/strange.safetensors")
    header = after.header
    assert header.strangeness_limit is not None
    same = dataclasses.replace(header, strangeness_limit=None, provenance=())
    assert same == dataclasses.replace(before.header, provenance=())
    assert header.calibration == CALIBRATION
    told = dict(header.provenance)
    assert told["trained_on"] == "a test"
    assert told["strangeness_by"].startswith("dfdetect strangeness checkpoint=")
    assert told["strangeness_parent"] == f"weights {sha256_file(Path('mine.safetensors'))}"
    assert "toy" in told["strangeness_on"]
    state = after.network.state_dict()
    for name, tensor in before.network.state_dict().items():
        expected = tensor.half().float() if tensor.ndim >= 2 else tensor
        assert torch.equal(state[name], expected), name
    assert f"{header.strangeness_limit:.4f}" in answer.out
    # 10 people: a tenth of the genuine tracks is one
    (line,) = [line for line in answer.lines if line.startswith("toy (val): of 10 genuine")]
    _, n_strange, n_treated = (int(word) for word in line.split() if word.isdigit())
    assert max(n_strange, n_treated) <= 1
    crop, _ = face_crop(portrait, 64)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    _, strangeness = load_detector("new/strange.safetensors").judge(np.stack([crop, noise]))
    assert strangeness[1] > header.strangeness_limit
    assert strangeness[1] > strangeness[0]
    assert not [path for path in place.rglob("*") if path.name.startswith(".")]


@pytest.mark.usefixtures("place")
def test_the_same_call_writes_the_same_bytes(dfdetect: Command) -> None:
    words = (*GOOD, "out=a.safetensors", "views=0", "per_video=6", "per_dataset=60")
    assert dfdetect("strangeness", *words).code == 0
    first = sha256_file(Path("a.safetensors"))
    assert dfdetect("strangeness", *words).code == 0
    assert sha256_file(Path("a.safetensors")) == first


@pytest.mark.usefixtures("place")
def test_calibrating_keeps_it_and_it_keeps_the_calibration(dfdetect: Command) -> None:
    header = read_header("strange.safetensors")
    rng = np.random.default_rng(0)
    rows = [
        (
            video(f"ffpp/{kind}/{number:03d}", label, split="val", source_ids=(f"p{number}",)),
            (rng.normal(2.5 * label, 1.2) + rng.normal(0, 0.5, 10)).tolist(),
        )
        for number in range(60)
        for kind, label in (("original", 0), ("swap", 1))
    ]
    facts: dict[str, Any] = {"network": network_facts(header), "parents": (("weights", "5" * 64),)}
    write_run(run_of(rows, **facts), Path("run"))
    answer = dfdetect(
        "calibrate", "checkpoint=strange.safetensors", "scores=[run]", "out=both.safetensors"
    )
    assert answer.code == 0, answer.err
    both = read_header("both.safetensors")
    assert both.strangeness_limit == header.strangeness_limit
    assert both.calibration is not None
    assert both.calibration != CALIBRATION
    other = dfdetect(
        "strangeness", "checkpoint=both.safetensors", *GOOD[1:], "out=again.safetensors"
    )
    assert other.code == 0, other.err
    again = read_header("again.safetensors")
    assert again.calibration == both.calibration
    assert again.strangeness_limit == pytest.approx(header.strangeness_limit, rel=0.02)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"checkpoint": "mine.onnx"}, "must end in .safetensors"),
        ({"out": "mine.safetensors"}, "is the checkpoint itself"),
        ({"crops": "[]"}, "give the crops that the detector learned from"),
        ({"crops": "[toy,toy]"}, "given twice"),
        ({"crops": "[train]"}, "the val split has no usable crop"),
        ({"share": "0"}, "must lie between 0 and 1"),
        ({"share": "0.01"}, "needs 100 genuine tracks of a dataset in val, and there are 2 of few"),
        ({"views": "-1"}, "must be 0 or more"),
        ({"per_video": "0"}, "leaves nothing"),
        ({"per_dataset": "0"}, "leaves nothing"),
        ({"augment.cutout": "0.5"}, "whole faces"),
        ({"checkpoint": "meso.safetensors"}, "'meso4' cannot tell strangeness"),
        ({"checkpoint": "none.safetensors"}, "none.safetensors"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    changes: dict[str, str], reason: str, dfdetect: Command
) -> None:
    given = dict(word.split("=", 1) for word in (*GOOD, "out=new.safetensors")) | changes
    answer = dfdetect("strangeness", *(f"{key}={value}" for key, value in given.items()))
    assert answer.code != 0
    assert reason in answer.complaint
    assert not Path("new.safetensors").exists()


@pytest.mark.usefixtures("place")
@pytest.mark.skipif(
    importlib.util.find_spec("onnxscript") is None, reason="exporting needs dfdetect[export]"
)
def test_an_export_keeps_it_where_it_holds(dfdetect: Command) -> None:
    limit = read_header("strange.safetensors").strangeness_limit
    assert dfdetect("export", "checkpoint=strange.safetensors", "out=strange.onnx").code == 0
    assert read_header("strange.onnx").strangeness_limit == limit
    from dfdetect.export.program import read_program_header

    answer = dfdetect(
        "export", "checkpoint=strange.safetensors", "out=s.pt2", "format=torch_export"
    )
    assert answer.code == 0, answer.err
    assert read_program_header(Path("s.pt2")).strangeness_limit is None
