"""Where a result came from: hashes of files and values, the environment, safe writing."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "av", "opencv-python-headless", "onnxruntime", "torch", "timm", "pyarrow")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits.

    Example:
        >>> sha256_bytes(b"")[:16]
        'e3b0c44298fc1c14'
    """
    return hashlib.sha256(content).hexdigest()


def sha256_value(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON: equal settings have equal hashes.

    Dataclasses, mappings, sequences, strings, numbers, paths and None are understood; the order
    of keys does not matter.

    Raises:
        TypeError: The value holds something that has no canonical JSON.

    Example:
        >>> sha256_value({"a": 1, "b": 2}) == sha256_value({"b": 2, "a": 1})
        True
    """
    return sha256_bytes(canonical_json(value).encode())


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces, the same on every machine.

    Example:
        >>> canonical_json({"b": (1, 2), "a": None})
        '{"a":null,"b":[1,2]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no canonical JSON for {type(value).__name__}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block succeeds.

    A kill or an error leaves either the old file or none, never half a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes private files; an artefact gets the permissions of any new file
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@cache
def code_version() -> str:
    """Return the package's version, with the git commit where the code runs from a checkout.

    A checkout with changes that no commit holds is marked `.dirty`.
    """
    version = package_version("dfdetect") or "0+unknown"
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return version
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+g{commit}{'.dirty' if changed else ''}"


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout


def package_version(name: str) -> str | None:
    """Return an installed package's version, or None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """The software a result was made with."""

    dfdetect: str
    python: str
    system: str
    machine: str
    packages: tuple[tuple[str, str], ...]


def environment() -> Environment:
    """Return the running environment without importing any of the packages it names."""
    found = ((name, package_version(name)) for name in PACKAGES)
    return Environment(
        dfdetect=code_version(),
        python=platform.python_version(),
        system=platform.system(),
        machine=platform.machine(),
        packages=tuple((name, version) for name, version in found if version),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class RunRecord:
    """What is kept beside every artefact: the command, settings and parents it came from.

    `parents` maps a role (manifest, crops, weights) to the SHA-256 of the artefact used.
    """

    command: str
    config_sha256: str
    seed: int | None
    parents: tuple[tuple[str, str], ...]
    environment: Environment

    def write(self, path: Path) -> None:
        """Write the record as readable JSON, whole or not at all."""
        with written_whole(path) as part:
            part.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
