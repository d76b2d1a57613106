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
    ("words", "told"),
    [
        (
            ["benchmark", "--runs", "a"],
            "benchmark takes key=value: dfdetect benchmark 'runs=[results/a,results/b]' out=table",
        ),
        (
            ["benchmark", "compare", "--runs", "a", "b"],
            "benchmark compare takes key=value: dfdetect benchmark compare results/a results/b "
            "out=compared",
        ),
        (
            ["benchmark", "robustness", "mine.parquet"],
            "benchmark robustness takes key=value: dfdetect benchmark robustness "
            "manifest=mine.parquet data_root=/path/to/folder out=mine",
        ),
        (
            ["evaluate", "diagnoze", "a", "b"],
            "evaluate has no second word 'diagnoze'; did you mean: dfdetect evaluate diagnose a b",
        ),
        (
            ["benchmark", "--compare", "a", "b"],
            "benchmark has no second word '--compare'; did you mean: dfdetect benchmark compare "
            "a b",
        ),
        (
            ["compare", "a", "b"],
            "unknown verb 'compare'; did you mean: dfdetect benchmark compare a b",
        ),
        (
            ["train", "trainer.stps=3"],
            "train has no key 'trainer.stps'; did you mean: trainer.steps=3",
        ),
        (["index", "seed=3"], "index has no key 'seed'; did you mean: split.seed=3"),
    ],
)
def test_second_words_and_keys_that_are_not_there(
    dfdetect: Command, words: list[str], told: str
) -> None:
    answer = dfdetect(*words)
    assert answer.code == 2
    assert answer.complaint == told


TAKE_FOLDERS = [["evaluate", "diagnose"], ["benchmark", "compare"]]


@pytest.mark.parametrize("verb", TAKE_FOLDERS)
@pytest.mark.parametrize(
    "words", [["a", "my b", "--cfg", "job"], ["--cfg", "job", "a", "my b"], ["-c=job", "a", "my b"]]
)
def test_bare_folders_stand_beside_hydras_flags(
    dfdetect: Command, verb: list[str], words: list[str]
) -> None:
    answer = dfdetect(*verb, *words)
    assert answer.code == 0
    assert answer.out.startswith("runs:\n- a\n- my b\n")


@pytest.mark.parametrize(
    "words", [[verb] for verb in dialect.LAB_VERBS] + [["benchmark", "robustness"], *TAKE_FOLDERS]
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_the_verb_and_its_keys(dfdetect: Command, words: list[str], flag: str) -> None:
    answer = dfdetect(*words, flag)
    assert answer.code == 0
    assert answer.lines[0].startswith(f"dfdetect {' '.join(words)}: ")
    assert answer.lines[2].startswith(f"  dfdetect {' '.join(words)} ")
    assert "\nout: " in answer.out or "\nrun_dir: " in answer.out


@pytest.mark.parametrize("text", ["it's", "a\\b", "a\\", "a\\'b", "a,b [c] {d} = e", "ü “x”"])
def test_quoted_texts_come_back_from_hydras_grammar(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(f"runs=[{dialect.quoted(text)},b]")
    first, second = override.value()
    assert (str(first), second) == (text, "b")


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
