"""What serving costs beside what is served, how fast time passes in a replay, and whether its numbers hold.

Run ``python benchmarks/serving.py [layers|recordings|clocks|laws|load|trace ...]``; without a word, all of it, which
takes about a quarter of an hour. Every ratio is of times taken in this run, in turns where two sides are compared. Models
run on one thread: with two, idle threads spin on the core that the other side needs.

- layers: six layers that do nothing around a variant that does nothing, beside six nested LangChain runnables.
- recordings: 100,000 requests of 50 users on the virtual clock, every answer from a cassette, in processes with other
  hash seeds: processor time, how much faster than the traffic's own time, and one digest.
- clocks: the same requests to a Messages API on loopback, in a process of its own, on the virtual and on real time:
  ratios of p50 and p95 with paired bootstrap intervals.
- laws: replay without layers against evaluate; latency composed of measured stages against the whole.
- load: 100 users for an hour of traffic on the virtual clock, a real Redis that goes and comes back twice, every
  twentieth call failing: whether every request ends, whether counts add up, whether memory grows.
- trace: the arrivals and token counts of Azure's public trace, at its own rate and at twice that. Arrivals and
  counts are recorded; a call's time follows from the counts by a latency profile, and questions are the handbook's.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before they are loaded
os.environ.setdefault("EVALKIT_PROGRESS", "0")

import numpy as np

import evalkit as ek
from evalkit.calls import Call, TokenUsage
from evalkit.datasets import Dataset, Traffic
from evalkit.datasets.arrivals import follow
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.llm import Claude, Extractive
from evalkit.llm.latency.profiles import Profile, find_profile
from evalkit.llm.modelled import Modelled
from evalkit.llm.replayed import Replayed
from evalkit.llm.server import FakeClaude, serving
from evalkit.serving import Arrival, ClosedLoop, Replay
from evalkit.serving.costs import RecordedCost
from evalkit.stages import Static
from evalkit.store import DiskStore
from evalkit.types import QUERY, Clock, Handler, Next, Request, Serving
from evalkit.values import Answer, Answers, Prompt, Queries, Value

ROOT = Path(__file__).parents[1]
TRACE = ROOT.parent / "shared" / "data" / "azure-llm-trace" / "conv.csv"
LAYERS, LAYERS_US, LAYERS_TIMES = 6, 100.0, 5.0
REQUESTS, USERS, CPU_S, FASTER = 100_000, 50, 30.0, 100.0
ASKED, WITHIN, CORES_BUSY = 2_000, 0.1, 0.5
CHATTING = Profile(0.35, 0.0, 0.004, jitter_first=0.25, jitter_rate=0.2)
HOUR, LOADED, FAULTS, KB_A_REQUEST = 3_600.0, 100, 0.05, 8.0
AT_ONCE = 64


def main() -> int:
    parts = {
        "layers": layers, "recordings": recordings, "clocks": clocks, "laws": laws, "load": load, "trace": trace
    }  # fmt: skip
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(one(Path(sys.argv[2]))))
        return 0
    return max([parts[name]() for name in sys.argv[1:] or parts])


def told(met: bool, what: str) -> int:
    print(f"{'met:   ' if met else 'MISSED:'} {what}", flush=True)
    return 0 if met else 1


def handbook() -> Dataset:
    return ek.load_dataset(ROOT / "datasets" / "handbook")


def questions(data: Dataset) -> list[str]:
    """Those that need nothing that was said before."""
    return [text for text, said in zip(data.queries.text, data.queries.history, strict=True) if not len(said)]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@dataclass(frozen=True)
class Nothing:
    """A layer that does nothing."""

    number: int
    at: str = "answer"

    def start(self, serving: Serving) -> Handler:
        """Go on."""

        async def handle(request: Request, go_on: Next) -> Value:
            return await go_on(request)

        return handle


@dataclass(frozen=True)
class Says:
    """A generator that says one thing at once."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Say it."""
        return _YES


_YES = Answer("yes")


