"""Vectors cut to their first dimensions: against slicing and dividing by hand, and embedded once for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from toys import HashedWords, count_calls, dense

from evalkit import Sweep, run
from evalkit.errors import EvalkitError, InputError
from evalkit.stages import Dense
from evalkit.stages.embed.onnx import ONNX
from evalkit.stages.embed.truncated import Truncate, Truncated
from evalkit.stages.index.flat import FlatBuild
from evalkit.testing import check_component
from evalkit.testing.conformance.embedders import check_fitted_embedder
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Vectors

NUMBERS = st.floats(-1, 1, width=32).filter(lambda x: abs(x) > 1e-3)
TABLES = arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 12)), elements=NUMBERS)


@given(TABLES, st.data())
def test_it_is_the_head_of_every_vector_divided_by_its_length(values, data):
    kept = data.draw(st.integers(1, values.shape[1]))
    made = Truncate(kept)(Vectors(values)).values
    assert made.shape == (len(values), kept)
    assert made.dtype == np.float32
    for row, whole in zip(made, values.astype(np.float64), strict=True):
        np.testing.assert_allclose(row, whole[:kept] / np.linalg.norm(whole[:kept]), rtol=1e-6)


@given(TABLES, st.data())
def test_rows_are_cut_each_by_itself_to_the_bit(values, data):
    op = Truncate(data.draw(st.integers(1, values.shape[1])))
    together = op(Vectors(values))
    for i in range(len(values)):
        assert op(Vectors(values[i : i + 1])).digest == together.row(i).digest


@given(TABLES)
def test_cutting_twice_is_cutting_once_up_to_rounding(values):
    half = max(1, values.shape[1] // 2)
    once = Truncate(half)(Vectors(values)).values
    np.testing.assert_allclose(Truncate(half)(Truncate(values.shape[1])(Vectors(values))).values, once, atol=1e-6)


@dataclass(frozen=True)
class Spread(HashedWords):
    """Hashed words of which no text leaves any dimension empty."""

    def encode(self, texts):
        vectors = super().encode(texts) + np.float32(0.01)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_all_dimensions_and_both_sides_share_one_embedding(monkeypatch, tiny, store):
    counted = count_calls(monkeypatch, HashedWords, Truncate, FlatBuild)
    sweep = Sweep(dense(retrieve=Dense(Truncated(Spread(), 8))), {"retrieve.embedder.dimensions": [8, 16, 32, 64]})
    run(sweep, tiny, ["MRR@10"], store=store)
    assert counted == {"HashedWords": 2, "Truncate": 8, "FlatBuild": 4}


def test_one_inside_another_is_cut_by_both():
    inner = Truncated(HashedWords(), 32)
    node = Truncated(inner, 8).expand(CORPUS, QUERY)
    assert [type(part.op).__name__ for part in node.walk()] == ["str", "HashedWords", "Truncate", "Truncate"]


def test_more_dimensions_than_there_are_is_told_in_one_line(tiny, store):
    with pytest.raises(InputError, match="dimensions is 65; the embedder gives 64"):
        run(dense(retrieve=Dense(Truncated(HashedWords(), 65))), tiny, ["MRR@10"], store=store)


def test_a_vector_without_a_direction_is_told():
    with pytest.raises(EvalkitError, match="a vector is zero in its first 2 dimensions; keep more of them"):
        Truncate(2)(Vectors(np.array([[1, 0, 0], [0, 0, 1]], np.float32)))
    assert Truncate(3)(Vectors(np.zeros((0, 3), np.float32))).values.shape == (0, 3)


@pytest.mark.parametrize("dimensions", [0, -1])
def test_no_dimensions_are_refused(dimensions):
    with pytest.raises(InputError, match="at least 1"):
        Truncated(HashedWords(), dimensions)


def test_it_conforms():
    check_fitted_embedder(Truncated(ONNX(), 96))


@dataclass(frozen=True)
class Spoilt(Truncate):
    """One fault at will, on the side of the queries or of the chunks."""

    fault: str = ""

    def __call__(self, vectors):
        values = super().__call__(vectors).values
        if self.fault == "float64":
            values = values.astype(np.float64)
        if self.fault == "long":
            values = values * 2
        if self.fault == "fewer":
            values = values[1:]
        if self.fault == "narrow":
            values = Truncate(32)(Vectors(values)).values
        if self.fault == "random":
            values = Truncate(64)(Vectors(values + np.float32(np.random.default_rng().normal(0, 1e-3)))).values
        if self.fault == "others":
            values = (
                Truncate(64)(Vectors(values + values.mean(axis=0, dtype=np.float32))).values
                if len(values)
                else values
            )
        if self.fault == "order":
            values = np.roll(values, 1, axis=0)
        return Vectors(values)


@dataclass(frozen=True)
class Fitted:
    """Conforms, with one fault at will."""

    fault: str = ""
    side: str = "corpus"
    dimensions: int | None = None

    def expand(self, chunks, texts):
        here = (self.side == "query") == texts.per_query
        return Node(Spoilt(64, self.fault if here else ""), (Node(HashedWords(), (texts,)),))


def test_a_fitted_embedder_without_fault_passes():
    check_fitted_embedder(Fitted())
    check_fitted_embedder(Fitted(dimensions=64))


@pytest.mark.parametrize("side", ["corpus", "query"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("float64", "float64, not float32"),
        ("long", "not 1"),
        ("fewer", r"\d+ vectors of \d+ texts"),
        ("narrow", "dimensions for queries"),
        ("random", "a second run gives|have other vectors"),
        ("order", "is nearest to chunk|have other vectors"),
    ],
)
def test_a_broken_fitted_embedder_is_refused(fault, side, message):
    with pytest.raises(AssertionError, match=message):
        check_fitted_embedder(Fitted(fault, side))


def test_a_query_that_depends_on_other_queries_is_refused():
    with pytest.raises(AssertionError, match="alone have other vectors"):
        check_fitted_embedder(Fitted("others", "query"))


def test_other_dimensions_than_the_field_says_are_refused():
    with pytest.raises(AssertionError, match="64 dimensions, not 65"):
        check_fitted_embedder(Fitted(dimensions=65))


def test_its_identity_holds_the_embedder_and_the_dimensions():
    check_component(Truncated(HashedWords()))
