"""An engine does every task once, pulls no more than it needs, and says what went wrong."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.data.engines import (
    ENGINES,
    Engine,
    EngineSettings,
    LocalEngine,
    RayEngine,
    create_engine,
)
from dfdetect.errors import DfdetectError, UsageError


@given(st.lists(st.integers()))
@settings(max_examples=30, deadline=None)
def test_in_this_process_results_come_in_order(numbers: list[int]) -> None:
    assert list(LocalEngine().run(operator.neg, numbers)) == [-number for number in numbers]


def test_processes_do_every_task_once() -> None:
    numbers = list(range(200))
    results = list(LocalEngine(2).run(operator.neg, numbers))
    assert sorted(results, reverse=True) == [-number for number in numbers]


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_are_pulled_when_there_is_room(workers: int) -> None:
    n_pulled, most_ahead = 0, 0

    def tasks() -> Iterator[float]:
        nonlocal n_pulled
        for number in range(50):
            n_pulled += 1
            yield float(number)

    for n_results, _ in enumerate(LocalEngine(workers).run(math.sqrt, tasks())):
        most_ahead = max(most_ahead, n_pulled - n_results)
    assert n_pulled == 50
    assert most_ahead <= 2 * workers


@pytest.mark.parametrize("workers", [1, 2])
def test_none_waits_for_a_result(workers: int) -> None:
    results: list[int] = []

    def tasks() -> Iterator[int | None]:
        yield from (1, 2)
        while len(results) < 2:
            yield None
        yield 3

    # one at a time, as the tasks look at what came before
    for result in LocalEngine(workers).run(operator.neg, tasks()):
        results += [result]
    assert sorted(results[:2]) == [-2, -1]
    assert results[2:] == [-3]


def test_none_without_anything_under_way_is_a_fault() -> None:
    with pytest.raises(RuntimeError, match="none is under way"):
        list(LocalEngine().run(operator.neg, [None]))


def test_workers_have_one_thread_each_and_this_process_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert list(LocalEngine(2).run(os.getenv, names)) == ["1", "1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_is_raised(workers: int) -> None:
    with pytest.raises(ValueError, match=r"math domain|nonnegative"):
        list(LocalEngine(workers).run(math.sqrt, [4.0, -1.0]))


def test_a_lost_worker_is_a_sentence() -> None:
    with pytest.raises(DfdetectError, match=r"ended early .*fewer workers: finished videos"):
        list(LocalEngine(2).run(os._exit, [1]))


def test_a_run_that_is_left_ends_its_workers() -> None:
    running = LocalEngine(2).run(partial(operator.add, 1), iter(range(1000)))
    assert next(running) in range(10)
    running.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("told", "engine"),
    [
        (EngineSettings("local"), LocalEngine(1)),
        (EngineSettings("local", workers=3), LocalEngine(3)),
        (EngineSettings("ray"), RayEngine()),
        (EngineSettings("ray", workers=2), RayEngine(workers=2)),
        (
            EngineSettings("ray", None, "auto", 2.0, 5),
            RayEngine("auto", cpus_per_task=2.0, max_in_flight=5),
        ),
    ],
)
def test_settings_make_engines(told: EngineSettings, engine: Engine) -> None:
    assert create_engine(told) == engine


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (EngineSettings("rya"), "did you mean 'ray'"),
        (EngineSettings("local", workers=0), "workers=0 cannot work"),
        (EngineSettings("local", address="auto"), "engine=ray before it"),
        (EngineSettings("ray", workers=0), "workers=0 cannot work"),
        (EngineSettings("ray", cpus_per_task=0), "cpus_per_task=0 cannot work"),
        (EngineSettings("ray", max_in_flight=-1), "max_in_flight=-1 cannot work"),
        (EngineSettings("ray", workers=2, address="auto"), "the one at auto has its own"),
    ],
)
def test_settings_that_do_not_fit_are_refused(told: EngineSettings, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        create_engine(told)


def test_without_ray_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'dfdetect\[ray\]'"):
        list(RayEngine().run(operator.neg, [1]))


def test_every_engine_has_its_config(project_root: object) -> None:
    from dfdetect.config import config_dir

    assert {path.stem for path in (config_dir() / "engine").glob("*.yaml")} == set(ENGINES)
