"""Semantic chunks end where the subject changes, whatever other documents there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toys import HashedWords

from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.stages import Semantic
from evalkit.testing import check_chunker, check_component
from evalkit.values import Documents

CHUNKERS = [
    Semantic(size=1, embedder=HashedWords()),
    Semantic(size=7, embedder=HashedWords(), percentile=50),
    Semantic(size=64, embedder=HashedWords(), window=0),
    Semantic(size=999, embedder=HashedWords(), percentile=0),
]
FARES = "Adult fares cost ten euros. Child fares cost five euros. Car fares cost thirty euros."
DOGS = "Dogs sleep on deck. Dogs eat on deck. Dogs bark on deck."


def name(chunker):
    return f"{chunker.size}-{chunker.percentile:g}-{chunker.window}"


def documents(*texts):
    n = len(texts)
    return Documents(
        Strings.of([f"d{i}" for i in range(n)]), Strings.of([""] * n), Strings.of(texts), Strings.of(["{}"] * n)
    )


def pieces(text, **fields):
    return list(Semantic(**{"embedder": HashedWords(dimensions=4096), **fields})(documents(text)).text)


@dataclass(frozen=True)
class Heard(HashedWords):
    """Writes down what it is asked to embed."""

    calls: list = field(default_factory=list, compare=False)

    def encode(self, texts):
        self.calls.append(texts)
        return super().encode(texts)


@pytest.mark.parametrize("chunker", CHUNKERS, ids=name)
def test_semantic_chunks_conform_at_every_size_and_percentile(chunker):
    check_chunker(chunker)


@pytest.mark.parametrize("chunker", CHUNKERS, ids=name)
@settings(max_examples=25)
@given(text=st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n.!aA1é。-#")), max_size=60))
def test_semantic_chunks_conform_on_any_text(chunker, text):
    check_chunker(chunker, documents(text))


def test_a_chunk_ends_where_the_subject_changes():
    assert pieces(f"{FARES} {DOGS}", window=0, percentile=80) == [FARES, DOGS]
    assert pieces(f"{DOGS}\n\n{FARES}", window=0, percentile=80) == [DOGS, FARES]


@settings(max_examples=50)
@given(
    st.lists(st.text("abcdef", min_size=1, max_size=5), min_size=2, max_size=12),
    st.integers(0, 2),
    st.sampled_from([0, 30, 90, 95, 100]),
)
def test_chunks_end_at_the_distances_above_the_percentile(words, window, percentile):
    """Beside the distances of windows put together and embedded one by one."""
    single = [" ".join(3 * letter for letter in word).capitalize() + "." for word in words]
    vectors = [
        HashedWords().encode([" ".join(single[max(0, i - window) : i + window + 1])])[0].astype(np.float64)
        for i in range(len(single))
    ]
    distances = np.array([1 - float(a @ b) for a, b in pairwise(vectors)])
    limit = np.percentile(distances, percentile)
    assume(np.sum(np.abs(distances - limit) < 1e-6) <= 1)  # of equal distances rounding decides
    expected = [[single[0]]]
    for sentence, distance in zip(single[1:], distances, strict=True):
        if distance > limit:
            expected.append([])
        expected[-1].append(sentence)
    found = pieces(" ".join(single), embedder=HashedWords(), window=window, percentile=percentile, size=999)
    assert found == [" ".join(group) for group in expected]


def test_what_is_too_long_is_cut_at_its_greatest_distance():
    both = f"{FARES} {DOGS}"
    assert pieces(both, window=0, percentile=100, size=999) == [both]
    assert pieces(both, window=0, percentile=100, size=30) == [FARES, DOGS]


def test_a_sentence_that_is_too_long_is_cut_between_words():
    assert pieces("One two three four five six.", size=4) == ["One two three four", "five six."]


def test_a_documents_sentences_are_embedded_with_their_neighbours_in_a_call_of_their_own():
    heard = Heard()
    Semantic(embedder=heard, window=1)(documents("One a. Two b. Three c.", "", "Four d."))
    assert heard.calls == [["One a. Two b.", "One a. Two b. Three c.", "Two b. Three c."], ["Four d."]]


def test_the_embedder_and_its_packages_are_part_of_what_decides_the_chunks():
    check_component(Semantic(embedder=HashedWords()))
    assert Semantic(embedder=HashedWords()).packages == ("tokenizers",)
    packages = Semantic().packages
    assert {"tokenizers", "torch"} <= set(packages)
    assert len(set(packages)) == len(packages)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size is 0; it must be at least 1"),
        ({"percentile": 101.0}, "percentile is 101.0; it must be from 0 to 100"),
        ({"percentile": -1.0}, "percentile is -1.0; it must be from 0 to 100"),
        ({"percentile": float("nan")}, "percentile is nan; it must be from 0 to 100"),
        ({"window": -1}, "window is -1; it must be at least 0"),
    ],
)
def test_values_that_mean_nothing_are_refused_in_one_line(fields, message):
    with pytest.raises(InputError, match=f"^Semantic: {message}$"):
        Semantic(**fields)
