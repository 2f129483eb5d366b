from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import RETRIEVERS, HashedWords, dense, hybrid, keywords

from evalkit import Sweep, Variant, presets
from evalkit.errors import InputError, InputErrors
from evalkit.stages import BM25, Dense, FixedTokens, Hybrid, Recursive, Whole
from evalkit.sweep import get_path, has_path, parameters, paths_of

BASE = presets.baseline()


def refused(*arguments, **axes) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        Sweep(*arguments, **axes)
    return str(caught.value).splitlines()


axes = st.fixed_dictionaries(
    {},
    optional={
        "retrieve": st.lists(
            st.sampled_from(["BM25", BM25(k=3), Dense(k=5), Dense(HashedWords()), {"Hybrid": {"alpha": 0.5}}]),
            min_size=1,
            max_size=3,
        ),
        "retrieve.k": st.lists(st.integers(1, 9), min_size=1, max_size=3),
        "chunk.size": st.lists(st.integers(40, 300), min_size=1, max_size=2),
        "chunk.overlap": st.lists(st.integers(0, 39), min_size=1, max_size=2),
        "assemble.k": st.lists(st.none() | st.integers(1, 5), min_size=1, max_size=2),
    },
)


@given(axes)
@settings(max_examples=60)
def test_the_base_is_always_run_labels_are_unique_and_equal_variants_are_one(grid):
    variants = Sweep(BASE, grid=grid).variants()
    prints = [variant.fingerprint for variant in variants.values()]
    assert BASE.fingerprint in prints
    assert len(prints) == len(set(prints))
    assert len(variants) <= 1 + len(list(itertools.product(*grid.values())))
    assert variants[Sweep(BASE, grid=grid).base_label] == BASE


