"""DF40: cropped frames of forgeries by forty methods, made from FaceForensics++ and Celeb-DF.

Yan et al., "DF40: Toward Next-Generation Deepfake Detection", NeurIPS 2024 Datasets and Benchmarks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from dfdetect.data.datasets.base import (
    DATASETS,
    ORIGINAL,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    Misnamed,
)
from dfdetect.data.datasets.celebdf import PREFIX, celeb_sources
from dfdetect.data.datasets.ffpp import official_splits
from dfdetect.data.datasets.layouts import folders_below, write_noise_pictures
from dfdetect.errors import UsageError
from dfdetect.types import FAKE, REAL

PARTS: Mapping[str, str] = {"train": "DF40_train", "test": "DF40"}
DOMAINS = ("ff", "cdf", "own")
REALS: Mapping[str, tuple[str, ...]] = {
    "ff": ("FaceForensics++/original_sequences/youtube/c23/frames",),
    "cdf": ("Celeb-DF-v2/Celeb-real/frames", "Celeb-DF-v2/YouTube-real/frames"),
}
"""The genuine frames that the authors publish beside the fakes, cropped in the same way."""

SYNTHESIS = (
    "vqgan", "stylegan2", "stylegan3", "styleganxl", "sd2.1", "ddim", "rddm", "pixart", "dit",
    "sit", "midjourney", "whichfaceisreal",
)  # fmt: skip
METHODS = (
    # face swaps
    "fsgan", "faceswap", "simswap", "inswap", "blendface", "uniface", "mobileswap", "e4s",
    "facedancer", "deepfacelab",
    # reenactments
    "fomm", "facevid2vid", "wav2lip", "mraa", "one_shot_free", "pirender", "tpsm", "lia", "danet",
    "sadtalker", "mcnet", "hyperreenact", "heygen",
    *SYNTHESIS,
    # edits
    "collabdiff", "e4e", "stargan", "starganv2", "styleclip",
)  # fmt: skip
ALIASES = {"whichisreal": "whichfaceisreal", "stargan2": "starganv2"}

IGNORED = ("landmarks", "masks", "__MACOSX")
LOOSE = ("fake", "real", "inversions")
"""Folders whose pictures belong to no video: each is one by itself."""


@DATASETS.register("df40")
@dataclass(frozen=True, slots=True)
class DF40(DatasetAdapter):
    """DF40's cropped frames: a folder of pictures is one video.

    `parts` are `train` (the folder `DF40_train`) and `test` (`DF40`); `methods` are folder names
    below them in any case, none for all; `domains` are `ff` and `cdf`, what a fake is made from,
    and `own` for the methods that bring genuine pictures of their own (`fake/`, `real/`). `reals`
    are the domains whose genuine frames are read too, from the authors' archives of them.

    A fake made from FaceForensics++ is in the split of the videos in its name; all others are
    test. Its source ids are those of FaceForensics++ and Celeb-DF.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="DF40",
        licence="CC BY-NC 4.0",
        access="https://github.com/YZY-stack/DF40",
        polarity="real/, FaceForensics++ and Celeb-DF-v2 are 0, every other frame is 1",
        splits="official: those of FaceForensics++ for what is made from it, all else is test",
    )

    parts: Sequence[str] = ("test",)
    methods: Sequence[str] = ()
    domains: Sequence[str] = DOMAINS
    reals: Sequence[str] = tuple(REALS)

    @property
    def name(self) -> str:
        """`df40`."""
        return "df40"

    def entries(self, root: Path) -> Iterator[DatasetEntry | Misnamed]:
        """Yield every folder of pictures of the wanted parts, methods and domains.

        What is of no layout that is known is yielded as misnamed.

        Raises:
            UsageError: An option is unknown, or a wanted part or genuine folder is not there.
        """
        self._check_options()
        for part in self.parts:
            _require(root, PARTS[part], "parts")
            for folder in sorted(path for path in (root / PARTS[part]).iterdir() if path.is_dir()):
                method = _method(folder.name)
                if folder.name in IGNORED:
                    continue
                if method is None:
                    reason = "its folder is no method of DF40; unpack each archive as <method>/"
                    yield Misnamed(folder.relative_to(root).as_posix(), reason)
                elif not self.methods or method in map(_method, self.methods):
                    yield from self._forged(root, folder, part, method)
        for domain in self.reals:
            # nothing but FaceForensics++ has a train part
            if domain in self.domains and (domain == "ff" or "test" in self.parts):
                yield from self._genuine(root, domain)

    def whole(self, root: Path) -> DatasetAdapter:
        """Return the dataset with all parts, methods and genuine frames that are there."""
        return dataclasses.replace(
            self,
            parts=tuple(part for part, folder in PARTS.items() if (root / folder).is_dir()),
            methods=(),
            domains=DOMAINS,
            reals=tuple(
                domain
                for domain, folders in REALS.items()
                if all((root / folder).is_dir() for folder in folders)
            ),
        )

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out methods of four layouts and the genuine frames beside them."""
        rng = np.random.default_rng(0)
        frames = ("000.png", "004.png", "012.png")
        for folder in (
            "DF40_train/simswap/frames/071_054",
            "DF40/simswap/ff/frames/953_974",
            "DF40/simswap/cdf/frames/id0_id1_0002",
            "DF40/RDDM/ff/974",
            "DF40/DiT/cdf/Fake_from_Youtube-real/00007",
            "DF40/stargan/fake",
            "DF40/stargan/real",
            *(f"{REALS['ff'][0]}/{name}" for name in ("071", "054", "953", "974")),
            f"{REALS['cdf'][0]}/id0_0002",
            f"{REALS['cdf'][1]}/00007",
        ):
            write_noise_pictures(root / folder, frames, rng)
        return cls(parts=("train", "test"))

    def _check_options(self) -> None:
        for option, values, known in (
            ("part", self.parts, tuple(PARTS)),
            ("domain", self.domains, DOMAINS),
            ("domain of genuine frames", self.reals, tuple(REALS)),
            ("method", map(str.lower, self.methods), (*METHODS, *ALIASES)),
        ):
            unknown = [value for value in values if value not in known]
            if unknown:
                raise UsageError(f"df40 has no {option} {unknown[0]!r}; it has {', '.join(known)}")

    def _forged(
        self, root: Path, folder: Path, part: str, method: str
    ) -> Iterator[DatasetEntry | Misnamed]:
        for place, pictures, videos in folders_below(folder, IGNORED):
            below = PurePosixPath(place.relative_to(root).as_posix())
            for name in videos:
                reason = "a whole video and no cropped frames; index it with dataset=folder"
                yield Misnamed(str(below / name), reason)
            together = [below] if pictures else []
            for inside in [below / name for name in pictures] if below.name in LOOSE else together:
                domain = _domain(inside, part)
                if domain is None:
                    yield Misnamed(str(inside), "it is below none of ff/, cdf/, fake/ and real/")
                elif domain in self.domains:
                    yield _forged_entry(inside, method, domain)

    def _genuine(self, root: Path, domain: str) -> Iterator[DatasetEntry | Misnamed]:
        for folder in REALS[domain]:
            _require(root, folder, "reals")
            for place, pictures, _ in folders_below(root / folder, IGNORED):
                if pictures:
                    item = _genuine_entry(PurePosixPath(place.relative_to(root).as_posix()), domain)
                    if isinstance(item, Misnamed) or self._wants(item.split):
                        yield item

    def _wants(self, split: str | None) -> bool:
        return ("test" if split == "test" else "train") in self.parts


def _require(root: Path, folder: str, option: str) -> None:
    if not (root / folder).is_dir():
        raise UsageError(
            f"{root} holds no {folder}; unpack the authors' archives so that it does, or leave it "
            f"out with dataset.options.{option}=[…]"
        )


def _method(folder: str) -> str | None:
    name = ALIASES.get(folder.lower(), folder.lower())
    return name if name in METHODS else None


def _domain(path: PurePosixPath, part: str) -> str | None:
    names = {"ff": "ff", "cdf": "cdf", "fake": "own", "real": "own"}
    found = (names[name] for name in path.parts[2:] if name in names)
    # the archives of the train part are all made from FaceForensics++ and say so nowhere
    return next(found, "ff" if part == "train" else None)


def _forged_entry(path: PurePosixPath, method: str, domain: str) -> DatasetEntry | Misnamed:
    genuine = domain == "own" and "real" in path.parts[2:]
    sources = _forged_sources(path, method, domain)
    if not sources:
        return Misnamed(str(path), f"its name tells no video of {_SETS[domain]}")
    splits = _splits(sources) if domain == "ff" else {"test"}
    if len(splits) != 1:
        return Misnamed(
            str(path), "its name joins videos of different splits of FaceForensics++: it has none"
        )
    return DatasetEntry(
        path=str(path),
        name=str(path),
        label=REAL if genuine else FAKE,
        method=ORIGINAL if genuine else method,
        source_ids=sources,
        split=splits.pop(),
    )


def _forged_sources(path: PurePosixPath, method: str, domain: str) -> tuple[str, ...]:
    stem, loose = path.stem, path.parent.name in LOOSE
    if domain == "own":
        return (f"{method}/{stem}",)
    if domain == "ff":
        return _ff_sources(stem)
    # a loose picture's number is a number and no video; what is drawn from noise shows nobody
    known = () if loose and stem.isdigit() else _cdf_sources(stem)
    return known or ((str(path),) if loose or method in SYNTHESIS else ())


def _genuine_entry(path: PurePosixPath, domain: str) -> DatasetEntry | Misnamed:
    sources = _ff_sources(path.stem) if domain == "ff" else _cdf_sources(path.stem)
    if len(sources) != (1 if path.stem.isdigit() else 2):
        return Misnamed(str(path), f"its name tells no video of {_SETS[domain]}")
    return DatasetEntry(
        path=str(path),
        name=str(path),
        label=REAL,
        method=ORIGINAL,
        source_ids=sources,
        split=next(iter(_splits(sources)), None) if domain == "ff" else "test",
    )


_SETS = {"ff": "FaceForensics++", "cdf": "Celeb-DF"}
_FF = "@ffpp:"


def _ff_sources(stem: str) -> tuple[str, ...]:
    # 071_054, or 071 and the name of a driving sound
    words = stem.split("_")
    known = [word for word in words[:2] if word in official_splits()]
    return tuple(sorted({f"{_FF}{word}" for word in known})) if words[0] in known else ()


def _cdf_sources(stem: str) -> tuple[str, ...]:
    if stem.isdigit() and len(stem) == 5:
        return (f"{PREFIX}youtube:{stem}",)
    return celeb_sources(stem.split("_"))


def _splits(sources: Sequence[str]) -> set[str]:
    return {official_splits()[source.removeprefix(_FF)] for source in sources}
