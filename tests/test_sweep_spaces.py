"""Spaces beyond one grid: unions, random draws, conditions; and budgets."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from toys import dense, hybrid, keywords

from evalkit import Sweep, presets
from evalkit.errors import InputError, InputErrors
from evalkit.spec import dumps, loads
from evalkit.stages import BM25, Dense, Hybrid
from evalkit.sweep import Integers, LogUniform, Random, SweepBudget, Uniform, get_path, has_path
from evalkit.sweep.draws import draw

BASE = presets.baseline()
SPEC = """
name: spaces
dataset: data
sweep:
  base: hybrid
  grid:
    - retrieve: [BM25]
      retrieve.k: [3, 5]
    - retrieve: [Hybrid]
      retrieve.alpha: [0.3, 0.6]
  zip:
    chunk.size: [64, 128]
    chunk.overlap: [8, 16]
  random:
    samples: 20
    seed: 7
    of:
      chunk.size: {Integers: {low: 32, high: 256, step: 32}}
      chunk.overlap: {Integers: {low: 0, high: 64}}
      retrieve: [BM25, Hybrid, {Dense: {k: 4}}]
      retrieve.alpha: {Uniform: {low: 0, high: 1}}
      retrieve.k1: {LogUniform: {low: 0.5, high: 4}}
  where:
    - chunk.overlap < chunk.size
    - retrieve.k >= 3
