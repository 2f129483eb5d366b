"""Conditions against a naive oracle: what they mean, what a missing field fulfils, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import InputError
from evalkit.columns import Strings
from evalkit.stages import Condition, NotDeleted, Whole
from evalkit.stages.retrieve.filters import Keep
from evalkit.values import Documents


def documents(*metadata, **columns):
    ids = columns.get("ids", [f"d{i}" for i in range(len(metadata))])
    return Documents(
        Strings.of(ids),
        Strings.of(columns.get("titles", [""] * len(ids))),
        Strings.of(columns.get("texts", [f"text of {name}" for name in ids])),
        Strings.of(map(json.dumps, metadata)),
    )


def kept(table, *where):
    """The documents that a filter keeps, by their positions."""
    return Keep(where)(table, Whole()(table)).values.tolist()


def naive(condition, document):
    """What a condition means, said once more: (there, items) and then the operator."""
    held = document.get(condition.field)
    items = [x for x in (held if isinstance(held, list) else [held]) if x is not None]
    values = condition.value if isinstance(condition.value, tuple) else (condition.value,)

    def equal(a, b):
        return a == b and isinstance(a, bool) == isinstance(b, bool) and isinstance(a, str) == isinstance(b, str)

    some = any(equal(item, value) for item in items for value in values)
    if condition.operator in ("<", "<=", ">", ">="):
        order = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}[condition.operator]
        return any(getattr(float(item), order)(float(condition.value)) for item in items)
    return {
        "is": some, "in": some, "is not": not some, "not in": not some,
        "exists": bool(items), "missing": not items,
    }[condition.operator]  # fmt: skip


NUMBERS = st.sampled_from([-1, 0, 1, 2, 2.5, 3])
PLAIN = st.one_of(NUMBERS, st.booleans(), st.sampled_from(["", "1", "a", "b"]))
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "any": st.one_of(st.none(), PLAIN, st.lists(st.one_of(st.none(), PLAIN), max_size=3)),
        "size": st.one_of(st.none(), NUMBERS, st.lists(NUMBERS, max_size=3)),
    },
)
CONDITIONS = st.one_of(
    st.builds(Condition, st.just("any"), st.sampled_from(["is", "is not"]), PLAIN),
    st.builds(Condition, st.just("any"), st.sampled_from(["in", "not in"]), st.lists(PLAIN, min_size=1, max_size=3)),
    st.builds(Condition, st.sampled_from(["any", "size"]), st.sampled_from(["exists", "missing"])),
    st.builds(Condition, st.just("size"), st.sampled_from(["<", "<=", ">", ">="]), NUMBERS),
)
EVERY_KIND = {"any": [1, True, "a"], "size": 0}


@settings(max_examples=300)
@given(st.lists(METADATA, max_size=6), st.lists(CONDITIONS, max_size=3))
def test_conditions_mean_what_they_say(metadata, where):
    metadata = [*metadata, EVERY_KIND]  # so that no field and no kind is unknown
    expected = [i for i, one in enumerate(metadata) if all(naive(condition, one) for condition in where)]
    assert kept(documents(*metadata), *where) == expected


@settings(max_examples=100)
@given(st.lists(METADATA, max_size=6), st.sampled_from(["any", "size"]), PLAIN)
def test_a_negation_keeps_exactly_what_the_condition_drops(metadata, field, value):
    table = documents(*metadata, EVERY_KIND)
    everything = set(range(len(table)))
    pairs = [(("exists", None), ("missing", None)), (("is", None), ("is not", None))]
    if field == "any":
        pairs += [(("is", value), ("is not", value)), (("in", (value, 3)), ("not in", (value, 3)))]
    for one, other in pairs:
        yes, no = (set(kept(table, Condition(field, *pair))) for pair in (one, other))
        assert yes | no == everything
        assert not yes & no


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition("year", "is", 2020), False),
        (Condition("year", "in", (2020,)), False),
        (Condition("year", "<", 2020), False),
        (Condition("year", "<=", 2020), False),
        (Condition("year", ">", 2020), False),
        (Condition("year", ">=", 2020), False),
        (Condition("year", "exists"), False),
        (Condition("year", "is not", 2020), True),
        (Condition("year", "not in", (2020,)), True),
        (Condition("year", "missing"), True),
    ],
    ids=lambda value: value.operator if isinstance(value, Condition) else "",
)
def test_what_a_missing_field_fulfils(condition, holds):
    table = documents({}, {"year": None}, {"year": []}, {"year": 2021})
    assert [i for i in kept(table, condition) if i < 3] == ([0, 1, 2] if holds else [])


STAMPS = [
    "2024-05-31", "2024-05-31T00:00:00.5", "2024-05-30T23:00:00Z", "2024-05-31T01:30:00+02:00",
    "2023-12-31 12:00:00", "20240601",
]  # fmt: skip


@given(st.sampled_from(STAMPS), st.sampled_from(["<", "<=", ">", ">="]))
def test_dates_are_compared_as_times_not_as_texts(stamp, operator):
    def at(text):
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()

    compare = {"<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__}[operator]
    expected = [i for i, one in enumerate(STAMPS) if compare(at(one), at(stamp))]
    assert kept(documents(*({"when": one} for one in STAMPS)), Condition("when", operator, stamp)) == expected


def test_whole_numbers_too_large_for_a_float_are_compared_exactly():
    table = documents({"ns": 2**60}, {"ns": 2**60 + 1})
    assert kept(table, Condition("ns", ">", 2**60)) == [1]
    assert kept(table, Condition("ns", "is", 2**60)) == [0]


def test_ids_and_titles_are_fields_that_stand_before_metadata_of_the_same_name():
    table = documents({"title": "other"}, {"id": "d0"}, titles=["One", "Two"])
    assert kept(table, Condition("title", "is", "One")) == [0]
    assert kept(table, Condition("id", "is", "d0")) == [0]
    assert kept(table, Condition()) == [0, 1]


@pytest.mark.parametrize("marked", [True, 1, "2024-05-31", "yes", ["2024-05-31"]])
@pytest.mark.parametrize("plain", [False, 0, None, "", []])
def test_marked_documents_are_deleted_whatever_the_mark(marked, plain):
    table = documents({"deleted": marked}, {"deleted": plain}, {})
    assert kept(table, NotDeleted()) == [1, 2]
    assert kept(documents({"gone": marked}, {"deleted": marked}), NotDeleted("gone")) == [1]


def test_for_a_flag_that_is_true_or_false_not_deleted_is_the_condition_written_out():
    table = documents({"deleted": True}, {"deleted": False}, {}, {"deleted": None})
    assert kept(table, NotDeleted()) == kept(table, Condition("deleted", "is not", True)) == [1, 2, 3]


def test_a_corpus_in_which_nothing_was_deleted_needs_no_such_field():
    assert kept(documents({}, {"year": 1}), NotDeleted()) == [0, 1]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition("yaer", ">", 1), "filter: no document has the field 'yaer'; did you mean 'year'?"),
        (Condition("yaer", "is not", 1), "filter: no document has the field 'yaer'; did you mean 'year'?"),
        (
            Condition("year", "is not", "2020"),
            (
                "filter: 'year' is a number in every document, never a text such as '2020'; write the "
                "condition's value alike"
            ),
        ),
        (
            Condition("open", "in", (True, 0)),
            (
                "filter: 'open' is a text or true or false in every document, never a number such as 0; write the "
                "condition's value alike"
            ),
        ),
        (
            Condition("open", "<", 3),
            (
                "filter: 'open' of document 'd0' is True, which cannot be compared with 3; numbers can be with "
                "numbers, and ISO dates with ISO dates"
            ),
        ),
        (
            Condition("year", "<", "2020-01-01"),
            (
                "filter: 'year' of document 'd0' is 2020, which cannot be compared with '2020-01-01'; numbers can be "
                "with numbers, and ISO dates with ISO dates"
            ),
        ),
    ],
)
def test_a_condition_that_does_not_fit_the_corpus_is_one_line(condition, message):
    with pytest.raises(InputError) as caught:
        kept(documents({"year": 2020, "open": True}, {"year": 2021, "open": "no"}), condition)
    assert str(caught.value) == message


def test_metadata_that_are_no_object_are_told_with_their_document():
    with pytest.raises(InputError, match=r"^filter: the metadata of document 'd1' are \[1\]; a JSON object"):
        kept(documents({}, [1]), NotDeleted())


@pytest.mark.parametrize(
    ("given_condition", "message"),
    [
        (("", "is", 1), "the field is not a name"),
        (("year", "==", 1), "no such operator; known: <"),
        (("year", "isnot", 1), "no such operator; did you mean 'is not'?"),
        (("year", "in", 3), "'in' and 'not in' take a list of values, the others one value"),
        (("year", "is", (3,)), "'in' and 'not in' take a list of values, the others one value"),
        (("year", "in", ()), "values are true or false, finite numbers and texts"),
        (("year", "in", (None,)), "values are true or false, finite numbers and texts"),
        (("year", "is", float("nan")), "values are true or false, finite numbers and texts"),
        (("year", "exists", 3), "'exists' takes no value"),
        (("year", "<", True), "numbers and ISO dates such as '2024-05-31' can be compared"),
        (("year", "<", "soon"), "numbers and ISO dates such as '2024-05-31' can be compared"),
        (("year", "<", None), "values are true or false, finite numbers and texts"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(given_condition, message):
    with pytest.raises(InputError) as caught:
        Condition(*given_condition)
    assert str(caught.value).startswith("Condition: ")
    assert message in str(caught.value)
