"""Nothing but the forged region tells the classes apart: compression statistics stay at chance."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfdetect.data.augment import AugmentSettings, augment, augment_masked
from dfdetect.data.blend import METHOD, self_blend
from dfdetect.data.face_shape import five_of_68
from dfdetect.data.xray_blend import xray_blend
from dfdetect.types import Image
from tests.blend_measures import face_81, textured

SIDE, SIZE, N_PAIRS = 144, 112, 120
QUALITIES = (45, 60, 75, 90)
SETTINGS = AugmentSettings(jpeg=0.8, resize=0.3, codec=0.1, blur=0.2)
# how far 4:2:0 JPEG and H.264 carry a change beyond the block that it is in
REACH = 33


def statistics(picture: Image, outside: NDArray[np.bool_]) -> list[float]:
    """Blockiness on the 8 × 8 grid, high-frequency energy, and errors of compressing again."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    steps, both = np.abs(np.diff(luma, axis=1)), outside[:, 1:] & outside[:, :-1]
    on_grid = np.zeros_like(both)
    on_grid[:, 7::8] = True
    edges = [steps[both & on_grid].mean(), steps[both & ~on_grid].mean()]
    fine = np.abs(cv2.Laplacian(luma, cv2.CV_64F))[outside].mean()
    ghosts = []
    for quality in QUALITIES:
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        again = cv2.imdecode(coded, cv2.IMREAD_COLOR).astype(np.float64)
        ghosts.append(np.abs(again - picture).mean(axis=2)[outside].mean())
    return [edges[0] / (edges[1] + 0.1), *np.log1p([*edges, fine, *ghosts])]


def interval(features: list[list[float]]) -> tuple[float, float]:
    """The AUC of a classifier on pairs (genuine, forged, genuine, …), 99 % by resampled pairs."""
    labels, pairs = np.tile([0, 1], N_PAIRS), np.repeat(np.arange(N_PAIRS), 2)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    scores = cross_val_predict(
        model,
        np.array(features),
        labels,
        groups=pairs,
        cv=GroupKFold(5),
        method="decision_function",
    )
    rng, by_pair = np.random.default_rng(0), scores.reshape(-1, 2)
    aucs = []
    for _ in range(300):
        drawn = by_pair[rng.integers(0, N_PAIRS, N_PAIRS)]
        aucs.append(roc_auc_score(labels, drawn.ravel()))
    low, high = np.percentile(aucs, [0.5, 99.5])
    return float(low), float(high)


def halves(kind: str, number: int) -> tuple[Image, Image, NDArray[np.float32]]:
    rng = np.random.default_rng(number)
    image, face = textured(SIDE, number), face_81(SIDE, 0.35)
    # stored crops come from compressed clips, so that there is something to lose
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))])
    image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    if kind == "xray":
        other = textured(SIDE, number + N_PAIRS)
        blend = xray_blend(image, face[:68], other, face[:68] * 1.05 - 3, rng)
    else:
        points = five_of_68(face) if kind == METHOD else face
        blend = self_blend(image, points, rng)
    return blend.real, blend.fake, blend.mask


def far_from(mask: NDArray[np.float32]) -> NDArray[np.bool_]:
    near = cv2.dilate((mask > 0).astype(np.uint8), np.ones((REACH, REACH), np.uint8)) > 0
    # small pictures can be full of the forged region; their rim counts all the same
    near[:8], near[-8:] = False, False
    return ~near


@pytest.mark.parametrize("kind", [METHOD, "sbi", "xray"])
def test_compression_does_not_give_the_label_away(kind: str) -> None:
    features = []
    for number in range(N_PAIRS):
        real, fake, mask = halves(kind, number)
        for picture in (real, fake):
            treated, placed = augment_masked(
                picture, mask, 1.6, SIZE, np.random.default_rng(number), SETTINGS
            )
            features.append(statistics(treated, far_from(placed)))
    low, high = interval(features)
    assert low <= 0.5 <= high


def test_the_same_classifier_notices_when_classes_are_treated_apart() -> None:
    features = []
    for number in range(N_PAIRS):
        real, fake, _ = halves("sbi", number)
        for label, picture in enumerate((real, fake)):
            apart = AugmentSettings(jpeg=float(label), jpeg_low=60, resize=0, noise=0, blur=0)
            treated = augment(picture, 1.6, SIZE, np.random.default_rng(number), apart)
            features.append(statistics(treated, np.ones((SIZE, SIZE), np.bool_)))
    low, _ = interval(features)
    assert low > 0.7
