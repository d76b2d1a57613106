"""Under which rules a run is measured: which videos and frames count, and how they become scores.

Three protocols are shipped: `plain`, which demands nothing; `strict`; and `deepfakebench`, which
counts as the field's main benchmark does so that its figures can be compared with. Each says in
footnotes what it did.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from dfdetect.data.splits import hashed_by
from dfdetect.data.videos import Videos
from dfdetect.errors import UsageError
from dfdetect.evaluation.protocols.coverage import (
    AS_CHANCE,
    AS_MISSING,
    POLICIES,
    Coverage,
    coverage_of,
    with_policy,
)
from dfdetect.evaluation.protocols.coverage import require_coverage as require_coverage
from dfdetect.evaluation.protocols.designs import of_videos
from dfdetect.evaluation.protocols.footnotes import (
    HEADLINE_EERS,
    INTERVAL_NOTES,
    frames_note,
    identity_notes,
    metric_note,
    quirk_notes,
    score_note,
    skipped_notes,
)
from dfdetect.evaluation.protocols.quirk_items import folder_name, under_quirks, with_joined_methods
from dfdetect.evaluation.protocols.quirks import QuirkNumber, Quirks, chosen_frames, counting_videos
from dfdetect.evaluation.results import ALL
from dfdetect.evaluation.runs import CLIP, FRAME, VIDEO, ScoredRun, TrainedOn
from dfdetect.scoring.aggregate import AGGREGATES, MIN_FACES, VIDEO_RULES
from dfdetect.scoring.units import UnitScores, unit_scores
from dfdetect.types import FAKE


@dataclass(frozen=True, slots=True)
class Protocol:
    """The rules of a table.

    Attributes:
        name: What tables call it.
        aggregate: How faces become a track or video (`scoring.AGGREGATES`); None: as the run's
            calibration says, or else the mean of the logits.
        video_rule: How tracks become a video (`scoring.VIDEO_RULES`).
        min_faces: Faces that a track needs; of clips, clips that hold so many.
        frames_per_video: At most so many frames of a video count; None: all.
        split: Which videos count; None: all that the run has.
        official_splits: Refuse videos without a split, and splits that come from a hash.
        oracle: Take runs that were selected on what they are measured on; titles say so.
        coverage: What becomes of videos without any score (`coverage.POLICIES`).
        min_coverage: Share of the videos of each class of each test set that needs a score.
        headline_unit: The unit of the figure that stands for the table.
        headline_eer: The EER that does, `eer` or `eer_nearest`.
        quirks: Habits of the benchmark that are followed.
    """

    name: str = "strict"
    aggregate: str | None = None
    video_rule: str = "highest_track"
    min_faces: int = MIN_FACES
    frames_per_video: int | None = None
    split: str | None = "test"
    official_splits: bool = True
    oracle: bool = False
    coverage: str = AS_MISSING
    min_coverage: float = 0.9
    headline_unit: str = VIDEO
    headline_eer: str = "eer"
    quirks: Quirks = field(default_factory=Quirks)

    def __post_init__(self) -> None:
        """Refuse rules that nobody knows."""
        for name, known in (
            ("video_rule", VIDEO_RULES),
            ("coverage", tuple(POLICIES)),
            ("headline_eer", tuple(HEADLINE_EERS)),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"unknown protocol.{name}={getattr(self, name)}; choose one of "
                    f"{', '.join(known)}"
                )
        if not 0 <= self.min_coverage <= 1:
            raise UsageError(f"protocol.min_coverage={self.min_coverage} must lie in [0, 1]")
        if self.frames_per_video is not None and self.frames_per_video < 1:
            raise UsageError(f"protocol.frames_per_video={self.frames_per_video} must be 1 or more")
        if self.min_faces < 1:
            raise UsageError(f"protocol.min_faces={self.min_faces} must be 1 or more")
        if self.aggregate is not None:
            AGGREGATES.get(self.aggregate)


STRICT = Protocol()
PLAIN = Protocol(name="plain", split=None, official_splits=False, oracle=True, min_coverage=0.0)
"""All that a run has, whatever its splits and selection: what a first look needs."""
DEEPFAKEBENCH = Protocol(
    name="deepfakebench",
    aggregate="mean_p",
    video_rule="all_faces",
    min_faces=1,
    frames_per_video=32,
    official_splits=False,
    oracle=True,
    min_coverage=0.0,
    headline_unit=FRAME,
    headline_eer="eer_nearest",
    quirks=Quirks(
        first_frames=True,
        unreadable_is_first_item=True,
        folder_name_is_video=True,
        best_test_results=3,
        lost_batch=32,
        overlapping_splits=True,
        genuine_first=True,
        clips_are_videos=True,
        list_seed=1024,
    ),
)


@dataclass(frozen=True, slots=True)
class ProtocolView:
    """A run as a protocol sees it: what `measure` takes, and what a reader has to know.

    Attributes:
        units: Scores by frame (or clip), track and video, as far as the protocol has them.
        videos: What their positions mean; with Q3 merged videos stand behind the others.
        notes: Footnotes: every definition in force, and what acted on how many items.
        coverage: Counts by test set and method.
        oracle: What every title must say of the run's selection, or ''.
        methods: The methods of the rows of `measure` that hold here; () for all.
        trained_on: What was trained on, in the terms of `videos`.
        numbers: Figures that only the benchmark reports.
    """

    units: tuple[UnitScores, ...] = field(repr=False)
    videos: Videos = field(repr=False)
    notes: tuple[str, ...]
    coverage: tuple[Coverage, ...]
    oracle: str = ""
    methods: tuple[str, ...] = ()
    trained_on: TrainedOn | None = None
    numbers: tuple[QuirkNumber, ...] = ()


def under_protocol(run: ScoredRun, protocol: Protocol) -> ProtocolView:
    """Return what a protocol sees of a run.

    Raises:
        UsageError: The protocol refuses the run: its splits, its selection, its scale; or none of
            its videos counts.
    """
    _refuse_oracle(run, protocol)
    counting, said = _counting(run, protocol)
    part, n_rows = _with_chosen_frames(counting, protocol)
    how = run.aggregate_under(protocol.aggregate)
    rules = (how, protocol.video_rule, -(-protocol.min_faces // run.frames))
    units, videos, quirky, numbers = _units(part, protocol, rules)
    coverage = coverage_of(part.scores, part.videos)
    notes = (
        *run.notes,
        *said,
        *frames_note(part, protocol, n_rows),
        score_note(run, rules),
        *skipped_notes(part, protocol),
        *identity_notes(part),
        *quirky,
        metric_note(protocol),
        *INTERVAL_NOTES,
        *quirk_notes(protocol, run.unit),
    )
    return ProtocolView(
        units, videos, notes, coverage, run.oracle,
        trained_on=with_joined_methods(run.trained_on, videos), numbers=numbers,
    )  # fmt: skip


def protocol_views(run: ScoredRun, protocol: Protocol) -> tuple[ProtocolView, ...]:
    """Return the views whose rows together make the protocol's table.

    There is one, but with Q3, where fakes of several methods become one video: then the benchmark
    takes each method as a test set of its own, and so does a view of its own, whose `methods` say
    which rows of `measure` hold.
    """
    whole = under_protocol(run, protocol)
    if not protocol.quirks.folder_name_is_video or run.unit != FRAME:
        return (whole,)
    shared = _sharing_datasets(run.videos)
    dataset = np.array(run.videos.column("dataset").to_pylist(), dtype=object)
    others = ~np.isin(dataset, shared)
    views = []
    if others.any():
        rest = run if others.all() else of_videos(run, run.videos.take(others))
        views.append(under_protocol(rest, protocol))
    for name in shared:
        own = run.videos.where(dataset=name)
        views.append(replace(under_protocol(of_videos(run, own), protocol), methods=(ALL,)))
        for method in sorted(own.where(label=FAKE).column("method").unique().to_pylist()):
            rows = np.array(
                [
                    row_label != FAKE or row_method == method
                    for row_label, row_method in zip(
                        own.column("label").to_pylist(), own.column("method").to_pylist(),
                        strict=True,
                    )
                ],
                dtype=bool,
            )  # fmt: skip
            view = under_protocol(of_videos(run, own.take(rows)), protocol)
            views.append(replace(view, methods=(method,)))
    return tuple(views)


def _sharing_datasets(videos: Videos) -> list[str]:
    methods: dict[tuple[str, str, str], set[str]] = {}
    names = ("dataset", "compression", "path", "method", "label")
    for dataset, compression, path, method, label in zip(
        *(videos.column(name).to_pylist() for name in names), strict=True
    ):
        if label == FAKE:
            methods.setdefault((dataset, compression, folder_name(path)), set()).add(method)
    return sorted({dataset for (dataset, *_), found in methods.items() if len(found) > 1})


def _refuse_oracle(run: ScoredRun, protocol: Protocol) -> None:
    if run.oracle and not protocol.oracle:
        raise UsageError(
            f"{run.name} was selected on what it is measured on ({run.oracle}); protocol "
            f"{protocol.name} takes selection on val, or say protocol.oracle=true, which then "
            "stands in every title"
        )
    if run.ranked_only and protocol.coverage == AS_CHANCE:
        raise UsageError(
            f"only the order of the scores of {run.name} means something, so none of them is "
            "chance; choose protocol.coverage=as-missing, as-real or as-fake"
        )


def _counting(run: ScoredRun, protocol: Protocol) -> tuple[ScoredRun, list[str]]:
    n_videos = len(run.videos)
    if protocol.official_splits:
        _refuse_unofficial(run)
    if protocol.split is None:
        return run, [f"All {n_videos} videos of the run count, whatever their split"]
    splits = run.videos.column("split").to_pylist()
    mask = counting_videos(
        run.videos, protocol.split, overlapping=protocol.quirks.overlapping_splits
    )
    own = np.array([each == protocol.split for each in splits], dtype=bool)
    without = np.array([each is None for each in splits], dtype=bool)
    mask |= without
    if not mask.any():
        there = ", ".join(sorted({str(each) for each in splits})) or "no video"
        raise UsageError(
            f"no video of {run.name} is of split {protocol.split!r} (it has {there}); say "
            "protocol.split=…"
        )
    said = [f"Split {protocol.split}: {np.count_nonzero(mask)} of the run's {n_videos} videos"]
    if without.any():
        said[0] += f", {np.count_nonzero(without)} of which have no split and count"
    if protocol.official_splits:
        said[0] += "; the datasets' own splits or such as their manifest was given"
    if protocol.quirks.overlapping_splits:
        n_more = np.count_nonzero(mask & ~own & ~without)
        said.append(
            f"Q10: {n_more} videos of other splits count, as genuine videos of DFD, UADFV and "
            "DeeperForensics are in every split there, and Celeb-DF's val is its test"
        )
    return (run if mask.all() else of_videos(run, run.videos.take(mask))), said


def _refuse_unofficial(run: ScoredRun) -> None:
    repair = "index with split.strategy=official (or given), or say protocol.official_splits=false"
    names = run.videos.column("video_id").to_pylist()
    without = [
        name
        for name, split in zip(names, run.videos.column("split").to_pylist(), strict=True)
        if split is None
    ]
    if without:
        raise UsageError(
            f"{len(without)} of {len(names)} videos of {run.name} have no split (the first: "
            f"{without[0]}); {repair}"
        )
    if run.split_rule == "hash":
        raise UsageError(f"the splits of {run.name} come from a hash; {repair}")
    for dataset in sorted(run.videos.column("dataset").unique().to_pylist()):
        rule = hashed_by(run.videos.where(dataset=dataset))
        if rule is not None:
            raise UsageError(
                f"the splits of {dataset} in {run.name} are those that split.strategy=hash gives "
                f"with seed {rule.seed}, not official ones; {repair}"
            )


def _with_chosen_frames(run: ScoredRun, protocol: Protocol) -> tuple[ScoredRun, int]:
    if protocol.frames_per_video is None or run.unit != FRAME:
        return run, 0
    first = protocol.quirks.first_frames
    kept = chosen_frames(run.scores, protocol.frames_per_video, first=first)
    return replace(run, scores=run.scores.take(kept)), int(np.count_nonzero(~kept))


def _units(
    run: ScoredRun, protocol: Protocol, rules: tuple[str, str, int]
) -> tuple[tuple[UnitScores, ...], Videos, tuple[str, ...], tuple[QuirkNumber, ...]]:
    quirks, videos = protocol.quirks, run.videos
    notes: tuple[str, ...] = ()
    numbers: tuple[QuirkNumber, ...] = ()
    if run.unit == FRAME and (quirks.acts_on_items or quirks.genuine_first):
        found = under_quirks(run.scores, run.videos, quirks, *rules)
        units, videos, notes, numbers = found.units, found.videos, found.notes, found.numbers
    else:
        units = unit_scores(run.scores, *rules, run.unit)
    if run.unit == CLIP and quirks.clips_are_videos:
        clips = next(one for one in units if one.unit == CLIP)
        absent = next(one for one in units if one.unit == VIDEO).n_skipped
        units = (clips, replace(clips, unit=VIDEO, n_skipped=absent))
        notes += ("Figures by video are those by clip, as the benchmark tells them",)
    units = tuple(
        with_policy(one, videos, protocol.coverage) if one.unit == VIDEO else one for one in units
    )
    return units, videos, notes, numbers
