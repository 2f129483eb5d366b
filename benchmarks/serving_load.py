"""Load held for an hour of traffic, and a public trace replayed.

Run ``python benchmarks/serving_load.py [load|trace ...]``; without a word, both, which takes about two minutes.

- load: 100 users for an hour of traffic on the virtual clock, a real Redis that goes and comes back twice, every
  twentieth call failing: whether every request ends, whether counts add up, whether memory grows.
- trace: the arrivals and token counts of Azure's public trace, at its own rate and at twice that. Arrivals and
  counts are recorded; a call's time follows from the counts by a latency profile, and questions are the handbook's.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before they are loaded
os.environ.setdefault("EVALKIT_PROGRESS", "0")

import numpy as np

import evalkit as ek
from evalkit.calls import Call, TokenUsage
from evalkit.datasets import Dataset, Traffic
from evalkit.datasets.arrivals import follow
from evalkit.llm import Extractive
from evalkit.llm.latency.profiles import find_profile
from evalkit.llm.modelled import Modelled
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving import ClosedLoop, Replay
from evalkit.serving.arrivals import arrivals_of
from evalkit.serving.layers import Cache, Concurrency, FaultInjection, Retry
from evalkit.serving.state.redis import Redis
from evalkit.stages import Static
from evalkit.store import DiskStore
from evalkit.types import Clock
from evalkit.values import Answer, Prompt, Value

ROOT = Path(__file__).parents[1]
TRACE = ROOT.parent / "shared" / "data" / "azure-llm-trace" / "conv.csv"
HOUR, USERS, THINK, FAULTS, KB_A_REQUEST = 3_600.0, 100, 32.0, 0.05, 8.0
CORES, AT_ONCE = 4, 64


def main() -> int:
    parts = {"load": load, "trace": trace}
    return max([parts[name]() for name in sys.argv[1:] or parts])


def told(met: bool, what: str) -> int:
    print(f"{'met:   ' if met else 'MISSED:'} {what}", flush=True)
    return 0 if met else 1


def handbook() -> Dataset:
    return ek.load_dataset(ROOT / "datasets" / "handbook")


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True)
class Restarts:
    """Ends a server at some requests and starts it again at others, and looks at this process's memory meanwhile."""

    server: Any = field(compare=False)
    down: tuple[int, ...]
    up: tuple[int, ...]
    seen: list[tuple[int, float]] = field(compare=False)
    at: Place = "answer"

    def identity(self) -> dict[str, Any]:
        """Nothing that a cache's key should know."""
        return {"server": None, "seen": None}

    def start(self, serving: Serving) -> Handler:
        """Watch."""

        async def handle(request: Request, go_on: Next) -> Value:
            if request.number in self.down:
                self.server.kill()
            if request.number in self.up:
                self.server.start()
            if request.number % 250 == 0:
                self.seen.append((request.number, memory_mb()))
            return await go_on(request)

        return handle


