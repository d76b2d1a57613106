"""What a record says of the code that ran: its commit, and whether the checkout had changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dfdetect.provenance import package_version

SAY = "from dfdetect.provenance import code_version; print(code_version())"


def version_in(checkout: Path) -> str:
    # -c looks in the working folder first, so this is the checkout's own code
    done = subprocess.run(
        [sys.executable, "-c", SAY], cwd=checkout, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_changed_checkout_says_so(project_root: Path, tmp_path: Path) -> None:
    if not (project_root / ".git").exists():
        pytest.skip("this is no checkout")
    # the files as they are now, committed in a history of their own
    package = tmp_path / "dfdetect"
    package.mkdir()
    for name in ("__init__.py", "provenance.py"):
        (package / name).write_bytes((project_root / "dfdetect" / name).read_bytes())
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    head = ["git", "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(head, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    clean = f"{package_version('dfdetect')}+g{commit.strip()}"
    assert version_in(tmp_path) == clean
    with (package / "provenance.py").open("a") as stream:
        stream.write("\n# a change that no commit holds\n")
    assert version_in(tmp_path) == f"{clean}.dirty"
