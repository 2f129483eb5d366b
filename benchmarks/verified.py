"""The verified cache: its bound in 1,000 simulated streams, and beside plain thresholds at the same error.

Run ``python benchmarks/verified.py [--streams N] [--requests N] [--errors E ...] [--only streams|traffic]``.

**Streams.** In worlds where it is known how often an entry is right, `Verified` serves 1,000 streams of 1,000
requests each. Printed are the mean share of wrong answers among all, with its interval, and the highest chance of a
wrong one at any single request of entries with one curve. Beside it stands a plain threshold that keeps the same
bound on the streams of one world ("all of these together") and is then used in every other: nothing bounds its error
there. Worlds in which `Verified` promises nothing are told apart.

**Traffic.** The handbook's day with its changes of documents, guarded against stale answers and not; a day of
banking77, where an intent has one answer and questions come again by Zipf's law, and one on which every question
comes once, as behind an exact cache; GPTCache's 999 pairs as a Zipf day, and as they stand: every question once. In
each, `Verified` beside the threshold with the most hits that is wrong no more often, on the same requests (in
hindsight), and chosen on the intents of one half and looked at on those of the other. A model is taken to say the
reference answer, or the intent where there is none.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evalkit.datasets import load_dataset
from evalkit.serving.arrivals import Arrival, with_histories
from evalkit.serving.layers import SemanticCache
from evalkit.serving.semantic import Verified
from evalkit.serving.semantic.streams import plain_threshold, simulate
from evalkit.serving.semantic.worlds import WORLDS
from evalkit.serving.thresholds.equal_error import at_equal_error
from evalkit.serving.thresholds.splits import by_hash
from evalkit.serving.thresholds.sweep import threshold_sweep
from evalkit.serving.thresholds.swept import ThresholdSweep
from evalkit.stages import ONNX

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
ERRORS = (0.01, 0.02, 0.05)
THRESHOLDS = [round(0.5 + 0.005 * i, 3) for i in range(101)]
RULES = [*map(Verified, ERRORS), Verified(0.02, floor=0.6), Verified(0.05, floor=0.6)]
REQUESTS, SECONDS = 20_000, 0.85


def streams(count: int, requests: int, errors: Sequence[float]) -> bool:
    """Print the bound in every world; whether it held where it is promised."""
    kept = True
    one = next(world for world in WORLDS if world.name == "all of these together")
    for error in errors:
        plain = plain_threshold(one, error, requests, count)
        named = "no threshold" if plain is None else f"cosine {plain.at:.4f}"
        print(f"\nerror {error:g}: {count:,} streams of {requests:,} requests; {named} keeps it in '{one.name}'")
        print(
            f"{'world':32}{'hits':>7}{'wrong of all':>14}{'interval':>20}{'of hits':>9}{'worst':>8}{'verdict':>9}"
            f"{'s':>6} | {'that threshold':>14}{'wrong':>8} | {'its own best':>12}{'hits':>7}"
        )
        for world in WORLDS:
            start = time.process_time()
            found = simulate(Verified(error), world, requests, count)
            seconds = time.process_time() - start
            wrong, verdict, worst = found.estimate(), found.verdict(error), found.worst
            kept &= verdict != "broken" or not world.assumed
            name = world.name if world.assumed else f"({world.name})"
            interval, cell = f"[{wrong.low:.5f}, {wrong.high:.5f}]", "" if worst is None else f"{worst.mean:.4f}"
            print(f"{name:32}{found.given.mean():7.1%}{wrong.value:14.5f}{interval:>20}", end="")
            print(
                f"{percent(found.estimate('wrong_of_hits').value):>9}{cell:>8}{verdict:>9}{seconds:6.1f} | ", end=""
            )
            beside = None if plain is None else simulate(plain, world, requests, count)
            print("" if beside is None else f"{beside.given.mean():14.1%}{beside.wrong.mean():8.4f}", end=" | ")
            best = plain_threshold(world, error, requests, count) if world.asks == "anyhow" else None
            own = None if best is None else simulate(best, world, requests, count)
            print("" if best is None or own is None else f"{best.at:12.4f}{own.given.mean():7.1%}", flush=True)
    print("in brackets: worlds in which nothing is promised")
    print("met: no promise was broken" if kept else "MISSED: a promise was broken")
    return kept


def percent(share: float) -> str:
    """Return a share as text; nothing where there is none."""
    return "" if np.isnan(share) else f"{share:.3%}"


def zipf_day(questions: list[tuple[str, str]], requests: int, seed: int = 0) -> list[Arrival]:
    """Return a day on which questions (text, intent) come again by Zipf's law, in an order that is drawn."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(questions))
    popularity = 1 / np.arange(1, len(questions) + 1)
    drawn = order[rng.choice(len(questions), requests, p=popularity / popularity.sum())]
    times = np.cumsum(rng.exponential(86_400 / requests, requests))
    pairs = zip(drawn.tolist(), times.tolist(), strict=True)
    return [Arrival(questions[i][0], at=at, intent=questions[i][1]) for i, at in pairs]


