"""Markdown is cut at headings first, and sections are mixed only where the one around them fits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.columns import Strings
from evalkit.stages import Markdown
from evalkit.testing import check_chunker
from evalkit.values import Documents

CHUNKERS = [Markdown(size=1), Markdown(size=7), Markdown(size=9, overlap=8), Markdown(size=64, overlap=16)]
MARKS = [
    "# A\n", "## B\n", "\n", "text ", "- item\n", "```\n", "> quote\n", "====\n", "---\n", "    code\n", "<b>\n",
    "\r\n",
]  # fmt: skip


def name(chunker):
    return f"{chunker.size}-{chunker.overlap}"


def document(text):
    return Documents(Strings.of(["d"]), Strings.of([""]), Strings.of([text]), Strings.of(["{}"]))


def pieces(text, **fields):
    return list(Markdown(**fields)(document(text)).text)


@pytest.mark.parametrize("chunker", CHUNKERS, ids=name)
def test_markdown_conforms_at_every_size_and_overlap(chunker):
    check_chunker(chunker)


@pytest.mark.parametrize("chunker", CHUNKERS, ids=name)
@settings(max_examples=25)
@given(
    text=st.one_of(
        st.lists(st.sampled_from(MARKS), max_size=25).map("".join),
        st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("#-=>`\n\r ")), max_size=60),
    )
)
def test_markdown_conforms_on_any_text(chunker, text):
    check_chunker(chunker, document(text))


GUIDE = """Words before.

# Fares

An adult pays ten euros.

## Cars

A car costs thirty euros.

## Dogs

Dogs travel free.

# Winter

No ship sails.
"""


def test_each_chunk_is_the_largest_section_that_fits():
    assert pieces(GUIDE, size=60) == [GUIDE.strip()]
    before, fares, winter = "Words before.", GUIDE[GUIDE.index("# Fares") : GUIDE.index("# Winter")].strip(), (
        "# Winter\n\nNo ship sails."
    )  # fmt: skip
    assert pieces(GUIDE, size=28) == [before, fares, winter]
    own, cars, dogs = "# Fares\n\nAn adult pays ten euros.", "## Cars\n\nA car costs thirty euros.", (
        "## Dogs\n\nDogs travel free."
    )  # fmt: skip
    assert pieces(GUIDE, size=12) == [before, own, cars, dogs, winter]


def test_neighbours_that_would_fit_together_are_not_mixed():
    assert pieces("# A\n\none\n\n# B\n\ntwo\n\n# C\n\nthree four five", size=9) == [
        "# A\n\none", "# B\n\ntwo", "# C\n\nthree four five",
    ]  # fmt: skip


def test_a_heading_without_text_stays_with_the_next_one():
    text = "# Guide\n\n## Fares\n\nTen euros.\n\n## Dogs\n\nFree of charge."
    assert pieces(text, size=9) == ["# Guide\n\n## Fares\n\nTen euros.", "## Dogs\n\nFree of charge."]


def test_a_heading_with_a_line_below_it_is_one_and_a_mark_in_code_is_none():
    text = "Fares\n=====\n\nTen euros.\n\n```\n# no heading\n```\n\nDogs\n----\n\nFree.\n\n####### nor this\n"
    assert pieces(text, size=20) == [text[: text.index("Dogs")].strip(), text[text.index("Dogs") :].strip()]


def test_a_section_that_is_too_long_is_cut_between_blocks_then_sentences_then_words():
    text = "# A\n\nOne two three.\n\n- four\n- five\n\nSix seven. Eight nine ten eleven twelve.\n"
    assert pieces(text, size=10) == [text[: text.index("Six")].strip(), text[text.index("Six") :].strip()]
    assert pieces(text, size=8) == [
        "# A\n\nOne two three.", "- four\n- five\n\nSix seven.", "Eight nine ten eleven twelve.",
    ]  # fmt: skip
    assert pieces(text, size=4) == [
        "# A", "One two three.", "- four\n- five", "Six seven.", "Eight nine ten eleven", "twelve.",
    ]  # fmt: skip


def test_code_that_is_too_long_is_cut_between_lines():
    text = "```\na = 1. B = 2\nc = 3\n```"
    assert pieces(text, size=11) == ["```\na = 1. B = 2", "c = 3\n```"]


def test_overlap_stays_within_a_section():
    text = "# A\n\nOne two. Three four. Five six.\n\n# B\n\nSeven."
    assert pieces(text, size=6, overlap=3) == [
        "# A\n\nOne two.", "One two. Three four.", "Three four. Five six.", "# B\n\nSeven.",
    ]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 8)), min_size=1, max_size=9), st.integers(13, 40))
def test_chunks_are_the_maximal_subtrees_of_headings_that_fit(sections, size):
    """Beside a search of the whole tree; a section's own text always fits here."""
    texts = [f"{'#' * level} h\n\n{' '.join(['w'] * n)}\n\n" for level, n in sections]
    tokens = [level + 1 + n for level, n in sections]

    def end(i):
        return next((j for j in range(i + 1, len(sections)) if sections[j][0] <= sections[i][0]), len(sections))

    expected = []
    i = 0
    if sum(tokens) <= size:
        expected, i = ["".join(texts)], len(sections)
    while i < len(sections):
        last = end(i) if sum(tokens[i : end(i)]) <= size else i + 1
        expected.append("".join(texts[i:last]))
        i = last
    assert pieces("".join(texts), size=size) == [text.strip() for text in expected]
