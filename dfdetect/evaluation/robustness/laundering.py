"""A clip and a condition → the clip as it arrives: degraded, re-encoded or shared, before any face.

The result is a real clip, which goes through the very same reading and face search as any other.
Sound is left out. What no codec of the condition coded is stored without loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from typing_extensions import Self

from dfdetect.errors import ContractError, UnreadableVideo, UsageError
from dfdetect.evaluation.results import CLEAN
from dfdetect.evaluation.robustness.clip_coding import (
    H264,
    H265,
    LOSSLESS_ENCODING,
    read_mark,
    write_frames,
)
from dfdetect.evaluation.robustness.clip_steps import Degrade, FrameRate, Reencode, Scale, Step
from dfdetect.evaluation.robustness.degradations import DEGRADATIONS, SEVERITIES
from dfdetect.evaluation.robustness.profiles import (
    Profile,
    profile_names,
    profiles_dir,
    read_profile,
)
from dfdetect.media import FrameSampler, printable, probe
from dfdetect.provenance import sha256_value
from dfdetect.registry import Registry
from dfdetect.types import Frame

DEGRADED, PROFILES, ALL = "degradations", "profiles", "all"
"""Words for all degradations, all shipped profiles, and both."""

_EVERY_FRAME = FrameSampler("all")
_SEPARATORS = re.compile(r"[\s:]+")


@dataclass(frozen=True, slots=True)
class Levels:
    """What is done to whole clips at five severities, mildest first; `source` says whose they are.

    `level` says in words what is stepped up.
    """

    steps: tuple[Step, ...]
    level: str
    source: str


CLIP_LEVELS: Registry[Levels] = Registry("degradation")
"""The degradations that are of a clip and not of its single pictures."""

CLIP_LEVELS.register("h264")(
    Levels(
        tuple(Reencode(crf, H264) for crf in (30, 32, 35, 38, 40)),
        "constant rate factor of libx264: 30, 32, 35, 38, 40",
        "DeeperForensics-1.0 (Jiang et al., CVPR 2020)",
    )
)
CLIP_LEVELS.register("h265")(
    Levels(
        tuple(Reencode(crf, H265) for crf in (35, 37, 40, 43, 45)),
        "constant rate factor of libx265: 35, 37, 40, 43, 45",
        "our choice: five above those of H.264, as 28 of x265 is like 23 of x264",
    )
)
CLIP_LEVELS.register("resize")(
    Levels(
        tuple(Scale(share=share) for share in (0.75, 0.5, 0.375, 0.25, 0.1875)),
        "share of the sides that is left: 0.75, 0.5, 0.375, 0.25, 0.1875",
        "our choice",
    )
)
CLIP_LEVELS.register("frame_rate")(
    Levels(
        tuple(FrameRate(nth=nth) for nth in (2, 3, 4, 6, 8)),
        "every so many frames one is kept: 2, 3, 4, 6, 8",
        "our choice",
    )
)


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """What is done to clips: `clean`, a degradation with its severity, or a profile without one.

    `family` of a profile of one's own is the path of its YAML file.
    """

    family: str
    severity: int | None = None

    def __post_init__(self) -> None:
        """Refuse a degradation without a severity, and a severity of anything else."""
        if self.is_degradation and self.severity not in SEVERITIES:
            raise UsageError(
                f"{self.family} comes in severities 1 to 5, not {self.severity}; write "
                f"{self.family!r} for all of them or '{self.family} 3' for one"
            )
        if not self.is_degradation and self.severity is not None:
            raise UsageError(f"{self.family} has no severities; leave {self.severity} out")

    @property
    def is_degradation(self) -> bool:
        """Whether it comes in severities."""
        return self.family in DEGRADATIONS or self.family in CLIP_LEVELS

    @property
    def name(self) -> str:
        """What tables call it, such as `jpeg 3`, `messenger` or `clean`."""
        family = Path(self.family).stem if _is_file(self.family) else self.family
        return family if self.severity is None else f"{family} {self.severity}"

    @property
    def slug(self) -> str:
        """The name as a folder's, such as `jpeg-3`."""
        return self.name.replace(" ", "-")

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is done, in order; nothing to a clean clip.

        Raises:
            UsageError: There is no such profile, or its file is faulty.
        """
        if self.family == CLEAN:
            return ()
        if self.severity is not None:
            if self.family in DEGRADATIONS:
                return (Degrade(self.family, self.severity),)
            return (CLIP_LEVELS.get(self.family).steps[self.severity - 1],)
        return _profile(self.family).steps

    @classmethod
    def parse(cls, text: str) -> tuple[Self, ...]:
        """Return the conditions that a word means: one, or all severities, or all of a kind.

        Raises:
            UsageError: There is none of this name.

        Example:
            >>> [one.name for one in Condition.parse("jpeg 3")]
            ['jpeg 3']
            >>> [one.name for one in Condition.parse("blur")]
            ['blur 1', 'blur 2', 'blur 3', 'blur 4', 'blur 5']
        """
        words = _SEPARATORS.split(text.strip())
        if _is_file(text):
            return (cls(text),)
        if len(words) == 2 and words[1].isdecimal():
            return (cls(_known(words[0]), int(words[1])),)
        if words == [ALL]:
            return cls.parse(DEGRADED) + cls.parse(PROFILES)
        if words == [DEGRADED]:
            return tuple(one for name in degradation_names() for one in cls.parse(name))
        if words == [PROFILES]:
            return tuple(cls(name) for name in profile_names())
        name = _known(text.strip())
        if name in DEGRADATIONS or name in CLIP_LEVELS:
            return tuple(cls(name, severity) for severity in SEVERITIES)
        return (cls(name),)


def degradation_names() -> tuple[str, ...]:
    """Return the names of everything that comes in severities, sorted."""
    return tuple(sorted((*DEGRADATIONS, *CLIP_LEVELS)))


def conditions_of(words: Iterable[str]) -> tuple[Condition, ...]:
    """Return the conditions that some words mean, each once, the clean one first in any case.

    Every profile among them is read, so that a faulty one is found before any clip is.

    Raises:
        UsageError: A word means nothing, or two profiles have one name.
    """
    found = (one for word in words for one in Condition.parse(word))
    conditions = tuple(dict.fromkeys((Condition(CLEAN), *found)))
    names: dict[str, Condition] = {}
    for condition in conditions:
        if names.setdefault(condition.name, condition) != condition:
            raise UsageError(f"two profiles are called {condition.name!r}; rename a file of them")
        _ = condition.steps
    return conditions


def launder(
    source: Path,
    condition: Condition,
    out: Path,
    seed: int = 0,
    window_s: float | None = None,
) -> Path:
    """Write a clip as it is under a condition, and return `out`.

    Frames are those that any other reading finds: upright, at their own times, the damaged ones
    left out. Pictures of one clip that differ in size take on the first one's. The file is written
    whole or not at all; one that is there and was made of the same settings stays. Equal settings
    give equal bytes on one machine.

    Args:
        source: A video, or a folder of pictures.
        condition: What is done; `clean` copies the frames without loss.
        out: An .mp4 file.
        seed: Of all that is random, which depends on a frame's index too and on nothing else.
        window_s: Keep the first so many seconds; None keeps all.

    Raises:
        UnreadableVideo: Nothing of the source can be read, or its pictures cannot be coded.
        ContractError: `out` is another clip.
    """
    mark = _mark(source, condition, seed, window_s)
    if out.exists():
        if _marked(out) != mark:
            raise ContractError(
                f"{out} is there and was not made of {source.name} under {condition.name!r} with "
                f"these settings; remove it with `rm {out}`"
            )
        return out
    steps, encoding = condition.steps, LOSSLESS_ENCODING
    last = steps[-1] if steps else None
    if isinstance(last, Reencode):
        # the clip is left as its last codec wrote it
        steps, encoding = steps[:-1], last.encoding
    frames = _read(source, window_s)
    for place, step in enumerate(steps):
        frames = step(frames, seed + place)
    try:
        write_frames(out, frames, encoding, mark)
    except av.FFmpegError as error:
        raise UnreadableVideo(
            f"{printable(source)} cannot be coded under {condition.name!r} ({error}); look at the "
            "size of its pictures"
        ) from error
    return out


def _read(source: Path, window_s: float | None) -> Iterator[Frame]:
    for frame in _EVERY_FRAME.sample(probe(source)):
        if window_s is not None and frame.time_s >= window_s:
            return
        yield frame


def _mark(source: Path, condition: Condition, seed: int, window_s: float | None) -> str:
    steps = [(type(step).__name__, step) for step in condition.steps]
    n_bytes = source.stat().st_size if source.is_file() else None
    settings = {
        "source": [source.name, n_bytes], "steps": steps, "seed": seed, "window_s": window_s,
    }  # fmt: skip
    return f"laundered {sha256_value(settings)}"


def _marked(out: Path) -> str:
    try:
        return read_mark(out)
    except UnreadableVideo:
        return ""


def _profile(family: str) -> Profile:
    shipped = profiles_dir() / f"{family}.yaml"
    return read_profile(Path(family) if _is_file(family) else shipped)


def _is_file(text: str) -> bool:
    return text.endswith((".yaml", ".yml"))


def _known(name: str) -> str:
    known: Registry[str] = Registry("condition")
    for one in (CLEAN, ALL, DEGRADED, PROFILES, *degradation_names(), *profile_names()):
        known.register(one)(one)
    return known.get(name)


def described(conditions: Sequence[Condition]) -> tuple[tuple[str, str, str], ...]:
    """Return (name, what is done, whose levels they are) of some conditions, for a page's notes."""
    rows = []
    for family in dict.fromkeys(one.family for one in conditions):
        if family in DEGRADATIONS:
            change = DEGRADATIONS.get(family)
            levels = ", ".join(f"{level:g}" for level in change.levels)
            rows.append((family, f"{change.level}: {levels}", change.source))
        elif family in CLIP_LEVELS:
            clip = CLIP_LEVELS.get(family)
            rows.append((family, clip.level, clip.source))
        elif family != CLEAN:
            profile = _profile(family)
            steps = ", ".join(map(str, profile.steps))
            rows.append((profile.name, steps, profile.about or "its file does not say"))
    return tuple(rows)
