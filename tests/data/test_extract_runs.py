"""However an extraction is run, killed and damaged, it ends in the same store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dfdetect.data.crops import CropStore, ExtractProgress, ExtractSummary, extract_crops
from dfdetect.data.engines import Engine, LocalEngine
from dfdetect.data.manifest import Manifest
from dfdetect.data.pieces import CutTask, Piece, Tally
from dfdetect.data.schedule import originals_of
from dfdetect.data.shards import CROPS
from dfdetect.data.tables import read_table, write_table
from dfdetect.errors import UsageError
from dfdetect.media import FrameSampler
from tests.extractions import (
    SQUARE,
    content_of,
    extract_whole,
    lay_clips,
    lay_pictures,
)


def test_workers_change_nothing(tmp_path: Path) -> None:
    manifest = lay_clips(tmp_path / "data", 5)
    run = (manifest, tmp_path / "data")
    options = {"shard_frames": 8, "sampler": FrameSampler(count=3), "policy": SQUARE}
    first = extract_crops(*run, tmp_path / "1", **options)  # type: ignore[arg-type]
    calls: list[ExtractProgress] = []
    extract_crops(*run, tmp_path / "2", engine=LocalEngine(2), progress=calls.append, **options)  # type: ignore[arg-type]
    assert content_of(tmp_path / "1") == content_of(tmp_path / "2")
    assert calls[0] == ExtractProgress(0, 10, ())
    assert calls[-1] == ExtractProgress(10, 10, first.n_by_status)
    assert [call.n_done for call in calls] == list(range(11))


SCRIPT = """
import sys
from pathlib import Path
from dfdetect.data.crops import extract_crops
from dfdetect.data.engines import LocalEngine
from dfdetect.data.manifest import Manifest
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy
root, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
manifest = Manifest.read(root / "manifest.parquet")
extract_crops(manifest, root, out, CropPolicy("whole", 1.0, 64), FrameSampler(), None,
              landmarks=False, shard_frames=8, engine=LocalEngine(workers))
"""


def pieces_of(store: Path) -> int:
    return len(list(store.glob("parts/*/*.parquet"))) + 8 * len(list(store.glob("parts/*.parquet")))


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_it_ends_the_same(
    tmp_path: Path, project_root: Path, workers: int
) -> None:
    root, out = tmp_path / "data", tmp_path / "killed"
    manifest = lay_pictures(root, 100, side=256)
    manifest.write(root / "manifest.parquet")
    extract_whole(manifest, root, tmp_path / "whole")
    command = [sys.executable, "-c", SCRIPT, str(root), str(out), str(workers)]
    rng = np.random.default_rng(workers)
    kills = 0
    for wanted in (1, 20, 60):
        process = subprocess.Popen(command, cwd=project_root, start_new_session=True)
        while process.poll() is None and pieces_of(out) < wanted:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.03)))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        assert_group_ends(process.pid)
    assert kills >= 2
    assert not (out / "crops.parquet").exists()
    kept = pieces_of(out)
    summary = extract_whole(manifest, root, out, engine=LocalEngine(workers))
    # of a unit that was being cleared both the rows and some of the pieces are there
    assert summary.n_videos_kept >= max(kept - 8, 1)
    assert content_of(out) == content_of(tmp_path / "whole")


class Killed(BaseException):
    """Stands for SIGKILL: nothing on the disk changes after it."""


@dataclass
class Reaper:
    """Counts what changes the disk, before and after, and lets nothing happen from `fatal` on."""

    fatal: int
    n_moments: int = 0

    def between_moments(self, done: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.pass_moment()
            result = done(*arguments, **options)
            self.pass_moment()
            return result

        return wrapped

    def pass_moment(self) -> None:
        self.n_moments += 1
        if self.n_moments >= self.fatal:
            raise Killed


def test_killed_between_any_two_steps_it_ends_the_same(tmp_path: Path) -> None:
    root = tmp_path / "data"
    manifest = lay_pictures(root, 5, side=8)
    options: dict[str, Any] = {"shard_frames": 3}
    extract_whole(manifest, root, tmp_path / "whole", **options)
    wanted, kept = content_of(tmp_path / "whole"), set()
    for fatal in range(1, 1000):
        reaper, out = Reaper(fatal), tmp_path / str(fatal)
        with pytest.MonkeyPatch.context() as patch:
            for module, name in ((os, "replace"), (os, "unlink"), (os, "rmdir")):
                patch.setattr(module, name, reaper.between_moments(getattr(module, name)))
            patch.setattr(shutil, "copyfileobj", reaper.between_moments(shutil.copyfileobj))
            with suppress(Killed):
                extract_whole(manifest, root, out, **options)
        summary = extract_whole(manifest, root, out, **options)
        kept.add((summary.n_units_kept, summary.n_videos_kept))
        assert content_of(out) == wanted, fatal
        shutil.rmtree(out)
        if reaper.n_moments < fatal:
            break
    assert fatal > 80
    # every number of pieces on the way to either shard
    assert kept == {(0, 0), (0, 1), (0, 2), (0, 3), (1, 3), (1, 4), (1, 5), (2, 5)}


def assert_group_ends(group: int) -> None:
    """Workers must not outlive a parent that was killed."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("a worker outlived its parent")


