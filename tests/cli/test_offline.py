"""The guard: no socket leaves the machine while people verbs work, and all is as before after."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfdetect.cli.offline import NetworkOffError, network_off

Command = Callable[..., Any]
ADDRESS = ("192.0.2.1", 80)


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection(ADDRESS, timeout=0.1),
        lambda: socket.getaddrinfo("example.org", 80),
        lambda: socket.gethostbyname("example.org"),
        lambda: socket.socket().connect(ADDRESS),
        lambda: socket.socket().connect_ex(ADDRESS),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ADDRESS),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, ADDRESS),
    ],
)
def test_every_way_out_is_refused(reach: Callable[[], object]) -> None:
    with network_off(), pytest.raises(NetworkOffError, match="keeps off the network"):
        reach()


def test_the_machine_itself_stays_reachable(tmp_path: Path) -> None:
    with network_off(), socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))


def test_all_is_as_before_afterwards() -> None:
    names = ("connect", "connect_ex", "sendto", "sendmsg")
    before = [getattr(socket.socket, name) for name in names], socket.getaddrinfo
    with pytest.raises(RuntimeError), network_off(), network_off():
        raise RuntimeError
    assert before == ([getattr(socket.socket, name) for name in names], socket.getaddrinfo)


def test_predict_works_behind_the_guard(
    dfdetect: Command, detectors: Any, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfdetect.inference import Analyzer

    seen: list[str] = []
    original = Analyzer.analyze

    def spy(self: Analyzer, *args: Any) -> Any:
        with pytest.raises(NetworkOffError):
            socket.socket().connect(ADDRESS)
        seen.append("refused")
        return original(self, *args)

    monkeypatch.setattr(Analyzer, "analyze", spy)
    answer = dfdetect("predict", film, "--detector", detectors.clear, "--out", tmp_path)
    assert answer.code == 0
    assert seen == ["refused"]


def test_onnx_runtime_keeps_no_identifier_and_reports_nothing(tmp_path: Path) -> None:
    # from 1.29 on it does both unless told otherwise, but never where it believes to be tested
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    program = "from dfdetect.faces.finder import create_finder; create_finder('onnx')"
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
