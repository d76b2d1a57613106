"""Stored scores → a calibration → the same weights with it in their header.

Weights that ship learn from all people there are, so none are left to calibrate them on. But other
weights of the same network and recipe, each trained without some of the people, score those; all
such scores together say what a logit of this recipe is worth (cross-fitting by training run).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfdetect.data.splits import source_groups
from dfdetect.data.videos import Videos
from dfdetect.errors import UsageError
from dfdetect.evaluation.pooled import first_overlap
from dfdetect.evaluation.run_files import read_run
from dfdetect.evaluation.runs import ScoredRun, network_facts
from dfdetect.provenance import sha256_file
from dfdetect.scoring.aggregate import MIN_FACES
from dfdetect.scoring.band_ratios import Share, band_ratios, decisions
from dfdetect.scoring.calibrate import fit_platt
from dfdetect.scoring.units import unit_scores
from dfdetect.types import FAKE, REAL, Band, BandRate, Calibration, OperatingPoint

if TYPE_CHECKING:
    from dfdetect.detectors.base import CheckpointHeader
    from dfdetect.evaluation.settings import CalibrateSettings

TRAIN = "train"
# facts of an earlier calibration, which the new one replaces
FACTS = "calibrated_"
N_NAMED = 3
WORDS = {
    Band.STRONG: "strong signs",
    Band.MODERATE: "moderate signs or stronger",
    Band.WEAK: "weak signs or stronger",
    Band.NONE: "no signs",
}


@dataclass(frozen=True, slots=True)
class CalibrationClips:
    """The videos of one run that calibrate: a logit each.

    Attributes:
        folder: Where the run lies.
        videos: Those of the wanted splits that have a score, sorted by id.
        logits: One a video, as `predict` would have it: of its highest track.
        weights: SHA-256 of the weights that gave the scores.
        scores: SHA-256 of the table of scores.
        is_sibling: Whether these are other weights than those that are calibrated.
        n_unscored: Videos of the wanted splits without a score.
        n_elsewhere: Videos of other splits or of none, which are left out.
    """

    folder: Path
    videos: Videos = field(repr=False)
    logits: tuple[float, ...] = field(repr=False)
    weights: str
    scores: str
    is_sibling: bool
    n_unscored: int
    n_elsewhere: int

    def fact(self) -> str:
        """Return what a header says of these videos and of what scored them."""
        kind = "sibling weights" if self.is_sibling else "these weights, calibrated otherwise,"
        return f"{self.counts()}; {kind} {self.weights}, scores {self.scores}"

    def counts(self) -> str:
        """Return how many videos of which datasets and splits there are."""
        cells = ("dataset", "split", "label")
        columns = [self.videos.column(name).to_pylist() for name in cells]
        counts = Counter(zip(*columns, strict=True))
        return ", ".join(
            f"{counts[dataset, split, REAL]} genuine and {counts[dataset, split, FAKE]} "
            f"manipulated videos of {dataset} ({split})"
            for dataset, split in sorted({(dataset, split) for dataset, split, _ in counts})
        )


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What `calibrate` wrote: the calibration, what it rests on and the new file's SHA-256."""

    calibration: Calibration
    clips: tuple[CalibrationClips, ...]
    sha256: str

    def lines(self) -> Iterator[str]:
        """Yield what came out, in sentences."""
        fitted = self.calibration
        for one in self.clips:
            yield f"{one.folder}: {one.fact()}"
            if one.n_unscored or one.n_elsewhere:
                yield (
                    f"{one.folder}: left out {one.n_unscored} videos without a score and "
                    f"{one.n_elsewhere} of other splits"
                )
        yield (
            f"log LR = {fitted.slope:.4f} · logit + {fitted.intercept:.4f} ({fitted.aggregate}), "
            f"LR held between {fitted.lr_min:.3g} and {fitted.lr_max:.3g}; "
            f"{fitted.n_real} genuine and {fitted.n_fake} manipulated videos"
        )
        yield from _band_lines("all", fitted.rates)
        for part in fitted.sets if len(fitted.sets) > 1 else ():
            yield from _band_lines(part.name, part.rates)
        for point in fitted.operating_points:
            yield _point_line(point)


