"""Run every notebook of a folder from top to bottom and fail on the first error.

python scripts/run_notebooks.py notebooks
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main(folder: Path) -> int:
    """Execute the notebooks in a scratch folder, so that a run leaves nothing behind.

    What a notebook reads lies in folders beside it, of which it gets copies.
    """
    notebooks = sorted(folder.glob("*.ipynb"))
    if not notebooks:
        print(f"{folder} holds no notebook", file=sys.stderr)
        return 2
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        with tempfile.TemporaryDirectory() as scratch:
            for data in folder.iterdir():
                if data.is_dir() and not data.name.startswith("."):
                    shutil.copytree(data, Path(scratch) / data.name)
            NotebookClient(
                notebook,
                timeout=600,
                kernel_name="python3",
                resources={"metadata": {"path": scratch}},
            ).execute()
        print(f"{path}: {len(notebook.cells)} cells ran")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "notebooks")))
