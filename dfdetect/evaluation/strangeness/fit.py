"""Crops that a detector learned from → its weights with a measure of what is unlike them.

The train split is what is familiar. The val split, which the weights were selected on, sets the
limit; no other split is read, and no example of a strange picture either.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from dfdetect.data.augment import augment
from dfdetect.data.batches import Faces, StoredFace, split_faces
from dfdetect.data.crops import CropStore
from dfdetect.data.region import face_region
from dfdetect.data.shards import CROPS
from dfdetect.data.tables import read_header
from dfdetect.detectors.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dfdetect.detectors.network import PICTURES, Detector, channels_last
from dfdetect.detectors.strangeness import Strangeness, fit_strangeness
from dfdetect.errors import UsageError
from dfdetect.evaluation.strangeness.settings import StrangenessSettings
from dfdetect.types import REAL, Image

Progress: TypeAlias = Callable[[int, int], None]
Floats: TypeAlias = NDArray[np.float32]

TRAIN, VAL = "train", "val"
BATCH_FACES = 32
# facts of an earlier fit, which the new one replaces
FACTS = "strangeness_"
AS_IT_IS, TREATED = "as it is", "treated"


@dataclass(frozen=True, slots=True)
class TracksPart:
    """The val tracks of a dataset and a label: how many there are, and how many are too strange.

    `n_treated` counts those that are too strange after one random treatment each.
    """

    dataset: str
    label: int
    n: int
    n_strange: int
    n_treated: int

    def line(self) -> str:
        """Return the counts as a sentence."""
        kind = "genuine" if self.label == REAL else "manipulated"
        return (
            f"{self.dataset} ({VAL}): of {self.n} {kind} tracks {self.n_strange} are too strange, "
            f"and {self.n_treated} after a treatment"
        )


@dataclass(frozen=True, slots=True)
class FittedStrangeness:
    """What was written: the limit, what it was fitted on, whom it costs, the file's SHA-256.

    `familiar` holds each dataset's number of train crops, treatments included.
    """

    limit: float
    familiar: tuple[tuple[str, int], ...]
    parts: tuple[TracksPart, ...]
    sha256: str

    def lines(self) -> Iterator[str]:
        """Yield what came out, in sentences."""
        told = ", ".join(f"{n:,} pictures of {dataset}" for dataset, n in self.familiar)
        yield f"familiar: {told} ({TRAIN}), each dataset counting alike"
        yield f"faces of more than {self.limit:.4f} are too strange to judge"
        for part in self.parts:
            yield part.line()


def fit_on_crops(
    settings: StrangenessSettings, command: str, progress: Progress | None = None
) -> FittedStrangeness:
    """Fit strangeness and its limit, and write the checkpoint with them; its calibration stays.

    The weights are stored as they are, of two or more dimensions as float16, as training does.

    Args:
        settings: The checkpoint and the crops.
        command: What the new header says was run.
        progress: Called with the number of crops seen and of all.

    Raises:
        UsageError: The detector has no features to tell by, a split has no usable crop, or the
            val split has too few genuine tracks for the share.
        UntrustedCheckpoint: The checkpoint is incomplete, altered or untrained.
    """
    trained = load_checkpoint(settings.checkpoint)
    _require_traits(trained)
    stores = [CropStore.open(folder) for folder in settings.crops]
    train = _thinned(_faces(stores, TRAIN, settings.per_video), settings.per_dataset)
    val = _faces(stores, VAL, None)
    n_all = len(train) * (1 + settings.views) + 2 * len(val)
    watch = _Watch(trained.network, progress, n_all)
    familiar = _familiar(train, watch, settings)
    try:
        strangeness = fit_strangeness([np.concatenate(group) for group in familiar.values()])
    except ValueError as error:
        raise UsageError(f"{error}; give more train crops: crops=[FOLDER,FOLDER]") from None
    # what will be stored is what the limit is measured with
    strangeness.directions.copy_(strangeness.directions.half().float())
    tracks = _val_tracks(val, watch, strangeness, settings)
    limit = _limit(tracks, settings.share)
    parts = tuple(_parts(tracks, limit))
    trained.network.strangeness = strangeness
    counts = tuple((name, sum(map(len, group))) for name, group in familiar.items())
    facts = _facts(settings, stores, trained.sha256, counts, parts, command)
    kept = (pair for pair in trained.header.provenance if not pair[0].startswith(FACTS))
    header = replace(
        trained.header,
        provenance=tuple(sorted((*kept, *facts))),
        strangeness_limit=limit,
    )
    sha256 = save_checkpoint(settings.out, trained.network, header, half=True)
    return FittedStrangeness(limit, counts, parts, sha256)


@dataclass(slots=True)
class _Track:
    """What one val track is measured by."""

    dataset: str
    label: int
    plain: list[float]
    treated: list[float]


class _Watch:
    """Runs the network on pictures and says how many it has seen."""

    def __init__(self, network: Detector, progress: Progress | None, n_all: int) -> None:
        self.network = channels_last(network)
        self._progress, self._n_done, self._n_all = progress, 0, n_all

    def traits(self, pictures: Sequence[Image]) -> Floats:
        pixels = torch.from_numpy(self.network.preprocess.normalise(np.stack(pictures)))
        layout = torch.channels_last if pixels.ndim == PICTURES else torch.preserve_format
        with torch.inference_mode():
            _, traits = self.network.observe(pixels.to(memory_format=layout))
        self._n_done += len(pictures)
        if self._progress is not None:
            self._progress(self._n_done, self._n_all)
        found: Floats = traits.float().numpy()
        return found


def _require_traits(trained: Checkpoint) -> None:
    try:
        Strangeness(trained.network.n_traits)
    except ValueError as error:
        raise UsageError(
            f"detector {trained.header.detector!r} cannot tell strangeness ({error}); it needs a "
            "network of timm's with a list of its stages, such as detector=lite0"
        ) from None


def _faces(stores: Sequence[CropStore], split: str, per_video: int | None) -> Faces:
    faces = split_faces(stores, split, per_video)
    if not len(faces):
        names = ", ".join(str(store.folder) for store in stores)
        raise UsageError(
            f"the {split} split has no usable crop in {names}; give the crops that the detector "
            "was trained and selected on: crops=[FOLDER,FOLDER]"
        )
    return faces


def _thinned(faces: Faces, per_dataset: int | None) -> Faces:
    """Return at most so many faces of each dataset, spread over its videos."""
    if per_dataset is None:
        return faces
    datasets = np.array(faces.crops.videos.column("dataset").to_pylist())
    of_face = datasets[faces.crops.columns.video[faces.positions]]
    kept = []
    for dataset in np.unique(datasets):
        places = np.flatnonzero(of_face == dataset)
        n_kept = min(per_dataset, len(places))
        kept.append(places[(2 * np.arange(n_kept) + 1) * len(places) // (2 * max(1, n_kept))])
    return Faces(faces.crops, faces.positions[np.sort(np.concatenate(kept))])


def _familiar(
    faces: Faces, watch: _Watch, settings: StrangenessSettings
) -> dict[str, list[Floats]]:
    """Return the traits of the train crops by dataset, treatments included."""
    found: dict[str, list[Floats]] = defaultdict(list)
    for start, chosen in _batches(faces):
        for view in range(1 + settings.views):
            pictures = [
                _view(face, watch.network, settings, (0, view, start + number) if view else None)
                for number, face in enumerate(chosen)
            ]
            traits = watch.traits(pictures)
            names = np.array([face.video.dataset for face in chosen])
            for name in np.unique(names):
                found[str(name)].append(traits[names == name])
    return dict(sorted(found.items()))


def _val_tracks(
    faces: Faces, watch: _Watch, strangeness: Strangeness, settings: StrangenessSettings
) -> list[_Track]:
    """Return the strangeness of every crop of every track, as it is and treated."""
    # a treatment keeps the region that the detector cuts out, and is the same for a whole track
    scale = watch.network.preprocess.crop.scale
    region = replace(settings.augment, scale_low=scale, scale_high=scale, shift=0.0)
    fixed = replace(settings, augment=region)
    tracks: dict[tuple[str, int], _Track] = {}
    number: dict[tuple[str, int], int] = {}
    for _, chosen in _batches(faces):
        keys = [(face.key.video_id, face.key.track_id) for face in chosen]
        for key, face in zip(keys, chosen, strict=True):
            number.setdefault(key, len(number))
            tracks.setdefault(key, _Track(face.video.dataset, face.video.label, [], []))
        for kind in (AS_IT_IS, TREATED):
            pictures = [
                _view(face, watch.network, fixed, (1, number[key]) if kind == TREATED else None)
                for key, face in zip(keys, chosen, strict=True)
            ]
            with torch.inference_mode():
                values = strangeness(torch.from_numpy(watch.traits(pictures))).tolist()
            for key, value in zip(keys, values, strict=True):
                (tracks[key].plain if kind == AS_IT_IS else tracks[key].treated).append(value)
    return [tracks[key] for key in sorted(tracks)]


def _batches(faces: Faces) -> Iterator[tuple[int, Faces]]:
    for start in range(0, len(faces), BATCH_FACES):
        yield start, faces[start : start + BATCH_FACES]


def _view(
    face: StoredFace,
    network: Detector,
    settings: StrangenessSettings,
    draw: tuple[int, ...] | None,
) -> Image:
    """Return a crop as the detector takes it, or as training would show it."""
    wanted = network.preprocess
    if draw is None:
        return face_region(face.image(), face.crop_scale, wanted.crop.scale, wanted.size)
    rng = np.random.default_rng((settings.seed, *draw))
    return augment(face.image(), face.crop_scale, wanted.size, rng, settings.augment)


def _limit(tracks: Sequence[_Track], share: float) -> float:
    """Return the least limit that at most the share of each dataset's genuine tracks exceeds."""
    parts: dict[str, list[_Track]] = defaultdict(list)
    for track in tracks:
        if track.label == REAL:
            parts[track.dataset].append(track)
    needed = math.ceil(1 / share)
    if max(map(len, parts.values()), default=0) < needed:
        found = ", ".join(f"{len(part)} of {name}" for name, part in sorted(parts.items()))
        raise UsageError(
            f"a share of {share:g} needs {needed} genuine tracks of a dataset in {VAL}, and there "
            f"are {found or 'none'}; give more crops, or a larger share"
        )
    limits = []
    for part in parts.values():
        for values in (
            [float(np.median(track.plain)) for track in part],
            [float(np.median(track.treated)) for track in part],
        ):
            allowed = math.floor(share * len(values))
            limits.append(sorted(values)[len(values) - 1 - allowed])
    return max(limits)


