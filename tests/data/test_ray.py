"""Extraction on real Ray clusters, started here: a lost machine changes nothing in the store.

Ray talks over sockets, which are blocked in the tests' own process; so it runs in another.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy
from tests.extractions import content_of

pytest.importorskip("ray")

COMMON = """
import os, sys, time
from functools import partial
from pathlib import Path
from dfdetect.data.crops import extract_crops
from dfdetect.data.engines import RayEngine
from dfdetect.data.manifest import Manifest
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy

root, out = Path(sys.argv[1]), Path(sys.argv[2])
manifest = Manifest.read(root / "manifest.parquet")

def extract(engine, progress=None):
    return extract_crops(
        manifest, root, out, CropPolicy("square", 1.3, 96), FrameSampler(count=6),
        reuse_boxes=True, shard_frames=24, engine=engine, progress=progress,
    )
"""

TWO_NODES = (
    COMMON
    + """
import signal
from contextlib import suppress
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster

journal = Path(sys.argv[3])

def note(*words):
    # short lines that are appended do not mix
    with journal.open("a") as lines:
        lines.write(" ".join(map(str, words)) + "\\n")

def noted(note, work, task):
    # defined in the program that is run, so Ray sends it as code
    import os, ray, time
    node = ray.get_runtime_context().get_node_id()
    note("started", task.place, node, os.getpid())
    time.sleep(0.3)  # so that the machine that is lost has surely something under way
    piece = work(task)
    note("finished", task.place, node, os.getpid())
    return piece

class Noting:
    def __init__(self, engine):
        self.engine = engine
    def run(self, work, tasks):
        return self.engine.run(partial(noted, note, work), tasks)

head = {
    "num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False,
    "_system_config": {
        "health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
        "health_check_failure_threshold": 4,
    },
}
cluster = Cluster(initialize_head=True, head_node_args=head)
second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
name = second.node_id

def lose_the_second(progress):
    global second
    if second is None or not journal.exists():
        return
    lines = [line.split() for line in journal.read_text().splitlines()]
    mine = [line for line in lines if line[2] == name]
    started = [line[1] for line in mine if line[0] == "started"]
    finished = [line[1] for line in mine if line[0] == "finished"]
    # in the middle: it has done some, and one is under way
    if progress.n_done >= 4 and finished and len(started) > len(finished):
        note("lost", progress.n_done, name)
        cluster.remove_node(second, allow_graceful=False)
        for pid in {int(line[3]) for line in mine}:
            # left alone, a worker goes on until it misses its machine's scheduler
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        second = None

try:
    summary = extract(Noting(RayEngine(cluster.address)), lose_the_second)
    note("summary", summary.n_videos_kept, summary.n_reused)
finally:
    cluster.shutdown()
"""
)

OWN_CLUSTER = (
    COMMON
    + """
from dfdetect.data import engines
from dfdetect.errors import DfdetectError, UsageError

def told(engine, work=None, tasks=()):
    try:
        list(engine.run(work, tasks))
    except DfdetectError as error:
        return f"{type(error).__name__}: {error}"

def refuse(task):
    raise UsageError(f"no {task}")

def crash(task):
    os.kill(os.getpid(), 9)

print(told(RayEngine("auto")))
summary = extract(RayEngine(workers=2))
print(summary.n_videos, os.environ["RAY_USAGE_STATS_ENABLED"])
engines._RAY_RETRIES = 1
print(told(RayEngine(workers=1), crash, [1]))
import ray
ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=50)
print(told(RayEngine(), refuse, ["such thing"]))
print(told(RayEngine(cpus_per_task=3)))
assert ray.is_initialized()
"""
)


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's sessions; their sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp" if Path("/tmp").is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def clips_and_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Synthetic clips with their manifest, and the store that one process makes of them."""
    folder = tmp_path_factory.mktemp("ray")
    dataset = create_dataset("synthetic", n_identities=9, n_frames=12)
    build_manifest(dataset, folder / "data", SplitRule("official")).write(
        folder / "data" / "manifest.parquet"
    )
    extract_crops(
        Manifest.read(folder / "data" / "manifest.parquet"), folder / "data", folder / "local",
        CropPolicy("square", 1.3, 96), FrameSampler(count=6), reuse_boxes=True, shard_frames=24,
    )  # fmt: skip
    return folder / "data", folder / "local"


def run_script(script: str, ray_folder: Path, *words: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"RAY_TMPDIR": str(ray_folder), "OMP_NUM_THREADS": "1"}
    path = ray_folder / "script.py"
    path.write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(path), *map(str, words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.slow
def test_a_node_that_is_lost_in_the_middle_changes_nothing(
    clips_and_store: tuple[Path, Path], ray_folder: Path, tmp_path: Path
) -> None:
    data, local = clips_and_store
    out, journal = tmp_path / "store", tmp_path / "journal"
    done = run_script(TWO_NODES, ray_folder, data, out, journal)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in journal.read_text().splitlines()]
    ((_, n_done, lost),) = [line for line in lines if line[0] == "lost"]
    assert 4 <= int(n_done) < 18
    started = [(line[1], line[2]) for line in lines if line[0] == "started"]
    finished = [(line[1], line[2]) for line in lines if line[0] == "finished"]
    # both nodes worked, and what the lost one had under way was done again by the other
    assert len({node for _, node in started}) == 2
    again = set(started) - set(finished)
    assert {node for _, node in again} == {lost}
    assert {place for place, _ in again} <= {place for place, node in finished if node != lost}
    assert sorted({int(place) for place, _ in finished}) == list(range(18))
    # nothing lost, nothing doubled, and not a byte that differs
    assert content_of(out) == content_of(local)
    crops = CropStore.open(out).crops
    assert len({crop.crop_id for crop in crops}) == len(crops) == 18 * 6
    assert done.stdout == ""


@pytest.mark.slow
def test_a_cluster_of_its_own_and_what_goes_wrong(
    clips_and_store: tuple[Path, Path], ray_folder: Path, tmp_path: Path
) -> None:
    data, local = clips_and_store
    done = run_script(OWN_CLUSTER, ray_folder, data, tmp_path / "store")
    assert done.returncode == 0, done.stderr[-3000:]
    assert content_of(tmp_path / "store") == content_of(local)
    # these lines and nothing of Ray's
    absent, ran, crashed, refused, full = done.stdout.splitlines()
    assert absent.startswith("UsageError: no Ray cluster answers at auto")
    assert "ray start --head" in absent
    assert ran == "18 0"
    assert refused == "UsageError: no such thing"
    assert "no room for engine.cpus_per_task=3" in full
    assert "lost a video's worker for good (WorkerCrashedError" in crashed
    assert done.stderr == ""