"""


def refused(*arguments, **axes) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        Sweep(*arguments, **axes)
    return str(caught.value).splitlines()


def spec_faults(text: str) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        loads("name: a\ndataset: b\nsweep:\n" + text, "s.yaml")
    return str(caught.value).splitlines()


def labels(*arguments, **axes) -> list[str]:
    return list(Sweep(*arguments, **axes).variants())


def drawn(path: str, source, samples: int = 30, seed: int = 0) -> list:
    sweep = Sweep(hybrid(), random=Random(samples, {path: source}, seed))
    return [get_path(v, path) for label, v in sweep.variants().items() if label != "base"]


def test_a_list_of_grids_is_the_union_of_their_points():
    one = {"retrieve": [BM25()], "retrieve.k": [3, 5]}
    other = {"retrieve": [Hybrid()], "retrieve.alpha": [0.3]}
    union = Sweep(BASE, [one, other])
    assert union.variants() == {**Sweep(BASE, one).variants(), **Sweep(BASE, other).variants()}
    assert list(union.variants()) == [
        "base",
        "retrieve=BM25 retrieve.k=3",
        "retrieve=BM25 retrieve.k=5",
        "retrieve=Hybrid retrieve.alpha=0.3",
    ]


def test_a_list_of_one_grid_is_that_grid():
    assert Sweep(BASE, [{"retrieve.k": [1, 2]}]) == Sweep(BASE, {"retrieve.k": [1, 2]})


def test_what_two_grids_share_is_one_variant():
    assert labels(BASE, [{"retrieve.k": [1, 2]}, {"retrieve.k": [2, 3]}]) == [
        "base", "retrieve.k=1", "retrieve.k=2", "retrieve.k=3",
    ]  # fmt: skip


def test_zipped_values_go_with_the_points_of_every_grid_that_has_their_fields():
    grids = [{"retrieve": ["BM25"]}, {"retrieve": ["Hybrid"]}]
    assert labels(BASE, grids, zip={"retrieve.alpha": [0.2, 0.4], "chunk.size": [64, 32]}) == [
        "base",
        "retrieve=BM25 chunk.size=64",
        "retrieve=BM25 chunk.size=32",
        "retrieve=Hybrid retrieve.alpha=0.2 chunk.size=64",
        "retrieve=Hybrid retrieve.alpha=0.4 chunk.size=32",
    ]


def test_draws_stand_beside_the_grid_and_are_not_combined_with_it():
    random = Random(4, {"retrieve.k": Integers(1, 1000)})
    alone = Sweep(BASE, random=random).variants()
    both = Sweep(BASE, {"chunk.size": [32, 64]}, random=random).variants()
    assert both == {**Sweep(BASE, {"chunk.size": [32, 64]}).variants(), **alone}
    assert len(alone) == 5


ways = st.dictionaries(
    st.sampled_from(["retrieve.alpha", "retrieve.k", "retrieve.sparse.b", "retrieve.sparse.k1", "chunk.titles"]),
    st.just(None),
    min_size=1,
)
SOURCES = {
    "retrieve.alpha": Uniform(0, 1),
    "retrieve.k": Integers(1, 50),
    "retrieve.sparse.b": Uniform(0.2, 0.9),
    "retrieve.sparse.k1": LogUniform(0.1, 10),
    "chunk.titles": [True, False],
}


@given(ways, ways, st.integers(1, 12), st.integers(0, 20), st.integers(0, 2**70))
@settings(max_examples=40, deadline=None)
def test_a_draw_depends_on_seed_path_and_sample_alone(paths, others, samples, more, seed):
    few = Random(samples, {path: SOURCES[path] for path in paths}, seed)
    many = Random(samples + more, {path: SOURCES[path] for path in {**others, **paths}}, seed)
    for path in paths:
        for sample in range(samples):
            assert draw(few, path, sample) == draw(many, path, sample)


def test_draws_are_the_same_in_every_process():
    code = (
        "from evalkit.sweep import *; from evalkit.sweep.draws import draw;"
        "r = Random(3, {'a': Uniform(0, 1), 'b': LogUniform(1, 9), 'c': Integers(0, 99), 'd': list('xyz')}, 5);"
        "print([draw(r, p, i) for p in r.of for i in range(3)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {"[0.962688, 0.45419, 0.873511, 4.47939, 3.92317, 4.31581, 64, 2, 39, 1, 2, 0]\n"}


@pytest.mark.parametrize(
    ("source", "cdf"),
    [
        (Uniform(-1, 3), stats.uniform(-1, 4).cdf),
        (LogUniform(0.01, 100), stats.loguniform(0.01, 100).cdf),
    ],
)
def test_draws_follow_their_distribution(source, cdf):
    random = Random(5_000, {"x": source}, seed=3)
    values = [draw(random, "x", i) for i in range(5_000)]
    assert stats.kstest(values, cdf).pvalue > 0.001
    other = [draw(replace(random, seed=4), "x", i) for i in range(5_000)]
    assert abs(stats.spearmanr(values, other).statistic) < 0.05


def test_whole_numbers_and_listed_values_are_all_alike_and_keep_to_their_steps():
    random = Random(6_000, {"n": Integers(2, 13, step=5), "v": ["a", "b", "c"]}, seed=1)
    numbers = [draw(random, "n", i) for i in range(6_000)]
    places = [draw(random, "v", i) for i in range(6_000)]
    assert set(numbers) == {2, 7, 12}
    for found in (numbers, places):
        assert stats.chisquare(np.unique(found, return_counts=True)[1]).pvalue > 0.001
    assert stats.chi2_contingency(np.histogram2d(numbers, places, 3)[0]).pvalue > 0.001


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.floats(0, 1, exclude_max=True))
def test_what_is_drawn_lies_between_the_ends(one, other, share):
    low, high = sorted((one, other))
    if low < high:
        assert low <= Uniform(low, high).quantile(share) <= high
        assert low <= LogUniform(low, high).quantile(share) <= high
    if math.floor(low) < math.floor(high):
        ends = Integers(math.floor(low), math.floor(high))
        assert ends.quantile(0.0) == ends.low
        assert ends.low <= ends.quantile(share) <= ends.high


def test_equal_draws_are_one_variant_and_a_label_states_the_value():
    assert sorted(drawn("retrieve.k", Integers(1, 3), samples=50)) == [1, 2, 3]
    values = drawn("retrieve.alpha", Uniform(0, 1))
    sweep = Sweep(hybrid(), random=Random(30, {"retrieve.alpha": Uniform(0, 1)}))
    assert [f"retrieve.alpha={value!r}" for value in values] == list(sweep.variants())[1:]


def test_a_drawn_field_applies_only_where_it_is():
    of = {"retrieve": ["BM25", "Hybrid"], "retrieve.alpha": Uniform(0, 1)}
    found = list(Sweep(BASE, random=Random(40, of)).variants())
    assert [label for label in found if "BM25" in label] == ["retrieve=BM25"]
    assert len([label for label in found if label.startswith("retrieve=Hybrid retrieve.alpha=")]) > 10


def test_conditions_leave_out_points_even_those_that_could_not_be_made():
    axes = {"chunk.size": [64, 256], "chunk.overlap": [0, 100, 300]}
    assert len(refused(BASE, axes)) > 0
    sizes = [
        (v.chunk.size, v.chunk.overlap)
        for v in Sweep(BASE, axes, where=["chunk.overlap<chunk.size"]).variants().values()
    ]
    assert sizes == [(128, 0), (64, 0), (256, 0), (256, 100)]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("retrieve.k < 3", [1, 2]),
        ("retrieve.k <= 3", [1, 2, 3]),
        ("retrieve.k == 3", [3]),
        ("retrieve.k != 3", [1, 2, 4]),
        ("retrieve.k >= 3", [3, 4]),
        ("retrieve.k > 3.5", [4]),
        ("retrieve.k > -1e3", [1, 2, 3, 4]),
        ("retrieve.k > assemble.k", [1, 2, 3, 4]),  # assemble.k is None: nothing to compare
        ("retrieve.alpha > 0.5", [1, 2, 3, 4]),  # Dense has no alpha
        ("retrieve.k > generate.sentences", [4]),
    ],
)
def test_a_condition_compares_a_field_with_a_number_or_a_field_where_both_are_numbers(condition, kept):
    base = replace(BASE, generate=replace(BASE.generate, sentences=3))
    other = [{"retrieve": [Hybrid(alpha=0.6, k=77)]}] * ("alpha" in condition)
    found = Sweep(base, [{"retrieve.k": [1, 2, 3, 4]}, *other], where=[condition]).variants()
    assert [v.retrieve.k for v in found.values() if v.retrieve.k not in (5, 77)] == kept


def test_conditions_speak_neither_of_the_base_nor_of_named_systems():
    sweep = Sweep(dense(k=3), {"retrieve.k": [1, 9]}, systems={"words": keywords(k=2)}, where=["retrieve.k > 5"])
    assert [v.retrieve.k for v in sweep.variants().values()] == [3, 9, 2]


@given(
    st.lists(st.fixed_dictionaries({"chunk.size": st.lists(st.integers(9, 60), min_size=1, max_size=3)},
        optional={"chunk.overlap": st.lists(st.integers(0, 70), min_size=1, max_size=3),
                  "retrieve.k": st.lists(st.integers(1, 70), min_size=1, max_size=2)}), min_size=1, max_size=3),
    st.integers(0, 12),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_points_are_those_of_every_part_that_meet_every_condition(grids, samples):
    random = Random(samples, {"chunk.size": Integers(9, 60), "chunk.overlap": Integers(0, 70)}) if samples else None
    where = ["chunk.overlap < chunk.size", "retrieve.k <= chunk.size"]
    parts = [
        {
            (size, overlap, k)
            for size in grid["chunk.size"]
            for overlap in grid.get("chunk.overlap", [0])
            for k in grid.get("retrieve.k", [5])
        }
        for grid in grids
    ]
    if random:
        paths = ("chunk.size", "chunk.overlap")
        parts.append({(*(draw(random, path, i) for path in paths), 5) for i in range(samples)})
    kept = [{p for p in part if p[1] < p[0] and p[2] <= p[0]} for part in parts]
    assume(all(kept))  # a part without any point is a fault
    found = Sweep(BASE, grids, random=random, where=where).variants()
    made = {(v.chunk.size, v.chunk.overlap, v.retrieve.k) for v in found.values()}
    assert made == {(128, 0, 5)}.union(*kept)


def test_every_space_reads_from_yaml_and_reads_back_equal():
    experiment = loads(SPEC)
    sweep = experiment.sweep
    assert loads(dumps(experiment)) == experiment
    assert list(loads(dumps(experiment)).sweep.variants()) == list(sweep.variants())
    assert sweep == Sweep(
        presets.hybrid(),
        [
            {"retrieve": [BM25()], "retrieve.k": [3, 5]},
            {"retrieve": [Hybrid()], "retrieve.alpha": [0.3, 0.6]},
        ],
        {"chunk.size": [64, 128], "chunk.overlap": [8, 16]},
        random=Random(
            20,
            {
                "chunk.size": Integers(32, 256, 32),
                "chunk.overlap": Integers(0, 64),
                "retrieve": ["BM25", Hybrid(), Dense(k=4)],
                "retrieve.alpha": Uniform(0, 1),
                "retrieve.k1": LogUniform(0.5, 4),
            },
            seed=7,
        ),
        where=["chunk.overlap < chunk.size", "retrieve.k >= 3"],
    )
    made = list(sweep.variants().values())
    assert all(v.chunk.overlap < v.chunk.size for v in made)
    assert all(has_path(v, "retrieve.k1") for v in made if isinstance(v.retrieve, BM25))
    assert len(made) > 15


def test_a_sweep_survives_pickling_and_keeps_its_labels():
    sweep = loads(SPEC).sweep
    again = pickle.loads(pickle.dumps(sweep))  # noqa: S301
    assert again == sweep
    assert list(again.variants().items()) == list(sweep.variants().items())


def test_the_dictionary_of_variants_is_the_callers_own():
    sweep = Sweep(BASE, {"retrieve.k": [1]})
    sweep.variants().clear()
    assert list(sweep.variants()) == ["base", "retrieve.k=1"]


READ = "cannot be read; write it as 'chunk.overlap < chunk.size' or 'k <= 9'"
EMPTY = "is empty; give a path and its values, or leave it out"
LEAST = "Dense: k is {}; it must be at least 1"
UNKNOWN = "no variant of the sweep has a field '{}'; did you mean '{}'?"


@pytest.mark.parametrize(
    ("axes", "what"),
    [
        ({"grid": []}, f"grid: {EMPTY}"),
        ({"grid": [{}, {"retrieve.k": [1]}]}, f"grid.0: {EMPTY}"),
        ({"grid": [{"retrieve.k": [1]}, {"retrieve.k": []}]}, "grid.1.retrieve.k: has no values; list at least one"),
        ({"grid": [{"retrieve.k": [1]}, {"retrieve.k": [2, 0]}]}, f"grid.1.retrieve.k.1: {LEAST.format(0)}"),
        ({"where": "a < b"}, "where: a list of conditions is needed, not 'a < b'"),
        ({"where": ["chunk.overlap"]}, f"where.0: 'chunk.overlap' {READ}"),
        ({"where": ["1 < chunk.size < 5"]}, f"where.0: '1 < chunk.size < 5' {READ}"),
        ({"where": [3]}, f"where.0: 3 {READ}"),
        ({"where": ["chunk.size > 1", "chunk.sise > 9"]}, f"where.1: {UNKNOWN.format('chunk.sise', 'chunk.size')}"),
        (
            {"grid": {"retrieve.k": [1]}, "where": ["retrieve.k > 1"]},
            "grid: has no point that meets all conditions of 'where'",
        ),
        ({"random": {"samples": 0, "of": {"k": [1]}}}, "random: samples: Random: is 0; it must be at least 1"),
        (
            {"random": Random(3, {"retrieve.kk": [1]})},
            f"random.of.retrieve.kk: {UNKNOWN.format('retrieve.kk', 'retrieve.k')}",
        ),
        (
            {"random": Random(3, {"retrieve.k": Uniform(1, 2)})},
            "random.of.retrieve.k: a whole number is needed, not 1.39628",
        ),
        ({"random": Random(9, {"retrieve.k": Integers(-2, 1)})}, f"random.of.retrieve.k: {LEAST.format(-1)}"),
        ({"random": Random(9, {"retrieve.k": [3, 0]})}, f"random.of.retrieve.k.1: {LEAST.format(0)}"),
    ],
)
def test_a_fault_of_a_space_is_told_at_its_place(axes, what):
    assert refused(BASE, **axes) == [what]


def test_draws_that_do_not_fit_one_another_are_told_once_with_what_to_do():
    [line] = refused(BASE, random=Random(50, {"chunk.size": Integers(1, 40), "chunk.overlap": Integers(0, 40)}))
    assert line.startswith("random: chunk.size=")
    assert line.endswith("overlap at least 0 and below size; leave such points out with 'where'")


def test_every_fault_of_what_is_drawn_is_told_at_once():
    of = {"a": 3, "b": [], "c": "Unifrm", "d": {"Uniform": {"low": 2, "high": 1}}, "e": {"LogUniform": {"low": 0}}}
    with pytest.raises(InputErrors) as caught:
        Random(0, of, -1)
    assert str(caught.value).splitlines() == [
        "samples: Random: is 0; it must be at least 1",
        "seed: Random: is -1; it must be at least 0",
        "of.a: a distribution or a list of values is needed, not 3",
        "of.b: has no values; list at least one",
        "of.c: unknown Distribution 'Unifrm'; did you mean 'Uniform'?",
        "of.d: Uniform: low 2.0 and high 1.0 do not fit; low is below high",
        "of.e: LogUniform needs the field 'high'",
    ]
    for wrong in ({}, [("retrieve.k", [1])]):
        with pytest.raises(InputErrors, match="a mapping from at least one path"):
            Random(1, wrong)


@pytest.mark.parametrize("make", [lambda: LogUniform(0, 1), lambda: Integers(1, 5, 0), lambda: Uniform(0, math.inf)])
def test_distributions_that_cannot_be_drawn_from_are_refused(make):
    with pytest.raises(InputError, match=r"does not fit|do not fit|at least 1"):
        make()


def test_a_fault_in_a_file_names_its_line():
    random = "  random:\n    samples: 5\n    of:\n      retrieve.k:\n        Integers: {low: -4, high: 3}\n"
    where = "  where:\n    - chunk.size > 2\n    - chun.size < 3\n    - a\n"
    assert spec_faults(random + where) == [
        "s.yaml:12: sweep.where: 'a' cannot be read; write it as 'chunk.overlap < chunk.size' or 'k <= 9'",
        "s.yaml:11: sweep.where: no variant of the sweep has a field 'chun.size'; did you mean 'chunk.size'?",
        "s.yaml:7: sweep.random.of.retrieve.k: Dense: k is -1; it must be at least 1",
    ]
    assert spec_faults("  grid:\n   - retrieve.k: [1]\n   - retrieve.k:\n     - 0\n   - {}\n") == [
        "s.yaml:8: sweep.grid: is empty; give a path and its values, or leave it out",
        "s.yaml:7: sweep.grid.retrieve.k: Dense: k is 0; it must be at least 1",
    ]
    assert spec_faults("  random: {samples: 3, of: {retrieve.k: {Integers: {low: 1}}}}") == [
        "s.yaml:4: sweep.random.of.retrieve.k: Integers needs the field 'high'"
    ]


def test_a_budget_has_limits_above_nothing_and_at_least_one():
    assert SweepBudget(variants=3, minutes=0.5, dollars=2) == SweepBudget(3, 0.5, 2.0)
    with pytest.raises(InputErrors, match="sets no limit; give at least one of variants, minutes, dollars"):
        SweepBudget()
    with pytest.raises(InputErrors) as caught:
        SweepBudget(True, -1.0, math.nan)
    assert str(caught.value).splitlines() == [
        "variants: SweepBudget: is True; give a whole number of at least 1",
        "minutes: SweepBudget: is -1.0; give a finite number above 0",
        "dollars: SweepBudget: is nan; give a finite number above 0",
    ]