def _parts(tracks: Sequence[_Track], limit: float) -> Iterator[TracksPart]:
    cells: dict[tuple[str, int], list[_Track]] = defaultdict(list)
    for track in tracks:
        cells[track.dataset, track.label].append(track)
    for (dataset, label), cell in sorted(cells.items()):
        yield TracksPart(
            dataset,
            label,
            len(cell),
            sum(float(np.median(track.plain)) > limit for track in cell),
            sum(float(np.median(track.treated)) > limit for track in cell),
        )


def _facts(
    settings: StrangenessSettings,
    stores: Sequence[CropStore],
    parent: str,
    familiar: Sequence[tuple[str, int]],
    parts: Sequence[TracksPart],
    command: str,
) -> Iterator[tuple[str, str]]:
    yield f"{FACTS}by", command
    yield f"{FACTS}parent", f"weights {parent}"
    told = ", ".join(f"{n} pictures of {name}" for name, n in familiar)
    hashes = ", ".join(
        f"{store.folder.name} {read_header(store.folder / 'crops.parquet', CROPS).config_hash}"
        for store in stores
    )
    yield f"{FACTS}on", f"{told} ({TRAIN}), seed {settings.seed}; crops {hashes}"
    yield f"{FACTS}costs", "; ".join(part.line() for part in parts)
