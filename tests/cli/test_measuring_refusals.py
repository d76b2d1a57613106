"""Hostile and clumsy input of the measuring verbs: a sentence, code 2, and nothing written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfdetect.cli.main import main
from tests.score_files import AS_THEIRS, videos_of, write_manifest, write_theirs
from tests.score_runs import video

Command = Callable[..., Any]

THEIRS = ["scores=a.csv", "manifest=m.parquet", *AS_THEIRS]
HOSTILE = r"""<script>alert(1)</script> | a & b $x_1$ \frac{1}{2} 100% #~^ "q" it's"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results folders `a` and `b`, and manifests good and bad."""
    folder = tmp_path_factory.mktemp("made")
    rows = videos_of(6)
    manifest = write_manifest(folder / "m.parquet", rows)
    write_manifest(folder / "hashed.parquet", rows, "hash")
    write_manifest(folder / "unsplit.parquet", videos_of(6, split=None))
    write_manifest(folder / "train.parquet", videos_of(6, split="train"))
    others = [video("mine/swap/x", 1), video("mine/original/y", 0)]
    write_manifest(folder / "other.parquet", others)
    for seed, name in enumerate("ab"):
        scores = folder / f"{name}.csv"
        write_theirs(scores, rows, seed, gap=3.0)
        words = [f"scores={scores}", f"manifest={manifest}", *AS_THEIRS, "n_bootstrap=0"]
        assert main(["evaluate", *words, f"out={folder / name}"]) == 0
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own with all that was made."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


EVALUATE = [
    (["scores=absent.csv", *THEIRS[1:]], "absent.csv is no file"),
    (["scores=a", *THEIRS[1:]], "a is no file"),
    ([THEIRS[0], "manifest=absent.parquet", *AS_THEIRS], "absent.parquet is missing"),
    ([THEIRS[0], "manifest=a.csv", *AS_THEIRS], "a.csv cannot be read as Parquet"),
    ([THEIRS[0], "manifest=other.parquet", *AS_THEIRS], "names no video of the manifest"),
    ([THEIRS[0], *AS_THEIRS], "go together"),
    ([], "give either crops=[FOLDER]"),
    (["crops=[absent]"], "absent/crops.parquet is missing"),
    ([*THEIRS, "checkpoint=x.onnx"], "leave out checkpoint="),
    ([*THEIRS, "columns.video=clp"], "did you mean 'clip'"),
    ([*THEIRS, "polarity=maybe"], "unknown polarity=maybe"),
    ([*THEIRS[:-1]], "say polarity=real"),
    ([*THEIRS, "trained_on=[ffpp]"], "trained_on=ffpp is not DATASET/METHOD"),
    ([*THEIRS, "name="], "name= is empty"),
    ([*THEIRS, "n_bootstrap=-1"], "n_bootstrap=-1 must be 0"),
    ([*THEIRS, "n_bootstrap=1000000000"], "must be 0 to 1000000"),
    ([*THEIRS, "seed=-1"], "seed=-1 must be 0 or more"),
    ([*THEIRS, "protocol.min_faces=0"], "protocol.min_faces=0"),
    ([*THEIRS, "protocol.aggregate=mediann"], "did you mean 'median_logit'"),
    ([*THEIRS, "protocl=strict"], "did you mean: protocol=strict"),
    ([*THEIRS, "split=val"], "protocol.split=val"),
    ([*THEIRS, "protocol.split=val"], "no video of split 'val' (it has: test)"),
    (
        [THEIRS[0], "manifest=unsplit.parquet", *AS_THEIRS, "protocol=strict"],
        "no video of split 'test' (it has: none)",
    ),
    (
        [
            THEIRS[0],
            "manifest=unsplit.parquet",
            *AS_THEIRS,
            "protocol=strict",
            "protocol.split=null",
        ],
        "split.strategy=official",
    ),
    ([THEIRS[0], "manifest=hashed.parquet", *AS_THEIRS, "protocol=strict"], "come from a hash"),
    ([THEIRS[0], "manifest=train.parquet", *AS_THEIRS], "(it has: train)"),
]


@pytest.mark.parametrize(("words", "told"), EVALUATE)
def test_evaluate_refuses(place: Path, dfdetect: Command, words: list[str], told: str) -> None:
    before = everything(place)
    answer = dfdetect("evaluate", *words, "out=results")
    assert answer.code == 2
    assert told in answer.complaint
    assert " @ $" not in answer.complaint
    assert everything(place) == before
    assert not Path("results").exists()


BENCHMARK = [
    (["runs=[a,absent]"], "absent is missing; make it with `dfdetect evaluate"),
    (["runs=[]"], "got none"),
    ([], "runs has no value yet"),
    (["runs=[a,a]"], "given twice: a, a"),
    (["runs=[a,copy]"], "got a, a; name them with names=[A,B]"),
    (["runs=[a,b]", "names=[x]"], "names has 1 entries for 2 runs"),
    (["runs=[a,b]", "names=[x,'']"], "a name is empty"),
    (["runs=[a,b]", "published_as=[x]"], "published_as has 1 entries"),
    (["runs=[a,b]", "protocols=[strct]"], "unknown protocol 'strct'"),
    (["runs=[a,b]", "protocols=[]"], "protocols with names of their own, got none"),
    (["runs=[a,b]", "robustness=[a]"], "a/curves.parquet is missing"),
    (["runs=[a,b]", "n_bootstrap=-1"], "n_bootstrap=-1"),
    (["runs=[old]"], "old/scores.parquet is scores version 1, wanted scores version 2"),
    (["runs=[cut]"], "cut/scores.parquet cannot be read as Parquet"),
    (["runs=[bare]"], "bare/videos.parquet is missing; make it with `dfdetect evaluate"),
    (["runs=[mixed]"], "do not hold a scored run"),
]
COMPARE = [
    (["a"], "comparing needs two runs or more"),
    (["a", "a"], "given twice: a, a"),
    (["a", "copy"], "name them with names=[A,B]"),
    (["a", "old"], "old/scores.parquet is scores version 1"),
    (["a", "b", "alpha=2"], "alpha=2.0 must lie between 0 and 1"),
    (["a", "b", "fewest=1"], "fewest=1 must be 2 or more"),
]