@given(axes, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_neither_the_order_of_axes_nor_of_values_changes_what_is_run(grid, random):
    shuffled = [(path, random.sample(values, len(values))) for path, values in grid.items()]
    random.shuffle(shuffled)
    one, other = Sweep(BASE, grid=grid), Sweep(BASE, grid=dict(shuffled))
    assert {v.fingerprint for v in one.variants().values()} == {v.fingerprint for v in other.variants().values()}


@given(axes)
@settings(max_examples=30)
def test_a_sweep_made_again_from_its_own_axes_is_equal_and_has_the_same_labels(grid):
    sweep = Sweep(BASE, grid=grid)
    again = Sweep(sweep.base, sweep.grid, sweep.zip)
    assert again == sweep
    assert list(again.variants().items()) == list(sweep.variants().items())


def test_every_point_of_a_grid_is_the_base_with_exactly_its_fields_set():
    variants = Sweep(BASE, grid={"retrieve.k": [1, 5], "chunk.size": [64, 128]}).variants()
    assert variants == {
        "retrieve.k=1 chunk.size=64": Variant(Recursive(size=64), Dense(k=1)),
        "retrieve.k=1 chunk.size=128": Variant(Recursive(size=128), Dense(k=1)),
        "retrieve.k=5 chunk.size=64": Variant(Recursive(size=64), Dense(k=5)),
        "retrieve.k=5 chunk.size=128": BASE,
    }


def test_a_base_that_no_point_equals_is_called_base_and_stands_first():
    sweep = Sweep(BASE, grid={"retrieve.k": [1, 2]})
    assert list(sweep.variants()) == ["base", "retrieve.k=1", "retrieve.k=2"]
    assert sweep.base_label == "base"
    assert Sweep(BASE, grid={"retrieve.k": [5, 1]}).base_label == "retrieve.k=5"
    assert list(Sweep(BASE).variants()) == ["base"]


def test_an_axis_applies_only_where_its_field_is():
    grid = {"retrieve": ["BM25", "Hybrid"], "retrieve.alpha": [0.3, 0.5, 0.9]}
    assert list(Sweep(BASE, grid=grid).variants()) == [
        "base",
        "retrieve=BM25",
        "retrieve=Hybrid retrieve.alpha=0.3",
        "retrieve=Hybrid retrieve.alpha=0.5",
        "retrieve=Hybrid retrieve.alpha=0.9",
    ]


def test_zipped_values_go_side_by_side_and_with_every_point_of_the_grid():
    sweep = Sweep(
        BASE,
        grid={"retrieve.k": [1, 2]},
        zip={"chunk.size": [64, 256], "chunk.overlap": [8, 32], "assemble.k": [1, 2]},
    )
    made = {(v.retrieve.k, v.chunk.size, v.chunk.overlap, v.assemble.k) for v in sweep.variants().values()}
    assert made == {(1, 64, 8, 1), (1, 256, 32, 2), (2, 64, 8, 1), (2, 256, 32, 2), (5, 128, 0, None)}


@pytest.mark.parametrize("order", [1, -1])
def test_fields_that_need_one_another_are_set_together(order):
    grid = {"chunk.size": [512], "chunk.overlap": [200]}  # 200 does not fit the base's size
    made = Sweep(BASE, grid=dict(list(grid.items())[::order])).variants()
    assert [v.chunk for v in made.values()] == [BASE.chunk, Recursive(size=512, overlap=200)]


def test_a_component_may_be_swept_with_fields_below_it():
    grid = {"chunk": [Whole(), "FixedTokens"], "chunk.size": [32, 64]}
    chunks = [v.chunk for v in Sweep(dense(), grid=grid).variants().values()]
    assert chunks == [Whole(), FixedTokens(size=32), FixedTokens(size=64)]


def test_deep_paths_reach_into_nested_components():
    sweep = Sweep(hybrid(), grid={"retrieve.dense.embedder.dimensions": [8, 16], "retrieve.sparse.b": [0, 1]})
    assert [(v.retrieve.dense.embedder, v.retrieve.sparse.b) for v in list(sweep.variants().values())[1:]] == [
        (HashedWords(d), b) for d in (8, 16) for b in (0.0, 1.0)
    ]


def test_values_that_print_alike_keep_apart_labels():
    variants = Sweep(hybrid(), grid={"retrieve.alpha": [0.12345671, 0.12345672]}).variants()
    assert list(variants) == ["base", "retrieve.alpha=0.123457", "retrieve.alpha=0.123457 #2"]
    assert len({v.fingerprint for v in variants.values()}) == 3


def test_1_and_1_0_are_one_variant():
    assert len(Sweep(hybrid(alpha=1), grid={"retrieve.alpha": [1, 1.0]}).variants()) == 1


def test_python_forms_text_and_finished_objects_give_equal_sweeps():
    written = Sweep(BASE, {"retrieve": ["BM25", {"Hybrid": {"alpha": 0.5}}], "chunk.separators": [["\n"]]})
    built = Sweep(BASE, {"retrieve": [BM25(), Hybrid(alpha=0.5)], "chunk.separators": [("\n",)]})
    assert written == built
    assert list(written.variants().items()) == list(built.variants().items())


def test_an_unknown_path_is_named_with_the_nearest_one():
    assert refused(BASE, {"retrieve.kk": [1]}) == [
        "grid.retrieve.kk: no variant of the sweep has a field 'retrieve.kk'; did you mean 'retrieve.k'?"
    ]
    assert "did you mean 'chunk.size'?" in refused(BASE, zip={"chunk.sise": [1]})[0]


def test_a_path_that_only_a_replaced_component_has_is_refused():
    lines = refused(BASE, {"retrieve": [BM25()], "retrieve.embedder.max_length": [128]})
    assert lines == ["grid.retrieve.embedder.max_length: no variant that the sweep makes has this field"]


def test_every_fault_is_told_at_once_with_its_place():
    grid = {"retrieve.k": [0, -3, "x", 2], "chunk.sise": [1], "assemble.k": [], "generate.sentences": 3}
    assert sorted(refused(BASE, grid, zip={"chunk.size": [64, 65], "chunk.overlap": [1]})) == [
        "grid.assemble.k: has no values; list at least one",
        "grid.chunk.sise: no variant of the sweep has a field 'chunk.sise'; did you mean 'chunk.size'?",
        "grid.generate.sentences: a list of values is needed, not 3",
        "grid.retrieve.k.0: Dense: k is 0; it must be at least 1",
        "grid.retrieve.k.1: Dense: k is -3; it must be at least 1",
        "grid.retrieve.k.2: a whole number is needed, not the text 'x'",
        "zip: lists of different lengths (chunk.size 2, chunk.overlap 1)",
    ]


def test_values_that_do_not_fit_one_another_are_told_with_the_point():
    what = "size 64 and overlap 100 do not fit; size must be at least 1 and overlap at least 0 and below size"
    assert refused(BASE, {"chunk.size": [64, 256], "chunk.overlap": [0, 100]}) == [
        f"grid: chunk.size=64 chunk.overlap=100: Recursive: {what}"
    ]


def test_a_bad_value_on_a_conditional_axis_is_told_at_its_place():
    lines = refused(BASE, {"retrieve": ["BM25", "Hybrid"], "retrieve.alpha": [0.5, 1.5]})
    assert len(lines) == 1
    assert lines[0].startswith("grid.retrieve.alpha.1: Hybrid: alpha 1.5")


@pytest.mark.parametrize(
    ("axes", "what"),
    [
        ({"grid": [("retrieve.k", [1])]}, "grid.0: a mapping from paths to lists is needed, not tuple"),
        ({"grid": 3}, "grid: a mapping from paths to lists is needed, not int"),
        ({"grid": {"retrieve.k": "12"}}, "grid.retrieve.k: a list of values is needed, not '12'"),
        ({"zip": {"retrieve.k": None}}, "zip.retrieve.k: a list of values is needed, not None"),
        (
            {"grid": {"retrieve.k": [1]}, "zip": {"retrieve.k": [2]}},
            "zip.retrieve.k: is in the grid too; give its values in one place",
        ),
        ({"base": Dense()}, "base: a Variant is needed, not Dense"),
        ({"grid": {"retrieve": [Whole()]}}, f"grid.retrieve.0: Whole cannot stand here; known: {RETRIEVERS}"),
    ],
)
def test_axes_of_the_wrong_shape_are_refused(axes, what):
    assert refused(**axes) == [what]


def test_a_range_is_a_list_of_values():
    assert len(Sweep(BASE, {"retrieve.k": range(1, 5)}).variants()) == 5


def test_every_path_of_a_variant_can_be_swept_and_is_a_parameter():
    found = parameters(BASE)
    assert list(found) == list(paths_of(BASE))
    assert found["retrieve"] == "Dense"
    assert found["retrieve.k"] == 5
    assert found["rerank"] is None
    assert found["chunk.separators"] == ["\n\n", "\n", ". ", " "]
    for path in found:
        assert has_path(BASE, path)
        assert Sweep(BASE, {path: [get_path(BASE, path)]}).variants() == {
            next(iter(Sweep(BASE, {path: [get_path(BASE, path)]}).variants())): BASE
        }


def test_every_field_counts_in_a_variants_identity():
    changes = {"chunk.size": 64, "chunk.titles": False, "retrieve.k": 6, "assemble.k": 2, "generate.sentences": 1}
    changed = [list(Sweep(BASE, {path: [value]}).variants().values())[-1] for path, value in changes.items()]
    assert len({v.fingerprint for v in (BASE, *changed)}) == 1 + len(changes)
    assert replace(BASE).fingerprint == BASE.fingerprint


def test_named_systems_stand_beside_the_grid_and_name_what_they_equal():
    base, five = dense(k=3), dense(k=5)
    sweep = Sweep(base, grid={"retrieve.k": [3, 5]}, systems={"five": five, "words": keywords()})
    assert sweep.variants() == {"retrieve.k=3": base, "five": five, "words": keywords()}
    assert sweep.base_label == "retrieve.k=3"
    assert Sweep(base, systems={"ours": base, "words": keywords()}).base_label == "ours"


@pytest.mark.parametrize(
    ("systems", "fault"),
    [
        ({"a": 1}, "systems.a: a Variant is needed"),
        ({"": keywords()}, "a name is a text"),
        ({"a": keywords(), "b": keywords()}, "is the same system as 'a'"),
        ({"base": keywords()}, "choose another name"),
        ([keywords()], "a mapping from names to variants"),
    ],
)
def test_systems_that_cannot_be_told_apart_or_run_are_refused(systems, fault):
    with pytest.raises(InputError, match=fault):
        Sweep(dense(), systems=systems)


def test_labels_of_components_that_differ_in_a_nested_one_say_so():
    short, other = Dense(HashedWords(8)), Dense(HashedWords(16))
    names = list(Sweep(dense(), {"retrieve": [short, other]}).variants())
    assert "retrieve=Dense(embedder=HashedWords(dimensions=8))" in names
    assert "retrieve=Dense(embedder=HashedWords(dimensions=16))" in names
