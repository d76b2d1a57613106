"""The wrong dialect, the wrong verb and the wrong flag are answered with the right line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfdetect.cli import dialect

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["predict", "video=clip.mp4"], "dfdetect predict clip.mp4"),
        (["predict", "clip=a b.mp4", "out=there"], "dfdetect predict 'a b.mp4' --out there"),
        (["predict", "clip.mp4", "frames=8"], "dfdetect predict clip.mp4 --frames 8"),
        (["predict", "clip.mp4", "json=true"], "dfdetect predict clip.mp4 --json"),
        (["predict", "clip.mp4", "json=false"], "dfdetect predict clip.mp4"),
        (["predict", "clip.mp4", "trainer.steps=3"], "dfdetect predict clip.mp4"),
        (["verify", "report=r.json", "clip=c.mp4"], "dfdetect verify r.json --clip c.mp4"),
        (["demo", "out=there"], "dfdetect demo --out there"),
    ],
)
def test_people_verbs_answer_overrides(dfdetect: Command, words: list[str], right: str) -> None:
    answer = dfdetect(*words)
    assert answer.code == 2
    assert answer.complaint == f"{words[0]} takes flags: {right}"


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["train", "--epochs", "3"], "dfdetect train trainer.steps=3"),
        (["train", "--trainer.steps", "3"], "dfdetect train trainer.steps=3"),
        (["train", "--trainer.steps=3", "seed=1"], "dfdetect train trainer.steps=3 seed=1"),
        (["train", "folder"], "dfdetect train trainer.steps=3"),
        (
            ["index", "--dataset", "folder"],
            "dfdetect index dataset=folder data_root=/path/to/folder out=mine.parquet",
        ),
    ],
)
def test_lab_verbs_answer_flags(dfdetect: Command, words: list[str], right: str) -> None:
    answer = dfdetect(*words)
    assert answer.code == 2
    assert answer.complaint == f"{words[0]} takes key=value: {right}"


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.steps=3", "+new.key=1", "~logger", "crops=[a, b]"],
        ["--cfg", "job", "--resolve"],
        ["--cfg=job"],
        ["-m", "seed=1,2"],
        ["--config-dir", "mine", "experiment=mine"],
        ["--help"],
    ],
)
def test_overrides_and_hydras_own_flags_pass(words: list[str]) -> None:
    assert dialect.refuse_flags("train", words) is None


@pytest.mark.parametrize("verb", dialect.LAB_VERBS)
def test_the_example_of_a_lab_verb_is_in_its_dialect(verb: str) -> None:
    assert dialect.refuse_flags(verb, dialect.LAB_EXAMPLES[verb]) is None


def test_a_file_that_looks_like_an_override_is_a_file(
    dfdetect: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("video=clip.mp4").write_text("not a film")
    assert dfdetect("predict", "video=clip.mp4", "--detector", "none.onnx").code == 2
    assert "takes flags" not in dfdetect("predict", "video=clip.mp4").err
    # after -- everything is a file
    assert "takes flags" not in dfdetect("predict", "--", "clip=b.mp4").err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["predcit", "clip.mp4"], "did you mean: dfdetect predict clip.mp4"),
        (["Train", "seed=1"], "did you mean: dfdetect train seed=1"),
        (["--predict", "a.mp4"], "did you mean: dfdetect predict a.mp4"),
        (["clip.mp4", "--json"], "to analyse a clip: dfdetect predict clip.mp4 --json"),
        (["xyzzy"], "the verbs are predict, demo"),
        (["a\nb"], r"unknown verb 'a\nb'"),
    ],
)
def test_unknown_verbs(dfdetect: Command, words: list[str], expected: str) -> None:
    answer = dfdetect(*words)
    assert answer.code == 2
    assert expected in answer.complaint


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["predict", "clip.mp4", "--revael"], "did you mean --reveal"),
        (["predict", "clip.mp4", "--rev"], "did you mean --reveal"),
        (["predict", "clip.mp4", "--output=x"], "did you mean --out"),
        (["predict"], "CLIP"),
        (["predict", ""], "name is empty"),
        (["predict", "clip.mp4", "--frames", "0"], "whole number from 1 to"),
        (["predict", "clip.mp4", "--frames", "many"], "whole number from 1 to"),
        (["predict", "clip.mp4", "--finder", "dlib"], "dlib"),
        (["predict", "clip.mp4", "--detector", "missing.onnx"], "missing.onnx"),
        (["verify"], "report.json"),
        (["verify", "missing.json"], "missing.json"),
        (["models", "--detector", "missing.onnx"], "missing.onnx"),
    ],
)
def test_wrong_flags_and_values(dfdetect: Command, words: list[str], expected: str) -> None:
    answer = dfdetect(*words)
    assert answer.code == 2
    assert expected in answer.complaint
