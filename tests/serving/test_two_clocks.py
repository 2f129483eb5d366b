from __future__ import annotations

import numpy as np
import pytest
from toys import dense

from evalkit import replay
from evalkit.llm import Claude, Extractive
from evalkit.llm.latency.profiles import Profile
from evalkit.llm.modelled import Modelled
from evalkit.llm.server import FakeClaude, serving
from evalkit.serving import Arrival, ClosedLoop

LAW = Profile(0.3, 0.0, 0.004, jitter_first=0.25, jitter_rate=0.2)
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
        assert len(server.ledger()["rows"]) == 48
    for one in found.values():
        assert one.per_request["outcome"].tolist() == ["answered"] * 24
        assert one.origin == "measured"
    assert found["virtual"].per_request["answer"].tolist() == found["wall"].per_request["answer"].tolist()
    for outcome in found["virtual"].outcomes:
        (call,) = outcome.calls
        assert outcome.ended - outcome.arrived >= call.seconds > 0.1  # a call takes its real time, never none


@pytest.mark.slow
def test_virtual_and_wall_clock_agree_on_a_real_server(tiny, store):
    """2,000 requests on each clock, in turns: the intervals of the ratios of p50 and p95 lie within 10 %."""
    samples = {"virtual": [], "wall": []}
    with serving(ANSWERED, process=True) as server:
        variant = dense(generate=Claude(base_url=server.url, retries=0))
        replay(variant, tiny, traffic(tiny, 24, 8), clock="wall", store=store)  # connects, imports
        for _ in range(4):
            for clock, taken in samples.items():
                found = replay(variant, tiny, traffic(tiny, 500, 8), clock=clock, cores=2, store=store)
                taken.extend(found.per_request["ms"])
    virtual, wall = np.array(samples["virtual"]), np.array(samples["wall"])
    drawn = np.random.default_rng(0).integers(0, 2000, (1000, 2000))  # one request on both clocks: paired
    for p in (50, 95):
        ratios = np.percentile(virtual[drawn], p, axis=1) / np.percentile(wall[drawn], p, axis=1)
        low, high = np.percentile(ratios, [2.5, 97.5])
        assert 0.9 <= low <= high <= 1.1, f"p{p}: [{low:.3f}, {high:.3f}]"
