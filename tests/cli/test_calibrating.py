"""`dfdetect calibrate` through the command: a file that predicts, a sentence for each refusal."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfdetect.data.videos import ManifestRow
from dfdetect.detectors import create_detector
from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.checkpoint import (
    load_checkpoint,
    load_detector,
    make_header,
    read_header,
    save_checkpoint,
)
from dfdetect.evaluation.run_files import SCORES_FILE, read_run, write_run
from dfdetect.evaluation.runs import network_facts
from dfdetect.provenance import sha256_file
from dfdetect.scoring.band_ratios import band_ratios
from tests.score_runs import run_of, video

Command = Callable[..., Any]

FACTS = {"trained_on": "everybody", "seed": "0", "calibrated_on_1": "last year's scores"}
SIBLING = "5" * 64


def people(dataset: str, split: str | None, start: int, n: int = 30) -> list[ManifestRow]:
    """Return `n` genuine videos and a forgery of each, from the person `start` on."""
    rows = []
    for number in range(start, start + n):
        for method, label in (("original", 0), ("swap", 1)):
            name = f"{dataset}/{method}/{number:03d}"
            rows.append(video(name, label, split=split, source_ids=(f"p{number}",)))
    return rows


def logits(rows: Sequence[ManifestRow], seed: int, gap: float = 2.5) -> list[tuple[Any, Any]]:
    """Return ten frames a video, whose mean tells the classes apart, but not always."""
    rng = np.random.default_rng(seed)
    return [
        (row, (rng.normal(gap * row.label, 1.2) + rng.normal(0, 0.5, 10)).tolist()) for row in rows
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and runs good and bad of it and of its siblings."""
    folder = tmp_path_factory.mktemp("made")
    network = create_detector("meso4")
    header = make_header(network, trained=True, provenance=FACTS)
    own = save_checkpoint(folder / "all.safetensors", network, header)
    untrained = dataclasses.replace(header, trained=False)
    save_checkpoint(folder / "untrained.safetensors", network, untrained)

    def write(
        name: str, rows: list[ManifestRow], gap: float = 2.5, weights: str = SIBLING, **facts: Any
    ) -> None:
        facts = {"network": network_facts(header), "parents": (("weights", weights),)} | facts
        run = run_of(logits(rows, len(name), gap), **facts)
        write_run(run, folder / name)

    fold1, fold2 = people("ffpp", "val", 0), people("ffpp", "test", 100)
    write("fold1", fold1)
    write("fold2", fold2)
    write("dfdc", people("dfdc", "test", 200, 60), weights=own)
    write("train", [*fold1, *people("ffpp", "train", 300, 2)])
    write("unsplit", people("ffpp", None, 400))
    write("overlap", [*people("ffpp", "val", 0, 1), *people("ffpp", "val", 500)])
    write("copied", [
        dataclasses.replace(fold1[0], video_id="mine/original/x", dataset="mine"),
        *people("mine", "val", 600),
    ])  # fmt: skip
    stills = [video(f"stills/original/{n:03d}", 0, split="val") for n in range(240)]
    write("stills", stills)
    write("useless", people("ffpp", "val", 700), gap=-2.5)
    write("few", people("ffpp", "val", 800, 1), gap=9.0)
    write("old", fold1, network=())
    write("bare", fold1, parents=())
    write("chosen", fold1, oracle="selected on val: figures on it are no measurement")
    other = make_header(create_detector("meso4", size=128), trained=True)
    write("small", fold1, network=network_facts(other))
    write("capsule", fold1, network=network_facts(dataclasses.replace(header, detector="capsule")))
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own with all that was made."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


GOOD = ["checkpoint=all.safetensors", "scores=[fold1,fold2,dfdc]"]


def header_of(path: str) -> CheckpointHeader:
    return read_header(Path(path))


@pytest.mark.usefixtures("place")
def test_the_weights_come_back_with_a_calibration(dfdetect: Command) -> None:
    answer = dfdetect("calibrate", *GOOD, "out=new/b.safetensors")
    assert answer.code == 0, answer.err
    before, after = load_checkpoint("all.safetensors"), load_checkpoint("new/b.safetensors")
    fitted = after.header.calibration
    assert fitted is not None
    assert before.header.calibration is None
    assert (fitted.n_real, fitted.n_fake) == (120, 120)
    assert fitted.set_name == (
        "dfdc, ffpp (test and val, one logit a video, by sibling weights that did not train on it)"
    )
    assert fitted.aggregate == "mean_logit"
    assert [(one.name, one.n_real, one.n_fake) for one in fitted.sets] == [
        ("dfdc", 60, 60),
        ("ffpp", 60, 60),
    ]
    assert [(point.false_alarm, point.logit is None) for point in fitted.operating_points] == [
        (0.01, False),
        (0.05, False),
    ]
    same = dataclasses.replace(after.header, calibration=None, provenance=())
    assert same == dataclasses.replace(before.header, provenance=())
    # stored as training stores: float16 where a tensor has two dimensions or more
    state, there = before.network.state_dict(), after.network.state_dict()
    assert state.keys() == there.keys()
    for name, tensor in state.items():
        expected = tensor.half().float() if tensor.ndim >= 2 else tensor
        assert bool((there[name] == expected).all()), name
    load_detector("new/b.safetensors")
    assert [path.name for path in Path("new").iterdir()] == ["b.safetensors"]


