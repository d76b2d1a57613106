"""Generated clips: the same for the same seed, forged inside the face only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.synthetic import draw_clip, write_clip
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule, leak_check
from dfdetect.errors import UsageError
from dfdetect.media import FrameSampler


def test_synthetic_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    made: list[Manifest] = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        dataset = create_dataset("synthetic", n_identities=5, n_frames=4, seed=seed)
        made.append(build_manifest(dataset, tmp_path / name, SplitRule("official")))
    assert made[0].rows == made[1].rows
    assert {r.sha256 for r in made[0].rows}.isdisjoint(r.sha256 for r in made[2].rows)
    assert {r.split for r in made[0].rows} == {"train", "val", "test"}
    assert leak_check(made[0].rows) == ()
    more = create_dataset("synthetic", n_identities=6, n_frames=4, seed=1)
    grown = build_manifest(more, tmp_path / "a", SplitRule("official"))
    assert set(made[0].rows) < set(grown.rows)
    with pytest.raises(UsageError, match=r'drawn with {"n_frames": 4, "seed": 1}'):
        list(create_dataset("synthetic", n_frames=4, seed=2).entries(tmp_path / "a"))


def test_synthetic_fakes_differ_inside_the_face_only() -> None:
    real = draw_clip(np.random.default_rng(5), 1, 0)[0].astype(int)
    fake = draw_clip(np.random.default_rng(5), 1, 1)[0].astype(int)
    changed = np.abs(real - fake).max(axis=2) > 2
    rows, columns = np.nonzero(changed)
    assert 0.01 < changed.mean() < 0.3
    assert rows.min() > 30
    assert rows.max() < 200
    assert columns.min() > 60
    assert columns.max() < 260


def test_written_clips_show_what_was_drawn(tmp_path: Path) -> None:
    drawn = draw_clip(np.random.default_rng(0), 5, 0)
    write_clip(tmp_path / "a.mp4", drawn, 10)
    from dfdetect.media import probe

    frames = list(FrameSampler("all").sample(probe(tmp_path / "a.mp4")))
    assert len(frames) == 5
    error = np.abs(frames[3].image.astype(int) - drawn[3].astype(int)).mean()
    assert error < 5
