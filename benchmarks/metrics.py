"""How fast evalkit evaluates rankings, beside ranx, pytrec_eval and ir_measures in the same process.

Run ``python benchmarks/metrics.py``. Peers that are not installed are named and left out. Times are the best of
several rounds, the contestants taking turns, so that a busy moment of the machine hits all of them alike.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from evalkit.metrics import Qrels, Rankings, evaluate
from evalkit.metrics.statistics import bootstrap_means, mean_intervals

QUERIES, DEPTH, DOCUMENTS, JUDGED = 10_000, 100, 20_000, 16
METRICS = {  # evalkit, pytrec_eval, ranx, ir_measures
    "nDCG@10": ("ndcg_cut.10", "ndcg@10", "nDCG@10"),
    "nDCG@100": ("ndcg_cut.100", "ndcg@100", "nDCG@100"),
    "MRR": ("recip_rank", "mrr", "RR"),
    "MAP": ("map", "map", "AP"),
    "MAP@100": ("map_cut.100", "map@100", "AP@100"),
    "Recall@10": ("recall.10", "recall@10", "R@10"),
    "Recall@100": ("recall.100", "recall@100", "R@100"),
    "Precision@10": ("P.10", "precision@10", "P@10"),
    "Hit@10": ("success.10", "hit_rate@10", "Success@10"),
    "RPrecision": ("Rprec", "r-precision", "Rprec"),
}
WANTED = {"pytrec_eval": 5.0, "ranx": 20.0, "ir_measures": 20.0}
Contest = dict[str, Callable[[], Any]]


def make_data() -> dict[str, Any]:
    """Random rankings with a few tied scores, about half of the judged documents among the results."""
    rng = np.random.default_rng(0)
    near = rng.random((QUERIES, 4 * DEPTH)).argsort(axis=1)[:, :DEPTH]
    documents = near + rng.integers(0, DOCUMENTS - 4 * DEPTH, (QUERIES, 1))
    scores = np.round(rng.random((QUERIES, DEPTH)), 3)
    judged = [
        np.unique([*row[rng.integers(0, DEPTH, JUDGED // 2)], *rng.integers(0, DOCUMENTS, JUDGED // 2)])
        for row in documents
    ]
    grades = [rng.integers(0, 4, len(row)) for row in judged]
    queries = [f"q{i}" for i in range(QUERIES)]
    names = np.array([f"doc{i:06}" for i in range(DOCUMENTS)], dtype=object)
    return {
        "queries": queries,
        "documents": documents.ravel(),
        "scores": scores.ravel(),
        "offsets": np.arange(QUERIES + 1) * DEPTH,
        "ordered": np.take_along_axis(documents, np.argsort(-scores, axis=1, kind="stable"), axis=1).ravel(),
        "judged": Qrels(queries, np.concatenate(judged), np.cumsum([0, *map(len, judged)]), np.concatenate(grades)),
        "run": {
            q: dict(zip(names[d].tolist(), s.tolist(), strict=True))
            for q, d, s in zip(queries, documents, scores, strict=True)
        },
        "qrels": {
            q: dict(zip(names[d].tolist(), g.tolist(), strict=True))
            for q, d, g in zip(queries, judged, grades, strict=True)
        },
    }


def contestants(data: dict[str, Any]) -> Contest:
    """Return what to time: everything from a run in its form to values; judgements are compiled but for dicts."""
    queries, offsets, wanted = data["queries"], data["offsets"], list(METRICS)

    def arrays() -> Any:
        return evaluate(
            Rankings.from_arrays(queries, data["documents"], offsets, data["scores"]), data["judged"], wanted
        )

    def ordered() -> Any:
        return evaluate(Rankings.from_arrays(queries, data["ordered"], offsets), data["judged"], wanted)

    contest: Contest = {
        "evalkit, arrays with scores": arrays,
        "evalkit, arrays in order": ordered,
        "evalkit, dicts": lambda: evaluate(data["run"], data["qrels"], wanted),
    }
    for name, enter in (("pytrec_eval", _pytrec_eval), ("ranx", _ranx), ("ir_measures", _ir_measures)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: left out")
        else:
            contest[name] = enter(importlib.import_module(name), data)
    return contest


def _pytrec_eval(module: Any, data: dict[str, Any]) -> Callable[[], Any]:
    evaluator = module.RelevanceEvaluator(data["qrels"], {names[0] for names in METRICS.values()})
    return lambda: evaluator.evaluate(data["run"])


def _ranx(module: Any, data: dict[str, Any]) -> Callable[[], Any]:
    qrels = module.Qrels.from_dict({q: {d: g for d, g in docs.items() if g} for q, docs in data["qrels"].items()})
    names = [names[1] for names in METRICS.values()]

    def evaluate_run() -> Any:
        return module.evaluate(qrels, module.Run.from_dict(data["run"]), names, make_comparable=True)

    start = time.perf_counter()
    evaluate_run()
    print(f"ranx took {time.perf_counter() - start:.1f} s to compile and evaluate once")
    return evaluate_run


def _ir_measures(module: Any, data: dict[str, Any]) -> Callable[[], Any]:
    evaluator = module.evaluator([module.parse_measure(names[2]) for names in METRICS.values()], data["qrels"])
    return lambda: list(evaluator.iter_calc(data["run"]))


def race(contest: Contest, rounds: int = 25, patience: float = 10.0) -> dict[str, float]:
    """Return the best time of each contestant in seconds; the slow ones stop early."""
    best = dict.fromkeys(contest, float("inf"))
    spent = dict.fromkeys(contest, 0.0)
    for _ in range(rounds):
        for name, run in contest.items():
            if spent[name] < patience:
                start = time.perf_counter()
                run()
                took = time.perf_counter() - start
                best[name], spent[name] = min(best[name], took), spent[name] + took
    return best


def report(best: dict[str, float]) -> None:
    peers = [name for name in best if not name.startswith("evalkit")]
    print(f"\n{QUERIES:,} queries x {DEPTH} results x {len(METRICS)} metrics, best of several rounds")
    print(f"{'':28}{'seconds':>9}" + "".join(f"{'x ' + peer:>14}" for peer in peers))
    for name, took in best.items():
        print(f"{name:28}{took:9.3f}" + "".join(f"{best[peer] / took:14.2f}" for peer in peers))
    for peer in peers:
        for form in ("arrays in order", "arrays with scores"):
            ratio, wanted = best[peer] / best[f"evalkit, {form}"], WANTED[peer]
            print(f"{_mark(ratio >= wanted)} {form} {ratio:.1f} times as fast as {peer} (wanted: {wanted:g})")
    if "pytrec_eval" in best:
        ratio = best["evalkit, dicts"] / best["pytrec_eval"]
        print(f"{_mark(ratio <= 1.5)} dicts take {ratio:.2f} of pytrec_eval's time (wanted: at most 1.5)")


def bootstrap() -> None:
    """Time 10,000 resamples of 10,000 queries and 10 metrics."""
    values = np.random.default_rng(0).random((10_000, 10))
    best = race({"means": lambda: bootstrap_means(values), "intervals": lambda: mean_intervals(values)}, 5)
    print(
        f"\n{_mark(best['intervals'] < 2)} bootstrap of 10,000 samples over 10,000 queries x 10 metrics: "
        f"{best['means']:.2f} s, with intervals {best['intervals']:.2f} s (wanted: under 2)"
    )


def million() -> None:
    """Evaluate 1,000,000 queries x 10 results and print time and memory."""
    rng = np.random.default_rng(0)
    queries, offsets = range(1_000_000), np.arange(1_000_001) * 10
    documents = (np.arange(10) * 97 + rng.integers(0, 100_000, (1_000_000, 1))).ravel()
    judged = Qrels(queries, documents[::5], np.arange(1_000_001) * 2, np.ones(2_000_000))
    run = Rankings.from_arrays(queries, documents, offsets)
    start = time.perf_counter()
    evaluate(run, judged, list(METRICS))
    took = time.perf_counter() - start
    tracemalloc.start()
    result = evaluate(run, judged, list(METRICS)).values.nbytes / 2**20
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    print(f"1,000,000 queries x 10 results: {took:.2f} s; peak {peak:.0f} MB, of which the result {result:.0f} MB")


def _mark(good: bool) -> str:
    return "met:   " if good else "MISSED:"


if __name__ == "__main__":
    report(race(contestants(make_data())))
    bootstrap()
    million()