def calibrate(settings: CalibrateSettings, command: str = "dfdetect calibrate") -> Calibrated:
    """Fit a calibration to the scores of some runs, and write the checkpoint with it.

    The weights are stored as they are, of two or more dimensions as float16, as training does.

    Args:
        settings: The checkpoint, the runs, and how they are used.
        command: What the new header says was run.

    Raises:
        UsageError: A run is not of the checkpoint's network, its detector was trained or selected
            on its videos, a video is in two runs, or the videos do not suffice.
        ContractError: A run is damaged.
        UntrustedCheckpoint: The checkpoint is incomplete, altered or untrained.
    """
    # only here: telling what a calibration holds needs no torch
    from dfdetect.detectors.checkpoint import load_checkpoint, read_header, save_checkpoint

    header, sha256 = read_header(settings.checkpoint), sha256_file(settings.checkpoint)
    clips = tuple(
        clips_of(folder, read_run(folder), header, sha256, settings) for folder in settings.scores
    )
    require_apart(clips)
    fitted = fit(clips, settings)
    trained = load_checkpoint(settings.checkpoint)
    facts = {
        name: fact for name, fact in trained.header.provenance if not name.startswith(FACTS)
    } | calibration_facts(clips, command)
    # all else that the header says of the weights stays as it is
    new = dataclasses.replace(
        trained.header, calibration=fitted, provenance=tuple(sorted(facts.items()))
    )
    return Calibrated(fitted, clips, save_checkpoint(settings.out, trained.network, new, half=True))


