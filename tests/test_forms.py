from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import RETRIEVERS, Echo, HashedWords

from evalkit import presets, stages
from evalkit.errors import InputError
from evalkit.forms import Reader, build, conforms, plain
from evalkit.llm import Extractive
from evalkit.spec import names
from evalkit.stages import BM25, Dense, FixedTokens, Flat, Hybrid, Recursive, SentenceTransformer, TopK, Whole
from evalkit.types import Assembler, Chunker, Embedder, Generator, Retriever
from evalkit.variants import Variant

KINDS = {
    Chunker: {Whole, FixedTokens, Recursive},
    Embedder: {SentenceTransformer, HashedWords},
    Retriever: {Dense, BM25, Hybrid},
    Assembler: {TopK},
    Generator: {Extractive, Echo},
}
COMPONENTS = [*(getattr(stages, name) for name in stages.__all__), Extractive, HashedWords, Echo]


@pytest.mark.parametrize("protocol", KINDS, ids=lambda p: p.__name__)
def test_a_protocol_takes_its_own_components_and_no_others(protocol):
    found = {c for c in COMPONENTS if conforms(c, protocol)}
    assert found >= KINDS[protocol]
    assert not any(conforms(c, other) for other in KINDS if other is not protocol for c in found)


def test_conforms_takes_objects_classes_and_presets():
    assert conforms(BM25(), Retriever)
    assert conforms(BM25, Retriever)
    assert conforms(presets.hybrid, Variant)
    assert not conforms(presets.hybrid, Retriever)


def test_a_class_with_more_required_parameters_does_not_conform():
    class Needy:
        def expand(self, chunks: Any, query: Any, mood: Any) -> Any: ...

    class Willing:
        def expand(self, chunks: Any, query: Any, mood: Any = None) -> Any: ...

    assert not conforms(Needy, Retriever)
    assert conforms(Willing, Retriever)


@dataclass(frozen=True)
class Box:
    number: int = 1
    share: float = 0.5
    flag: bool = False
    name: str | None = None
    many: tuple[int, ...] = ()
    nested: Sequence[Whole] = ()


def read(data: Any, hint: Any = Box) -> tuple[Any, list[str]]:
    reader = Reader({"Box": Box, **names()})
    return build(data, hint, reader), reader.faults


@given(
    st.builds(
        Box,
        number=st.integers(),
        share=st.floats(allow_nan=False, allow_infinity=False),
        flag=st.booleans(),
        name=st.none() | st.text(),
        many=st.lists(st.integers()).map(tuple),
        nested=st.lists(st.builds(Whole, titles=st.booleans())).map(tuple),
    )
)
def test_what_plain_writes_build_reads(box):
    assert read(plain(box)) == (box, [])


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("number", 1.0, "a whole number is needed, not 1.0"),
        ("number", True, "a whole number is needed, not true"),
        ("number", "1", "a whole number is needed, not the text '1'"),
        ("number", None, "a whole number is needed, not nothing"),
        ("share", "half", "a number is needed, not the text 'half'"),
        ("share", False, "a number is needed, not false"),
        ("share", float("nan"), "a number is needed, not nan"),
        ("share", float("inf"), "a number is needed, not inf"),
        ("flag", 1, "true or false is needed, not 1"),
        ("name", 3, "a text is needed, not 3"),
        ("many", 3, "a list is needed, not 3"),
        ("many", "12", "a list is needed, not the text '12'"),
        ("many", {"a": 1}, "a list is needed, not a mapping"),
        ("nested", ["Whle"], "unknown Whole 'Whle'; did you mean 'Whole'?"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_place(field, value, what):
    _, faults = read({field: value})
    assert len(faults) == 1
    assert faults[0].startswith(field)
    assert faults[0].endswith(what)


def test_whole_numbers_stand_for_numbers_and_stay_what_they_mean():
    box, faults = read({"share": 1})
    assert (box.share, type(box.share), faults) == (1.0, float, [])


def test_every_missing_and_every_unknown_field_is_told_at_once():
    @dataclass(frozen=True)
    class Needs:
        first: int
        second: int

    reader = Reader()
    build({"secnd": 1, "third": 2}, Needs, reader)
    assert reader.faults == [
        "secnd: Needs has no field 'secnd'; did you mean 'second'?",
        "third: Needs has no field 'third'; known: first, second",
        ": Needs needs the field 'first'",
        ": Needs needs the field 'second'",
    ]


def test_a_fault_deep_in_a_list_leaves_no_stand_in_behind():
    reader = Reader(names())
    found = build({"many": [1, "x", 3]}, Box, reader)
    assert not isinstance(found, Box)
    assert reader.faults == ["many.1: a whole number is needed, not the text 'x'"]


def test_a_component_in_the_wrong_place_is_refused_with_what_fits():
    for given_form in ("TopK", {"TopK": {"k": 3}}, TopK()):
        _, faults = read({"retrieve": given_form}, Variant)
        assert faults == [f"retrieve: TopK cannot stand here; known: {RETRIEVERS}"]


def test_names_fields_and_objects_are_one_grammar():
    for form in ("BM25", {"BM25": None}, {"BM25": {}}, BM25()):
        assert read({"retrieve": form}, Variant) == (Variant(retrieve=BM25()), [])
    assert read({"hybrid": {"alpha": 0.25}}, Variant) == (presets.hybrid(0.25), [])
    assert read({"Variant": {"retrieve": "BM25"}}, Variant) == read({"retrieve": "BM25"}, Variant)


def test_a_component_refuses_its_own_fields_at_its_own_place():
    _, faults = read({"retrieve": {"Hybrid": {"alpha": 1.5, "dense": {"Dense": {"k": 0}}}}}, Variant)
    assert faults == ["retrieve.Hybrid.dense.Dense: Dense: k is 0; it must be at least 1"]
    _, faults = read({"retrieve": {"Hybrid": {"alpha": 1.5}}}, Variant)
    assert len(faults) == 1
    assert faults[0].startswith("retrieve.Hybrid: Hybrid: alpha 1.5")


def test_what_cannot_be_written_is_refused_by_name():
    with pytest.raises(InputError, match="object cannot be written"):
        plain(object())


def test_a_users_own_component_needs_no_registration():
    retriever = Dense(HashedWords())
    assert read({"retrieve": retriever}, Variant) == (Variant(retrieve=retriever), [])
    _, faults = read({"chunk": HashedWords()}, Variant)
    assert faults[0].startswith("chunk: HashedWords cannot stand here; known: FixedTokens, ")


def test_flat_is_an_index_and_nothing_else():
    assert read({"retrieve": {"Dense": {"index": "Flat"}}}, Variant)[1] == []
    assert not any(conforms(Flat, protocol) for protocol in KINDS)
