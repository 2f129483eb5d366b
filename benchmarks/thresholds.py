"""All thresholds in one pass, beside replaying each of them through the real layer.

Run ``python benchmarks/thresholds.py [--requests N] [--replayed T ...]``. The traffic is a day of questions from
`banking77` (77 intents, 13,083 questions), each in one of four phrasings, so that most texts are new and near others;
arrivals are Poisson's, every call takes 0.55 s. The sweep decides 100 thresholds from 0.70 to 0.995. Replays go
through `SemanticCache` on the virtual clock, its exact FAISS index included, at some of these thresholds; their mean
time stands for the others. Every decision of a replayed threshold is compared with the sweep's. Both find the texts'
vectors in the store, and the ratio is of whole times, vectors read included. Before that, GPTCache's own pairs.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from evalkit import Service, Variant
from evalkit import replay as replayed
from evalkit.datasets.dataset import Dataset
from evalkit.serving.arrivals import Arrival
from evalkit.serving.layers import SemanticCache
from evalkit.serving.semantic import Threshold
from evalkit.serving.thresholds.sweep import threshold_sweep
from evalkit.stages import BM25, ONNX, SentenceTransformer, Whole
from evalkit.testing import tiny_dataset
from evalkit.values import Answer, Prompt

DATA = Path(__file__).parents[2] / "shared" / "data"
BANKING77, GPTCACHE = DATA / "banking77", DATA / "gptcache"
OPENINGS = ("{}", "Hello, {}", "{} Please help.", "Quick question: {}")
THRESHOLDS = [round(0.70 + 0.295 * i / 99, 6) for i in range(100)]
WANTED = 30.0
PUBLISHED = {0.95: (0.450, 0.056), 0.9: (0.882, 0.087), 0.8: (0.997, 0.092)}
"""Threshold: share of hits, and of wrong ones among them, as GPTCache's README has them."""


@dataclass(frozen=True)
class Fixed:
    """Answers after a fixed time: what is compared is who is asked, not what is said."""

    seconds: float

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        """Answer."""
        await clock.sleep(self.seconds)
        return Answer("An answer.", ())


def traffic(requests: int, seed: int = 0) -> list[Arrival]:
    """Return a day of questions: intents by Zipf's law, questions and phrasings of one alike."""
    rows: dict[str, list[str]] = {}
    for name in ("train.csv", "test.csv"):
        with (BANKING77 / name).open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                rows.setdefault(row["category"], []).append(row["text"])
    rng, intents = np.random.default_rng(seed), sorted(rows)
    popularity = 1 / np.arange(1, len(intents) + 1)
    drawn = rng.choice(len(intents), requests, p=popularity / popularity.sum())
    times = np.cumsum(rng.exponential(86_400 / requests, requests))
    found = []
    for intent, at in zip(drawn.tolist(), times.tolist(), strict=True):
        of = rows[intents[intent]]
        text = OPENINGS[int(rng.integers(len(OPENINGS)))].format(of[int(rng.integers(len(of)))])
        found.append(Arrival(text, at=at, intent=intents[intent]))
    return found


def pairs() -> None:
    """Print hits and wrong hits on GPTCache's own pairs, beside those that its README states."""
    rows = json.loads((GPTCACHE / "mock_data.json").read_text(encoding="utf-8"))
    kept = [Arrival(row["origin"], intent=str(i)) for i, row in enumerate(rows)]
    asked = [Arrival(row["similar"], at=1.0 + i, intent=str(i)) for i, row in enumerate(rows)]
    cache = SemanticCache(embedder=SentenceTransformer(), guard="none", until="nothing", only="precomputed", ttl=None)
    sweep = threshold_sweep(asked, list(PUBLISHED), cache=cache, precomputed=kept)
    print(
        f"GPTCache's {len(rows)} pairs, all-MiniLM-L6-v2: threshold, hits, wrong of hits (its README, another model)"
    )
    for setting, (at, (hits, wrong)) in enumerate(PUBLISHED.items()):
        found, bad = sweep.hit[setting], sweep.wrong[setting]
        print(f"  {at:g}: {found.mean():.1%}, {bad.sum() / found.sum():.1%} ({hits:.1%}, {wrong:.1%})")


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000, help="0: only GPTCache's pairs")
    parser.add_argument("--replayed", type=float, nargs="*", default=[0.8, 0.9, 0.97])
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return 0
    pairs()
    if not options.requests:
        return 0
    asked, embedder, seconds = traffic(options.requests), ONNX(precision="int8"), 0.55
    data: Dataset = tiny_dataset()
    cache = SemanticCache(embedder=embedder, guard="none", until="nothing")
    variant = Variant(chunk=Whole(), retrieve=BM25(k=1), generate=Fixed(seconds))
    thresholds = sorted({*THRESHOLDS, *options.replayed})
    threshold_sweep(asked, [1.0], cache=cache, calls=seconds, variant=variant, data=data)  # vectors into the store
    begun, cpu = time.perf_counter(), time.process_time()
    sweep = threshold_sweep(asked, thresholds, cache=cache, calls=seconds, variant=variant, data=data)
    swept, swept_cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(f"{len(asked):,} requests, {len({a.text for a in asked}):,} texts, {len(thresholds)} thresholds")
    print(f"sweep: {swept:.1f} s, {swept_cpu:.1f} s of CPU")
    differ, took = 0, []
    for at in options.replayed:
        service = Service(variant, (replace(cache, rule=Threshold(at)),))
        begun, cpu = time.perf_counter(), time.process_time()
        rows = replayed(service, data, asked, cost={}).per_request
        took.append(time.process_time() - cpu)
        makers = np.array([int(by) if hit else -1 for by, hit in zip(rows["made_by"], rows["hit"], strict=True)])
        apart = int((makers != sweep.given_by[sweep.find(at)]).sum())
        differ += apart
        print(
            f"replay at {at:g}: {time.perf_counter() - begun:.1f} s, {took[-1]:.1f} s of CPU, "
            f"{(makers >= 0).mean():.1%} hits, {apart} decisions differ"
        )
    at_once = threshold_sweep(asked, [0.8, 0.9, 0.97], cache=cache, calls=0.0, variant=variant, data=data)
    for late in (0.55, 5.0, 20.0):
        other = threshold_sweep(asked, [0.8, 0.9, 0.97], cache=cache, calls=late, variant=variant, data=data)
        hits = (other.hit != at_once.hit).mean(axis=1)
        given_by = (other.given_by != at_once.given_by).mean(axis=1)
        print(
            f"answers there after {late:g} s, not at once: hit or miss changes for "
            f"{', '.join(f'{share:.2%}' for share in hits)} of requests at 0.8, 0.9, 0.97; "
            f"whose answer is given for {', '.join(f'{share:.1%}' for share in given_by)}"
        )
    ratio = 100 * float(np.mean(took)) / (swept_cpu * 100 / len(thresholds))
    print(f"100 thresholds, replayed / swept: {ratio:.0f} times the CPU (wanted: {WANTED:.0f})")
    return int(differ > 0 or ratio < WANTED)


if __name__ == "__main__":
    sys.exit(main())