def clips_of(
    folder: Path,
    run: ScoredRun,
    header: CheckpointHeader,
    sha256: str,
    settings: CalibrateSettings,
) -> CalibrationClips:
    """Return the videos of a run that may calibrate a checkpoint.

    Args:
        folder: What sentences call the run.
        run: As `read_run` gives it.
        header: Of the checkpoint.
        sha256: Of the checkpoint's file.
        settings: Which splits count, and how faces become a video.

    Raises:
        UsageError: The run is of another network, its detector was trained or selected on its
            videos, or none of them is of the wanted splits and has a score.
    """
    parents = dict(run.parents)
    _require_network(folder, run, header)
    if run.oracle:
        raise UsageError(f"{folder} cannot calibrate: its weights were {run.oracle}")
    splits = run.videos.column("split").to_pylist()
    if n := splits.count(TRAIN):
        raise UsageError(
            f"{folder} has scores of {n} videos of the split that its detector was trained on "
            "(train), which look surer than new ones; evaluate protocol.split=val instead"
        )
    wanted = [each in settings.splits for each in splits]
    names = run.videos.column("video_id").to_pylist()
    chosen = [name for name, is_wanted in zip(names, wanted, strict=True) if is_wanted]
    table = run.scores.of_videos(chosen)
    min_faces = -(-MIN_FACES // run.frames)
    found = unit_scores(table, settings.aggregate, "highest_track", min_faces, run.unit)[-1]
    if not found.logit.size:
        raise UsageError(
            f"{folder} has no scored video of the splits {', '.join(settings.splits)} (it has: "
            f"{', '.join(sorted({str(each or 'none') for each in splits}))}); say splits=[…]"
        )
    rows = run.videos.by_id
    return CalibrationClips(
        folder=folder,
        videos=Videos.of(rows[table.video_ids[place]] for place in found.video.tolist()),
        logits=tuple(found.logit.tolist()),
        weights=parents["weights"],
        scores=parents["scores"],
        is_sibling=parents["weights"] != sha256,
        n_unscored=len(chosen) - found.logit.size,
        n_elsewhere=len(names) - len(chosen),
    )


def require_apart(clips: Sequence[CalibrationClips]) -> None:
    """Refuse a video that two runs hold: it would count twice, and once perhaps as one trained on.

    Raises:
        UsageError: An id, or a file's bytes, are in two runs.
    """
    if overlap := first_overlap([(str(one.folder), one.videos) for one in clips]):
        shared = ", ".join(name[:80] for name in overlap.names[:N_NAMED])
        raise UsageError(
            f"{overlap.first} and {overlap.second} both hold {len(overlap.names)} videos (by "
            f"{overlap.column}: {shared}); give each video's scores once"
        )


def fit(clips: Sequence[CalibrationClips], settings: CalibrateSettings) -> Calibration:
    """Fit the likelihood ratio to one logit a video; related videos are never on both sides.

    Raises:
        UsageError: A class has too few videos, or higher logits do not go with fakes.
    """
    videos = Videos.joined([one.videos for one in clips])
    groups = source_groups(videos)
    datasets = videos.column("dataset").to_pylist()
    names = ", ".join(sorted(set(datasets)))
    splits = sorted(set(videos.column("split").to_pylist()))
    said = ["one logit a video"]
    if any(one.is_sibling for one in clips):
        said.append("by sibling weights that did not train on it")
    if settings.balance:
        said.append("datasets weighed alike")
    try:
        return fit_platt(
            np.concatenate([one.logits for one in clips]),
            videos.column("label").to_numpy(),
            set_name=f"{names} ({' and '.join(splits)}, {', '.join(said)})",
            date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            groups=[groups.names[code] for code in groups.codes],
            sets=datasets,
            balance=settings.balance,
            aggregate=settings.aggregate,
            seed=settings.seed,
        )
    except ValueError as error:
        raise UsageError(
            f"the {len(videos)} videos of {names} do not suffice to calibrate ({error}); give more "
            "runs: scores=[FOLDER,FOLDER]"
        ) from error


def calibration_facts(clips: Sequence[CalibrationClips], command: str) -> dict[str, str]:
    """Return what a header says of the runs that calibrated it, one fact a run."""
    width = len(str(len(clips)))
    runs = {f"{FACTS}on_{n:0{width}}": one.fact() for n, one in enumerate(clips, 1)}
    return {f"{FACTS}by": command, **runs}


def _require_network(folder: Path, run: ScoredRun, header: CheckpointHeader) -> None:
    if not run.network or "weights" not in dict(run.parents):
        raise UsageError(
            f"{folder} does not say which network gave its scores; score it again with `dfdetect "
            "evaluate checkpoint=FILE crops=[FOLDER]` of this version"
        )
    theirs, ours = dict(run.network), dict(network_facts(header))
    differing = [
        f"{name} {theirs.get(name, 'unset')} instead of {ours.get(name, 'unset')}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise UsageError(
            f"{folder} has scores of another network than the checkpoint's "
            f"({'; '.join(differing[:N_NAMED])}), whose logits mean something else; give runs of "
            "weights of the same recipe"
        )


def _band_lines(name: str, rates: Sequence[BandRate]) -> Iterator[str]:
    for rate in rates:
        what = WORDS[rate.band]
        yield (
            f"{name}: {what} in {rate.real_flagged} of {rate.n_real} genuine and "
            f"{rate.fake_flagged} of {rate.n_fake} manipulated"
        )
    told = [
        f"{one.band.value} {one.ratio:.3g} ({one.low:.3g} – {one.high:.3g})"
        for one in band_ratios(rates)
        if one.ratio is not None and one.real_found + one.fake_found
    ]
    if told:
        yield f"{name}: measured LR of exactly this band: {', '.join(told)}"
    answers = decisions(rates)
    yield (
        f"{name}: inconclusive {_share(answers.inconclusive)}, right among the others "
        f"{_share(answers.right)}"
    )


def _share(share: Share) -> str:
    if share.low is None or share.high is None:
        return "0 of 0"
    return f"{share.count} of {share.n} ({100 * share.low:.1f} – {100 * share.high:.1f} %)"


def _point_line(point: OperatingPoint) -> str:
    start = f"at most {100 * point.false_alarm:g} % false alarms"
    if point.logit is None:
        return f"{start}: {point.n_real} genuine videos are too few to support it"
    real = _share(Share.of(point.real_flagged, point.n_real))
    fake = _share(Share.of(point.fake_flagged, point.n_fake))
    return (
        f"{start}: a logit above {point.logit:.4f}; cross-fitted, it flags {real} genuine and "
        f"{fake} manipulated"
    )
