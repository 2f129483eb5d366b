"""Errors that say what, where and what to do, and that survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from evalkit.errors import EvalkitError, InputError, InputErrors, MissingModel, nearest


def test_all_faults_are_one_error_of_a_line_each():
    error = InputErrors(["a is wrong", "b is missing"])
    assert str(error) == "a is wrong\nb is missing"
    assert error.faults == ("a is wrong", "b is missing")
    assert isinstance(error, InputError)


def test_places_are_named_before_their_faults():
    assert (
        str(InputErrors(["is wrong", "is odd"], [("grid", "k", 0), ("base",)])) == "grid.k.0: is wrong\nbase: is odd"
    )


@pytest.mark.parametrize(
    "error",
    [InputErrors(["one", "two"]), InputErrors(["one"], [("a", 1)]), InputError("x"), MissingModel("y")],
    ids=repr,
)
def test_errors_survive_the_way_between_processes(error):
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(back), str(back)) == (type(error), str(error))
    assert isinstance(back, EvalkitError)
    assert getattr(back, "faults", ()) == getattr(error, "faults", ())
    assert getattr(back, "places", ()) == getattr(error, "places", ())


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("retreive", ["chunk", "retrieve"], "; did you mean 'retrieve'?"),
        ("bm25", ["BM25", "Dense"], "; did you mean 'BM25'?"),
        ("xyz", ["chunk", "assemble"], "; known: assemble, chunk"),
        ("xyz", [], ""),
    ],
)
def test_the_nearest_name_is_offered_or_all_are(name, known, hint):
    assert nearest(name, known) == hint
