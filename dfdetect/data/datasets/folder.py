"""Your own videos or pictures: `real/` and `fake/` folders, or a CSV that lists them."""

from __future__ import annotations

import csv as csv_module
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import ClassVar

import cv2
import numpy as np

from dfdetect.data.datasets.base import (
    DATASETS,
    ORIGINAL,
    SPLITS,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
)
from dfdetect.data.datasets.layouts import folders_below
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import sha256_file
from dfdetect.types import FAKE, REAL

CLASSES = ((ORIGINAL, "real", REAL), ("", "fake", FAKE))
LABEL_WORDS = {"real": REAL, "genuine": REAL, "original": REAL, "fake": FAKE, "manipulated": FAKE}
SPLIT_WORDS = {"": None, "valid": "val", "validation": "val", **{name: name for name in SPLITS}}


@DATASETS.register("folder")
@dataclass(frozen=True, slots=True)
class FolderDataset(DatasetAdapter):
    """Own videos and pictures.

    Without `csv`, everything below `real/` is genuine and everything below `fake/` manipulated by
    `method`: videos at any depth, a picture directly in `real/` or `fake/` is a one-frame video,
    and a deeper folder of pictures is one video (with `folders_are_videos=False` each picture in
    it is one). Files of the same name below `real/` and `fake/` count as one source.

    With `csv` (separated by commas, tabs or semicolons, with a header; found relative to the root
    or to the working folder), each line is a video: a path, relative to the root or to the CSV's
    folder, and a label. The columns are named by the options; an empty name takes the first of the
    usual ones that is there (path: `path`, `file`; source: `source_ids`, `source_video`; the rest
    by their own name) and only path and label must exist. `source_column` may hold several ids,
    separated by `;`. `fake_label` is what the label column holds for a manipulated video and
    `real_label` for a genuine one, in place of 1/0 and fake/real.

    Example:
        >>> FolderDataset(name="mine", csv="list.csv", fake_label="0", real_label="1").name
        'mine'
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="Own videos and pictures",
        licence="yours",
        access="none needed",
        polarity="real/ is 0, fake/ is 1; in a CSV 1 or fake is 1 unless the options say otherwise",
        splits="yours: the CSV's split column; without one, use split=hash",
    )

    name: str = "folder"
    csv: str | None = None
    method: str = "fake"
    folders_are_videos: bool = True
    path_column: str = ""
    label_column: str = ""
    video_column: str = ""
    method_column: str = ""
    split_column: str = ""
    source_column: str = ""
    identity_column: str = ""
    fake_label: str = ""
    real_label: str = ""

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield the videos and pictures below `root`, or those that the CSV lists.

        Raises:
            UsageError: There are no `real/` and `fake/` folders, or the CSV or a column is missing.
            ContractError: A line of the CSV has a label or split that is not understood.
        """
        return self._listed(root) if self.csv else self._found(root)

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the CSV's hash, or nothing without one."""
        return (("csv", sha256_file(self._csv_path(root))),) if self.csv else ()

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out pictures, a folder of pictures and their forged twins."""
        rng = np.random.default_rng(0)
        for kind in ("real", "fake"):
            for name in ("a.png", "b.png", "clip/0.png", "clip/1.png"):
                path = root / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        return cls()

    def _found(self, root: Path) -> Iterator[DatasetEntry]:
        present = [folder for _, folder, _ in CLASSES if (root / folder).is_dir()]
        if not present:
            raise UsageError(
                f"{root} has neither a real/ nor a fake/ folder; make them, or list the files in a "
                "CSV and give dataset.options.csv=LIST.csv"
            )
        for method, folder, label in CLASSES:
            base = root / folder
            for path in self._videos_below(base) if folder in present else ():
                inner = path.relative_to(base).as_posix()
                yield DatasetEntry(
                    path=f"{folder}/{inner}",
                    name=f"{folder}/{inner}",
                    label=label,
                    method=method or self.method,
                    source_ids=(str(PurePosixPath(inner).with_suffix("")),),
                )

    def _videos_below(self, base: Path) -> Iterator[Path]:
        for folder, pictures, videos in folders_below(base):
            yield from (folder / name for name in videos)
            if not self.folders_are_videos or folder == base:
                yield from (folder / name for name in pictures)
            elif pictures:
                yield folder

    def _csv_path(self, root: Path) -> Path:
        candidates = (root / str(self.csv), Path(str(self.csv)))
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        raise UsageError(
            f"csv={self.csv} is neither below {root} nor in the working folder; check the path"
        )

    def _listed(self, root: Path) -> Iterator[DatasetEntry]:
        path = self._csv_path(root)
        text = io.StringIO(_text_of(path), newline="")
        first = text.readline()
        text.seek(0)
        delimiter = next((mark for mark in "\t,;" if mark in first), ",")
        lines = csv_module.DictReader(text, delimiter=delimiter)
        columns = self._columns(path, lines.fieldnames or ())
        seen: dict[str, str] = {}
        for line in lines:
            where = f"{path} line {lines.line_num}"
            entry = self._entry(where, root, path.parent, columns, line)
            if seen.setdefault(entry.name, where) != where:
                raise ContractError(
                    f"{where} names the video {entry.name!r} of {seen[entry.name]} again; "
                    "give each line its own video, and a folder as path for several frames"
                )
            yield entry

    def _columns(self, path: Path, header: Sequence[str]) -> dict[str, str]:
        wanted = {
            "path": (self.path_column, "path", "file"),
            "label": (self.label_column, "label"),
            "video": (self.video_column, "video"),
            "method": (self.method_column, "method"),
            "split": (self.split_column, "split"),
            "source": (self.source_column, "source_ids", "source_video"),
            "identity": (self.identity_column, "identity"),
        }
        columns = {}
        for role, (option, *usual) in wanted.items():
            names = [option] if option else usual
            found = next((name for name in names if name in header), None)
            if found is not None:
                columns[role] = found
            elif option or role in ("path", "label"):
                raise UsageError(
                    f"{path} has no column {' or '.join(names)} (it has {', '.join(header)}); "
                    f"name the right one with dataset.options.{role}_column=…"
                )
        return columns

    def _entry(
        self,
        where: str,
        root: Path,
        folder: Path,
        columns: Mapping[str, str],
        line: Mapping[str, str | None],
    ) -> DatasetEntry:
        cells = {role: (line[column] or "").strip() for role, column in columns.items()}
        path = _below_root(where, root, folder, cells["path"])
        label = self._label(where, cells["label"])
        video = cells.get("video") or str(PurePosixPath(path).with_suffix(""))
        sources = [source.strip() for source in cells.get("source", "").split(";")]
        if label == REAL or not any(sources):
            sources.append(video)
        identities = [person.strip() for person in cells.get("identity", "").split(";")]
        split = cells.get("split", "").lower()
        if split not in SPLIT_WORDS:
            raise ContractError(
                f"{where} has split {split!r}, wanted {', '.join(SPLITS)}; correct the CSV"
            )
        return DatasetEntry(
            path=path,
            name=video,
            label=label,
            method=ORIGINAL if label == REAL else cells.get("method") or self.method,
            source_ids=tuple(
                sorted(
                    {source for source in sources if source}
                    | {f"identity:{person}" for person in identities if person}
                )
            ),
            split=SPLIT_WORDS[split],
        )

    def _label(self, where: str, cell: str) -> int:
        if self.fake_label or self.real_label:
            words = {str(self.fake_label).lower(): FAKE, str(self.real_label).lower(): REAL}
        else:
            words = {"0": REAL, "1": FAKE, **LABEL_WORDS}
        if cell.lower() not in words or not cell:
            raise ContractError(
                f"{where} has label {cell!r}, wanted {' or '.join(filter(None, words))}; name "
                "the words of your list with dataset.options.fake_label=… and …real_label=…"
            )
        return words[cell.lower()]


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractError(
            f"{path} is not UTF-8 (byte {error.start}); save the list as “CSV UTF-8”"
        ) from None


def _below_root(where: str, root: Path, folder: Path, cell: str) -> str:
    # lists made on Windows hold backslashes; a manifest holds POSIX paths
    cell = cell.replace("\\", "/")
    if not PurePosixPath(cell).name:
        raise ContractError(f"{where} names no file ({cell!r}); correct the list")
    if not (root / cell).exists() and (folder / cell).exists():
        try:
            return (folder / cell).resolve().relative_to(root.resolve()).as_posix()
        except ValueError:
            raise ContractError(
                f"{where} names {folder / cell}, which is not below {root}; give a data_root that "
                "holds both"
            ) from None
    if PurePosixPath(cell).is_absolute() or PureWindowsPath(cell).drive:
        try:
            return Path(cell).relative_to(root).as_posix()
        except ValueError:
            raise ContractError(
                f"{where} names {cell}, which is not below {root}; give a data_root that holds it, "
                "or paths relative to it"
            ) from None
    return PurePosixPath(cell).as_posix()
