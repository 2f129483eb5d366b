from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from toys import HashedWords, dense, hybrid, keywords

from evalkit import InputError, Sweep, Timing, run
from evalkit.evaluate import timing as timing_module
from evalkit.evaluate.score import latencies
from evalkit.evaluate.timing import CONTROL, measure
from evalkit.llm import Extractive
from evalkit.store import DiskStore
from evalkit.values import Queries

VARIANTS = {"dense": dense(), "keywords": keywords(), "hybrid": hybrid()}
SEEN: list[tuple[str, str]] = []


@dataclass(frozen=True)
class Watched(HashedWords):
    """Notes what it embeds."""

    name: str = ""

    def __call__(self, texts):
        if isinstance(texts, Queries):
            SEEN.extend((self.name, text) for text in texts.text)
        return super().__call__(texts)

    def encode(self, texts):
        SEEN.append((f"{self.name} encodes", str(len(texts))))
        return super().encode(texts)


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


USUAL = Timing(4, repeats=2, warmup=1)


def samples(variants, data, store, timing=USUAL, **options):
    """Samples of variants whose corpus side is in the store, the first one the base."""
    from evalkit.evaluate.execute import execute
    from evalkit.evaluate.nodes import Context, sources
    from evalkit.evaluate.plan import make_plan
    from evalkit.evaluate.score import targets

    context = Context(store)
    plan = make_plan({label: targets(v, (), True) for label, v in variants.items()})
    done = execute(plan, sources(data, 0, store), context)
    return measure(variants, next(iter(variants)), data, done, context, timing, seed=0, **options)


def test_stages_add_up_to_the_whole_request(tiny, store):
    found = samples(VARIANTS, tiny, store, Timing(8, repeats=5))
    for table in found.values():
        total = np.asarray(table.total)
        summed = np.array([spent.sum() for spent in table.spent])
        assert (total > 0).all()
        assert (summed <= total).all()
        # what stands between the stages is a few microseconds; a pause of the machine may fall into one of them
        assert np.median((total - summed) / total) < 0.05


def test_every_query_side_stage_is_timed_and_no_corpus_side_one(tiny, store):
    found = samples(VARIANTS, tiny, store)
    stages = {label: set(table.stages.values) for label, table in found.items()}
    assert stages == {
        "dense": {"embed", "search", "assemble", "generate"},
        "keywords": {"search", "assemble", "generate"},
        "hybrid": {"embed", "search", "fuse", "assemble", "generate"},
        CONTROL: {"embed", "search", "assemble", "generate"},
    }


def test_every_system_and_the_control_answer_the_same_queries_as_often(tiny, store):
    found = samples(VARIANTS, tiny, store, Timing(5, repeats=3))
    asked = {label: Counter(table.query) for label, table in found.items()}
    assert list(asked) == [*VARIANTS, CONTROL]
    assert all(counts == asked["dense"] for counts in asked.values())
    assert sorted(asked["dense"].values()) == [3] * 5


def test_a_query_counts_once_however_often_it_is_asked(tiny, store):
    table = samples(VARIANTS, tiny, store, Timing(5, repeats=3))["hybrid"]
    found = latencies(table)
    for name, at in zip(sorted(set(table.query)), range(5), strict=True):
        rows = [i for i, query in enumerate(table.query) if query == name]
        assert found["total"][at] == pytest.approx(np.mean([table.total[i] for i in rows]) / 1e6)
        spent = [dict(zip(table.stages[i], table.spent[i], strict=True))["fuse"] for i in rows]
        assert found["fuse"][at] == pytest.approx(np.mean(spent) / 1e6)


def test_samples_are_read_back_and_taken_again_when_asked(tiny, store):
    first = samples(VARIANTS, tiny, store)
    again = samples(VARIANTS, tiny, DiskStore(store.folder))
    assert {n: t.digest for n, t in again.items()} == {n: t.digest for n, t in first.items()}
    anew = samples(VARIANTS, tiny, store, retime=True)
    assert all(anew[label].digest != first[label].digest for label in first)
    kept = samples(VARIANTS, tiny, DiskStore(store.folder))
    assert {n: t.digest for n, t in kept.items()} == {n: t.digest for n, t in anew.items()}


def test_a_new_system_is_timed_together_with_all_others_so_that_no_two_sessions_are_compared(tiny, store):
    few = {n: VARIANTS[n] for n in ("dense", "keywords")}
    first = samples(few, tiny, store)
    second = samples(VARIANTS, tiny, store)
    assert all(second[label].digest != first[label].digest for label in first)
    back = samples(few, tiny, store)
    assert {label: table.digest for label, table in back.items()} == {n: t.digest for n, t in first.items()}


