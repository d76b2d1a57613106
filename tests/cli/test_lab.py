"""The laboratory verbs through the command: refusals are sentences, sweeps keep apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

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
