"""What validation decides: AUC by dataset, never pooled, and calibration on the named datasets."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dfdetect.errors import UsageError
from dfdetect.training.validation import VideoLogits, aucs, calibration


def drawn(datasets: dict[str, tuple[int, float]], seed: int = 0) -> VideoLogits:
    """Draw `n` videos of each dataset, the fakes `shift` higher."""
    rng = np.random.default_rng(seed)
    names, logits, labels = [], [], []
    for name, (n, shift) in datasets.items():
        for index in range(n):
            label = index % 2
            names.append(name)
            labels.append(label)
            logits.append(float(rng.normal() + shift * label))
    ids = tuple(f"{name}/{index}" for index, name in enumerate(names))
    return VideoLogits(ids, tuple(logits), tuple(labels), tuple(names), ids)


def test_auc_is_that_of_scikit_learn_for_each_dataset() -> None:
    videos = drawn({"b": (60, 1.0), "a": (40, 2.0)})
    found = aucs(videos)
    assert [(auc.dataset, auc.n_real, auc.n_fake) for auc in found] == [
        ("a", 20, 20),
        ("b", 30, 30),
    ]
    for auc in found:
        here = [index for index, name in enumerate(videos.datasets) if name == auc.dataset]
        expected = roc_auc_score(
            [videos.labels[index] for index in here], [videos.logits[index] for index in here]
        )
        assert auc.auc == pytest.approx(expected)


def test_a_dataset_of_one_class_has_no_auc() -> None:
    videos = drawn({"both": (20, 1.0)})
    extended = VideoLogits(
        (*videos.video_ids, "one/0"),
        (*videos.logits, 9.0),
        (*videos.labels, 0),
        (*videos.datasets, "one"),
        (*videos.groups, "one/0"),
    )
    assert [auc.dataset for auc in aucs(extended)] == ["both"]
    alone = VideoLogits(("one/0",), (9.0,), (0,), ("one",), ("one/0",))
    with pytest.raises(UsageError, match="no dataset has genuine and forged videos"):
        aucs(alone)


def test_calibration_is_fitted_to_one_logit_a_video() -> None:
    fitted = calibration(drawn({"clips": (200, 2.0)}))
    assert (fitted.n_real, fitted.n_fake) == (100, 100)
    # two unit normals, 2 apart: the likelihood ratio has slope 2 and passes 1 half-way
    assert fitted.slope == pytest.approx(2.0, abs=0.7)
    assert fitted.intercept == pytest.approx(-2.0, abs=0.9)
    assert "clips" in fitted.set_name


def test_calibration_of_too_few_videos_is_refused() -> None:
    with pytest.raises(UsageError, match="do not suffice to calibrate"):
        calibration(drawn({"clips": (2, 1.0)}))