@pytest.fixture
def damaged(place: Path) -> Path:
    """Results folders that are not what they should be."""
    for name in ("copy", "old", "cut", "bare", "mixed"):
        shutil.copytree("a", name)
    table = pq.read_table("old/scores.parquet")
    metadata = dict(table.schema.metadata)
    metadata[b"dfdetect"] = metadata[b"dfdetect"].replace(b'"version": 2', b'"version": 1')
    pq.write_table(table.replace_schema_metadata(metadata), "old/scores.parquet")
    os.truncate("cut/scores.parquet", 500)
    Path("bare/videos.parquet").unlink()
    videos: pa.Table = pq.read_table("mixed/videos.parquet")
    pq.write_table(videos.slice(1), "mixed/videos.parquet")
    return place


@pytest.mark.parametrize(
    ("verb", "words", "told"),
    [(("benchmark",), *case) for case in BENCHMARK]
    + [(("benchmark", "compare"), *case) for case in COMPARE],
)
def test_tables_refuse(
    damaged: Path, dfdetect: Command, verb: tuple[str, ...], words: list[str], told: str
) -> None:
    before = everything(damaged)
    answer = dfdetect(*verb, *words, "out=tables")
    assert answer.code == 2
    assert told in answer.complaint
    assert everything(damaged) == before
    assert not Path("tables").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a"], "a diagnosis needs two sides"),
        (["a", "b", "published=x"], "a diagnosis needs two sides"),
        (["a", "a"], "given twice"),
        (["a", "old"], "old/scores.parquet is scores version 1"),
        (["a", "m.parquet"], "m.parquet is manifest version 2, wanted scores version 2"),
        (["a", "published=deepfakebench-table2/xception/celebdf_v22"], "did you mean"),
        (["a", "published=deepfakebench-table2/xception/celebdf_v2"], "it has ffpp with"),
        (["a", "b", "reading.metric=nonsense"], "unknown metric 'nonsense'"),
        (["a", "b", "reading.min_faces=0"], "reading.min_faces=0"),
        (["a", "b", "reading.dataset=mine"], "no genuine or no fake video of mine"),
        (["a", "b", "method=FaceSwap"], "did you mean: reading.method=FaceSwap"),
        (["a", "b", "out=b"], "b is a folder; name a file with out=FILE"),
        (["a", "b", "out=a.csv/why.md"], "a.csv is a file, not a folder"),
        (["a", "b", "seed=-1"], "seed=-1"),
    ],
)
def test_a_diagnosis_refuses(damaged: Path, dfdetect: Command, words: list[str], told: str) -> None:
    before = everything(damaged)
    answer = dfdetect("evaluate", "diagnose", *words)
    assert answer.code == 2
    assert told in answer.complaint
    assert answer.out == ""
    assert everything(damaged) == before


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", *THEIRS],
        ["benchmark", "runs=[a,b]"],
        ["benchmark", "compare", "a", "b"],
        ["benchmark", "robustness", "manifest=m.parquet", "data_root=."],
    ],
)
@pytest.mark.parametrize("out", ["a.csv", "a.csv/below", "locked/below"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    place: Path, dfdetect: Command, words: list[str], out: str
) -> None:
    Path("locked").mkdir(mode=0o500)
    if out.startswith("locked") and os.access("locked", os.W_OK):
        pytest.skip("this user may write everywhere")
    before = everything(place)
    answer = dfdetect(*words, f"out={out}")
    assert answer.code == 2
    assert "out=FOLDER" in answer.complaint
    assert answer.out == ""
    assert everything(place) == before


@pytest.mark.parametrize("words", [["benchmark", "runs=[a,b]"], ["benchmark", "compare", "a", "b"]])
def test_results_are_not_written_over_the_scores(
    place: Path, dfdetect: Command, words: list[str]
) -> None:
    before = everything(place)
    answer = dfdetect(*words, "out=a")
    assert answer.code == 2
    assert "a holds the scores" in answer.complaint
    assert everything(place) == before


def test_hostile_names_are_text_everywhere(place: Path, dfdetect: Command) -> None:
    words = [*THEIRS, f"name={HOSTILE}", "n_bootstrap=10", "out=evil"]
    assert dfdetect("evaluate", *words).code == 0
    told = dfdetect("benchmark", "runs=[evil,b]", f"title={HOSTILE}", "n_bootstrap=10", "out=t")
    assert told.code == 0
    assert HOSTILE in told.out
    assert dfdetect("benchmark", "compare", "evil", "b", "out=c").code == 0
    assert dfdetect("evaluate", "diagnose", "evil", "b", "out=d.md").code == 0
    written = [*Path("t").rglob("*.html"), *Path("t").rglob("*.svg"), *Path("t").rglob("*.md")]
    written += [Path("evil/results.md"), Path("c/comparison.md"), Path("d.md")]
    assert len(written) > 6
    for path in written:
        text = path.read_text()
        assert "<script>alert" not in text.replace(r"\<", "&lt;"), path
    latex = Path("t/results.tex").read_text()
    assert r"\textbackslash" in latex
    assert r"\frac" not in latex
    rows = Path("evil/results.md").read_text().splitlines()
    (row,) = [line for line in rows if line.startswith("| detector |")]
    assert row.replace(r"\|", "").count("|") == 3