def load() -> int:
    sys.path.insert(0, str(ROOT / "tests"))
    from redis_server import running_redis

    data = handbook()
    requests = [replace(a, conversation="") for a in arrivals_of(data.traffic)] * 2
    n = len(requests)
    seen: list[tuple[int, float]] = []
    with folder() as here, running_redis() as server:
        restarts = Restarts(server, (n // 4, 3 * n // 4), (n // 4 + 400, 3 * n // 4 + 400), seen)
        service = ek.Service(
            replace(
                ek.presets.onnx(),
                generate=Modelled(Extractive(Static()), "course", model="claude-haiku-5-5"),
            ),
            (
                restarts,
                Cache(ttl=600.0, storage=Redis(url=server.url)),
                Concurrency(limit=8, queue=16, wait=5.0),
                Retry(tries=2),
                FaultInjection(share=FAULTS),
            ),
        )
        found = ek.replay(
            service, data, ClosedLoop(requests, users=USERS, think=THINK), cores=8, cost="course",
            store=DiskStore(here),
        )  # fmt: skip
    rows = found.per_request
    ends, hits = Counter(rows["outcome"]), int((rows["hit"] != "").sum())
    lasted = max(o.ended for o in found.outcomes) - found.start
    faults = int(rows["faults[generate]"].fillna(0).sum())
    calls = int(rows["tries[generate]"].fillna(0).sum())
    print(f"{n:,} requests of {USERS} users in {lasted:,.0f} s of traffic: {dict(ends)}, {hits:,} hits, {calls:,} "
          f"calls tried, {faults:,} failed on purpose; beside them failed: {dict(found.failures)}")  # fmt: skip
    steady = [(number, mb) for number, mb in seen if number > n / 4]
    slope = float(np.polyfit(*np.array(steady).T, 1)[0]) * 1e3
    silent = [o for o in found.outcomes if o.outcome != "answered" and not o.reason]
    reached = {o.number for o in found.outcomes}
    return max(
        told(lasted >= HOUR, f"{lasted:,.0f} s of traffic, wanted {HOUR:,.0f}"),
        told(sum(ends.values()) == n and reached == set(range(n)) and not silent,
             "every request answered or turned away with a reason"),
        told(
            calls - faults == ends["answered"] - hits and (rows["cache[answer]"] == "hit").sum() == hits,
            "every answer is a hit or one call's that did not fail, and there were no other calls",
        ),
        told(abs(faults / max(calls, 1) - FAULTS) < 0.02, f"{faults / max(calls, 1):.1%} of tries failed"),
        told(slope <= KB_A_REQUEST, f"memory grows by {slope:.1f} KB a request, its row in the results included"),
    )  # fmt: skip


LENGTHS: ContextVar[tuple[int, int, int]] = ContextVar("lengths")


@dataclass(frozen=True)
class Lengths:
    """Tells the generator how many tokens the trace has for a request."""

    counts: tuple[tuple[int, int], ...] = field(repr=False)
    at: Place = "answer"

    def start(self, serving: Serving) -> Handler:
        """Look it up by place."""

        async def handle(request: Request, go_on: Next) -> Value:
            LENGTHS.set((request.number, *self.counts[request.number]))
            return await go_on(request)

        return handle


@dataclass(frozen=True)
class OfLength:
    """Answers as many tokens as a trace recorded, in the time that a profile gives for its two counts."""

    profile: str

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"
    origin: ClassVar[str] = "modelled"

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Wait as long as the profile says."""
        (number, read, written), profile = LENGTHS.get(), find_profile(self.profile)
        noise = Random(f"{number} {sample}")
        pieces = profile.draw_pieces(profile.draw_first(read, 0, noise), max(written, 1), noise)
        await clock.elapse(pieces[-1])
        return Answer(f"{written} tokens", (), Call("", TokenUsage(read, output=written), pieces, 0, pieces[-1]))


def trace() -> int:
    if not TRACE.is_file():
        print(f"skipped: {TRACE} is not there")
        return 0
    data, recorded_ = handbook(), ek.load_dataset(TRACE).traffic
    asked = data.traffic.take(np.flatnonzero(np.array([not c for c in data.traffic.conversation])))
    many = follow(Traffic.concat([asked] * (len(recorded_) // len(asked) + 1)), recorded_)
    counts = tuple(zip(many.prompt_tokens.tolist(), many.answer_tokens.tolist(), strict=True))
    service = ek.Service(
        replace(ek.presets.keywords(), generate=OfLength("course")), (Lengths(counts), Concurrency(limit=AT_ONCE))
    )
    print(f"{len(many):,} requests in {many.at[-1]:,.0f} s; tokens read p50 {np.median(many.prompt_tokens):.0f}, "
          f"written p50 {np.median(many.answer_tokens):.0f}; {CORES} cores, "
          f"{AT_ONCE} calls at once, profile 'course'")  # fmt: skip
    with folder() as here:
        for faster in (1.0, 2.0):
            found: Replay = ek.replay(
                service, data, replace(many, at=many.at / faster), cores=CORES,
                cost={"search": 0.05, "assemble": 0.05}, store=DiskStore(here),
            )  # fmt: skip
            began = np.array([o.arrived for o in found.outcomes])
            ended = np.array([o.ended for o in found.outcomes])
            first = np.array([o.first for o in found.outcomes])
            changes = sorted([*((t, 1) for t in began), *((t, -1) for t in ended)])
            flight = np.cumsum([change for _, change in changes])
            mean = float((ended - began).sum() / (ended.max() - began.min()))
            p = {name: np.percentile(v, [50, 95]) for name, v in (("all", ended - began), ("first", first - began))}
            rate = len(many) / (began.max() - began.min())
            print(
                f"{faster:.0f}x: {rate:.1f} requests a second; in flight {mean:.1f} on average, {flight.max()} at "
                f"most; p50 {p['all'][0]:.2f} s, p95 {p['all'][1]:.2f} s; first token p50 {p['first'][0]:.2f} s, p95 "
                f"{p['first'][1]:.2f} s; {found.origin}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
