"""Every fault of a copy is found, each alone; a good copy has none; references are understood."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from dfdetect.data.datasets import DATASETS, create_dataset
from dfdetect.data.datasets.base import (
    ORIGINAL,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    Expected,
    Misnamed,
)
from dfdetect.data.datasets.layouts import write_noise_clip
from dfdetect.data.filenames import NearestNames, refused_by_windows, unportable
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.data.verify import duplicates, require_apart, verify_dataset
from dfdetect.data.verify_report import Finding, VerifyReport
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.errors import ContractError, UsageError

OFFICIAL, ALL_TEST = SplitRule("official"), SplitRule("all:test")
FULL = ("fake/003.mp4", "fake/004.mp4", "real/001.mp4", "real/002.mp4")


@dataclass(frozen=True)
class Toy(DatasetAdapter):
    """Clips in `real/` and `fake/`, whose names are three digits, with masks in `mask/`."""

    info: ClassVar[DatasetInfo] = DatasetInfo("Toy", "none", "none", "fake is 1", "none")

    parts: tuple[str, ...] = ("real", "fake")
    full: tuple[str, ...] = ()
    published: tuple[Expected, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return "toy"

    def entries(self, root: Path) -> Iterator[DatasetEntry | Misnamed]:
        for part in self.parts:
            for file in sorted((root / part).glob("*.mp4")):
                path, stem = f"{part}/{file.name}", file.stem.partition("-")[0]
                if len(stem) != 3:
                    yield Misnamed(path, f"{path} has no number of three digits")
                    continue
                yield DatasetEntry(
                    path=path,
                    name=path,
                    label=int(part == "fake"),
                    method="swap" if part == "fake" else ORIGINAL,
                    source_ids=(dict(self.sources).get(path, stem),),
                    split="train" if part == "real" else "test",
                    mask=f"mask/{file.name}" if part == "fake" else None,
                )

    def expected(self) -> tuple[Expected, ...]:
        return self.published

    def complete(self, root: Path) -> tuple[str, ...]:
        return self.full

    def whole(self, root: Path) -> DatasetAdapter:
        return replace(self, parts=("real", "fake"))

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        raise NotImplementedError


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    for path in (*FULL, "mask/003.mp4", "mask/004.mp4"):
        write_noise_clip(root / path, rng)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "copy"))


def found(report: VerifyReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in report.findings]


def only(report: VerifyReport) -> Finding:
    (finding,) = report.findings
    return finding


# each fault alone


def test_a_good_copy_has_no_finding(root: Path) -> None:
    published = (Expected(2, label=1), Expected(4), Expected(2, split="train"))
    report = verify_dataset(Toy(full=FULL, published=published), root, split=OFFICIAL)
    assert report.findings == ()
    assert [(p.name, p.n_wanted, p.n_found, p.n_missing, p.n_unreadable) for p in report.parts] == [
        ("fake", 2, 2, 0, 0),
        ("all", 4, 4, 0, 0),
        ("train", 2, 2, 0, 0),
        ("all", None, 4, 0, 0),
    ]
    assert report.sentence() == (
        "complete: 4 videos of toy are readable and agree with 3 published numbers, the names of "
        "a full copy"
    )
    assert "no number, list or hash" in verify_dataset(Toy(), root).sentence()


def test_a_video_of_a_full_copy_is_missing(root: Path) -> None:
    (root / "fake/004.mp4").unlink()
    finding = only(verify_dataset(Toy(full=FULL), root))
    assert (finding.kind, finding.path) == ("missing", "fake/004.mp4")
    assert verify_dataset(Toy(full=FULL), root).parts[-1].n_missing == 1


def test_a_video_of_the_datasets_own_list_is_missing(root: Path) -> None:
    (root / "list.csv").write_text("file,label\nreal/001.mp4,0\nreal/009.mp4,0\n")
    dataset = create_dataset("folder", csv="list.csv")
    assert ("missing", "real/009.mp4") in found(verify_dataset(dataset, root))


def test_numbers_that_are_not_met_are_named_with_both(root: Path) -> None:
    published = (Expected(3, method="swap"), Expected(1, label=0), Expected(4))
    report = verify_dataset(Toy(published=published), root)
    assert [(f.kind, f.path, f.detail) for f in report.findings] == [
        ("count", "genuine", "wanted 1 videos, found 2"),
        ("count", "swap", "wanted 3 videos, found 2"),
    ]
    # nothing names the one that is missing, so the whole cannot count it
    assert [part.n_missing for part in report.parts] == [1, 0, 0, None]


def test_a_video_that_cannot_be_decoded_is_unreadable_and_counted(root: Path) -> None:
    (root / "fake/003.mp4").write_bytes(b"no video")
    report = verify_dataset(Toy(full=FULL), root)
    finding = only(report)
    assert (finding.kind, finding.path) == ("unreadable", "fake/003.mp4")
    assert "not a video" in finding.detail
    assert not finding.detail.startswith("fake/003.mp4")
    assert [(p.name, p.n_found, p.n_unreadable) for p in report.parts] == [
        ("original", 2, 0),
        ("swap", 1, 1),
        ("all", 3, 1),
    ]


def test_equal_bytes_are_a_duplicate_and_across_labels_a_wrong_label(root: Path) -> None:
    shutil.copy(root / "real/001.mp4", root / "real/005.mp4")
    finding = only(verify_dataset(Toy(), root))
    assert finding == Finding("duplicate", "real/005.mp4", "equal bytes as real/001.mp4")
    shutil.copy(root / "real/001.mp4", root / "fake/001.mp4")
    report = verify_dataset(Toy(), root)
    first, second = report.findings
    assert (first.path, second.path) == ("real/001.mp4", "real/005.mp4")
    for finding in (first, second):
        assert finding.detail.startswith("equal bytes as fake/001.mp4, which is fake while this is")
        assert "one of the two labels must be wrong" in finding.detail


def test_what_the_adapter_calls_misnamed_is_compared_with_what_is_missing(root: Path) -> None:
    (root / "fake/003.mp4").rename(root / "fake/0003.mp4")
    write_noise_clip(root / "real/holiday.mp4", np.random.default_rng(5))
    report = verify_dataset(Toy(full=FULL), root)
    assert [(f.kind, f.path, f.detail) for f in report.findings] == [
        ("missing", "fake/003.mp4", "a full copy has it"),
        ("misnamed", "fake/0003.mp4", "has no number of three digits; perhaps 003.mp4"),
        ("misnamed", "real/holiday.mp4", "has no number of three digits"),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_name_that_is_no_text_costs_one_video(root: Path) -> None:
    (root / "real/001.mp4").rename(root / "real" / os.fsdecode(b"\xff-1.mp4"))
    (root / "real/002.mp4").rename(root / "real" / "002\\.mp4")
    report = verify_dataset(create_dataset("folder"), root)
    assert report.n_videos == 2
    details = {f.path: f.detail for f in report.by_kind["misnamed"]}
    assert details["real/\udcff-1.mp4"] == "its name is not UTF-8; rename it"
    assert details["real/002\\.mp4"] == "its name holds a backslash; rename it"


def test_a_video_that_nothing_accounts_for_is_misnamed(root: Path) -> None:
    (root / "Fake").mkdir()
    (root / "fake/004.mp4").rename(root / "Fake/004.mp4")
    report = verify_dataset(Toy(full=FULL), root)
    (stray,) = (f for f in report.findings if f.kind == "misnamed")
    assert stray.path == "Fake/004.mp4"
    assert stray.detail == "the dataset has no video of this name; perhaps fake/004.mp4"


def test_parts_that_were_not_asked_for_and_masks_are_no_strays(root: Path) -> None:
    (root / "fake/003.mp4").unlink()  # its mask stays
    assert verify_dataset(Toy(), root).findings == ()
    assert verify_dataset(Toy(parts=("real",)), root).findings == ()
    # a folder that is linked into itself is read once
    (root / "real/again").symlink_to(root, target_is_directory=True)
    assert verify_dataset(Toy(), root).findings == ()


def test_what_macos_leaves_behind_gets_its_own_words(root: Path) -> None:
    (root / ".DS_Store").touch()
    (root / "fake/._004.mp4").write_bytes(b"\0\5\x16\7")
    (root / "real/.x.mp4").write_bytes(b"")
    (root / ".hidden").mkdir()
    (root / ".hidden/1.mp4").touch()
    report = verify_dataset(Toy(full=FULL), root)
    assert [(f.kind, f.path, f.detail) for f in report.findings] == [
        ("misnamed", "fake/._004.mp4", "no video: macOS left it beside 004.mp4; delete it"),
        ("misnamed", "real/.x.mp4", "has no number of three digits; it is a hidden file"),
    ]
    assert report.remarks == ("1 hidden files (.DS_Store and the like) do no harm",)
    # an adapter that takes it for a video does not change that
    (root / "list.csv").write_text("file,label\nfake/._004.mp4,1\nreal/001.mp4,0\n")
    listed = verify_dataset(create_dataset("folder", csv="list.csv"), root)
    assert ("misnamed", "fake/._004.mp4") in found(listed)
    assert "unreadable" not in listed.by_kind


def test_names_that_another_system_refuses_are_unportable(root: Path) -> None:
    for name in ("005-a:b.mp4", "005-?.mp4", "006.mp4", "006-x.MP4.mp4", "006-X.mp4.mp4"):
        write_noise_clip(root / "real" / name, np.random.default_rng(len(name) + ord(name[4])))
    (root / "real/001.mp4").rename(root / "real/aux.mp4")
    (root / "mask /").mkdir()
    shutil.copy(root / "mask/003.mp4", root / "mask /003.mp4")
    report = verify_dataset(Toy(), root)
    assert [f.path for f in report.by_kind["unportable"]] == [
        "mask ",
        "real/005-?.mp4",
        "real/005-a:b.mp4",
        "real/006-x.MP4.mp4",
        "real/aux.mp4",
    ]
    details = {f.path: f.detail for f in report.findings}
    assert "only in upper and lower case" in details["real/006-x.MP4.mp4"]
    assert details["real/aux.mp4"] == "Windows reserves the name aux"


def test_accents_in_two_spellings_and_folders_in_two_cases_cannot_both_live_on_macos() -> None:
    faults = dict(unportable(["a/é.mp4", "a/e\u0301.mp4", "C23/x.mp4", "c23/y.mp4", "c23/X.mp4"]))
    assert set(faults) == {"a/é.mp4", "c23"}


@pytest.mark.parametrize("name", ["NUL", "com1.mp4", "Lpt9.tar.gz", "a.", "a ", "a\\b", "a\tb"])
def test_windows_refuses(name: str) -> None:
    assert refused_by_windows(name)
    assert not refused_by_windows(f"x{name.strip(' .').replace(chr(92), '').replace(chr(9), '')}")


def test_a_leak_of_the_official_splits_shows_its_chain(root: Path) -> None:
    dataset = Toy(sources=(("real/001.mp4", "ann"), ("fake/003.mp4", "ann")))
    finding = only(verify_dataset(dataset, root, split=OFFICIAL))
    assert finding.kind == "leak"
    assert finding.detail == ("train and test share: toy/real/001.mp4 → toy:ann → toy/fake/003.mp4")
    assert verify_dataset(dataset, root, split=ALL_TEST).findings == ()
    assert verify_dataset(dataset, root).findings == ()


def test_a_rule_that_cannot_be_followed_is_a_remark(root: Path) -> None:
    report = verify_dataset(
        Toy(), root, split=SplitRule("hash", train=0.998, val=0.001, test=0.001)
    )
    assert report.findings == ()
    assert "leaks were not looked for" in report.remarks[0]
    images = create_dataset("folder")
    unsplit = verify_dataset(images, root, split=SplitRule("given"))
    assert "4 of 4 videos have no split of the dataset's own" in unsplit.remarks


# references


def sums(root: Path, algorithm: str = "sha256", above: str = "", end: str = "\n") -> str:
    paths = sorted(path for path in root.rglob("*.mp4"))
    return "".join(
        f"{hashlib.new(algorithm, path.read_bytes()).hexdigest()}  "
        f"{above}{path.relative_to(root).as_posix()}{end}"
        for path in paths
    )


def alter(path: Path, seed: int = 99) -> None:
    path.unlink()
    write_noise_clip(path, np.random.default_rng(seed))


def test_a_manifest_made_elsewhere_is_a_reference(root: Path, tmp_path: Path) -> None:
    reference = tmp_path / "theirs.parquet"
    build_manifest(Toy(), root, OFFICIAL).write(reference)
    moved = root.rename(tmp_path / "moved here")
    good = verify_dataset(Toy(), moved, reference=reference)
    assert good.findings == ()
    assert good.sentence().endswith("agree with theirs.parquet")
    alter(moved / "fake/003.mp4")
    finding = only(verify_dataset(Toy(), moved, reference=reference))
    assert (finding.kind, finding.path) == ("altered", "fake/003.mp4")
    assert "its SHA-256 is" in finding.detail
    assert "theirs.parquet says" in finding.detail


def test_a_reference_says_what_is_missing_and_new_videos_are_counted(
    root: Path, tmp_path: Path
) -> None:
    reference = tmp_path / "theirs.parquet"
    build_manifest(Toy(), root, OFFICIAL).write(reference)
    (root / "fake/004.mp4").rename(root / "fake/005.mp4")
    report = verify_dataset(Toy(), root, reference=reference)
    assert found(report) == [("missing", "fake/004.mp4")]
    assert "1 videos are named by no reference" in report.remarks
    (root / "fake/005.mp4").unlink()
    part = verify_dataset(Toy(parts=("real",)), root, reference=reference)
    assert part.findings == ()
    assert "1 files of theirs.parquet are of no part that was asked for" in part.remarks


def test_a_reference_of_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.parquet is not there"):
        verify_dataset(Toy(), root, reference=tmp_path / "gone.parquet")
    other = tmp_path / "other.txt"
    other.write_text(f"{'0' * 64}  elsewhere/a.mp4\n")
    with pytest.raises(UsageError, match=r"other\.txt names no video of"):
        verify_dataset(Toy(), root, reference=other)
    other.write_text("hello world\n")
    with pytest.raises(ContractError, match=r"other\.txt line 1 is 'hello world', wanted"):
        verify_dataset(Toy(), root, reference=other)
    other.write_bytes(b"\xff\xfa")
    with pytest.raises(ContractError, match=r"other\.txt is neither a manifest nor text"):
        verify_dataset(Toy(), root, reference=other)


@pytest.mark.parametrize(
    "name", ["SHA256SUMS", "sha256sums.txt", "toy.sha256", "MD5SUMS", "toy.md5"]
)
def test_checksums_that_lie_in_the_root_are_found(root: Path, name: str) -> None:
    (root / name).write_text(sums(root, "md5" if "md5" in name.lower() else "sha256"))
    good = verify_dataset(Toy(), root)
    assert good.findings == ()
    assert good.compared_with == (name,)
    alter(root / "real/002.mp4")
    alter(root / "mask/003.mp4")
    (root / "fake/004.mp4").unlink()
    assert found(verify_dataset(Toy(), root)) == [
        ("missing", "fake/004.mp4"),
        ("altered", "mask/003.mp4"),
        ("altered", "real/002.mp4"),
    ]


@pytest.mark.parametrize("above", ["", "./", "FF/deep/", "/data/FF/", "C:\\data\\FF\\", "*"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_checksum_files_of_every_make_are_understood(
    root: Path, tmp_path: Path, above: str, encoding: str, end: str
) -> None:
    text = sums(root, above=above, end=end)
    text = text.replace("  *", " *").upper().replace("MP4", "mp4") if above == "*" else text
    text = text.replace("REAL", "real").replace("FAKE", "fake").replace("MASK", "mask")
    if above.startswith("C:"):
        text = text.replace("/", "\\")
    reference = tmp_path / "theirs.txt"
    reference.write_bytes(f"# made by hand{end}{end}{text}".encode(encoding))
    assert verify_dataset(Toy(), root, reference=reference).findings == ()
    alter(root / "real/001.mp4")
    assert found(verify_dataset(Toy(), root, reference=reference)) == [("altered", "real/001.mp4")]


def test_checksums_of_strange_names_and_of_single_files(root: Path) -> None:
    (root / "notes\nof\\all.txt").write_text("a")
    (root / "parts.zip.md5").write_text("0" * 32)
    digest = hashlib.sha256(b"a").hexdigest()
    lines = f"\\{digest}  notes\\nof\\\\all.txt\n{digest}  ../../etc/passwd\n"
    (root / "SHA256SUMS").write_text(lines + sums(root))
    report = verify_dataset(Toy(), root)
    assert report.findings == ()
    assert "1 files of parts.zip.md5 are of no part that was asked for" in report.remarks
    (root / "notes\nof\\all.txt").write_text("b")
    assert found(verify_dataset(Toy(), root)) == [("altered", "notes\nof\\all.txt")]


def test_an_unreadable_file_is_compared_too(root: Path) -> None:
    (root / "real/002.mp4").write_bytes((root / "real/002.mp4").read_bytes()[:200])
    (root / "SHA256SUMS").write_text(sums(root))
    assert found(verify_dataset(Toy(), root)) == [("unreadable", "real/002.mp4")]
    (root / "real/002.mp4").write_bytes(b"short")
    assert found(verify_dataset(Toy(), root)) == [
        ("unreadable", "real/002.mp4"),
        ("altered", "real/002.mp4"),
    ]


def test_pictures_of_a_folder_are_compared_one_by_one(tmp_path: Path) -> None:
    root = tmp_path / "wild"
    root.mkdir()
    dataset = type(create_dataset("wilddeepfake")).miniature(root)
    pictures = sorted(root.rglob("*.png"))
    lines = (
        f"{hashlib.md5(p.read_bytes(), usedforsecurity=False).hexdigest()}  "
        f"{p.relative_to(root).as_posix()}\n"
        for p in pictures
    )
    (root / "wild.md5").write_text("".join(lines))
    report = verify_dataset(dataset, root)
    # a miniature does not meet the published number
    assert set(report.by_kind) == {"count"}
    assert report.remarks == ()
    shutil.copy(pictures[1], pictures[0])
    pictures[-1].unlink()
    names = [picture.relative_to(root).as_posix() for picture in pictures]
    assert found(verify_dataset(dataset, root))[1:] == [
        ("missing", names[-1]),
        ("altered", names[0]),
    ]


def test_every_video_is_read_once_and_progress_reaches_the_end(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "SHA256SUMS").write_text(sums(root))
    read: list[str] = []

    def counted(original: Callable[[Path], str]) -> Callable[[Path], str]:
        def sha256_file(path: Path) -> str:
            read.append(path.relative_to(root).as_posix())
            return original(path)

        return sha256_file

    for module in ("manifest", "references"):
        place = f"dfdetect.data.{module}.sha256_file"
        monkeypatch.setattr(place, counted(hashlib_sha256))
    calls: list[tuple[int, int]] = []
    report = verify_dataset(Toy(), root, progress=lambda done, n: calls.append((done, n)))
    assert report.findings == ()
    assert sorted(read) == sorted([*FULL, "mask/003.mp4", "mask/004.mp4"])
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4), (1, 2), (2, 2)]


def hashlib_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# manifests side by side


def test_related_videos_of_two_manifests_must_be_in_one_split(root: Path) -> None:
    everywhere = tuple((path, "@ffpp:071") for path in FULL)
    ours = build_manifest(Toy(sources=everywhere), root, ALL_TEST).rows
    theirs = Videos.of(
        replace(row, dataset="ffpp", video_id=f"ffpp/{row.path}", split="train", sha256=str(n))
        for n, row in enumerate(ours)
    )
    with pytest.raises(ContractError, match=r"train and test share: ffpp/\S+ → ffpp:071 → toy/"):
        require_apart(ours, [theirs])
    require_apart(ours, [])
    require_apart(ours, [theirs.with_column("split", ["test"] * len(theirs))])
    dataset = Toy(sources=everywhere)
    report = verify_dataset(dataset, root, split=ALL_TEST, against=[theirs])
    assert only(report).kind == "leak"


# every registered dataset


@pytest.mark.parametrize("name", DATASETS.names())
def test_a_miniature_has_no_finding_but_that_it_is_small(name: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    dataset = type(create_dataset(name)).miniature(root)
    report = verify_dataset(dataset, root, split=OFFICIAL)
    # a miniature is no full copy: its numbers are not met, and names of the rest are absent
    small = {"count", "missing"}
    assert [finding for finding in report.findings if finding.kind not in small] == []
    full = set(dataset.complete(root))
    assert {f.path for f in report.findings if f.kind == "missing"} <= full
    assert report.n_videos > 0
    # the same tree with the options that everyone starts from: other parts are no strays
    usual = verify_dataset(create_dataset(name), root) if name != "synthetic" else report
    assert "misnamed" not in usual.by_kind


# the report


def test_findings_are_written_as_csv(tmp_path: Path) -> None:
    findings = (Finding("missing", "a, “b”\n.mp4", "x"), Finding("altered", "\udcff.mp4", "y"))
    report = VerifyReport("toy", 0, (), findings)
    report.write(tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["kind", "path", "detail"],
        ["missing", "a, “b”\n.mp4", "x"],
        ["altered", "\\udcff.mp4", "y"],
    ]
    assert report.sentence() == "2 findings in toy: 1 missing, 1 altered"


# size


def row(number: int) -> ManifestRow:
    return ManifestRow(
        video_id=f"toy/{number:06d}",
        dataset="toy",
        method="swap" if number % 2 else ORIGINAL,
        label=number % 2,
        split=None,
        source_ids=(str(number),),
        compression="",
        path=f"fake/{number:06d}.mp4",
        sha256=f"{number if number % 1000 else 0:064x}",
        fps=25.0,
        n_frames=1,
        width=64,
        height=48,
        duration_s=1.0,
    )


def test_duplicates_of_a_hundred_thousand_are_found_in_a_second() -> None:
    videos = Videos.of(map(row, range(100_000)))
    started = time.perf_counter()
    twice = list(duplicates(videos))
    assert time.perf_counter() - started < 2
    assert len(twice) == 99
    assert twice[0] == Finding("duplicate", "fake/001000.mp4", "equal bytes as fake/000000.mp4")


def test_names_of_a_hundred_thousand_are_looked_at_in_seconds() -> None:
    paths = [f"m{n % 10}/c23/{n:06d}.mp4" for n in range(100_000)]
    started = time.perf_counter()
    assert list(unportable(paths)) == []
    nearest = NearestNames(paths)
    assert nearest.of("m3/C23/000003.mp4") == "m3/c23/000003.mp4"
    for number in range(1000):
        nearest.of(f"m0/c23/{number}-{number}.mp4")
    assert time.perf_counter() - started < 20
