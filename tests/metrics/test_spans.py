"""Span metrics against a count of single characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics import MetricError, parse

span = st.tuples(st.sampled_from(["d", "e"]), st.integers(0, 30), st.integers(1, 12)).map(
    lambda s: (s[0], s[1], s[1] + s[2])
)
spans = st.lists(span, max_size=5)


def score(name, retrieved, references, chunks=()):
    return parse(name).score([retrieved], [references], chunks)[0]


def characters(some):
    return {(document, i) for document, start, stop in some for i in range(start, stop)}


@given(spans, st.lists(span, min_size=1, max_size=4))
def test_recall_precision_and_iou_count_characters(retrieved, references):
    found, wanted = characters(retrieved), characters(references)
    both, read = len(found & wanted), sum(stop - start for _, start, stop in retrieved)
    assert score("SpanRecall", retrieved, references) == pytest.approx(both / len(wanted))
    assert score("SpanPrecision", retrieved, references) == pytest.approx(both / read if read else 0)
    assert score("SpanIoU", retrieved, references) == pytest.approx(both / (read + len(wanted) - both))


@given(spans, st.lists(span, min_size=1, max_size=4))
def test_precision_omega_takes_every_chunk_with_relevant_text_once(chunks, references):
    wanted = characters(references)
    holding = characters(chunk for chunk in chunks if characters([chunk]) & wanted)
    expected = len(holding & wanted) / len(holding | wanted)
    assert score("PrecisionOmega", [], references, chunks) == pytest.approx(expected)


def test_found_text_counts_once_and_repeated_text_as_often_as_it_is_retrieved():
    overlapping, references = [("d", 0, 10), ("d", 5, 15)], [("d", 5, 10)]
    assert score("SpanRecall", overlapping, references) == 1
    assert score("SpanPrecision", overlapping, references) == 5 / 20
    assert score("SpanIoU", overlapping, references) == 5 / 20


def test_the_cutoff_counts_chunks():
    chunks, references = [("d", 0, 10), ("d", 10, 20)], [("d", 10, 20)]
    assert score("SpanRecall@1", chunks, references) == 0
    assert score("SpanRecall@2", chunks, references) == 1


def test_a_chunk_that_only_touches_a_reference_does_not_hold_it():
    chunks = [("d", 0, 10), ("d", 10, 20)]
    assert score("PrecisionOmega", [], [("d", 10, 20)], chunks) == 1


def test_nothing_retrieved_scores_zero():
    for name in ("SpanRecall", "SpanPrecision", "SpanIoU"):
        assert score(name, [], [("d", 0, 5)]) == 0


@pytest.mark.parametrize(
    ("retrieved", "references", "message"),
    [
        ([[]], [], "1 rankings for 0"),
        ([[]], [[]], "query 0 has no reference"),
        ([[("d", 5, 5)]], [[("d", 0, 1)]], "span 5:5 of 'd' is empty"),
        ([[("d", -1, 5)]], [[("d", 0, 1)]], "is empty; give start < stop"),
    ],
)
def test_wrong_spans_are_refused(retrieved, references, message):
    with pytest.raises(MetricError, match=message):
        parse("SpanRecall").score(retrieved, references)
