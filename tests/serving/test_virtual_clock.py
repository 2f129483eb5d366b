from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.serving import VirtualClock


class Server:
    """A real server on the loopback that answers a line after some real milliseconds."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        async def answer(reader, writer):
            line = await reader.readline()
            await asyncio.sleep(self._delay)
            writer.write(line.upper())
            await writer.drain()
            writer.close()

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


async def ask(port: int, text: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    return answer.decode().strip()


def test_waiting_costs_no_real_time():
    clock = VirtualClock()
    started = time.perf_counter()

    async def sleepers():
        await asyncio.gather(*(clock.sleep(10_000 * (1 + i / 100)) for i in range(100)))
        return clock.now()

    assert clock.run(sleepers()) == pytest.approx(19_900)
    assert time.perf_counter() - started < 2


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
@settings(max_examples=50)
def test_sleepers_wake_in_order_each_at_its_time(delays):
    clock, woken = VirtualClock(), []

    async def sleeper(seconds):
        await clock.sleep(seconds)
        woken.append((seconds, clock.now()))

    async def everyone():
        await asyncio.gather(*map(sleeper, delays))

    clock.run(everyone())
    assert [seconds for seconds, _ in woken] == sorted(delays)
    assert all(now == pytest.approx(seconds, abs=1e-6) for seconds, now in woken)


def test_time_outs_follow_virtual_time():
    clock = VirtualClock()

    async def late():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clock.sleep(100), timeout=5)
        return clock.now()

    assert clock.run(late()) == pytest.approx(5)


def test_while_a_socket_is_pending_time_passes_as_it_really_does():
    clock = VirtualClock()
    with Server(0.05) as server:

        async def main():
            async with clock.io():
                answer = await asyncio.wait_for(ask(server.port, "hello"), timeout=1)
            return answer, clock.now()

        answer, now = clock.run(main())
        assert answer == "HELLO"
        assert 0.05 <= now < 0.9  # as long as it really took: nothing was skipped


def test_no_other_sleeper_overtakes_a_pending_socket():
    clock, order = VirtualClock(), []
    with Server(0.05) as server:

        async def caller():
            async with clock.io():
                await ask(server.port, "hello")
            order.append(("answered", clock.now()))
            await clock.sleep(0.5)
            order.append(("rested", clock.now()))

        async def sleeper():
            await clock.sleep(1.0)
            order.append(("slept", clock.now()))

        async def main():
            await asyncio.gather(caller(), sleeper(), caller())

        clock.run(main())
    assert [what for what, _ in order] == ["answered", "answered", "rested", "rested", "slept"]
    assert all(0.05 <= at < 0.5 for _, at in order[:2])
    assert order[-1][1] == pytest.approx(1.0, abs=0.05)


def test_time_moves_again_after_an_error_on_the_socket():
    clock = VirtualClock()

    async def main():
        with pytest.raises(OSError, match=r"."):
            async with clock.io():
                await asyncio.open_connection("127.0.0.1", 1)
        await clock.sleep(1000)
        return clock.now()

    assert clock.run(main()) == pytest.approx(1000, abs=1)  # the socket takes its milliseconds


def test_work_takes_the_time_it_takes_or_what_it_is_said_to():
    measured = VirtualClock()
    took = measured.run(timed(measured, lambda: time.sleep(0.02)))
    assert 0.02 <= took < 1
    said = VirtualClock(cost=lambda stage, took: {"embed": 3.0}[stage])
    assert said.run(timed(said, lambda: time.sleep(0.02))) == 3.0


async def timed(clock, work):
    started = clock.now()
    await clock.compute("embed", work)
    return clock.now() - started


@pytest.mark.parametrize(
    ("cores", "ends"),
    [(1, [3, 5, 6, 10]), (2, [3, 2, 3, 7]), (4, [3, 2, 1, 4])],
)
def test_work_waits_its_turn_for_a_core(cores, ends):
    # by hand, work of 3, 2, 1 and 4 seconds in this order, all at 0
    clock = VirtualClock(cores, cost=lambda stage, took: float(stage))

    async def job(seconds):
        await clock.compute(str(seconds), lambda: None)
        return clock.now()

    async def main():
        return await asyncio.gather(*map(job, (3, 2, 1, 4)))

    assert clock.run(main()) == ends


def test_what_work_raises_frees_its_core():
    clock = VirtualClock(cores=1, cost=lambda stage, took: 1.0)

    async def main():
        with pytest.raises(ZeroDivisionError):
            await clock.compute("a", lambda: 1 / 0)
        await clock.compute("b", lambda: None)
        return clock.now()

    assert clock.run(main()) == 1.0


def test_what_is_still_under_way_after_an_error_is_ended():
    clock, ended = VirtualClock(), []

    async def patient():
        try:
            await clock.sleep(1e9)
        finally:
            ended.append(clock.now())

    async def main():
        task = asyncio.ensure_future(patient())
        await clock.sleep(1)
        assert not task.done()
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        clock.run(main())
    assert ended == [1.0]


def test_a_quick_reply_does_not_time_out_while_others_sleep_for_hours():
    clock = VirtualClock()
    with Server(0.01) as server:

        async def caller(i):
            await clock.sleep(3600.0 * i)
            async with clock.io():
                return await asyncio.wait_for(ask(server.port, f"hello {i}"), timeout=1)

        async def everyone():
            sleepers = [clock.sleep(7200 + i) for i in range(50)]
            found = await asyncio.gather(*(caller(i // 4) for i in range(40)), *sleepers)
            return found[:40], clock.now()

        started = time.perf_counter()
        answers, now = clock.run(everyone())
    assert answers == [f"HELLO {i // 4}" for i in range(40)]
    assert 9 * 3600 < now < 9 * 3600 + 5
    assert time.perf_counter() - started < 30


def test_time_passes_as_it_really_does_until_the_last_of_many_sockets_is_done():
    clock, ends = VirtualClock(), {}
    with Server(0.02) as quick, Server(0.3) as slow:

        async def caller(name, port):
            async with clock.io():
                await ask(port, "x")
            ends[name] = clock.now()

        async def everyone():
            calls = [caller(f"quick {i}", quick.port) for i in range(20)]
            await asyncio.gather(caller("slow", slow.port), *calls)
            await clock.sleep(1000)
            return clock.now()

        now = clock.run(everyone())
    assert all(0.02 <= ends[f"quick {i}"] < ends["slow"] for i in range(20))
    assert 0.3 <= ends["slow"] < 3
    assert now == pytest.approx(ends["slow"] + 1000, abs=1.0)


def test_a_reply_that_came_in_time_is_not_late_because_work_kept_the_loop_busy():
    clock = VirtualClock(cost=lambda stage, took: took)
    with Server(0.1) as server:

        async def caller():
            async with clock.io():
                return await asyncio.wait_for(ask(server.port, "hello"), timeout=0.4)

        async def worker():
            await clock.sleep(0.05)  # the question is on its way by then
            started = clock.now()
            await clock.compute("rerank", lambda: time.sleep(0.8))
            return clock.now() - started

        async def both():
            return await asyncio.gather(caller(), worker())

        answer, took = clock.run(both())
    assert answer == "HELLO"
    assert 0.8 <= took < 3


@pytest.mark.parametrize(("cores", "wanted"), [(1, 0.4), (4, 0.1)])
def test_work_takes_its_measured_time_on_so_many_cores_while_a_socket_is_pending(cores, wanted):
    # four pieces of 0.1 s, done here one after the other: 0.4 s of real time pass in any case
    clock, ends = VirtualClock(cores), []
    with Server(0.8) as server:

        async def caller():
            async with clock.io():
                await ask(server.port, "hello")
            return clock.now()

        async def worker():
            await clock.sleep(0.05)
            await clock.compute("embed", lambda: time.sleep(0.1))
            ends.append(clock.now() - 0.05)

        async def everyone():
            return (await asyncio.gather(caller(), *(worker() for _ in range(4))))[0]

        answered = clock.run(everyone())
    assert max(ends) == pytest.approx(wanted, rel=0.35)
    assert 0.8 <= answered < 2  # what stood still was caught up


def test_stated_work_takes_what_is_stated_while_a_socket_is_pending():
    clock = VirtualClock(cost=lambda stage, took: 0.3)
    with Server(0.6) as server:

        async def caller():
            async with clock.io():
                await ask(server.port, "hello")

        async def worker():
            started = clock.now()
            await clock.compute("embed", lambda: time.sleep(0.2))
            return clock.now() - started

        async def both():
            return (await asyncio.gather(caller(), worker()))[1]

        assert clock.run(both()) == pytest.approx(0.3, abs=0.1)


def test_a_thread_is_waited_for_while_a_socket_counts_as_pending():
    clock = VirtualClock()

    async def main():
        async with clock.io():
            await asyncio.wait_for(asyncio.to_thread(time.sleep, 0.05), timeout=5)
        return clock.now()

    assert 0.05 <= clock.run(main()) < 5


def test_who_leaves_while_work_lasts_frees_the_core():
    clock = VirtualClock(cores=1, cost=lambda stage, took: 10.0)

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clock.compute("embed", lambda: None), timeout=2)
        await clock.compute("embed", lambda: None)
        return clock.now()

    assert clock.run(main()) == 12.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), min_size=1, max_size=12), st.integers(1, 3))
@settings(max_examples=50)
def test_cores_are_never_idle_while_work_waits(jobs, cores):
    clock, spans = VirtualClock(cores, cost=lambda stage, took: float(stage)), []

    async def job(at, seconds):
        await clock.sleep(at)
        began = []
        await clock.compute(str(seconds), lambda: began.append(clock.now()))
        spans.append((at, began[0], clock.now()))

    async def everyone():
        await asyncio.gather(*(job(*one) for one in jobs))

    clock.run(everyone())
    for at, began, _ in spans:
        busy = sum(b < began and e >= began - 1e-9 for _, b, e in spans)
        assert began == pytest.approx(at, abs=1e-9) or busy >= cores
    edges = [began for _, began, _ in spans]
    assert all(sum(b <= t < e - 1e-9 for _, b, e in spans) <= cores for t in edges)


def test_a_core_that_came_to_one_who_just_left_goes_on_to_the_next():
    clock = VirtualClock(cores=1, cost=lambda stage, took: float(stage))

    async def main():
        first = asyncio.ensure_future(clock.compute("2", lambda: None))
        await clock.sleep(1)
        left, stays = (asyncio.ensure_future(clock.compute("1", lambda: None)) for _ in range(2))
        gone = asyncio.ensure_future(clock.compute("1", lambda: None))
        await clock.sleep(0.5)
        gone.cancel()  # while it waits
        first.add_done_callback(lambda done: left.cancel())  # when the core was handed to it
        await asyncio.gather(left, gone, stays, return_exceptions=True)
        assert left.cancelled()
        await clock.compute("1", lambda: None)
        return clock.now()

    assert clock.run(main()) == 4.0
