"""An estimate is told from videos that stand for all, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.cli.main import main
from dfdetect.data.crops import CropStore, expected_frames, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.synthetic import draw_clip, write_clip
from dfdetect.data.estimate import ExtractEstimate, Range, estimate_extraction, sample_places
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.errors import UsageError
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy

WHOLE = CropPolicy("whole", 1.0, 64)


def videos(methods: dict[str, int], rng: np.random.Generator) -> Videos:
    return Videos.of(
        ManifestRow(
            video_id=f"{method}/{number:03d}", dataset="d", method=method, label=0, split=None,
            source_ids=(), compression="c23", path=f"{method}/{number}.mp4", sha256="0" * 64,
            fps=25.0, n_frames=None, width=64, height=64, duration_s=float(rng.uniform(1, 60)),
        )
        for method, count in methods.items()
        for number in range(count)
    )  # fmt: skip


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30), min_size=1),
    st.integers(1, 40),
    st.integers(0, 5),
)
@settings(max_examples=50, deadline=None)
def test_every_method_gets_its_share(methods: dict[str, int], n_sampled: int, seed: int) -> None:
    rows = videos(methods, np.random.default_rng(seed))
    places = sample_places(rows, n_sampled, seed)
    assert len(set(places.tolist())) == len(places) == min(n_sampled, len(rows))
    found = Counter(rows[int(place)].method for place in places)
    for method, count in methods.items():
        assert abs(found[method] - count * len(places) / len(rows)) <= 1 + 1e-9
    assert sample_places(rows, n_sampled, seed).tolist() == places.tolist()


def test_durations_are_spread() -> None:
    rows = videos({"a": 100}, np.random.default_rng(0))
    durations = rows.column("duration_s").to_numpy()
    ranks = np.argsort(np.argsort(durations))[sample_places(rows, 10, 0)]
    assert sorted(ranks // 10) == list(range(10))


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (FrameSampler(count=32), [32, 20, 32, 25]),
        (FrameSampler("fps", fps=2.0), [20, 4, 20, 2]),
        (FrameSampler("all"), [250, 20, 300, 25]),
    ],
)
def test_frames_are_expected_of_headers(sampler: FrameSampler, expected: list[int]) -> None:
    rng = np.random.default_rng(0)
    rows = (
        videos({"a": 4}, rng)
        .with_column("duration_s", [10.0, 2.0, 10.0, 1.0])
        .with_column("n_frames", [None, 20, 300, 0])
    )
    assert expected_frames(rows, sampler).tolist() == expected


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Clips of different lengths and faces."""
    root = tmp_path_factory.mktemp("estimate") / "data"
    for number in range(24):
        rng = np.random.default_rng(number)
        folder = root / ("real" if number % 2 else "fake")
        folder.mkdir(parents=True, exist_ok=True)
        write_clip(folder / f"{number}.mp4", draw_clip(rng, 4 + 2 * number, number % 2), 10)
    return root, build_manifest(create_dataset("folder"), root, SplitRule("all:train"))


def test_disk_is_told_from_the_frames_of_every_video(
    clips: tuple[Path, Manifest], tmp_path: Path
) -> None:
    root, manifest = clips
    estimate = estimate_extraction(
        manifest, root, WHOLE, FrameSampler("all"), None, landmarks=False
    )
    assert (estimate.n_videos, estimate.n_sampled) == (24, 8)
    extract_crops(manifest, root, tmp_path / "s", WHOLE, FrameSampler("all"), None, landmarks=False)
    n_bytes = sum(path.stat().st_size for path in (tmp_path / "s" / "shards").iterdir())
    assert estimate.n_bytes.value == pytest.approx(n_bytes, rel=0.15)
    assert estimate.n_bytes.low < estimate.n_bytes.value < estimate.n_bytes.high
    assert estimate.n_by_status == (("ok", sum(n for _, n in estimate.n_by_status)),)
    assert 0 < estimate.worker_seconds.low <= estimate.worker_seconds.value


def test_time_follows_durations_and_workers() -> None:
    time = Range(100.0, 50.0, 200.0)
    estimate = ExtractEstimate(3, 3, time, time, ())
    assert estimate.seconds(2) == Range(50.0, 25.0, 100.0)
    # more workers than videos are idle
    assert estimate.seconds(8) == time.divided(3)


def test_originals_of_sampled_forgeries_are_not_counted(tmp_path: Path) -> None:
    dataset = create_dataset("synthetic", n_identities=5, n_frames=4)
    manifest = build_manifest(dataset, tmp_path, SplitRule("official"))
    policy, sampler = CropPolicy("square", 1.3, 64), FrameSampler(count=2)
    estimate = estimate_extraction(
        manifest, tmp_path, policy, sampler, reuse_boxes=True, n_sampled=3
    )
    assert estimate.n_sampled == 3
    assert sum(n for _, n in estimate.n_by_status) == 6


def test_nothing_to_sample_is_refused(clips: tuple[Path, Manifest]) -> None:
    root, manifest = clips
    with pytest.raises(UsageError, match="cannot sample 0 of 24"):
        estimate_extraction(manifest, root, WHOLE, FrameSampler(), None, n_sampled=0)


@pytest.mark.parametrize("word", ["--dry-run", "dry_run=true"])
def test_a_dry_run_says_what_to_expect_and_writes_nothing(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, manifest = tmp_path / "data", tmp_path / "m.parquet"
    for number in range(12):
        path = root / ("real" if number % 2 else "fake") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((64, 64, 3), number, np.uint8))
    build_manifest(create_dataset("folder"), root, SplitRule("all:train")).write(manifest)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = sorted(tmp_path.rglob("*"))
    words = ["extract", f"manifest={manifest}", f"data_root={root}", f"out={tmp_path / 'store'}"]
    whole = ["faces=whole", "faces.landmarks=false", "engine.workers=2"]
    assert main([*words, *whole, word]) == 0
    told = capsys.readouterr().out
    assert "from 8 of 12 videos" in told
    assert "time with 2 workers" in told
    assert "disk" in told
    assert f"nothing was written to {tmp_path / 'store'}" in told
    assert sorted(tmp_path.rglob("*")) == before
    assert main([*words, *whole]) == 0
    assert "12 videos, 12 rows, 0 skipped" in capsys.readouterr().out
    assert len(CropStore.open(tmp_path / "store").usable()) == 12


def test_only_extract_has_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--dry-run"]) == 2
    assert "train takes key=value" in capsys.readouterr().err
