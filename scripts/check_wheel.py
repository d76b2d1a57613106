"""Build the wheel, install it alone, and use it from a folder where the source is not.

python scripts/check_wheel.py

The fresh environment borrows the dependencies of the one that runs this script, so that the
check takes seconds; dfdetect itself comes from the wheel only.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

WHERE = """
import dfdetect, pathlib, sys
assert pathlib.Path(dfdetect.__file__).is_relative_to(sys.prefix), dfdetect.__file__
from dfdetect.config import config_dir
assert (config_dir() / "train.yaml").is_file(), config_dir()
assert config_dir().is_relative_to(sys.prefix), config_dir()
"""


def main() -> int:
    """Return 0 when the installed wheel finds its configs, lists models and runs the demo."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", scratch, str(ROOT))
        (wheel,) = folder.glob("dfdetect-*.whl")
        venv.create(folder / "env", with_pip=False, symlinks=True)
        python = str(folder / "env" / "bin" / "python")
        site = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        _run(
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel
        )
        # appended after the wheel's own folder; an editable install of the checkout is left out
        # because .pth files are only read in site folders proper
        (Path(site) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        _run(python, "-c", WHERE, cwd=folder)
        _run(python, "-m", "dfdetect", "models", cwd=folder)
        _run(python, "-m", "dfdetect", "demo", "--out", str(folder / "demo"), cwd=folder)
        print(f"{wheel.name}: installed, configs found, demo ran")
    return 0


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


if __name__ == "__main__":
    raise SystemExit(main())