@pytest.mark.parametrize(
    "change",
    [
        {"timing": Timing(4, repeats=1, warmup=1)},
        {"timing": Timing(3, repeats=2, warmup=1)},
        {"machine": {"processor": "another"}},
        {"versions": {"numpy": "0"}},
        {"threads": "7"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_samples_of_another_protocol_or_machine_are_not_read_back(monkeypatch, tiny, store, change):
    first = samples(VARIANTS, tiny, store)
    if "threads" in change:
        monkeypatch.setenv("OMP_NUM_THREADS", change["threads"])
    for name in {"machine", "versions"} & set(change):
        monkeypatch.setattr(timing_module, name, functools.partial(dict, change[name]))
    other = samples(VARIANTS, tiny, store, *([change["timing"]] if "timing" in change else []))
    assert all(other[label].digest != first[label].digest for label in first)


def timed_order(data, folder, seed=0) -> list[tuple[str, str]]:
    SEEN.clear()
    variants = {n: dense(retrieve=dense().retrieve.__class__(Watched(name=n))) for n in ("a", "b")}
    sweep = Sweep(variants["a"], {"retrieve": [variants["b"].retrieve]})
    run(sweep, data, ["MRR@10"], timing=Timing(6, repeats=2, warmup=1), seed=seed, store=DiskStore(folder))
    asked = [pair for pair in SEEN if pair[0] in ("a", "b")]
    return asked[-6 * 2 * 3 :]


def test_systems_are_interleaved_in_a_seeded_order(tiny, tmp_path):
    one, again, other = (timed_order(tiny, tmp_path / str(i), seed) for i, seed in enumerate((0, 0, 1)))
    assert one == again
    assert one != other
    assert Counter(name for name, _ in one) == {"a": 24, "b": 12}  # the base twice: itself and its control
    changes = sum(x != y for (x, _), (y, _) in pairwise(one))
    assert changes > 6  # in one block after the other there would be 2


def test_nothing_is_remembered_while_the_clock_is_read(tiny, store):
    reader = dense(generate=Extractive(Watched(name="reader")))
    run(reader, tiny, ["TokenF1"], store=store)
    SEEN.clear()
    run(reader, tiny, ["TokenF1"], store=DiskStore(store.folder))
    assert SEEN == []
    run(reader, tiny, ["TokenF1"], timing=Timing(2, repeats=3, warmup=0), store=store)
    # every request embeds its question and each of its three passages, in the base and in its control
    assert Counter(name for name, _ in SEEN)["reader encodes"] == 2 * 3 * 2 * (1 + 3)


def test_results_hold_latency_by_stage_with_its_control(tiny, store):
    results = run(hybrid(), tiny, ["MRR@10"], timing=Timing(8), store=store)
    summary = results.summary.set_index("metric")
    assert set(results.per_query["metric"]) == {
        "MRR@10", "Judged@10", "ms", "ms[embed]", "ms[search]", "ms[fuse]", "ms[assemble]", "ms[generate]",
    }  # fmt: skip
    per_query = results.per_query.pivot_table(index="query", columns="metric", values="value")
    stages = per_query[[c for c in per_query if "[" in c]].sum(axis=1)
    assert (stages <= per_query["ms"]).all()
    assert summary.loc["Mean", "value"] == pytest.approx(per_query["ms"].mean())
    assert summary.loc['P95(stage="embed")', "value"] == pytest.approx(np.quantile(per_query["ms[embed]"], 0.95))
    assert set(summary.loc[["Mean", "P50", "P95", "P99"], "unit"]) == {"ms"}
    assert results.manifest["control"]["n"] == 8
    assert results.manifest["control"]["low"] <= results.manifest["control"]["high"]
    assert CONTROL not in results.systems
    assert "the base timed twice differs by" in repr(results)


def test_a_latency_metric_that_is_asked_for_is_there(tiny, store):
    results = run(dense(), tiny, ["MRR@10", "P90", "P50", 'Max(stage="embed")'], timing=Timing(8), store=store)
    found = results.summary.set_index("metric")["value"]
    per_query = results.per_query.pivot_table(index="query", columns="metric", values="value")
    assert found["P90"] == pytest.approx(np.quantile(per_query["ms"], 0.9))
    assert found['Max(stage="embed")'] == per_query["ms[embed]"].max()
    assert found.index.is_unique


def test_without_timing_there_is_no_latency(tiny, store):
    results = run(dense(), tiny, ["MRR@10"], store=store)
    assert set(results.per_query["metric"]) == {"MRR@10", "Judged@10"}
    assert results.manifest["control"] is None


@pytest.mark.parametrize("wrong", [{"queries": 0}, {"repeats": 0}, {"warmup": -1}])
def test_a_timing_without_samples_is_refused(wrong):
    with pytest.raises(InputError, match="at least"):
        Timing(**wrong)


def test_more_queries_than_there_are_means_all(tiny, store):
    results = run(dense(), tiny, ["MRR@10"], timing=Timing(10_000, warmup=0), store=store)
    assert results.summary.set_index("metric").loc["Mean", "n"] == len(tiny.queries)
