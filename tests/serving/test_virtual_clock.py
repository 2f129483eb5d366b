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

    assert clock.run(main()) == pytest.approx(1000)


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
