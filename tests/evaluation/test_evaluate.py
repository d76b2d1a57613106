"""A crop store and a detector → scores and results: counts, values, files and refusals."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dfdetect.data.crops import CropRow, CropStore, extract_crops
from dfdetect.data.datasets.folder import FolderDataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.shards import CROPS, NO_FACE, OK, TOO_SMALL, Crops, ShardWriter
from dfdetect.data.splits import SplitRule
from dfdetect.data.tables import TableHeader, write_table
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.evaluate import evaluate
from dfdetect.evaluation.measure import AT_THRESHOLD, OF_LOG_LR, OF_PROBABILITY, RANKING
from dfdetect.evaluation.protocols.protocol import PLAIN
from dfdetect.evaluation.results import read_results
from dfdetect.evaluation.run_files import read_run
from dfdetect.evaluation.runs import network_facts
from dfdetect.media import FrameSampler
from dfdetect.scoring import metrics
from dfdetect.types import Calibration, CropPolicy

SIZE = 16
POLICY = CropPolicy("square", 1.3, SIZE)
CALIBRATION = Calibration("platt", 1.0, 0.0, 0.05, 20.0, 30, 30, "val", "2026-01-01")


class BrightnessDetector:
    """Its logit is a crop's mean, so a test knows every score: (mean − 100) / 10."""

    weights_sha256 = "f" * 64

    def __init__(
        self, policy: CropPolicy = POLICY, calibration: Calibration | None = CALIBRATION
    ) -> None:
        preprocess = Preprocess(policy.size, (0.5,) * 3, (0.5,) * 3, policy)
        self.header = CheckpointHeader("brightness", (), preprocess, calibration, (), True)
        self.batch_sizes: list[int] = []

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batch_sizes.append(len(crops))
        return ((crops.mean(axis=(1, 2, 3)) - 100) / 10).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Video:
    """A video to be: the brightness of each face, by track; None is a face that was too small."""

    name: str
    label: int
    tracks: tuple[tuple[float | None, ...], ...]
    method: str = "swap"
    dataset: str = "mine"
    compression: str = "c23"
    split: str = "test"
    n_faceless: int = 0


def manifest_row(video: Video) -> ManifestRow:
    method = video.method if video.label else "original"
    return ManifestRow(
        video_id=f"{video.dataset}/{method}/{video.compression}/{video.name}",
        dataset=video.dataset,
        method=method,
        label=video.label,
        split=video.split,
        source_ids=(video.name,),
        compression=video.compression,
        path=f"{video.name}.mp4",
        sha256="0" * 64,
        fps=25.0,
        n_frames=100,
        width=640,
        height=480,
        duration_s=4.0,
    )


def crop_rows(video: Video) -> Iterator[tuple[CropRow, float | None]]:
    video_id = manifest_row(video).video_id
    for track_id, brightness in enumerate(video.tracks):
        for frame, value in enumerate(brightness):
            status = TOO_SMALL if value is None else OK
            name = f"{video_id}/{track_id}/{frame}"
            yield CropRow(name, video_id, track_id, frame, frame / 5, status), value
    for frame in range(video.n_faceless):
        yield CropRow(f"{video_id}/-/{frame}", video_id, -1, 50 + frame, 9.0, NO_FACE), None


def make_store(folder: Path, videos: list[Video], policy: CropPolicy = POLICY) -> CropStore:
    manifest = Manifest(Videos.of(map(manifest_row, videos)), "c" * 64)
    (folder / "shards").mkdir(parents=True)
    manifest.write(folder / "manifest.parquet")
    rows = []
    with (folder / "shards" / "000000.tar").open("wb") as stream:
        shard = ShardWriter(stream)
        for video in videos:
            for row, value in crop_rows(video):
                if value is not None:
                    image = np.full((policy.size, policy.size, 3), round(value), np.uint8)
                    offset, size = shard.add(row.crop_id, image, {})
                    row = dataclasses.replace(
                        row, shard="shards/000000.tar", offset=offset, size=size
                    )
                rows.append(row)
        shard.close()
    header = TableHeader("d" * 64, parents=(("manifest", manifest.content_hash()),))
    write_table(folder / "crops.parquet", Crops.of(rows).table, CROPS, header)
    record = {"cutter": {"policy": dataclasses.asdict(policy)}}
    (folder / "extract.json").write_text(json.dumps(record))
    return CropStore.open(folder)


