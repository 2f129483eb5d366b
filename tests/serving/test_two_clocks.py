from __future__ import annotations

import numpy as np
import pytest
from toys import dense

from evalkit import replay
from evalkit.llm import Claude, Extractive
from evalkit.llm.latency.profiles import Profile
from evalkit.llm.modelled import Modelled
from evalkit.llm.server import FakeClaude, serving
from evalkit.metrics import P50, P95
from evalkit.serving import Arrival, ClosedLoop

LAW = Profile(0.1, 0.0, 0.002, jitter_first=0.3, jitter_rate=0.2)
ANSWERED = FakeClaude(Modelled(Extractive(dense().retrieve.embedder, support=0.0), LAW), speed=1.0)


def traffic(data, n, users):
    return ClosedLoop([Arrival(data.queries.text[i * 5 % 8]) for i in range(n)], users=users, think=0.05)


def test_a_real_server_gives_the_same_answers_and_time_outs_none_on_both_clocks(tiny, store):
    with serving(ANSWERED) as server:
        variant = dense(generate=Claude(base_url=server.url, retries=0))
        found = {
            clock: replay(variant, tiny, traffic(tiny, 24, 6), clock=clock, patience=30.0, store=store)
            for clock in ("virtual", "wall")
        }
        assert server.ledger()["rows"].__len__() == 48
    for one in found.values():
        assert one.per_request["outcome"].tolist() == ["answered"] * 24
        assert one.origin == "measured"
    assert found["virtual"].per_request["answer"].tolist() == found["wall"].per_request["answer"].tolist()
    for outcome in found["virtual"].outcomes:
        (call,) = outcome.calls
        assert outcome.ended - outcome.arrived >= call.seconds >= 0.03  # a call takes its real time, never none


@pytest.mark.slow
def test_virtual_and_wall_clock_agree_on_a_real_server(tiny, store):
    """2,000 requests on each clock, in turns: the intervals of the ratios of p50 and p95 lie within 10 %."""
    ratios = {}
    samples = {"virtual": [], "wall": []}
    with serving(ANSWERED, process=True) as server:
        variant = dense(generate=Claude(base_url=server.url, retries=0))
        replay(variant, tiny, traffic(tiny, 24, 6), clock="wall", store=store)  # connects, imports
        for _ in range(4):
            for clock, taken in samples.items():
                found = replay(variant, tiny, traffic(tiny, 500, 12), clock=clock, cores=2, store=store)
                taken.extend(found.per_request["ms"])
    for metric in (P50(), P95()):
        virtual, wall = (metric.of(np.array(samples[clock])) for clock in ("virtual", "wall"))
        ratios[str(metric)] = (virtual.low / wall.high, virtual.high / wall.low)
    assert all(0.9 < low < high < 1.1 for low, high in ratios.values()), ratios
