"""The laboratory verbs through the command: refusals are sentences, sweeps keep apart."""

from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfdetect.cli import lab
from dfdetect.cli.main import main


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder in the layout of dataset=folder, of four pictures without faces."""
    for number in range(4):
        folder = tmp_path / "pictures" / ("real" if number % 2 else "fake")
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), noise)
    return tmp_path / "pictures"


def test_a_folder_becomes_a_manifest_and_the_counts_are_said(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.parquet"
    code = main(["index", f"data_root={pictures}", "split.strategy=all:train", f"out={out}"])
    assert code == 0
    assert out.is_file()
    assert f"4 videos, 0 skipped: {out}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["index", "no_such_key=1"], "no_such_key"),
        (["index", "split=nonsense"], "nonsense"),
        (["index", "split.seed=many"], "many"),
        (["extract", "out=o"], "manifest"),
        (["extract", "manifest=absent.parquet", "out=o"], "absent.parquet"),
        (["index", "dataset.name=fodler", "data_root=."], "did you mean 'folder'"),
        (["train", "crops=[absent]", "sources=[]", "run_dir=r"], "absent"),
        (["train", "crops=[a]", "sources=[]", "run_dir=r", "trainer.steps=0"], "trainer.steps=0"),
        (["index", "split.train=0.95"], "add up to 1"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_code_2(
    words: list[str],
    told: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    printed = capfd.readouterr()
    assert told in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err
    assert list(tmp_path.iterdir()) == []


def test_the_composed_config_is_printed_and_nothing_runs(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["index", "--cfg", "job", "split.seed=7"]) == 0
    printed = capfd.readouterr().out
    assert "seed: 7" in printed
    assert "python/object" not in printed
    assert list(tmp_path.iterdir()) == []


def test_the_jobs_of_a_sweep_write_to_folders_of_their_own(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["split.strategy=all:train,all:val", f"data_root={pictures}", "out=m.parquet"]
    assert main(["index", "-m", *words]) == 0
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("m.parquet"))
    assert found == ["job-000/m.parquet", "job-001/m.parquet"]
    contents = {(tmp_path / path).read_bytes() for path in found}
    assert len(contents) == 2


def test_a_folder_with_accents_commas_and_quotes_needs_no_quoting(
    pictures: Path, tmp_path: Path
) -> None:
    strange = pictures.rename(tmp_path / "my vidéos, “all” of [them]'s")
    out = tmp_path / "ö.parquet"
    words = ["split.strategy=all:train", f"data_root={strange}", f"out={out}"]
    assert main(["index", *words]) == 0
    assert out.is_file()


def test_a_fault_in_a_task_is_no_usage_error(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("too many clips")

    monkeypatch.setattr(lab, "build_manifest", fail)
    assert main(["index", f"data_root={pictures}", f"out={tmp_path / 'm.parquet'}"]) == 1
    printed = capfd.readouterr()
    assert "too many clips" in printed.err
    assert "Traceback" not in printed.out + printed.err


def test_the_command_of_a_record_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands: list[str] = []
    monkeypatch.setattr(lab, "train", lambda _, command: commands.append(command))
    sources = "sources=[{dataset: mine, weight: 1, blend_share: 0}]"
    words = ["crops=[a]", sources, "run_dir=r"]
    assert main(["train", *words]) == 0
    assert shlex.split(commands.pop()) == ["dfdetect", "train", *words]
    assert main(["train", "-m", *words, "seed=1,2"]) == 0
    for number, command in enumerate(tuple(commands)):
        job = shlex.split(command)
        assert f"seed={number + 1}" in job
        assert f"run_dir=r/job-{number:03d}" in job
        assert "run_dir=r" not in job
        assert "-m" not in job
        assert main(job[1:]) == 0  # what it says is a command that composes


def test_a_wrong_data_root_leaves_no_store_of_missing_videos(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, out = tmp_path / "m.parquet", tmp_path / "store"
    assert (
        main(["index", f"data_root={pictures}", "split.strategy=all:train", f"out={manifest}"]) == 0
    )
    extract = [
        "extract",
        f"manifest={manifest}",
        f"out={out}",
        "faces=whole",
        "faces.landmarks=false",
    ]
    assert main([*extract, f"data_root={tmp_path}"]) == 2
    assert "none of the 4 videos" in capsys.readouterr().err
    assert not out.exists()
    assert main([*extract, f"data_root={pictures}"]) == 0


def test_a_list_that_is_not_utf8_is_a_sentence(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "list.csv").write_bytes(b"path,label\nr\xe9al/1.png,0\n")
    words = ["index", f"data_root={pictures}", "dataset.options.csv=list.csv"]
    assert main(words) == 2
    assert "is not UTF-8" in capsys.readouterr().err