def layers() -> int:
    from langchain_core.runnables import RunnableLambda

    data, count, rounds = handbook(), 3_000, 7
    text = questions(data)[0]
    variant = replace(ek.presets.keywords(), generate=Says())
    with folder() as here:
        store = DiskStore(here)

        def replayed(around: int, requests: int, clock: str = "virtual") -> float:
            service = ek.Service(variant, tuple(Nothing(i) for i in range(around)))
            asked = ClosedLoop([Arrival(text)] * requests)
            start = time.perf_counter()
            ek.replay(service, data, asked, cost={} if clock == "virtual" else None, clock=clock, store=store)
            return time.perf_counter() - start

        def nested(requests: int) -> float:
            async def innermost(asked: str) -> str:
                return asked

            runnable = RunnableLambda(innermost)
            for _ in range(LAYERS - 1):
                runnable = RunnableLambda(_through(runnable))

            async def everyone() -> None:
                for _ in range(requests):
                    await runnable.ainvoke(text)

            start = time.perf_counter()
            asyncio.run(everyone())
            return time.perf_counter() - start

        ways: dict[str, Callable[[int], float]] = {
            "no layers": lambda n: replayed(0, n),
            "six layers": lambda n: replayed(LAYERS, n),
            "six runnables": nested,
            "the same, real search": lambda n: replayed(LAYERS, n, "wall"),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():  # what a replay prepares is in both and so in neither
                many = count if "real" not in name else count // 10
                taken[name].append((way(many + 10) - way(10)) / many * 1e6)
    us = {name: statistics.median(found) for name, found in taken.items()}
    for name, value in us.items():
        print(f"{name:24}{value:8.1f} µs a request ({min(taken[name]):.1f} to {max(taken[name]):.1f})")
    own = us["six layers"] - us["no layers"]
    print(f"{'the layers alone':24}{own:8.1f} µs a request, {own / LAYERS:.1f} µs a layer")
    ratio = us["six runnables"] / us["six layers"]
    return max(
        told(us["six layers"] <= LAYERS_US, f"whole request {us['six layers']:.0f} µs, wanted {LAYERS_US:.0f}"),
        told(ratio >= LAYERS_TIMES, f"{ratio:.1f} times less than LangChain's, wanted {LAYERS_TIMES:.0f}"),
    )


def _through(inner: Any) -> Callable[[str], Any]:
    async def outer(asked: str) -> Any:
        return await inner.ainvoke(asked)

    return outer


def recorded(generator: Any) -> ek.Variant:
    return replace(ek.presets.onnx(), generate=generator)


def model() -> Modelled:
    return Modelled(Extractive(Static()), "course", model="claude-haiku-5-5")


def recordings() -> int:
    with folder() as here:
        with ek.cassette(here / "c.jsonl.gz", store=DiskStore(here / "store")) as store:
            ek.run(recorded(model()), handbook(), ["TokenF1"], store=store)
        found = []
        for seed in ("0", "1", "4711"):
            env = {**os.environ, "PYTHONHASHSEED": seed}
            said = subprocess.run(
                [sys.executable, __file__, "one", str(here)], capture_output=True, text=True, check=True, env=env
            )
            found.append(json.loads(said.stdout))
            print("hash seed {seed}: {cpu:.1f} s of CPU, {wall:.1f} s for {traffic:,.0f} s of traffic, {us:.0f} µs "
                  "a request, {mb:.0f} MB, {digest}".format(seed=seed, **found[-1]), flush=True)  # fmt: skip
    cpu, faster = max(f["cpu"] for f in found), min(f["traffic"] / f["wall"] for f in found)
    return max(
        told(cpu < CPU_S, f"{REQUESTS:,} requests in at most {cpu:.1f} s of CPU, wanted {CPU_S:.0f}"),
        told(faster >= FASTER, f"{faster:.0f} times faster than the traffic, wanted {FASTER:.0f}"),
        told(len({f["digest"] for f in found}) == 1, "one digest in all processes"),
    )


def one(here: Path) -> dict[str, Any]:
    """Replay recordings in this process, loading and embedding included."""
    data = handbook()
    texts = questions(data)
    loop = ClosedLoop([Arrival(texts[i % len(texts)]) for i in range(REQUESTS)], users=USERS)
    variant = recorded(Replayed(model(), str(here / "c.jsonl.gz")))
    cpu, wall = time.process_time(), time.perf_counter()
    found = ek.replay(variant, data, loop, cores=32, cost="course", store=DiskStore(here / "store"))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    events = [sum(event.kind == "call" for event in outcome.events) for outcome in found.outcomes]
    assert set(events) == {1}, "one event an answer"
    assert all(outcome.outcome == "answered" and outcome.calls[0].pieces for outcome in found.outcomes)
    traffic = found.outcomes[-1].ended - found.start
    return {
        "cpu": cpu, "wall": wall, "traffic": traffic, "us": cpu / REQUESTS * 1e6, "mb": memory_mb(),
        "digest": found.digest,
    }  # fmt: skip


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def clocks() -> int:
    data, rounds, users = handbook(), 4, 8
    texts = questions(data)[:100]
    variant = ek.presets.keywords()
    taken: dict[str, list[np.ndarray]] = {"virtual": [], "wall": []}
    answers: dict[str, list[str]] = {"virtual": [], "wall": []}
    busy = dict.fromkeys(taken, 0.0)
    with (
        folder() as here,
        serving(FakeClaude(Modelled(Extractive(Static()), CHATTING), speed=1.0), process=True) as s,
    ):
        asks = replace(variant, generate=Claude(base_url=s.url, retries=0))
        store = DiskStore(here)
        loop = ClosedLoop([Arrival(texts[i % len(texts)]) for i in range(ASKED // rounds)], users=users)
        ek.replay(asks, data, ClosedLoop([Arrival(text) for text in texts], users=users), clock="wall", store=store)
        for _ in range(rounds):
            for clock in taken:
                start, worked = time.perf_counter(), time.process_time()
                found = ek.replay(asks, data, loop, clock=clock, cores=os.cpu_count() or 1, store=store)
                busy[clock] = max(
                    busy[clock],
                    (time.process_time() - worked) / (time.perf_counter() - start) / (os.cpu_count() or 1),
                )
                taken[clock].append(found.per_request["ms"].to_numpy())
                answers[clock] += found.per_request["answer"].tolist()
    virtual, wall = (np.concatenate(taken[clock]) for clock in ("virtual", "wall"))
    print(f"{len(virtual):,} requests on each clock, {users} users; busy: " + ", ".join(
        f"{clock} {share:.0%}" for clock, share in busy.items()) + " of the machine in this process")  # fmt: skip
    drawn = np.random.default_rng(0).integers(0, len(wall), (2_000, len(wall)))  # a request on both clocks: paired
    bad = told(answers["virtual"] == answers["wall"], "the same answers on both clocks")
    bad = max(bad, told(max(busy.values()) < CORES_BUSY, f"CPU under {CORES_BUSY:.0%}"))
    for p in (50, 95):
        ratios = np.percentile(virtual[drawn], p, axis=1) / np.percentile(wall[drawn], p, axis=1)
        low, high = np.percentile(ratios, [2.5, 97.5])
        a, b = np.percentile(virtual, p), np.percentile(wall, p)
        bad = max(
            bad,
            told(
                abs(low - 1) <= WITHIN and abs(high - 1) <= WITHIN,
                f"p{p}: virtual {a:.1f} ms, real {b:.1f} ms, ratio {a / b:.3f} [{low:.3f}, {high:.3f}]",
            ),
        )
    return bad


def laws() -> int:
    data, variant = handbook(), ek.presets.keywords()
    few = data.select([q for q, h in zip(data.queries.id, data.queries.history, strict=True) if not len(h)][:100])
    variant = replace(variant, generate=Extractive(Static()))
    with folder() as here:
        store = DiskStore(here)
        results = ek.run(variant, few, ["TokenF1"], timing=ek.Timing(queries=100, repeats=5), store=store)
        evaluated = answers_of(variant, few, store)
        found = ek.replay(variant, few, cost=RecordedCost.of(results, data=few), store=store).per_request
    same = sum(evaluated[text] == answer for text, answer in zip(found["text"], found["answer"], strict=True))
    rows = results.per_query[(results.per_query["variant"] == results.base) & (results.per_query["metric"] == "ms")]
    whole, composed = np.sort(rows["value"].to_numpy()), np.sort(found["ms"].to_numpy())
    bad = told(same == len(few.queries), f"{same} of {len(few.queries)} answers are evaluate's")
    for p in (50, 95):
        ratio = np.percentile(composed, p) / np.percentile(whole, p)
        bad = max(bad, told(abs(ratio - 1) <= WITHIN, f"p{p}: composed {np.percentile(composed, p):.2f} ms, whole "
                            f"{np.percentile(whole, p):.2f} ms, ratio {ratio:.3f}"))  # fmt: skip
    return bad


def answers_of(variant: ek.Variant, data: Dataset, store: DiskStore) -> dict[str, str]:
    """What evaluate answers to each question."""
    plan, context, given = make_plan({"": variant.nodes()}), Context(store), sources(data, 0, store)
    done = execute(plan, given, context)
    queries = cast("Queries", context.whole(given[QUERY.recipe].blocks))
    answers = cast("Answers", context.whole(done[plan.wanted[""]["answer"]].blocks))
    return dict(zip(queries.text, answers.text, strict=True))


@dataclass(frozen=True)
class Restarts:
    """Ends a server at some requests and starts it again at others, and looks at this process's memory meanwhile."""

    server: Any = field(compare=False)
    down: tuple[int, ...]
    up: tuple[int, ...]
    seen: list[tuple[int, float]] = field(compare=False)
    at: str = "answer"

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

    from evalkit.serving.layers import Cache, Concurrency, FaultInjection, Retry
    from evalkit.serving.state.redis import Redis

    data, think = handbook(), 32.0
    requests = [replace(a, at=0.0, conversation="") for a in arrivals(data.traffic)] * 2
    n, seen = len(requests), []
    with folder() as here, running_redis() as server:
        restarts = Restarts(server, (n // 4, 3 * n // 4), (n // 4 + 400, 3 * n // 4 + 400), seen)
        service = ek.Service(
            recorded(Modelled(Extractive(Static()), "course", model="claude-haiku-5-5")),
            (
                restarts,
                Cache(ttl=600.0, storage=Redis(url=server.url)),
                Concurrency(limit=8, queue=16, wait=5.0),
                Retry(tries=2),
                FaultInjection(share=FAULTS),
            ),
        )
        found = ek.replay(
            service, data, ClosedLoop(requests, users=LOADED, think=think), cores=8, cost="course",
            store=DiskStore(here),
        )  # fmt: skip
    rows = found.per_request
    ends, hits = Counter(rows["outcome"]), int((rows["hit"] != "").sum())
    lasted = max(o.ended for o in found.outcomes) - found.start
    faults = int(rows["faults[generate]"].fillna(0).sum())
    calls = int(rows["tries[generate]"].fillna(0).sum())
    print(f"{n:,} requests of {LOADED} users in {lasted:,.0f} s of traffic: {dict(ends)}, {hits:,} hits, {calls:,} "
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


def arrivals(traffic: Traffic) -> list[Arrival]:
    from evalkit.serving.arrivals import arrivals_of

    return arrivals_of(traffic)


LENGTHS: ContextVar[tuple[int, int, int]] = ContextVar("lengths")


@dataclass(frozen=True)
class Lengths:
    """Tells the generator how many tokens the trace has for a request."""

    counts: tuple[tuple[int, int], ...] = field(repr=False)
    at: str = "answer"

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
        from random import Random

        (number, read, written), profile = LENGTHS.get(), find_profile(self.profile)
        noise = Random(f"{number} {sample}")
        pieces = profile.draw_pieces(profile.draw_first(read, 0, noise), max(written, 1), noise)
        await clock.elapse(pieces[-1])
        return Answer(f"{written} tokens", (), Call("", TokenUsage(read, output=written), pieces, 0, pieces[-1]))


def trace() -> int:
    if not TRACE.is_file():
        print(f"skipped: {TRACE} is not there")
        return 0
    from evalkit.serving.layers import Concurrency

    data, recorded_ = handbook(), ek.load_dataset(TRACE).traffic
    asked = data.traffic.take(np.flatnonzero(np.array([not c for c in data.traffic.conversation])))
    many = follow(Traffic.concat([asked] * (len(recorded_) // len(asked) + 1)), recorded_)
    counts = tuple(zip(many.prompt_tokens.tolist(), many.answer_tokens.tolist(), strict=True))
    service = ek.Service(
        replace(ek.presets.keywords(), generate=OfLength("course")), (Lengths(counts), Concurrency(limit=AT_ONCE))
    )
    print(f"{len(many):,} requests in {many.at[-1]:,.0f} s; tokens read p50 {np.median(many.prompt_tokens):.0f}, "
          f"written p50 {np.median(many.answer_tokens):.0f}; four cores, {AT_ONCE} calls at once,\nprofile 'course'")  # fmt: skip
    with folder() as here:
        for faster in (1.0, 2.0):
            found: Replay = ek.replay(
                service, data, replace(many, at=many.at / faster), cores=4, cost={"search": 0.05, "assemble": 0.05},
                store=DiskStore(here),
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
                f"{faster:.0f}x: {rate:.1f} requests a second; in flight {mean:.1f} on average, {flight.max()} at most; "
                f"p50 {p['all'][0]:.2f} s, p95 {p['all'][1]:.2f} s; first token p50 {p['first'][0]:.2f} s, p95 "
                f"{p['first'][1]:.2f} s; {found.origin}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