class Interrupted(Exception):
    """A run was stopped from within."""


@dataclass
class Watched:
    """A local engine that keeps what it was given, and stops after some results."""

    workers: int = 1
    most: int = 10**9
    tasks: list[CutTask] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)

    def run(self, work: Any, tasks: Any) -> Any:
        def kept() -> Any:
            for task in tasks:
                if task is not None:
                    self.tasks.append(task)
                yield task

        for piece in LocalEngine(self.workers).run(work, kept()):
            if len(self.finished) == self.most:
                raise Interrupted
            self.finished.append(piece.place)
            yield piece


def test_damaged_and_foreign_pieces_are_made_again(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 12)
    data, out = tmp_path / "data", tmp_path / "store"
    options: dict[str, Any] = {"shard_frames": 12}
    extract_whole(manifest, data, tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        extract_whole(manifest, data, out, engine=Watched(most=7), **options)
    tables = sorted(out.glob("parts/000000/*.parquet"))
    segments = sorted(out.glob("parts/000000/*.tar"))
    # the eighth was on disk when the run was stopped
    assert len(tables) == len(segments) == 8
    segments[0].write_bytes(segments[0].read_bytes()[:-512])
    segments[1].unlink()
    tables[2].write_bytes(b"PAR1 and no more")
    table, header = read_table(tables[3], CROPS)
    write_table(tables[3], table, CROPS, replace(header, config_hash="0" * 64))
    shutil.copy(tables[5], tables[4])  # another video's
    summary = extract_whole(manifest, data, out, engine=LocalEngine(2), **options)
    assert (summary.n_videos_kept, summary.n_units_kept) == (3, 0)
    assert content_of(out) == content_of(tmp_path / "whole")


def test_damaged_units_are_made_again(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 24)
    data, out = tmp_path / "data", tmp_path / "store"
    extract_whole(manifest, data, tmp_path / "whole")
    with pytest.raises(Interrupted):
        extract_whole(manifest, data, out, engine=Watched(most=17))
    (out / "parts" / "000000.parquet").write_bytes(b"")
    with (out / "shards" / "000001.tar").open("ab") as shard:
        shard.write(bytes(512))
    summary = extract_whole(manifest, data, out)
    assert (summary.n_videos_kept, summary.n_units_kept) == (2, 0)
    assert content_of(out) == content_of(tmp_path / "whole")


def test_a_store_that_lost_its_videos_is_no_store_of_missing_ones(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 12)
    out = tmp_path / "store"
    with pytest.raises(Interrupted):
        extract_whole(manifest, tmp_path / "data", out, engine=Watched(most=3))
    (tmp_path / "data").rename(tmp_path / "unmounted")
    with pytest.raises(UsageError, match=r"none of the 12 videos"):
        extract_whole(manifest, tmp_path / "data", out)


def test_a_second_run_into_a_folder_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 3)
    run = (manifest, tmp_path / "data", tmp_path / "store")

    class Two:
        def run(self, work: Any, tasks: Any) -> Any:
            with pytest.raises(UsageError, match="another run is writing"):
                extract_whole(*run)
            return LocalEngine().run(work, tasks)

    assert extract_whole(*run, engine=Two()).n_rows == 3
    assert extract_whole(*run).n_videos_kept == 3


def test_an_interrupted_run_leaves_no_temporary_file(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 12)
    out = tmp_path / "store"
    (out / "parts" / "000000").mkdir(parents=True)

    class Torn:
        def run(self, work: Any, tasks: Any) -> Any:
            yield work(next(iter(tasks)))
            # as a worker leaves it that is killed while it writes
            (out / "parts" / "000000" / ".00000001.0.tar.x.part").touch()
            (out / "parts" / "000000" / "00000001.0.tar").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_whole(manifest, tmp_path / "data", out, engine=Torn())
    left = sorted(path.name for path in (out / "parts" / "000000").iterdir())
    assert [name.partition(".")[0] for name in left] == ["00000000", "00000000"]
    assert extract_whole(manifest, tmp_path / "data", out).n_videos_kept == 1


