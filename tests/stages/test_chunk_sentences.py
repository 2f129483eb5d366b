"""Sentences end where a reader would end them, and chunks of them hold whole ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.stages import Sentences
from evalkit.stages.chunk.sentences import sentences
from evalkit.testing import check_chunker
from evalkit.values import Documents

CHUNKERS = [Sentences(size=1), Sentences(size=7), Sentences(size=9, overlap=8), Sentences(size=64, overlap=16)]


def name(chunker):
    return f"{chunker.size}-{chunker.overlap}"


def document(text):
    return Documents(Strings.of(["d"]), Strings.of([""]), Strings.of([text]), Strings.of(["{}"]))


def pieces(chunker, text):
    return list(chunker(document(text)).text)


def split(text):
    return [text[start:end].strip() for start, end in sentences(text)]


@pytest.mark.parametrize("chunker", CHUNKERS, ids=name)
def test_sentences_conform_at_every_size_and_overlap(chunker):
    check_chunker(chunker)


@pytest.mark.parametrize("chunker", CHUNKERS, ids=name)
@settings(max_examples=25)
@given(text=st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n.!aA1é。-#")), max_size=60))
def test_sentences_conform_on_any_text(chunker, text):
    check_chunker(chunker, document(text))


@given(st.text(st.sampled_from(" \n\r\t.!?…aAbB1-#>|。()\"'"), max_size=80), st.integers(0, 20), st.integers(0, 20))
def test_sentences_cover_what_they_are_asked_for_without_gaps_and_none_is_blank(text, start, length):
    start = min(start, len(text))
    end = min(start + length, len(text))
    found = list(sentences(text, start, end))
    assert "".join(text[a:b] for a, b in found) == text[start:end]
    assert all(a < b for a, b in found)
    if len(found) > 1:
        assert all(text[a:b].strip() for a, b in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "stops": ("Is it late? Yes! It is… Go.", ["Is it late?", "Yes!", "It is…", "Go."]),
        "quotes": ('"Is it late?" "Yes." (It is.) Go.', ['"Is it late?"', '"Yes."', "(It is.)", "Go."]),
        "abbreviations": ("Dr. Hjelm met Prof. Berg, i.e. him. They left.", ["Dr. Hjelm met Prof. Berg, i.e. him.",
                                                                           "They left."]),
        "initials": ("J. R. Hjelm lived in the U.S. Army town.", ["J. R. Hjelm lived in the U.S. Army town."]),
        "numbers": ("It cost 3.50 euros. See Fig. 2 and no. 7. No. Not so.",
                    ["It cost 3.50 euros.", "See Fig. 2 and no. 7.", "No.", "Not so."]),
        "years": ("It began in 1911. It ended in 1934. Then rest.",
                  ["It began in 1911.", "It ended in 1934.", "Then rest."]),
        "small letter": ("He said approx. ten etc. and left. Then rest.", ["He said approx. ten etc. and left.",
                                                                           "Then rest."]),
        "no capitals": ("profits rose. costs fell. nobody knew.", ["profits rose.", "costs fell.", "nobody knew."]),
        "wrapped lines": ("One line that\nis wrapped. Next\none.", ["One line that\nis wrapped.", "Next\none."]),
        "paragraphs": ("A heading\n\nA text\r\n\r\nAnother", ["A heading", "A text", "Another"]),
        "list": ("Bring:\n- a coat\n- a hat\n1. First. Then.\n2. Last", ["Bring:", "- a coat", "- a hat", "1. First.",
                                                                        "Then.", "2. Last"]),
        "heading": ("Text\n# Heading\n> quote\n| a | b |\n| 1 | 2 |", ["Text", "# Heading", "> quote", "| a | b |",
                                                                      "| 1 | 2 |"]),
        "japanese": ("東京は首都。大阪は違う\uff01本当\uff1f 終わり。",
                     ["東京は首都。", "大阪は違う\uff01", "本当\uff1f", "終わり。"]),
        "arabic and hindi": ("هل تأخر؟ نعم. यह देर है। चलो।", ["هل تأخر؟", "نعم.", "यह देर है।", "चलो।"]),
        "nothing": ("", []),
        "blank": (" \n\n ", [""]),
    }.values(),
)  # fmt: skip
def test_a_sentence_ends_where_a_reader_would_end_it(text, expected):
    assert split(text) == expected


def test_long_runs_of_stops_and_blanks_are_gone_through_once():
    text = "Contents " + "." * 200_000 + "12\n" + "\n \n" * 20_000 + " " * 100_000 + "end"  # else this takes minutes
    assert len(list(sentences(text))) == 2


def test_as_many_whole_sentences_as_fit_make_a_chunk():
    text = "One two. Three four. Five six. Seven eight nine ten."
    assert pieces(Sentences(size=6), text) == ["One two. Three four.", "Five six.", "Seven eight nine ten."]
    assert pieces(Sentences(size=9), text) == ["One two. Three four. Five six.", "Seven eight nine ten."]
    assert pieces(Sentences(size=99), text) == [text]


def test_overlap_repeats_whole_sentences():
    text = "One two. Three four. Five six. Seven eight."
    assert pieces(Sentences(size=6, overlap=3), text) == [
        "One two. Three four.", "Three four. Five six.", "Five six. Seven eight.",
    ]  # fmt: skip
    assert pieces(Sentences(size=6, overlap=2), text) == ["One two. Three four.", "Five six. Seven eight."]


def test_a_sentence_that_is_too_long_is_cut_between_words_and_shares_no_chunk_before_it():
    text = "One. Two three four five six seven eight. Nine."
    assert pieces(Sentences(size=4), text) == ["One.", "Two three four five", "six seven eight.", "Nine."]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(9, 30))
def test_where_every_sentence_fits_each_chunk_takes_as_many_as_it_can(lengths, size):
    ends = [" ".join(["Word", *["word"] * (n - 1)]) + "." for n in lengths]
    tokens = [n + 1 for n in lengths]
    expected, room = [], 0
    for sentence, n in zip(ends, tokens, strict=True):
        if room >= n:
            expected[-1] += f" {sentence}"
            room -= n
        else:
            expected.append(sentence)
            room = size - n
    if max(tokens) <= size:
        assert pieces(Sentences(size=size), " ".join(ends)) == expected


def test_sizes_and_overlaps_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="Sentences: size 4 and overlap 4 do not fit"):
        Sentences(size=4, overlap=4)