def plain_videos(n: int = 6, seed: int = 0, **changes: str) -> list[Video]:
    rng = np.random.default_rng(seed)
    return [
        Video(
            f"{label}{number}",
            label,
            (tuple(np.clip(rng.normal(95 + 10 * label, 12, 9), 0, 255).round()),),
            **changes,
        )
        for label in (0, 1)
        for number in range(n)
    ]


def run(store: CropStore | list[CropStore], **options: object):
    return evaluate(store, BrightnessDetector(), n_bootstrap=50, **options)  # type: ignore[arg-type]


def test_values_are_those_of_the_scores(tmp_path: Path) -> None:
    videos = plain_videos(seed=2)
    result = run(make_store(tmp_path / "crops", videos))
    expected = {
        manifest_row(video).video_id: (np.mean(video.tracks[0]) - 100) / 10 for video in videos
    }
    assert len({round(value, 6) for value in expected.values()}) == len(expected)  # no ties
    names = sorted(expected)
    labels = ["/original/" not in name for name in names]
    row = result.value("auc")
    assert row.value == pytest.approx(metrics.roc_auc(labels, [expected[name] for name in names]))
    assert (row.n_real, row.n_fake, row.n_skipped) == (6, 6, 0)
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert row.ci_low <= row.value <= row.ci_high
    frames = np.array([value for video in videos for value in video.tracks[0]])
    truth = np.repeat([video.label for video in videos], 9)
    row = result.value("eer", "frame")
    assert row.value == pytest.approx(metrics.eer(truth, frames))
    assert (row.n_real, row.n_fake) == (54, 54)
    assert result.value("auc", "track").value == result.value("auc", "video").value


def test_every_metric_by_every_unit(tmp_path: Path) -> None:
    result = run(make_store(tmp_path / "crops", plain_videos()))
    names = [*RANKING, *OF_PROBABILITY, *OF_LOG_LR, *AT_THRESHOLD]
    found = [(row.unit, row.metric) for row in result.rows if row.method == "swap"]
    assert found == [(unit, name) for unit in ("frame", "track", "video") for name in names]


def test_scores_say_which_network_gave_them(tmp_path: Path) -> None:
    detector = BrightnessDetector()
    store = make_store(tmp_path / "crops", plain_videos())
    evaluate(store, detector, n_bootstrap=0, out=tmp_path / "out")
    told = dict(read_run(tmp_path / "out").network)
    assert tuple(sorted(told.items())) == network_facts(detector.header)
    assert told["preprocess.size"] == str(SIZE)


def test_without_calibration_there_are_no_likelihood_ratios(tmp_path: Path) -> None:
    store = make_store(tmp_path / "crops", plain_videos())
    result = evaluate(store, BrightnessDetector(calibration=None), n_bootstrap=50)
    assert not {row.metric for row in result.rows} & set(OF_LOG_LR)
    assert dict(result.settings)["aggregate"] == "mean_logit"


def test_calibration_names_the_aggregate(tmp_path: Path) -> None:
    store = make_store(tmp_path / "crops", plain_videos())
    highest = BrightnessDetector(calibration=dataclasses.replace(CALIBRATION, aggregate="max"))
    assert dict(evaluate(store, highest, n_bootstrap=2).settings)["aggregate"] == "max"


