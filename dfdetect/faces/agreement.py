"""How well one finder's faces agree with a reference's, frame by frame and added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dfdetect.types import Face

SAME_FACE_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts over frames; adding two joins their frames.

    `n_wanted` faces of the reference were clear and large enough to count, `ious` has the overlap
    of each that was found; `n_extra` of `n_found` faces meet no face of the reference.

    Example:
        >>> both = Agreement(1, (0.9,), 1, 0) + Agreement(1, (), 1, 1)
        >>> both.recall, both.mean_iou, both.n_extra
        (0.5, 0.9, 1)
    """

    n_wanted: int = 0
    ious: tuple[float, ...] = ()
    n_found: int = 0
    n_extra: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.n_wanted + other.n_wanted,
            self.ious + other.ious,
            self.n_found + other.n_found,
            self.n_extra + other.n_extra,
        )

    @property
    def recall(self) -> float:
        """Share of the wanted faces that were found, 0 to 1.

        Raises:
            ValueError: No face was wanted, so there is no share.
        """
        if self.n_wanted == 0:
            raise ValueError("recall is undefined: the reference has no face that counts")
        return len(self.ious) / self.n_wanted

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the faces that were found, 0 to 1.

        Raises:
            ValueError: No wanted face was found.
        """
        if not self.ious:
            raise ValueError("mean IoU is undefined: no face of the reference was found")
        return sum(self.ious) / len(self.ious)


def compare(
    reference: Sequence[Face],
    found: Sequence[Face],
    min_confidence: float = 0.95,
    min_side_px: float = 60.0,
) -> Agreement:
    """Compare the faces of one frame, each matched to at most one other, best overlaps first.

    Args:
        reference: The reference's faces; those below the limits need not be found.
        found: The faces to judge.
        min_confidence: Least confidence of a reference face that counts.
        min_side_px: Least longer side of a reference face that counts, in source pixels.
    """
    wanted = [
        face
        for face in reference
        if face.confidence >= min_confidence and face.box.side >= min_side_px
    ]
    pairs = sorted(
        (
            (face.box.iou(other.box), i, j)
            for i, face in enumerate(wanted)
            for j, other in enumerate(found)
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    ious: list[float] = []
    matched: set[int] = set()
    taken: set[int] = set()
    for iou, i, j in pairs:
        if iou >= SAME_FACE_IOU and i not in matched and j not in taken:
            ious.append(iou)
            matched.add(i)
            taken.add(j)
    extra = sum(
        all(face.box.iou(other.box) < SAME_FACE_IOU for other in reference) for face in found
    )
    return Agreement(len(wanted), tuple(ious), len(found), extra)
