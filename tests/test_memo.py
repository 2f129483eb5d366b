"""Remembering within a process, and not while the clock is read."""

from __future__ import annotations

import asyncio

import pytest

from evalkit.clock import WallClock, run_async
from evalkit.memo import forgotten, remembered


@pytest.fixture
def counted():
    calls = []

    @remembered(2)
    def double(x):
        """Twice."""
        calls.append(x)
        return 2 * x

    return double, calls


def test_a_remembered_function_works_once_an_argument(counted):
    double, calls = counted
    assert [double(1), double(1), double(2)] == [2, 2, 4]
    assert calls == [1, 2]
    assert double.__doc__ == "Twice."


def test_only_the_last_results_are_kept(counted):
    double, calls = counted
    for x in (1, 2, 3, 1):
        double(x)
    assert calls == [1, 2, 3, 1]


def test_while_time_is_taken_nothing_is_remembered_and_afterwards_it_is_again(counted):
    double, calls = counted
    double(1)
    with forgotten():
        assert [double(1), double(1)] == [2, 2]
    double(1)
    assert calls == [1, 1, 1]


def test_an_error_while_time_is_taken_ends_the_forgetting(counted):
    double, calls = counted
    double(1)
    with pytest.raises(KeyError), forgotten():
        raise KeyError
    double(1)
    assert calls == [1]


def test_forgetting_reaches_work_on_the_asynchronous_thread_and_its_workers(counted):
    double, calls = counted
    double(1)

    async def work():
        await WallClock().compute("generate", lambda: double(1))

    with forgotten():
        run_async(work())
    assert calls == [1, 1]
    run_async(work())
    assert calls == [1, 1]


def test_asynchronous_work_runs_where_a_loop_is_running_already():
    async def answer():
        return 7

    async def notebook_cell():
        return run_async(answer())

    assert asyncio.run(notebook_cell()) == 7


def test_an_error_in_asynchronous_work_reaches_the_caller():
    async def fail():
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        run_async(fail())