class TestParts:
    def test_methods_stand_alone_and_together(self, tmp_path: Path) -> None:
        videos = plain_videos(4) + [
            video for video in plain_videos(3, seed=1, method="puppet") if video.label
        ]
        result = run(make_store(tmp_path / "crops", videos))
        counts = {
            row.method: (row.n_real, row.n_fake)
            for row in result.rows
            if (row.metric, row.unit) == ("auc", "video")
        }
        assert counts == {"all": (4, 7), "puppet": (4, 3), "swap": (4, 4)}
        assert [line.split(":")[0] for line in result.headline()] == [
            "mine, all",
            "mine, puppet",
            "mine, swap",
        ]

    def test_datasets_and_compressions_are_not_pooled(self, tmp_path: Path) -> None:
        store = make_store(
            tmp_path / "one",
            plain_videos(3)
            + plain_videos(3, compression="c40")
            + plain_videos(2, dataset="theirs"),
        )
        other = make_store(tmp_path / "two", plain_videos(4, dataset="others"))
        result = run([store, other])
        auc = [row for row in result.rows if (row.metric, row.unit) == ("auc", "video")]
        assert [(row.dataset, row.n_real) for row in auc] == [
            ("mine/c23", 3),
            ("mine/c40", 3),
            ("others", 4),
            ("theirs", 2),
        ]
        assert [role for role, _ in result.run.parents] == [
            "weights",
            "calibration",
            "crops 1",
            "crops config 1",
            "manifest 1",
            "crops 2",
            "crops config 2",
            "manifest 2",
        ]

    def test_part_without_both_classes_is_named_not_dropped(self, tmp_path: Path) -> None:
        lone = [video for video in plain_videos(3, dataset="lone") if not video.label]
        result = run(make_store(tmp_path / "crops", plain_videos(3) + lone))
        assert {row.dataset for row in result.rows} == {"mine"}
        assert len(result.undefined) == 3
        assert result.undefined[2].startswith("lone, all, by video: 3 genuine and 0 fake")

    def test_single_video_of_a_class_has_no_interval(self, tmp_path: Path) -> None:
        result = run(make_store(tmp_path / "crops", plain_videos(1)))
        assert {row.ci_low for row in result.rows} == {None}
        assert result.headline()[0].endswith("1 genuine and 1 fake, 0 skipped")


def test_everything_skipped_is_counted(tmp_path: Path) -> None:
    videos = [
        *plain_videos(3),
        # a second person, never large enough; one frame without a face
        Video("two", 1, ((130.0,) * 9, (None,) * 4), n_faceless=1),
        Video("unseen", 1, (), n_faceless=5),
        Video("dark", 0, ((None,) * 2,)),
        Video("elsewhere", 0, ((None,) * 2,), split="train"),
    ]
    folder = tmp_path / "crops"
    make_store(folder, videos)
    # listed, but nothing was ever extracted from it
    rows = (*map(manifest_row, videos), manifest_row(Video("lost", 0, ())))
    Manifest(Videos.of(rows), "c" * 64).write(folder / "manifest.parquet")
    result = run(CropStore.open(folder))
    assert result.n_skipped_by_status == (("no_face", 6), ("not_extracted", 1), ("too_small", 6))
    assert {unit: result.value("auc", unit, "swap").n_skipped for unit in ("frame", "track")} == {
        "frame": 12,
        "track": 2,
    }
    row = result.value("auc", "video", "swap")
    assert (row.n_real, row.n_fake, row.n_skipped) == (3, 4, 3)


def test_video_is_its_highest_track_or_all_faces(tmp_path: Path) -> None:
    videos = [
        *plain_videos(2),
        Video("pair", 1, ((60.0,) * 9, (200.0,) * 9, (250.0,) * 3)),
    ]
    store = make_store(tmp_path / "crops", videos)
    by_rule = {
        rule: evaluate(
            store,
            BrightnessDetector(),
            n_bootstrap=2,
            protocol=dataclasses.replace(PLAIN, video_rule=rule),
            out=tmp_path / rule,
        )
        for rule in ("highest_track", "all_faces")
    }
    assert by_rule["highest_track"].run.scores.n_scored == 4 * 9 + 21
    losses = {
        rule: result.value("log_loss", method="swap").value for rule, result in by_rule.items()
    }
    assert losses["highest_track"] != losses["all_faces"]
    hashes = {result.config_hash for result in by_rule.values()}
    assert len(hashes) == 2


