"""Evaluate, benchmark, compare and diagnose through the command: files, words and exit codes."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dfdetect.cli.main import main
from dfdetect.data.crops import extract_crops
from dfdetect.evaluation.results import read_results
from dfdetect.evaluation.run_files import read_run
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy
from tests.extractions import lay_clips
from tests.score_files import AS_THEIRS, videos_of, write_manifest, write_theirs

Command = Callable[..., Any]

FILES = ("results.csv", "results.md", "results.parquet", "run.json")
RUN_FILES = sorted([*FILES, "scores.parquet", "videos.parquet"])
QUICK = "n_bootstrap=20"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def command_in(folder: Path) -> str:
    return str(json.loads((folder / "run.json").read_text())["command"])


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, tuple[dict[str, float], ...]]:
    """A folder with the results folders `a` and `b`, and their logits by video."""
    folder = tmp_path_factory.mktemp("made")
    rows = videos_of()
    write_manifest(folder / "m.parquet", rows)
    means = tuple(
        write_theirs(folder / f"{name}.csv", rows, seed) for seed, name in enumerate("ab")
    )
    trained = "trained_on=[ffpp/original,ffpp/Deepfakes]"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in "ab":
            words = [f"scores={name}.csv", "manifest=m.parquet", *AS_THEIRS, trained, QUICK]
            assert main(["evaluate", *words, f"out={name}"]) == 0
    return folder, means


@pytest.fixture
def runs(
    made: tuple[Path, tuple[dict[str, float], ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[dict[str, float], ...]:
    """Copies of the results folders in the working folder; returns their logits by video."""
    folder, means = made
    shutil.copytree(folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return means


def test_crops_are_scored_and_measured(installed: Command, detectors: Any, tmp_path: Path) -> None:
    manifest = lay_clips(tmp_path / "clips", 10, n_frames=4)
    extract_crops(
        manifest, tmp_path / "clips", tmp_path / "crops", CropPolicy("square", 1.3, 64),
        FrameSampler(count=3),
    )  # fmt: skip
    words = [f"checkpoint={detectors.clear}", "crops=[crops]", QUICK, "out=results"]
    answer = installed("evaluate", *words, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert answer.lines[-1] == "scores, results and their hashes: results"
    out = tmp_path / "results"
    assert names_in(out) == RUN_FILES
    assert command_in(out) == shlex.join(["dfdetect", "evaluate", *words])
    run = read_run(out)
    assert set(run.videos.column("split").to_pylist()) == {"test"}
    assert run.scores.n_scored > 0
    # the protocol decides whose split
    val = installed("evaluate", *words[:3], "protocol.split=val", "out=val", cwd=tmp_path)
    assert val.code == 0
    assert set(read_run(tmp_path / "val").videos.column("split").to_pylist()) == {"val"}


def test_scores_of_anybody_are_measured(runs: tuple[dict[str, float], ...]) -> None:
    rows, header = read_results(Path("a/results.parquet"))
    found = {row.method: row for row in rows if (row.metric, row.unit) == ("auc", "video")}
    assert set(found) == {"all", "Deepfakes", "FaceSwap"}
    for method, row in found.items():
        taken = {
            name: logit
            for name, logit in runs[0].items()
            if method == "all" or name.split("/")[1] in ("original", method)
        }
        labels = ["original" not in name for name in taken]
        assert row.value == pytest.approx(roc_auc_score(labels, list(taken.values())))
    assert [found[method].exposure for method in found] == ["mixed", "seen", "held-out"]
    assert {"scores", "manifest", "manifest file"} <= {role for role, _ in header.parents}
    assert command_in(Path("a")).startswith("dfdetect evaluate scores=a.csv manifest=m.parquet ")


def test_jobs_of_a_sweep_are_measured_apart(runs: object, dfdetect: Command) -> None:
    words = ["scores=a.csv", "manifest=m.parquet", *AS_THEIRS, "n_bootstrap=0", "out=swept"]
    assert dfdetect("evaluate", "-m", *words, "protocol=plain,strict").code == 0
    assert names_in(Path("swept")) == ["job-000", "job-001"]
    for job, protocol in (("job-000", "plain"), ("job-001", "strict")):
        rows, _ = read_results(Path("swept") / job / "results.parquet")
        assert {row.protocol for row in rows} == {protocol}
        assert f"protocol={protocol}" in command_in(Path("swept") / job)


def test_low_coverage_is_written_and_has_a_code_of_its_own(runs: object, dfdetect: Command) -> None:
    lines = Path("a.csv").read_text().splitlines()
    # every second video, of nine frames each
    kept = [line for place, line in enumerate(lines[1:]) if place // 9 % 2]
    Path("half.csv").write_text("\n".join([lines[0], *kept]))
    words = ["scores=half.csv", "manifest=m.parquet", *AS_THEIRS, QUICK]
    strict = dfdetect("evaluate", *words, "protocol=strict", "out=strict")
    assert strict.code == 6
    assert "too few videos have a score" in strict.complaint
    assert strict.lines == [
        "scores, results and their hashes, of the videos that have a score: strict"
    ]
    assert names_in(Path("strict")) == RUN_FILES
    _, _, repair = strict.complaint.rpartition("say ")
    assert dfdetect("evaluate", *words, "protocol=strict", repair, "out=lower").code == 0
    tables = dfdetect("benchmark", "runs=[strict]", QUICK, "out=tables")
    assert tables.code == 6
    assert set(FILES) <= set(names_in(Path("tables")))
    _, _, repair = tables.complaint.rpartition("say ")
    assert dfdetect("benchmark", "runs=[strict]", repair, QUICK, "out=tables").code == 0


def test_a_benchmark_of_two_protocols(runs: object, dfdetect: Command) -> None:
    words = ["runs=[a,b]", "names=[first,second]", "title=Ours", QUICK, "out=tables"]
    answer = dfdetect("benchmark", *words)
    assert answer.code == 0
    assert answer.lines[-1] == "tables, figures and the page: tables"
    out = Path("tables")
    assert set(names_in(out)) == {*FILES, "results.tex", "benchmark.html", "figures"}
    rows, _ = read_results(out / "results.parquet")
    assert {row.protocol for row in rows} == {"strict", "deepfakebench"}
    assert {row.detector for row in rows} == {"first", "second"}
    assert "<title>Ours</title>" in (out / "benchmark.html").read_text()
    assert command_in(out) == shlex.join(["dfdetect", "benchmark", *words])


@pytest.mark.parametrize(
    ("design", "exposures"),
    [
        ("in_domain", {"seen"}),
        ("cross_manipulation", {"held-out"}),
        ("per_compression", {"seen", "held-out", "mixed"}),
    ],
)
def test_designs_choose_the_videos(
    runs: object, dfdetect: Command, design: str, exposures: set[str]
) -> None:
    words = [f"design={design}", "protocols=[plain]", "n_bootstrap=0", "out=designed"]
    assert dfdetect("benchmark", "runs=[a,b]", *words).code == 0
    rows, _ = read_results(Path("designed/results.parquet"))
    assert {row.exposure for row in rows} == exposures


def test_a_design_that_leaves_nothing_says_why(runs: object, dfdetect: Command) -> None:
    answer = dfdetect("benchmark", "runs=[a,b]", "design=cross_dataset", "out=designed")
    assert answer.code == 2
    assert "a: it was trained on ffpp" in answer.complaint
    assert not Path("designed").exists()


def test_comparing_takes_bare_folders(
    runs: tuple[dict[str, float], ...], dfdetect: Command
) -> None:
    Path("b").rename("it's lr=0.1")
    words = ["a", "it's lr=0.1", "names=[a,b]", "protocol=strict", "out=compared"]
    answer = dfdetect("benchmark", "compare", *words)
    assert answer.code == 0
    assert len(answer.lines) == 4
    assert command_in(Path("compared")) == shlex.join(["dfdetect", "benchmark", "compare", *words])
    table = (Path("compared") / "comparison.csv").read_text().splitlines()
    names = table[0].split(",")
    (row,) = (dict(zip(names, line.split(","), strict=False)) for line in table if ",all," in line)
    labels = ["original" not in name for name in runs[0]]
    aucs = [roc_auc_score(labels, list(means.values())) for means in runs]
    assert float(row["difference"]) == pytest.approx(aucs[0] - aucs[1])


def test_two_runs_and_a_published_number_are_diagnosed(runs: object, dfdetect: Command) -> None:
    answer = dfdetect("evaluate", "diagnose", "a", "b", "out=why.md", "reading.method=FaceSwap")
    assert answer.code == 0
    assert answer.lines[0].startswith("auc by video, ffpp, FaceSwap: ours ")
    assert answer.lines[0].split(": ")[0] in Path("why.md").read_text()
    turned = dfdetect(
        "evaluate", "scores=a.csv", "manifest=m.parquet", *AS_THEIRS[:-1], "polarity=fake",
        "n_bootstrap=0", "out=turned",
    )  # fmt: skip
    assert turned.code == 0
    told = dfdetect("evaluate", "diagnose", "a", "turned").out
    assert "polarity" in told
    published = "published=deepfakebench-table2/xception/ffpp_c23"
    told = dfdetect("evaluate", "diagnose", "a", published)
    assert told.code == 0
    assert "theirs 0.9637" in told.lines[0]


def test_a_sweep_of_diagnoses_needs_no_file(runs: object, dfdetect: Command) -> None:
    words = ["-m", "a", "b", "reading.method=Deepfakes,FaceSwap"]
    answer = dfdetect("evaluate", "diagnose", *words)
    assert answer.code == 0
    told = [line.split(": ")[0] for line in answer.lines if line.startswith("auc by video")]
    assert told == ["auc by video, ffpp, Deepfakes", "auc by video, ffpp, FaceSwap"]


def test_equal_words_give_equal_numbers(runs: object, dfdetect: Command) -> None:
    for out in ("one", "two"):
        assert dfdetect("benchmark", "runs=[a,b]", QUICK, "seed=3", f"out={out}").code == 0
    same = [Path(out, "results.csv").read_bytes() for out in ("one", "two")]
    assert same[0] == same[1]
    assert np.isfinite([row.value for row in read_results(Path("one/results.parquet"))[0]]).all()
