"""Help, versions, faults and interruptions: one sentence each, and the right exit code."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dfdetect.cli import dialect
from dfdetect.cli.main import main
from dfdetect.cli.terminal import extraction_bar, note, printable, progress_bar
from dfdetect.data.crops import ExtractProgress

Command = Callable[..., Any]


def test_help_names_every_verb_and_exit_code(dfdetect: Command) -> None:
    answer = dfdetect("--help")
    assert answer.code == 0
    for verb in (*dialect.PEOPLE_VERBS, *dialect.LAB_VERBS):
        assert f"\n  {verb}" in answer.out
    assert "0 analysed, 2 usage, 3 inconclusive, 4 no face, 5 unreadable" in answer.out
    assert dfdetect().code == 2


@pytest.mark.parametrize("verb", dialect.PEOPLE_VERBS)
def test_people_verbs_have_help(dfdetect: Command, verb: str) -> None:
    answer = dfdetect(verb, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"usage: dfdetect {verb}")


def test_version(dfdetect: Command) -> None:
    assert dfdetect("--version").out.startswith("dfdetect 0.")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a fault into dfdetect itself."""

    def explode(_clip: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("dfdetect.cli.predict.named", explode)


def test_a_fault_is_one_sentence(dfdetect: Command, faulty: None) -> None:
    answer = dfdetect("predict", "clip.mp4")
    assert answer.code == 1
    assert answer.complaint == (
        "a fault in dfdetect itself (RuntimeError: first line); run the command again with "
        "--debug to see where"
    )


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_where(dfdetect: Command, faulty: None, place: int) -> None:
    words = ["predict", "clip.mp4"]
    words.insert(place, "--debug")
    answer = dfdetect(*words)
    assert answer.code == 1
    assert "Traceback" in answer.err
    assert "explode" in answer.err
    assert "--debug to see" not in answer.err


def test_interrupted(tmp_path: Path, project_root: Path, film: Path, detectors: Any) -> None:
    words = ["predict", film, film, film, "--frames", "10000", "--detector", detectors.clear]
    running = subprocess.Popen(
        [sys.executable, "-m", "dfdetect", *map(str, words), "--out", str(tmp_path / "out")],
        cwd=project_root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # what runs in the background of a shell, as tests under nohup, is deaf to Ctrl-C otherwise
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stderr is not None
    assert running.stderr.readline().startswith(b"Reading clip.mp4")
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"Traceback" not in err
    assert err.endswith(b"dfdetect: interrupted; nothing half-written is left behind\n")
    assert not list(tmp_path.rglob("*.part"))


def test_a_reader_that_leaves_is_no_fault(project_root: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "dfdetect", "--help"],
        cwd=project_root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()
    running.wait(timeout=60)


def test_a_terminal_of_ascii_only(project_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dfdetect", "--help"],
        cwd=project_root,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert b"usage: dfdetect VERB ?" in done.stdout


def test_nothing_in_a_name_reaches_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    note("a\x1b[31m\r\n\u202eb\udcff é")
    assert capsys.readouterr().err == "a\\x1b[31m\\r\\n\\u202eb\\udcff é\n"
    assert printable("plain “name” ü.mp4") == "plain “name” ü.mp4"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_a_log_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, is_drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar("Reading [bold]\x1b[31m.mp4") as progress:
            for done in range(4):
                progress(done, 3)
        assert bool(stream.getvalue()) == is_drawn
        assert ("Reading [bold]\\x1b[31m.mp4" in stream.getvalue()) == is_drawn


def test_an_extraction_shows_rate_and_counts_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "160")
    with extraction_bar("Extracting mine") as progress:
        assert progress is not None
        # ten of an earlier run, which are no speed of this one
        for done in range(10, 15):
            progress(ExtractProgress(done, 14, (("no_face", 3), ("ok", 4 * done))))
            time.sleep(0.15)
    drawn = stream.getvalue()
    assert "Extracting mine" in drawn
    assert "14/14" in drawn
    assert "no_face 3, ok 56" in drawn
    rates = [float(text) for text in re.findall(r"([\d.]+) videos/min", drawn)]
    assert rates
    assert max(rates) < 60 / 0.1
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with extraction_bar("Extracting mine") as progress:
        assert progress is None


def test_index_reaches_hydra(dfdetect: Command, tmp_path: Path) -> None:
    answer = dfdetect("index", "dataset=folder", f"data_root={tmp_path}", "no_such_key=1")
    assert answer.code == 2
    assert "no_such_key" in answer.out + answer.err


def test_scripts_are_the_verbs(project_root: Path) -> None:
    for verb in ("predict", "extract", "train", "evaluate", "export"):
        done = subprocess.run(
            [sys.executable, f"scripts/{verb}.py", "--nonsense"],
            cwd=project_root,
            env=os.environ | {"PYTHONPATH": str(project_root)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("dfdetect: ")
        assert verb in done.stderr


def test_main_is_what_the_console_script_calls(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dfdetect ")


def test_a_place_that_cannot_exist_is_no_fault(
    dfdetect: Callable[..., Any], tmp_path: Path, film: Path
) -> None:
    answer = dfdetect("predict", film, "--out", tmp_path / ("x" * 300))
    assert answer.code == 2
    assert "a fault in dfdetect itself" not in answer.err
    assert "name too long" in answer.err


def test_a_full_disk_is_no_fault(
    dfdetect: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write(*_arguments: object) -> None:
        # as a stream says it, without a name
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dfdetect.data.manifest.Manifest.write", write)
    answer = dfdetect(
        "index", "dataset=synthetic", "split=official",
        f"data_root={tmp_path}/clips", f"out={tmp_path}/m.parquet",
    )  # fmt: skip
    assert answer.code == 2
    assert "a fault in dfdetect itself" not in answer.err
    assert "No space left" in answer.err
    assert "make room" in answer.err