def test_videos_without_a_long_track_are_counted(tmp_path: Path) -> None:
    videos = [*plain_videos(3), Video("glimpse", 1, ((120.0,) * 2,))]
    assert run(make_store(tmp_path / "crops", videos)).n_unsound == 1


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        store = make_store(tmp_path / "crops", [*plain_videos(), Video("u", 1, (), n_faceless=2)])
        run(store, out=tmp_path / "out", command="dfdetect evaluate crops=[x]")
        return tmp_path / "out"

    def test_what_is_written(self, folder: Path) -> None:
        assert sorted(path.name for path in folder.iterdir()) == [
            "results.csv",
            "results.md",
            "results.parquet",
            "run.json",
            "scores.parquet",
            "videos.parquet",
        ]

    def test_scores_come_back_with_their_origin(self, folder: Path) -> None:
        found = read_run(folder)
        assert (found.scores.n_scored, len(found.scores)) == (108, 110)
        assert found.calibration == CALIBRATION
        assert found.threshold == 0.0
        assert dict(found.parents)["weights"] == "f" * 64
        assert {"calibration", "crops", "crops config", "manifest"} < dict(found.parents).keys()
        _, header = read_results(folder / "results.parquet")
        assert header.fact("settings")["seed"] == 0
        assert header.fact("n_skipped_by_status") == {"no_face": 2}

    def test_results_agree_in_every_format(self, folder: Path) -> None:
        rows, header = read_results(folder / "results.parquet")
        with (folder / "results.csv").open(newline="") as stream:
            lines = list(csv.DictReader(stream))
        assert [float(line["value"]) for line in lines] == [row.value for row in rows]
        page = (folder / "results.md").read_text()
        assert sum(f"{row.value:.4f}" in page for row in rows) == len(rows)
        assert header.config_hash in page
        assert all(digest in page for _, digest in header.parents)
        assert "EER is interpolated" in page
        assert header.fact("n_unsound") == 0

    def test_run_record(self, folder: Path) -> None:
        record = json.loads((folder / "run.json").read_text())
        assert record["command"] == "dfdetect evaluate crops=[x]"
        assert record["seed"] == 0

    def test_same_input_same_bytes(self, folder: Path, tmp_path: Path) -> None:
        run(CropStore.open(tmp_path / "crops"), out=tmp_path / "again")
        for name in {path.name for path in folder.iterdir()} - {"run.json"}:
            assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()

    def test_foreign_table_is_refused(self, folder: Path) -> None:
        with pytest.raises(ContractError, match="wanted scores"):
            read_run(folder / "results.parquet")


def test_batches_and_progress(tmp_path: Path) -> None:
    store = make_store(tmp_path / "crops", plain_videos(2))
    detector, told = BrightnessDetector(), []
    evaluate(
        store, detector, n_bootstrap=2, batch_size=10,
        progress=lambda done, all_: told.append((done, all_)),
    )  # fmt: skip
    assert detector.batch_sizes == [10, 10, 10, 6]
    assert told == [(10, 36), (20, 36), (30, 36), (36, 36)]


def test_batch_size_does_not_change_results(tmp_path: Path) -> None:
    store = make_store(tmp_path / "crops", plain_videos(2))
    assert run(store, batch_size=1).rows == run(store, batch_size=64).rows


