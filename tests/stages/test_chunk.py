"""Chunkers cut where they say, lose nothing and refuse what cannot work."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.stages import FixedTokens, Recursive, Whole
from evalkit.testing import check_chunker
from evalkit.values import Documents

CHUNKERS = [
    Whole(titles=False),
    FixedTokens(size=1),
    FixedTokens(size=7),
    FixedTokens(size=9, overlap=8),
    FixedTokens(size=64, overlap=16, titles=False),
    Recursive(size=1),
    Recursive(size=7),
    Recursive(size=9, overlap=8),
    Recursive(size=64, overlap=16),
    Recursive(size=5, separators=()),
    Recursive(size=5, separators=("e",)),
]


def name(chunker):
    return f"{type(chunker).__name__}-{getattr(chunker, 'size', '')}-{getattr(chunker, 'overlap', '')}"


def document(*texts, title="Title"):
    n = len(texts)
    ids = [f"d{i}" for i in range(n)]
    return Documents(Strings.of(ids), Strings.of([title] * n), Strings.of(texts), Strings.of(["{}"] * n))


def pieces(chunker, text):
    return list(chunker(document(text)).text)


@pytest.mark.parametrize("chunker", CHUNKERS, ids=name)
def test_chunkers_conform_at_every_size_and_overlap(chunker):
    check_chunker(chunker)


@pytest.mark.parametrize("chunker", CHUNKERS, ids=name)
@settings(max_examples=25)
@given(text=st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n.aé한")), max_size=60))
def test_chunkers_conform_on_any_text(chunker, text):
    check_chunker(chunker, document(text))


def test_whole_trims_blank_edges_and_drops_blank_documents():
    chunks = Whole()(document("  two words \n", " \n ", ""))
    assert list(chunks.text) == ["two words"]
    assert (chunks.start.tolist(), chunks.end.tolist(), list(chunks.document)) == ([2], [11], ["d0"])


def test_fixed_tokens_are_windows_that_begin_size_minus_overlap_apart():
    text = "one two three four five six seven"
    assert pieces(FixedTokens(size=3), text) == ["one two three", "four five six", "seven"]
    assert pieces(FixedTokens(size=3, overlap=1), text) == ["one two three", "three four five", "five six seven"]
    assert pieces(FixedTokens(size=7, overlap=6), text) == [text]


def test_no_window_is_only_the_overlap_of_the_one_before():
    assert pieces(FixedTokens(size=4, overlap=2), "one two three four") == ["one two three four"]


def test_recursive_cuts_at_paragraphs_before_lines_before_sentences_before_words():
    text = "One two.\n\nThree four. Five six seven."
    assert pieces(Recursive(size=12), text) == [text]
    assert pieces(Recursive(size=8), text) == ["One two.", "Three four. Five six seven."]
    assert pieces(Recursive(size=4), text) == ["One two.", "Three four.", "Five six seven."]
    assert pieces(Recursive(size=2), "alpha beta gamma") == ["alpha beta", "gamma"]


def test_recursive_merges_neighbours_while_they_fit():
    assert pieces(Recursive(size=6), "A b.\n\nC d.\n\nE f.") == ["A b.\n\nC d.", "E f."]


def test_recursive_overlap_repeats_whole_pieces_of_the_chunk_before():
    text = "One two. Three four. Five six. Seven eight."
    assert pieces(Recursive(size=6, overlap=3), text) == [
        "One two. Three four.", "Three four. Five six.", "Five six. Seven eight.",
    ]  # fmt: skip


def test_titles_go_with_every_chunk_unless_they_are_switched_off():
    text = document("one two three four", title="T")
    assert list(FixedTokens(size=2)(text).searched) == ["T one two", "T three four"]
    assert list(FixedTokens(size=2, titles=False)(text).searched) == ["one two", "three four"]


@pytest.mark.parametrize("kind", [FixedTokens, Recursive])
@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (-1, 0), (4, 4), (4, 5), (4, -1)])
def test_sizes_and_overlaps_that_do_not_fit_are_refused_in_one_line(kind, size, overlap):
    with pytest.raises(InputError, match=f"{kind.__name__}: size {size} and overlap {overlap} do not fit") as caught:
        kind(size=size, overlap=overlap)
    assert "\n" not in str(caught.value)


def test_an_empty_separator_is_refused():
    with pytest.raises(InputError, match="a separator is empty"):
        Recursive(separators=("\n", ""))