def days() -> Iterator[tuple[str, ThresholdSweep]]:
    """Yield sweeps of all thresholds and verified rules."""
    embedder = ONNX(precision="int8")
    rules: list[float | Verified] = [*THRESHOLDS, *RULES]
    cache = SemanticCache(embedder=embedder, guard="none", until="nothing")
    book = load_dataset(ROOT / "datasets" / "handbook")
    for name, one in (("", SemanticCache(embedder=embedder)), (", nothing guards against stale answers", cache)):
        yield (
            f"the handbook's day{name}",
            threshold_sweep(
                with_histories(book.traffic), rules, cache=one, calls=SECONDS, data=book, events=book.events
            ),
        )
    if not SHARED.is_dir():
        print(f"skipped: {SHARED} is not there")
        return
    rows: list[tuple[str, str]] = []
    for name in ("train.csv", "test.csv"):
        with (SHARED / "banking77" / name).open(encoding="utf-8", newline="") as lines:
            rows += [(row["text"], row["category"]) for row in csv.DictReader(lines)]
    day = zipf_day(rows, REQUESTS)
    yield "banking77, questions by Zipf", threshold_sweep(day, rules, cache=cache, calls=SECONDS)
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    once = [Arrival(rows[i][0], at=6.0 * place, intent=rows[i][1]) for place, i in enumerate(order)]
    yield "banking77, every question once", threshold_sweep(once, rules, cache=cache, calls=SECONDS)
    origins, similar = gptcache_pairs()
    day = zipf_day([*origins, *similar], REQUESTS)
    yield "GPTCache's pairs, questions by Zipf", threshold_sweep(day, rules, cache=cache, calls=SECONDS)
    kept = [Arrival(text, intent=intent) for text, intent in origins]
    once = [Arrival(text, at=60.0 * i, intent=intent) for i, (text, intent) in enumerate(similar)]
    yield "GPTCache's pairs, each once", threshold_sweep(once, rules, cache=cache, calls=SECONDS, precomputed=kept)


def gptcache_pairs() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return both sides of all pairs, each text with its intent: pairs that share a text are of one.

    Nor does an embedder that reads no capitals tell two texts apart that differ in them only.
    """
    pairs = json.loads((SHARED / "gptcache" / "mock_data.json").read_text(encoding="utf-8"))
    sides = [[pair[side].casefold() for side in ("origin", "similar")] for pair in pairs]
    of = {text: i for i, both in enumerate(sides) for text in both}
    while any(of[one] != of[other] for one, other in sides):
        for one, other in sides:
            of[one] = of[other] = min(of[one], of[other])
    origins, similar = (
        [(pair[side], str(of[pair[side].casefold()])) for pair in pairs] for side in ("origin", "similar")
    )
    return origins, similar


def traffic() -> None:
    """Print hits gained and lost at the same error."""
    plainly = []
    for name, sweep in days():
        texts = len({(a.tenant, a.text) for a in sweep.arrivals})
        print(f"\n{name}: {len(sweep.arrivals):,} requests, {texts:,} texts")
        print(
            f"{'rule':26}{'hits':>7}{'late':>7}{'wrong':>9}{'of hits':>9} | {'same wrong share of':26}"
            f"{'threshold':>10}{'hits':>8}{'wrong':>9}{'gained':>9}{'interval':>20}{'right':>9}  verdict"
        )
        dev = by_hash(sweep.arrivals).dev
        late = np.arange(len(sweep.arrivals)) >= len(sweep.arrivals) * 3 // 4
        for rule in RULES:
            at = sweep.find(rule)
            hit, wrong = sweep.hit[at], sweep.wrong[at]
            label = f"{sweep.settings[at].rule_label}, floor {rule.floor:g}"
            of_hits = wrong.sum() / hit.sum() if hit.any() else np.nan
            head = (
                f"{label:26}{hit.mean():7.1%}{hit[late].mean():7.1%}{percent(wrong.mean()):>9}{percent(of_hits):>9}"
            )
            for one in at_equal_error(sweep, rule, dev=dev):
                gained = one.hits
                interval = f"[{gained.low:+.2%}, {gained.high:+.2%}]"
                print(
                    f"{head:58} | {f'{one.of}, {one.chosen_on}':26}{one.labels[1]:>10}{gained.baseline:8.1%}", end=""
                )
                print(f"{percent(one.threshold_error.value):>9}{gained.difference:+9.2%}{interval:>20}", end="")
                print(f"{one.right_hits.difference:+9.2%}  {gained.verdict}", flush=True)
                head = ""
                if one.of == "answers" and rule in RULES[1:3]:
                    plainly.append(f"{name}: {one}")
    print("\n" + "\n".join(plainly))


def main() -> int:
    """Measure, and print."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--streams", type=int, default=1_000)
    reader.add_argument("--requests", type=int, default=1_000)
    reader.add_argument("--errors", type=float, nargs="+", default=ERRORS)
    reader.add_argument("--only", choices=["streams", "traffic"])
    given = reader.parse_args()
    if given.only != "streams":
        traffic()
    return int(given.only != "traffic" and not streams(given.streams, given.requests, given.errors))


if __name__ == "__main__":
    raise SystemExit(main())
