"""`dfdetect index`: builds, verifies and describes; exit codes, tables and what is written."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfdetect.data.datasets import DATASETS, create_dataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("laid")
    type(create_dataset("folder")).miniature(root)
    return root


@pytest.fixture
def copy(laid: Path, tmp_path: Path) -> Path:
    """Six pictures, four videos: a picture and a folder of two in `real/` and `fake/` each."""
    return Path(shutil.copytree(laid, tmp_path / "copy"))


@pytest.fixture
def index(dfdetect: Command, copy: Path, tmp_path: Path) -> Command:
    def run(*words: str) -> Any:
        usual = (f"data_root={copy}", f"out={tmp_path}/m.parquet", "split.strategy=all:train")
        return dfdetect("index", *usual, *words)

    return run


def test_building_shows_terms_counts_and_what_was_skipped(
    index: Command, copy: Path, tmp_path: Path
) -> None:
    for number in range(23):
        (copy / "fake" / f"bad{number:02d}.mp4").write_text("no video")
    answer = index()
    assert answer.code == 0
    assert answer.lines[:4] == [
        "Own videos and pictures. Licence: yours. Access: none needed",
        "split  method    label    videos",
        "train  fake      fake          3",
        "train  original  genuine       3",
    ]
    skipped = [line for line in answer.lines if line.startswith("skipped: ")]
    assert len(skipped) == 21
    assert skipped[0].startswith("skipped: fake/bad00.mp4: unreadable: ")
    assert skipped[20] == "skipped: and 3 more in the manifest"
    assert answer.lines[-1] == f"6 videos, 23 skipped: {tmp_path}/m.parquet"
    assert len(Manifest.read(tmp_path / "m.parquet").problems) == 23


def test_a_good_copy_is_complete_and_no_manifest_is_written(index: Command, tmp_path: Path) -> None:
    answer = index("mode=verify")
    assert (answer.code, answer.err) == (0, "")
    assert answer.lines == [
        "part      wanted  found  missing  unreadable",
        "fake      -           3        -           0",
        "original  -           3        -           0",
        "all       -           6        0           0",
        f"all findings: {tmp_path}/m.findings.csv",
        "complete: 6 videos of folder are readable; there is no number, list or hash to compare "
        "them with",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "m.findings.csv"]
    assert (tmp_path / "m.findings.csv").read_text() == "kind,path,detail\n"


def test_faults_are_shown_up_to_twenty_and_all_written(
    index: Command, copy: Path, tmp_path: Path
) -> None:
    for number in range(22):
        shutil.copy(copy / "fake" / "a.png", copy / "fake" / f"x{number:02d}.png")
    (copy / "real" / "b.png").write_text("no picture")
    answer = index("mode=verify")
    assert answer.code == 1
    assert answer.complaint == (
        f"23 findings in folder: 1 unreadable, 22 duplicate; see {tmp_path}/m.findings.csv"
    )
    assert sum(line.startswith("duplicate ") for line in answer.lines) == 21
    assert "duplicate" in answer.lines[-2]
    assert answer.lines[-2].endswith("and 2 more")
    with (tmp_path / "m.findings.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["kind"] for row in rows] == ["unreadable", *["duplicate"] * 22]
    assert not (tmp_path / "m.parquet").exists()
    # repaired, the list of faults is empty again
    for path in copy.glob("fake/x*.png"):
        path.unlink()
    (copy / "real" / "b.png").unlink()
    assert index("mode=verify").code == 0
    assert (tmp_path / "m.findings.csv").read_text() == "kind,path,detail\n"


def test_a_copy_is_compared_with_another_labs_manifest(
    index: Command, laid: Path, copy: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.parquet"
    build_manifest(create_dataset("folder"), laid, SplitRule("all:test")).write(theirs)
    answer = index("mode=verify", f"reference={theirs}")
    assert answer.code == 0
    assert answer.lines[-1] == (
        "complete: 6 videos of folder are readable and agree with theirs.parquet"
    )
    shutil.copy(copy / "fake" / "a.png", copy / "fake" / "b.png")
    (copy / "real" / "a.png").unlink()
    answer = index("mode=verify", f"reference={theirs}")
    assert answer.code == 1
    assert "3 findings in folder: 1 missing, 1 altered, 1 duplicate" in answer.complaint


def test_related_videos_of_another_manifest_stop_the_build(
    index: Command, laid: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.parquet"
    named = create_dataset("folder", name="theirs")
    build_manifest(named, laid, SplitRule("all:test")).write(theirs)
    answer = index(f"against=[{theirs}]")
    assert answer.code == 2
    assert "leak(s) between this manifest and those it must keep apart from" in answer.complaint
    assert "→ sha256:" in answer.complaint
    assert not (tmp_path / "m.parquet").exists()
    assert index("mode=verify", f"against=[{theirs}]").code == 1
    assert index(f"against=[{theirs}]", "split.strategy=all:test").code == 0
    assert "absent.parquet is missing" in index("against=[absent.parquet]").complaint


def test_a_dataset_made_from_another_must_agree_with_it(dfdetect: Command, tmp_path: Path) -> None:
    root, ffpp = tmp_path / "root", tmp_path / "ffpp.parquet"
    root.mkdir()
    # forgeries of FaceForensics++ videos, which lie below the same root
    type(create_dataset("deeperforensics")).miniature(root)
    sources = ("dataset=ffpp", "dataset.options.parts=[youtube]", f"data_root={root}")
    assert dfdetect("index", *sources, "split.strategy=all:val", f"out={ffpp}").code == 0
    forgeries = ("dataset=deeperforensics", "dataset.options.reals=none", f"data_root={root}")
    words = (*forgeries, "split=official", f"against=[{ffpp}]", f"out={tmp_path}/d.parquet")
    answer = dfdetect("index", *words)
    assert answer.code == 2
    assert "train and val share: deeperforensics/end_to_end/000_M004 → ffpp:000" in answer.complaint
    assert dfdetect("index", *words, "split.strategy=all:val").code == 0


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_dataset_is_described_without_a_folder(
    dfdetect: Command, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = dfdetect("index", "mode=describe", f"dataset={name}")
    assert answer.code == 0
    dataset = create_dataset(name)
    info = dataset.info
    told = {tuple(line.split(maxsplit=1)) for line in answer.lines}
    assert {
        ("licence", info.licence),
        ("access", info.access),
        ("labels", info.polarity),
        ("splits", info.splits),
    } <= told
    assert sum(word == "expected" for word, _ in told) == max(1, len(dataset.expected()))
    assert list(tmp_path.iterdir()) == []


def test_options_are_described_as_they_are_written(dfdetect: Command) -> None:
    chosen = "dataset.options.compressions=[raw,c40]"
    answer = dfdetect("index", "mode=describe", "dataset=ffpp", chosen)
    assert "dataset.options.compressions=[c23]   (here [raw,c40])" in answer.out
    described = dfdetect("index", "mode=describe", "dataset=folder")
    assert "dataset.options.csv=null" in described.out
    assert "dataset.options.folders_are_videos=true" in described.out
    assert "dataset.options.label_column=''" in described.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mode=check"], "unknown mode 'check'; choose one of build, verify, describe"),
        (["reference=m.parquet"], "mode=build reads no reference"),
        (["mode=verify", "reference=gone.txt"], "the reference gone.txt is not there"),
        (["mode=verify", "data_root=/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(index: Command, words: list[str], told: str) -> None:
    answer = index(*words)
    assert answer.code == 2
    assert told in answer.complaint


def test_a_terminal_gets_a_table_that_fits(
    index: Command, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    (copy / "fake" / "[red]\x1b[31m.mp4").write_text("no video")
    answer = index("mode=verify")
    assert "\x1b[31m" not in answer.out
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in answer.lines]
    table = [line for line in plain if not line.startswith("all findings")]
    assert max(map(len, table)) <= 60
    assert "[red]\\x1b[31m" in "".join(plain)


def test_the_installed_command_ends_with_the_same_codes(
    installed: Command, copy: Path, tmp_path: Path
) -> None:
    words = ("index", "mode=verify", f"data_root={copy}", "out=work/m.parquet")
    answer = installed(*words, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert answer.lines[-1].startswith("complete: 6 videos")
    assert os.listdir(tmp_path / "work") == ["m.findings.csv"]  # noqa: PTH208
    (copy / "fake" / "a.png").write_bytes(b"")
    answer = installed(*words, cwd=tmp_path)
    assert answer.code == 1
    assert answer.complaint.startswith("1 finding in folder: 1 unreadable")
