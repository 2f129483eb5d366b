"""What serving costs beside what is served, how fast time passes in a replay, and whether its numbers hold.

Run ``python benchmarks/serving.py [layers|recordings|clocks|laws ...]``; without a word, all of it, which takes about
eight minutes. `serving_load.py` beside it replays an hour of load and a public trace. Every ratio is of times taken
in this run, in turns where two sides are compared. Models run on one thread: with two, idle threads spin on the core
that the other side needs.

- layers: six layers that do nothing around a variant that does nothing, beside six nested LangChain runnables.
- recordings: 100,000 requests of 50 users on the virtual clock, every answer from a cassette, in processes with other
  hash seeds: processor time, how much faster than the traffic's own time, and one digest.
- clocks: the same requests to a Messages API on loopback, in a process of its own, on the virtual and on real time:
  ratios of p50 and p95 with paired bootstrap intervals.
- laws: replay without layers against evaluate; latency composed of measured stages against the whole.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before they are loaded
os.environ.setdefault("EVALKIT_PROGRESS", "0")

import numpy as np
from serving_load import folder, handbook, memory_mb, told

import evalkit as ek
from evalkit.datasets import Dataset
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.llm import Claude, Extractive
from evalkit.llm.latency.profiles import Profile
from evalkit.llm.modelled import Modelled
from evalkit.llm.replayed import Replayed
from evalkit.llm.server import FakeClaude, serving
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving import Arrival, ClosedLoop
from evalkit.serving.costs import RecordedCost
from evalkit.stages import Static
from evalkit.store import DiskStore
from evalkit.types import QUERY, Clock
from evalkit.values import Answer, Answers, Prompt, Queries, Value

ROOT = Path(__file__).parents[1]
LAYERS, LAYERS_US, LAYERS_TIMES = 6, 100.0, 5.0
REQUESTS, USERS, CPU_S, FASTER = 100_000, 50, 30.0, 100.0
ASKED, WITHIN, CORES_BUSY = 2_000, 0.1, 0.5
CHATTING = Profile(0.35, 0.0, 0.004, jitter_first=0.25, jitter_rate=0.2)


def main() -> int:
    parts = {"layers": layers, "recordings": recordings, "clocks": clocks, "laws": laws}
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(one(Path(sys.argv[2]))))
        return 0
    return max([parts[name]() for name in sys.argv[1:] or parts])


def questions(data: Dataset) -> list[str]:
    """Those that need nothing that was said before."""
    return [text for text, said in zip(data.queries.text, data.queries.history, strict=True) if not len(said)]


@dataclass(frozen=True)
class Nothing:
    """A layer that does nothing."""

    number: int
    at: Place = "answer"

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

    data, rounds = handbook(), 7
    text = questions(data)[0]
    variant = replace(ek.presets.keywords(), generate=Says())
    with folder() as here:
        store = DiskStore(here)

        def replayed(around: int, requests: int) -> float:
            service = ek.Service(variant, tuple(Nothing(i) for i in range(around)))
            asked = ClosedLoop([Arrival(text)] * requests)
            start = time.perf_counter()
            ek.replay(service, data, asked, cost={}, store=store)
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
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        counts = {name: 20_000 if "layers" in name else 2_000 for name in ways}
        started = {name: [way(10) for _ in range(5)] for name, way in ways.items()}
        for _ in range(rounds):
            for name, way in ways.items():
                taken[name].append(way(counts[name] + 10))
    # the best of many, so that a busy moment of the machine hits all alike; what a replay prepares is in neither side
    us = {name: (min(taken[name]) - min(started[name])) / counts[name] * 1e6 for name in ways}
    for name, value in us.items():
        print(f"{name:24}{value:8.1f} µs a request")
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
            for clock, seen in taken.items():
                start, worked = time.perf_counter(), time.process_time()
                found = ek.replay(asks, data, loop, clock=clock, cores=os.cpu_count() or 1, store=store)
                busy[clock] = max(
                    busy[clock],
                    (time.process_time() - worked) / (time.perf_counter() - start) / (os.cpu_count() or 1),
                )
                seen.append(found.per_request["ms"].to_numpy())
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
        alone = ek.replay(variant, few, clock="wall", store=store).per_request["ms"].to_numpy()
    same = sum(evaluated[text] == answer for text, answer in zip(found["text"], found["answer"], strict=True))
    rows = results.per_query[(results.per_query["variant"] == results.base) & (results.per_query["metric"] == "ms")]
    whole, composed = np.sort(rows["value"].to_numpy()), np.sort(found["ms"].to_numpy())
    bad = told(same == len(few.queries), f"{same} of {len(few.queries)} answers are evaluate's")
    for p in (50, 95):
        ratio = np.percentile(composed, p) / np.percentile(whole, p)
        bad = max(bad, told(abs(ratio - 1) <= WITHIN, f"p{p}: composed {np.percentile(composed, p):.2f} ms, whole "
                            f"{np.percentile(whole, p):.2f} ms, ratio {ratio:.3f}"))  # fmt: skip
    p50, p95 = np.percentile(alone, [50, 95])
    print(f"beside them a replay in real time, with its threads: p50 {p50:.2f} ms, p95 {p95:.2f} ms")
    return bad


def answers_of(variant: ek.Variant, data: Dataset, store: DiskStore) -> dict[str, str]:
    """What evaluate answers to each question."""
    plan, context, given = make_plan({"": variant.nodes()}), Context(store), sources(data, 0, store)
    done = execute(plan, given, context)
    queries = cast("Queries", context.whole(given[QUERY.recipe].blocks))
    answers = cast("Answers", context.whole(done[plan.wanted[""]["answer"]].blocks))
    return dict(zip(queries.text, answers.text, strict=True))


if __name__ == "__main__":
    sys.exit(main())
