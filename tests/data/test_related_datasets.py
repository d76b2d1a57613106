"""Datasets that were made from one another: a leak between two of them is found by its source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.layouts import write_noise_clip, write_noise_pictures
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule, leak_check
from dfdetect.data.videos import Videos
from tests.miniatures import lay

STAGED = {"parts": ["actors", "DeepFakeDetection"]}

RELATED = [
    ("ffpp", {}, "deeperforensics", {}, "ffpp:071"),
    ("ffpp", {}, "df40", {"parts": ["train"], "reals": []}, "ffpp:071"),
    ("dfd", {}, "ffpp", STAGED, "ffpp:actor:01"),
    ("celebdf_v1", {}, "celebdf_v2", {}, "celebdf:id0"),
    ("celebdf_v1", {}, "celebdf_v2", {}, "celebdf:youtube:00007"),
    ("celebdf_v2", {"part": "train"}, "celebdf_pp", {}, "celebdf:id0"),
    ("celebdf_v2", {}, "df40", {"domains": ["cdf"]}, "celebdf:id0_0002"),
    ("celebdf_v2", {}, "df40", {"domains": ["cdf"]}, "celebdf:youtube:00007"),
]


def videos(root: Path, name: str, options: dict[str, object], rule: str, seed: int) -> Videos:
    """Index a miniature whose files share no bytes with another one's."""
    lay(root, "dfd" if options == STAGED else name)
    if name == "deeperforensics":
        for path in [*root.rglob("000*.mp4"), *root.rglob("*.txt")]:
            if path.suffix == ".txt":
                path.write_text(path.read_text().replace("000", "071"))
            else:
                path.rename(path.with_name(path.name.replace("000", "071")))
    rng = np.random.default_rng(seed)
    for path in sorted(root.rglob("*.*")):
        if path.suffix == ".mp4":
            write_noise_clip(path, rng)
        elif path.suffix == ".png":
            write_noise_pictures(path.parent, [path.name], rng)
    return build_manifest(create_dataset(name, **options), root, SplitRule(rule)).rows


@pytest.mark.parametrize(("first", "options", "second", "others", "shared"), RELATED)
def test_a_leak_between_two_datasets_is_found(
    first: str,
    options: dict[str, object],
    second: str,
    others: dict[str, object],
    shared: str,
    tmp_path: Path,
) -> None:
    train = videos(tmp_path / "first", first, options, "all:train", 1)
    test = videos(tmp_path / "second", second, others, "all:test", 2)
    leaks = leak_check(Videos.joined([train, test]))
    assert leaks
    assert {leak.kind for leak in leaks} == {"source"}
    assert {leak.splits for leak in leaks} == {("train", "test")}
    for leak in leaks:
        assert leak.chain[0].startswith(f"{first}/")
        assert leak.chain[-1].startswith(f"{second}/")
    # the same pair is found by this very source where nothing else ties the two
    alone = [
        Videos.of(row for row in rows if any(shared in (s.lstrip("@"), f"{row.dataset}:{s}")
                                             for s in row.source_ids))
        for rows in (train, test)
    ]  # fmt: skip
    assert all(len(rows) for rows in alone)
    assert leak_check(Videos.joined(alone))
    together = test.with_column("split", ["train"] * len(test))
    assert leak_check(Videos.joined([train, together])) == ()


def test_the_official_splits_of_related_datasets_agree(tmp_path: Path) -> None:
    ffpp = videos(tmp_path / "ffpp", "ffpp", {}, "official", 1)
    df40 = videos(tmp_path / "df40", "df40", {"parts": ["train", "test"]}, "official", 2)
    celeb = videos(tmp_path / "celeb", "celebdf_v2", {}, "official", 3)
    dfd = videos(tmp_path / "dfd", "dfd", {}, "official", 4)
    assert leak_check(Videos.joined([ffpp, df40, celeb, dfd])) == ()
    trained = videos(tmp_path / "train", "celebdf_v2", {"part": "train"}, "official", 5)
    found = leak_check(Videos.joined([df40, trained]))
    assert {leak.chain[0].partition("/")[0] for leak in found} == {"celebdf_v2"}


def test_own_ids_of_two_datasets_that_look_alike_are_no_leak(tmp_path: Path) -> None:
    train = videos(tmp_path / "a", "uadfv", {}, "all:train", 1)
    test = videos(tmp_path / "b", "synthetic", {"n_identities": 5, "n_frames": 6}, "all:test", 2)
    assert {"0000"} == {s for r in train for s in r.source_ids if s == "0000"}
    assert leak_check(Videos.joined([train, test])) == ()