@pytest.mark.usefixtures("place")
def test_the_header_names_what_it_rests_on(dfdetect: Command) -> None:
    words = ["calibrate", *GOOD, "out=b.safetensors"]
    assert dfdetect(*words).code == 0
    told = dict(header_of("b.safetensors").provenance)
    assert told["calibrated_by"] == (
        "dfdetect calibrate checkpoint=all.safetensors 'scores=[fold1,fold2,dfdc]' "
        "out=b.safetensors"
    )
    scores = [sha256_file(Path(name) / SCORES_FILE) for name in ("fold1", "fold2", "dfdc")]
    assert [told[f"calibrated_on_{n}"] for n in (1, 2, 3)] == [
        f"30 genuine and 30 manipulated videos of ffpp (val); sibling weights {SIBLING}, "
        f"scores {scores[0]}",
        f"30 genuine and 30 manipulated videos of ffpp (test); sibling weights {SIBLING}, "
        f"scores {scores[1]}",
        "60 genuine and 60 manipulated videos of dfdc (test); these weights, calibrated "
        f"otherwise, {sha256_file(Path('all.safetensors'))}, scores {scores[2]}",
    ]
    # what else it said stays, but for the calibration of before
    assert {name: told[name] for name in ("trained_on", "seed")} == {
        "trained_on": "everybody",
        "seed": "0",
    }
    words = ["calibrate", "checkpoint=b.safetensors", "scores=[fold1]", "out=c.safetensors"]
    assert dfdetect(*words).code == 0
    assert [name for name, _ in header_of("c.safetensors").provenance] == [
        "calibrated_by",
        "calibrated_on_1",
        "seed",
        "trained_on",
    ]


@pytest.mark.usefixtures("place")
def test_what_it_says(dfdetect: Command) -> None:
    answer = dfdetect("calibrate", *GOOD, "out=b.safetensors")
    fitted = header_of("b.safetensors").calibration
    assert fitted is not None
    out = answer.out
    assert f"LR held between {fitted.lr_min:.3g} and {fitted.lr_max:.3g}" in out
    for name, rates in [("all", fitted.rates), *((one.name, one.rates) for one in fitted.sets)]:
        strong = rates[0]
        assert (
            f"{name}: strong signs in {strong.real_flagged} of {strong.n_real} genuine and "
            f"{strong.fake_flagged} of {strong.n_fake} manipulated" in out
        )
        none = band_ratios(rates)[-1]
        assert f"none {none.ratio:.3g} ({none.low:.3g} – {none.high:.3g})" in out
        assert f"{name}: inconclusive " in out
    for point in fitted.operating_points:
        assert (
            f"at most {100 * point.false_alarm:g} % false alarms: a logit above {point.logit:.4f}; "
            f"cross-fitted, it flags {point.real_flagged} of 120" in out
        )
    digest = hashlib.sha256(Path("b.safetensors").read_bytes()).hexdigest()
    assert answer.lines[-1] == f"checkpoint: b.safetensors, SHA-256 {digest}"


@pytest.mark.usefixtures("place")
def test_too_few_for_an_operating_point(dfdetect: Command) -> None:
    words = ["checkpoint=all.safetensors", "scores=[fold1]", "out=b.safetensors"]
    answer = dfdetect("calibrate", *words)
    assert "at most 1 % false alarms: 30 genuine videos are too few to support it" in answer.out


@pytest.mark.usefixtures("place")
def test_splits_aggregate_and_balance(dfdetect: Command) -> None:
    assert dfdetect("calibrate", *GOOD, "out=plain.safetensors").code == 0
    # fold1 is of val, the others of test
    some = dfdetect(
        "calibrate", *GOOD[:1], "scores=[fold2,dfdc]", "splits=[test]", "out=t.safetensors"
    )
    assert some.code == 0
    chosen = header_of("t.safetensors").calibration
    assert chosen is not None
    assert (chosen.n_real, chosen.set_name[:17]) == (90, "dfdc, ffpp (test,")
    refused = dfdetect("calibrate", *GOOD, "splits=[test]", "out=u.safetensors")
    assert refused.code == 2
    assert "fold1 has no scored video of the splits test (it has: val)" in refused.complaint
    found = {}
    for name, words in {"max": ["aggregate=max"], "balanced": ["balance=true"]}.items():
        assert dfdetect("calibrate", *GOOD, *words, f"out={name}.safetensors").code == 0
        found[name] = header_of(f"{name}.safetensors").calibration
    plain = header_of("plain.safetensors").calibration
    assert plain is not None
    assert found["max"].aggregate == "max"
    assert found["max"].operating_points[0].logit > plain.operating_points[0].logit
    # both datasets have as many videos, so that balance changes nothing but what is said
    assert found["balanced"].slope == pytest.approx(plain.slope)
    assert "datasets weighed alike" in found["balanced"].set_name