class TestRefusals:
    def test_empty_split(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "crops", plain_videos(2))
        with pytest.raises(UsageError, match="'val' has no usable crop"):
            run(store, split="val")

    def test_nothing_to_compare(self, tmp_path: Path) -> None:
        lone = [video for video in plain_videos(2) if video.label]
        with pytest.raises(UsageError, match="0 genuine and 2 fake"):
            run(make_store(tmp_path / "crops", lone))

    @pytest.mark.parametrize(
        ("policy", "message"),
        [
            (CropPolicy("square", 1.0, SIZE), "scale 1.0 instead of 1.3"),
            (CropPolicy("aligned", 1.3, SIZE), "name aligned instead of square"),
            (CropPolicy("whole", 1.3, 32), "size 32 instead of 16"),
        ],
    )
    def test_crops_of_another_policy(
        self, tmp_path: Path, policy: CropPolicy, message: str
    ) -> None:
        store = make_store(tmp_path / "crops", plain_videos(2), policy)
        with pytest.raises(ContractError, match=message):
            run(store)

    def test_pictures_cropped_before_are_taken_as_they_are(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "crops", plain_videos(2), CropPolicy("whole", 1.0, SIZE))
        assert run(store).rows

    def test_store_without_its_record(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "crops", plain_videos(2))
        (store.folder / "extract.json").unlink()
        with pytest.raises(ContractError, match="how the faces were cut out"):
            run(store)

    def test_one_store_twice(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "crops", plain_videos(2))
        with pytest.raises(ContractError, match="name each store once"):
            run([store, store])

    def test_unknown_rules(self) -> None:
        with pytest.raises(UsageError, match="unknown aggregate"):
            dataclasses.replace(PLAIN, aggregate="loudest")
        with pytest.raises(UsageError, match=r"unknown protocol\.video_rule=loudest"):
            dataclasses.replace(PLAIN, video_rule="loudest")

    def test_value_that_is_not_there(self, tmp_path: Path) -> None:
        result = run(make_store(tmp_path / "crops", plain_videos(2)))
        with pytest.raises(KeyError, match="0 rows"):
            result.value("f1")


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[int], Path]:
    def write(n: int) -> Path:
        rng = np.random.default_rng(0)
        for label, folder in enumerate(("real", "fake")):
            (tmp_path / "data" / folder).mkdir(parents=True)
            for number in range(n):
                image = rng.integers(0, 200, (70, 60, 3)) + 55 * label
                path = tmp_path / "data" / folder / f"{number}.png"
                cv2.imwrite(str(path), image.astype(np.uint8))
        return tmp_path / "data"

    return write


def test_index_extract_checkpoint_evaluate(pictures: Callable[[int], Path], tmp_path: Path) -> None:
    """The whole chain on pictures, with a real network from a real checkpoint."""
    from dfdetect.detectors import create_detector, load_detector, save_checkpoint
    from dfdetect.detectors.checkpoint import make_header

    data = pictures(12)
    split = SplitRule(strategy="hash")
    manifest = build_manifest(FolderDataset(name="mine"), data, split)
    network = create_detector("meso4")
    policy = CropPolicy("whole", 1.0, network.preprocess.size)
    extract_crops(manifest, data, tmp_path / "crops", policy, FrameSampler(), None, landmarks=False)
    save_checkpoint(tmp_path / "w.safetensors", network, make_header(network, trained=True))
    detector = load_detector(tmp_path / "w.safetensors")
    store = CropStore.open(tmp_path / "crops")
    result = evaluate(store, detector, "train", n_bootstrap=20, out=tmp_path / "out")
    n_train = sum(row.split == "train" for row in manifest.rows)
    row = result.value("auc", "frame")
    assert row.n_real + row.n_fake == n_train == len(result.run.scores)
    assert dict(result.run.parents)["weights"] == detector.weights_sha256
    assert dict(result.run.parents)["manifest"] == manifest.content_hash()
    assert read_run(tmp_path / "out").scores == result.run.scores
    assert read_results(tmp_path / "out" / "results.parquet")[0] == result.rows
    # the same crops by hand
    crops = np.stack([store.image(crop) for crop in store.usable("train")])
    by_hand = dict(
        zip([crop.video_id for crop in store.usable("train")], detector.logits(crops), strict=True)
    )
    for one in result.run.scores.faces():
        assert one.logit == pytest.approx(float(by_hand[one.video_id]), abs=1e-4)