def test_a_store_that_other_machines_do_not_see_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        def run(self, work: Any, tasks: Any) -> Any:
            for task in tasks:
                yield Piece(task.place, task.unit, Tally(), 0)

    monkeypatch.setattr("dfdetect.data.crops._PATIENCE_S", 0.1)
    manifest = lay_pictures(tmp_path / "data", 2)
    with pytest.raises(UsageError, match="must see one and the same folder"):
        extract_whole(manifest, tmp_path / "data", tmp_path / "store", engine=Elsewhere())


# boxes of the originals


def extract_reusing(
    manifest: Manifest, root: Path, out: Path, engine: Engine | None = None
) -> ExtractSummary:
    return extract_crops(
        manifest, root, out, SQUARE, FrameSampler(count=3), reuse_boxes=True, shard_frames=8,
        engine=engine or LocalEngine(),
    )  # fmt: skip


def test_forgeries_take_over_the_boxes_of_originals_cut_before(tmp_path: Path) -> None:
    root = tmp_path / "data"
    manifest = lay_clips(root, 5)
    watched = Watched()
    summary = extract_reusing(manifest, root, tmp_path / "1", watched)
    assert (summary.n_reused, summary.n_searched) == (15, 0)
    assert [task.video.label for task in watched.tasks] == [0] * 5 + [1] * 5
    store = CropStore.open(tmp_path / "1")
    # the shards are in the manifest's order all the same
    assert [crop.video_id for crop in store.crops][::3] == store.videos.column(
        "video_id"
    ).to_pylist()
    boxes = {(crop.video_id, crop.frame_index): crop.box for crop in store.crops}
    for task in watched.tasks[5:]:
        assert task.given is not None
        assert task.given.video.video_id == task.video.original_id
        for crop in store.crops:
            if crop.video_id == task.video.video_id:
                assert crop.box_from == task.video.original_id
                assert crop.box == boxes[str(crop.box_from), crop.frame_index]


@pytest.mark.parametrize("most", [2, 6, 8])
def test_reuse_is_the_same_with_workers_and_interruptions(tmp_path: Path, most: int) -> None:
    root = tmp_path / "data"
    manifest = lay_clips(root, 5)
    whole = extract_reusing(manifest, root, tmp_path / "whole")
    with pytest.raises(Interrupted):
        extract_reusing(manifest, root, tmp_path / "2", Watched(most=most))
    watched = Watched(workers=2)
    summary = extract_reusing(manifest, root, tmp_path / "2", watched)
    assert len(watched.tasks) < 10
    assert summary.n_videos_kept == 10 - len(watched.tasks)
    assert (summary.n_reused, summary.n_by_status) == (whole.n_reused, whole.n_by_status)
    assert content_of(tmp_path / "2") == content_of(tmp_path / "whole")


def test_forgeries_of_an_unreadable_original_are_searched_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    manifest = lay_clips(root, 5)
    (root / "real" / "0001.mp4").write_text("no video any more")
    (root / "fake" / "0002.mp4").unlink()
    summary = extract_reusing(manifest, root, tmp_path / "store")
    # of 0002 there is nothing that could have been searched
    assert (summary.n_reused, summary.n_searched) == (9, 1)
    assert summary.n_skipped == (("missing", 1), ("unreadable", 1))
    stamp = json.loads(pq.read_schema(tmp_path / "store" / "crops.parquet").metadata[b"dfdetect"])
    assert stamp["facts"] == {
        "n_by_status": {"missing": 1, "ok": 24, "unreadable": 1},
        "n_skipped": {"missing": 1, "unreadable": 1},
        "n_reused": 9,
        "n_searched": 1,
    }
    assert extract_reusing(manifest, root, tmp_path / "store").n_searched == 1


def test_an_original_with_an_original_gives_nothing_away(tmp_path: Path) -> None:
    manifest = lay_clips(tmp_path / "data", 5, 3)
    rows = list(manifest.rows)
    names = [row.video_id for row in rows]
    # 0 ← 1 ← 2, 3 ← itself, 4 ← nobody known
    made_from = [None, names[0], names[1], names[3], "absent", *[None] * 5]
    linked = manifest.rows.with_column("original_id", made_from)
    assert originals_of(linked).tolist() == [-1, 0, -1, -1, -1, *[-1] * 5]


def test_another_clip_under_an_indexed_name_is_not_cut(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "store"
    manifest = lay_clips(root, 5, 3)
    first, second = (root / row.path for row in (manifest.rows[0], manifest.rows[1]))
    longer = lay_clips(tmp_path / "longer", 5, 9)
    shutil.copy(tmp_path / "longer" / longer.rows[0].path, second)
    summary = extract_crops(manifest, root, out, SQUARE, FrameSampler(count=2))
    assert dict(summary.n_skipped) == {"altered": 1}
    rows = [row for row in CropStore.open(out).crops if row.status == "altered"]
    assert [row.video_id for row in rows] == [manifest.rows[1].video_id]
    assert first.exists()
