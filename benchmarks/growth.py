"""How a run's time and memory grow with the variants and with the corpus.

Run ``python benchmarks/growth.py [variants N | corpus N]``; without arguments all sizes, each in a process of its own
with an empty store on disk, so that the peak of memory (``VmHWM``, pages mapped from files included) is that size's
alone.

Variants: BM25 over the handbook, always the same ten indexes, and as many ks as make 10 to 2,000 variants. Searching
goes to the deepest k once, so what is added with every variant is a cut, and all that evalkit does about a variant:
making it, planning, scheduling, storing, scoring, the intervals, the tables. The metrics look as deep as the deepest
k, so that hardly two variants have the same figures.

Corpus: dense retrieval over 10,000 to 1,000,000 chunks of some sixty characters, vectors of 384 dimensions drawn from
a hash of each text, exact search.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "EVALKIT_PROGRESS": "0"}  # before they are loaded
os.environ.setdefault("EVALKIT_THREADS", str(os.cpu_count()))

import numpy as np

import evalkit as ek
from evalkit.columns import Array
from evalkit.datasets import Dataset
from evalkit.datasets.build import build
from evalkit.datasets.rows import Row
from evalkit.stages import BM25, Dense, Recursive, Whole
from evalkit.store import DiskStore
from evalkit.values import Chunks, Queries, Vectors
from evalkit.variants import Variant

HANDBOOK = Path(__file__).parents[1] / "datasets" / "handbook"
VARIANTS, CORPORA = (10, 100, 500, 2_000), (10_000, 100_000, 1_000_000)
SIZES, SATURATIONS = (128, 256), (0.6, 0.9, 1.2, 1.5, 1.8)
METRICS = ("MRR@200", "nDCG@200", "Recall@200")
ASKED, DIMENSIONS = 50, 384
WANTED_MS, WANTED_GB = 5.0, 8.0
WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh north ocean pearl quartz ridge"


@dataclass(frozen=True)
class Hashed:
    """An embedder whose vectors are drawn from a hash of the text: as large as real ones, and made in no time."""

    max_length: int = 512

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        """Draw a vector for each text."""
        return Vectors(self.encode(list(texts.searched if isinstance(texts, Chunks) else texts.text)))

    def encode(self, texts: list[str]) -> Array:
        """Draw unit vectors: float32 of shape (n, DIMENSIONS), each number by a mix of the text's hash and its place.

        Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014.
        """
        seeds = np.array([zlib.crc32(text.encode()) for text in texts], dtype=np.uint64)[:, None] << np.uint64(20)
        mixed = (seeds + np.arange(1, DIMENSIONS + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        drawn = (mixed >> np.uint64(40)).astype(np.float32) - np.float32(1 << 23)
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    def tokens(self, texts: list[str]) -> Array:
        """Words of each text."""
        return np.array([text.count(" ") + 1 for text in texts], dtype=np.int64)


def sweep_of(number: int) -> ek.Sweep:
    """A sweep of so many variants over ten indexes, whatever the number."""
    indexes = len(SIZES) * len(SATURATIONS)
    grid = {
        "chunk.size": list(SIZES),
        "retrieve.k1": list(SATURATIONS),
        "retrieve.k": list(range(1, number // indexes + 1)),
    }
    return ek.Sweep(Variant(chunk=Recursive(size=SIZES[0]), retrieve=BM25(k1=SATURATIONS[0], k=1)), grid=grid)


def with_variants(number: int) -> dict[str, Any]:
    """Run so many variants: seconds by the clock, and of this process on the processor."""
    data = ek.load_dataset(HANDBOOK)
    data = data.select(list(data.queries.id)[:: len(data.queries) // ASKED][:ASKED])
    with tempfile.TemporaryDirectory() as folder:
        start, worked = time.perf_counter(), time.process_time()
        results = ek.run(sweep_of(number), data, METRICS, store=DiskStore(folder))
        took, busy = time.perf_counter() - start, time.process_time() - worked
    assert len(results.systems) == number
    return {"seconds": took, "busy": busy}


def corpus(number: int) -> Dataset:
    """Documents of some sixty characters, and queries that are each some document's text."""
    words = WORDS.split()

    def text(i: int) -> str:
        drawn = zlib.crc32(str(i).encode())
        return " ".join([f"{i:07}", *(words[(drawn >> shift) % len(words)] for shift in range(0, 27, 3))])

    def documents() -> Iterator[Row]:
        for i in range(number):
            yield Row("", {"id": f"d{i:07}", "text": text(i)})

    picked = range(0, number, number // ASKED)
    queries = [Row("", {"id": f"q{i:07}", "text": f"{text(i)} ?"}) for i in picked]
    judged = [Row("", {"query": f"q{i:07}", "document": f"d{i:07}", "grade": 1}) for i in picked]
    return build("growth", documents(), queries, judged)


def with_chunks(number: int) -> dict[str, Any]:
    """Run dense retrieval over so many chunks: seconds, and the peak of memory before and after."""
    data = corpus(number)
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        start, worked = time.perf_counter(), time.process_time()
        ek.run(Variant(chunk=Whole(), retrieve=Dense(Hashed())), data, store=DiskStore(folder))
        took, busy = time.perf_counter() - start, time.process_time() - worked
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e9
    return {"seconds": took, "busy": busy, "before": before, "stored": stored}


def peak() -> float:
    """The most memory that this process has held, in GB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e9


def apart(what: str, number: int) -> dict[str, Any]:
    """Measure one size in a process of its own."""
    done = subprocess.run([sys.executable, __file__, what, str(number)], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    print(f"{'variants':>10}{'seconds':>10}{'on cores':>10}{'ms each':>10}{'ms more each':>14}{'GB':>8}")
    sizes: list[tuple[int, float]] = []
    for number in VARIANTS:
        found = apart("variants", number)
        took = found["seconds"]
        sizes.append((number, took))
        more = f"{_more(*sizes[-2:]):14.2f}" if len(sizes) > 1 else f"{'':14}"
        print(
            f"{number:10,}{took:10.2f}{found['busy']:10.2f}{1e3 * took / number:10.2f}{more}{found['peak']:8.2f}",
            flush=True,
        )
    print(
        f"\n{'chunks':>10}{'seconds':>10}{'on cores':>10}{'us each':>10}{'GB stored':>14}{'GB':>8}{'GB before':>11}"
    )
    for number in CORPORA:
        found = apart("corpus", number)
        took = found["seconds"]
        print(
            f"{number:10,}{took:10.2f}{found['busy']:10.2f}{1e6 * took / number:10.1f}{found['stored']:14.2f}"
            f"{found['peak']:8.2f}{found['before']:11.2f}",
            flush=True,
        )
    print()
    more_each = _more(sizes[0], sizes[-1])
    _verdict(
        more_each < WANTED_MS, f"{more_each:.2f} ms for a further variant, of {VARIANTS[-1]:,} (wanted: {WANTED_MS})"
    )
    _verdict(found["peak"] <= WANTED_GB, f"{CORPORA[-1]:,} chunks in {found['peak']:.2f} GB (wanted: {WANTED_GB})")


def _more(first: tuple[int, float], last: tuple[int, float]) -> float:
    """Milliseconds for every further variant, from one size to another."""
    return 1e3 * (last[1] - first[1]) / (last[0] - first[0])


def _verdict(good: bool, what: str) -> None:
    print(f"{'met:   ' if good else 'MISSED:'} {what}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure = {"variants": with_variants, "corpus": with_chunks}[sys.argv[1]]
        print(json.dumps({**measure(int(sys.argv[2])), "peak": peak()}))
    else:
        main()