@pytest.mark.usefixtures("place")
def test_a_dataset_without_forgeries(dfdetect: Command) -> None:
    fitted = []
    for balance in ("true", "false"):
        words = ["scores=[fold1,stills]", f"balance={balance}", f"out={balance}.safetensors"]
        answer = dfdetect("calibrate", *GOOD[:1], *words)
        assert answer.code == 0, answer.err
        assert "stills: measured LR" not in answer.out
        assert "stills: inconclusive " in answer.out
        found = header_of(f"{balance}.safetensors").calibration
        assert found is not None
        assert [(one.name, one.n_real, one.n_fake) for one in found.sets] == [
            ("ffpp", 30, 30),
            ("stills", 240, 0),
        ]
        fitted.append(found)
    balanced, plain = fitted
    assert balanced.intercept != pytest.approx(plain.intercept, abs=1e-3)
    # thresholds are counts of clips, whatever they weigh in the curve
    assert balanced.operating_points == plain.operating_points


@pytest.mark.usefixtures("place")
def test_the_same_again(dfdetect: Command) -> None:
    for name in "xy":
        (Path(name)).mkdir()
        assert dfdetect("calibrate", *GOOD, f"out={name}/b.safetensors").code == 0
    first, second = (header_of(f"{name}/b.safetensors").calibration for name in "xy")
    assert first == second


REFUSED = [
    (["scores=[fold1,train]"], "train has scores of 4 videos of the split that its detector was"),
    (["scores=[fold1,overlap]"], "fold1 and overlap both hold 2 videos (by video_id: ffpp/"),
    (["scores=[fold1,copied]"], "fold1 and copied both hold 1 videos (by sha256:"),
    (["scores=[fold1,fold1]"], "a folder is given twice: fold1, fold1"),
    (["scores=[fold1,fold2/../fold1]"], "a folder is given twice"),
    (["scores=[]"], "give the scores to calibrate on"),
    ([], "scores has no value yet"),
    (
        ["scores=[small]"],
        "kwargs.size 128 instead of 256; preprocess.crop.size 128 instead of 256;",
    ),
    (["scores=[fold1,capsule]"], 'detector "capsule" instead of "meso4"'),
    (["scores=[old]"], "old does not say which network gave its scores; score it again"),
    (["scores=[bare]"], "bare does not say which network gave its scores"),
    (["scores=[chosen]"], "its weights were selected on val"),
    (["scores=[unsplit]"], "no scored video of the splits val, test (it has: none)"),
    (["scores=[useless]"], "higher scores do not go with manipulated clips"),
    (["scores=[few]"], "do not suffice to calibrate (calibration needs clips of at least two"),
    (["scores=[empty]"], "scores.parquet is missing"),
    (["scores=[absent]"], "is missing"),
    (["scores=[fold1]", "splits=[train]"], "splits=[train] must name some of val, test"),
    (["scores=[fold1]", "splits=[val,dev]"], "splits=[val,dev] must name some of val, test"),
    (["scores=[fold1]", "splits=[]"], "splits=[] must name some of val, test"),
    (["scores=[fold1]", "aggregate=mediann"], "did you mean 'median_logit'"),
    (["scores=[fold1]", "seed=-1"], "seed=-1 must be 0 or more"),
    (["scores=[fold1]", "split=val"], "did you mean: splits=val"),
    (["scores=[fold1]", "checkpoint=absent.safetensors"], "absent.safetensors is missing"),
    (["scores=[fold1]", "checkpoint=untrained.safetensors"], "holds an untrained 'meso4'"),
    (["scores=[fold1]", "checkpoint=all.onnx"], "checkpoint=all.onnx must end in .safetensors"),
    (["scores=[fold1]", "out=b.onnx"], "out=b.onnx must end in .safetensors; make ONNX of it"),
    (["scores=[fold1]", "out=fold1/../all.safetensors"], "is the checkpoint itself"),
    (["scores=[fold1]", "out=all.safetensors/b.safetensors"], "is a file, not a folder"),
]


@pytest.mark.parametrize(("words", "told"), REFUSED)
def test_refusals(place: Path, dfdetect: Command, words: list[str], told: str) -> None:
    before = {str(path): path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    given = dict(word.split("=", 1) for word in [*GOOD[:1], "out=b.safetensors", *words])
    answer = dfdetect("calibrate", *(f"{key}={value}" for key, value in given.items()))
    assert answer.code == 2
    assert told in answer.complaint
    after = {str(path): path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.usefixtures("place")
def test_scores_of_others_are_refused(dfdetect: Command) -> None:
    run = dataclasses.replace(read_run(Path("fold1")), unit="video", network=(), parents=())
    write_run(run, Path("theirs"))
    answer = dfdetect("calibrate", *GOOD[:1], "scores=[theirs]", "out=b.safetensors")
    assert answer.code == 2
    assert "theirs does not say which network" in answer.complaint
