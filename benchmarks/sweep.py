"""What a sweep costs beside what its distinct work costs.

Run ``python benchmarks/sweep.py [sharing|repeat|cluster ...]``; without a word, all of it. One process, the same
machine and data for both sides of every ratio. The data are a few documents and questions of the handbook, so that a
variant by itself takes about a second; the embedder, the reranker and the reader are real.

- sharing: some 200 variants in one sweep, beside the same variants one after another, each with a store of its own;
  and beside the sum of the sweep's distinct nodes, as the store notes what each took.
- repeat: the same sweep again, and with one parameter changed at the end of the chain.
- cluster: a sweep bound by embedding on two Dask workers of one thread, beside one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import evalkit as ek
from evalkit.datasets import Dataset
from evalkit.llm import Extractive
from evalkit.memo import forgotten
from evalkit.stages import (
    BM25,
    ONNX,
    Budget,
    Dense,
    Hybrid,
    LateInteraction,
    Recursive,
    Static,
    Tokens,
    Truncated,
)
from evalkit.store import DiskStore

ROOT = Path(__file__).parents[1]
METRICS = ["MRR@10", "nDCG@10", "TokenF1"]
INT8 = ONNX(precision="int8")


def main() -> int:
    wanted = sys.argv[1:] or ["sharing", "repeat", "cluster"]
    os.environ.setdefault("EVALKIT_PROGRESS", "0")
    parts = {"sharing": sharing, "repeat": repeat, "cluster": cluster}
    return max(parts[name]() for name in wanted)


def some(documents: int, queries: int) -> Dataset:
    """The first questions that the first documents answer."""
    data = ek.load_dataset(ROOT / "datasets" / "handbook")
    kept = list(data.documents.id)[:: max(1, len(data.documents) // documents)][:documents]
    answered = [
        q for q in data.queries.id
        if q in data.answers and max((data.qrels[q].get(d, 0) for d in kept), default=0) >= 3
    ]  # fmt: skip
    rows = [i for i, name in enumerate(data.documents.id) if name in set(kept)]
    few = replace(data.select(answered[:queries]), documents=data.documents.take(rows))
    judged = {q: {d: g for d, g in found.items() if d in set(kept)} for q, found in few.qrels.items()}
    answers = {q: replace(a, evidence=()) for q, a in few.answers.items()}
    return replace(few, name="part of the handbook", qrels=judged, answers=answers, intents={}, conversations={})


def space() -> ek.Sweep:
    """Chunk size x overlap x embedder x retriever x alpha x k x rerank depth x budget."""
    base = ek.Variant(
        chunk=Recursive(size=64),
        retrieve=Dense(INT8, k=5),
        assemble=Budget(256, Tokens()),
        generate=Extractive(Static()),
    )
    shared: dict[str, Any] = {
        "chunk.size": [64, 128],
        "chunk.overlap": [0, 16],
        "retrieve.k": [5, 10],
        "assemble.limit": [128, 256],
        "rerank": [None, LateInteraction(k=5, depth=5)],
    }
    short = Truncated(INT8, 128)
    grids: list[dict[str, Any]] = [
        {**shared, "retrieve": [Dense(INT8), Dense(short), BM25()]},
        {**shared, "retrieve": [Hybrid(Dense(INT8, k=20), BM25(k=20))], "retrieve.alpha": [0.3, 0.5, 0.7, 0.9]},
    ]
    return ek.Sweep(base, grid=grids)


def timed(what: ek.Sweep | ek.Variant, data: Dataset, store: DiskStore) -> tuple[float, ek.Results]:
    with forgotten():
        start = time.perf_counter()
        results = ek.run(what, data, METRICS, store=store)
        return time.perf_counter() - start, results


def warm(data: Dataset) -> None:
    """Models are loaded, exported and compiled before the clock runs: neither side pays for that."""
    sweep, folder = space(), tempfile.mkdtemp()
    for variant in list(sweep.variants().values())[:: max(1, len(sweep.variants()) // 12)]:
        ek.run(variant, data.select(list(data.queries.id)[:2]), METRICS, store=DiskStore(folder))


def told(met: bool, what: str) -> int:
    print(f"{'met:   ' if met else 'MISSED:'} {what}")
    return 0 if met else 1


def sharing() -> int:
    data, sweep = some(12, 12), space()
    warm(data)
    variants = sweep.variants()
    os.environ["EVALKIT_THREADS"] = "1"  # the sum of nodes is one thread's, so the sweep gets one too
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore(Path(folder) / "shared")
        together, results = timed(sweep, data, store)
        nodes = sum(
            json.loads(path.read_text()).get("seconds", 0.0) for path in store.folder.glob("actions/*/*.json")
        )
        alone, same = 0.0, True
        rows = results.per_query.set_index("variant")
        for i, (label, variant) in enumerate(variants.items()):
            seconds, single = timed(variant, data, DiskStore(Path(folder) / str(i)))
            alone += seconds
            own = rows.loc[label].reset_index(drop=True)
            same &= own.equals(single.per_query.drop(columns="variant").reset_index(drop=True))
    del os.environ["EVALKIT_THREADS"]
    plan = results.manifest["plan"]
    print(f"\n{len(variants)} variants, {len(data.documents)} documents, {len(data.queries)} queries; one thread")
    print(f"nodes asked for {plan['nodes asked for']:,}, distinct {plan['nodes distinct']:,}")
    print(f"together {together:.1f} s, one by one {alone:.1f} s, sum of the distinct nodes {nodes:.1f} s")
    worst = told(alone / together >= 15, f"{alone / together:.1f} times faster than one by one (wanted: 15)")
    worst |= told(together / nodes <= 1.15, f"{together / nodes:.2f} of the sum of its distinct nodes (wanted: 1.15)")
    return worst | told(same, "every value of every query is the same to the last bit")


def repeat() -> int:
    data, sweep = some(24, 24), space()
    warm(data)
    changed = replace(sweep, grid=[{**dict(grid), "assemble.limit": [128, 300]} for grid in sweep.grid])
    with tempfile.TemporaryDirectory() as folder:
        cold, first = timed(sweep, data, DiskStore(folder))
        again, second = timed(sweep, data, DiskStore(folder))
        other, _ = timed(changed, data, DiskStore(folder))
    print(f"\n{len(sweep.variants())} variants, {len(data.documents)} documents, {len(data.queries)} queries")
    print(f"cold {cold:.1f} s, again {again:.1f} s, with one budget changed {other:.1f} s")
    worst = told(again / cold < 0.05, f"the same again takes {again / cold:.1%} of the cold time (wanted: 5 %)")
    worst |= told(other / cold < 0.10, f"one changed parameter takes {other / cold:.1%} (wanted: 10 %)")
    return worst | told(first.digest == second.digest, "the digest is the same")


def cluster() -> int:
    data = some(60, 20)
    sizes = [48, 56, 64, 72, 80, 88, 96, 104, 112, 128]
    sweep = ek.Sweep(ek.Variant(chunk=Recursive(size=64), retrieve=Dense(INT8, k=5)), {"chunk.size": sizes})
    taken, digests = {}, set()
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder, workers_of(workers, Path(folder)) as address:
            seconds = []
            for turn in range(3):  # in the first one every worker loads its model; the quicker of the others counts
                start = time.perf_counter()
                store = DiskStore(Path(folder) / f"store {turn}")
                digests.add(ek.run(sweep, data, ["MRR@10"], store=store, scheduler=address).digest)
                seconds.append(time.perf_counter() - start)
            taken[workers] = min(seconds[1:])
    print(f"\n{len(sizes)} chunkings of {len(data.documents)} documents, embedded by ONNX int8")
    print(f"one worker {taken[1]:.1f} s, two workers {taken[2]:.1f} s")
    worst = told(taken[1] / taken[2] >= 1.6, f"two workers are {taken[1] / taken[2]:.2f} times faster (wanted: 1.6)")
    return worst | told(len(digests) == 1, "the digest is the same")


@contextmanager
def workers_of(number: int, folder: Path) -> Iterator[str]:
    """A scheduler and workers of one thread each, started as a user would."""
    from distributed import Client

    place, loopback = folder / "scheduler.json", ("--host", "127.0.0.1", "--no-dashboard")
    started = []

    def start(*arguments: str) -> None:
        command = [sys.executable, "-m", *arguments]
        started.append(subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL))

    start("distributed.cli.dask_scheduler", *loopback, "--port", "0", "--scheduler-file", str(place))
    try:
        while not place.exists():
            time.sleep(0.1)
        address = str(json.loads(place.read_text())["address"])
        for _ in range(number):
            start(
                "distributed.cli.dask_worker", address, *loopback, "--nthreads", "1", "--local-directory", str(folder)
            )
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(number, timeout=120)
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
