"""Budgets: what fits is taken, no more, and the prompt shows it in the order asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords

from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.stages import MMR, Budget, Characters, Dense, Diversity, EstimatedTokens, Tokens, TopK
from evalkit.stages.assemble.budget import Fill
from evalkit.stages.assemble.fitting import arranged, cut, whole
from evalkit.stages.count import CountPassages, CountPrompts
from evalkit.testing import check_assembler, check_component
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Chunks, Prompt, Queries, Rankings

COUNTERS = st.sampled_from([Tokens(), Characters(), EstimatedTokens(3)])
ORDERS = ["best first", "best last", "edges", "document"]
WORDS = ["the", "ferry", "naïve", "1,250", "unaffordably", "x", "Æ", "(no)"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=7)


def table(texts, titles=True):
    """Chunks of two documents."""
    half = -(-len(texts) // 2)
    owners = ["a"] * half + ["b"] * (len(texts) - half)
    starts = np.array([*range(half), *range(len(texts) - half)], dtype=np.int64)
    named = [owner.upper() if titles else "" for owner in owners]
    return Chunks(Strings.of(owners), Strings.of(named), starts, starts + 1, Strings.of(texts))


def ranking(*rows):
    return Rankings.of([np.array(row, np.int32) for row in rows], [np.linspace(1, 0.5, len(row)) for row in rows])


def asked(n=1):
    return Queries(Strings.of([f"q{i}" for i in range(n)]), Strings.of(["What is it?"] * n))


def fill(chunks, ranked, limit, counter=None, overflow="stop", min_remaining=0, keep="start", order="best first"):
    """One prompt."""
    counter = counter or Characters()
    made = Fill(limit, counter, overflow, min_remaining, keep, order)
    return made(chunks, CountPassages(counter)(chunks), asked(), ranking(ranked))


def length(prompts, counter):
    """Of all but the question."""
    question = counter.count(list(prompts.question))[0]
    return int(CountPrompts(counter)(prompts).values[0] - question)


def shown(chunks, items, counter):
    """Length of the text that these chunks make, counted whole."""
    text = "".join(f"{chunks.title[i]}\n{chunks.text[i]}\n\n" for i in items)
    return int(counter.count([text])[0])


@given(TEXTS, st.integers(1, 120), COUNTERS, st.sampled_from(["stop", "skip", "truncate"]),
       st.integers(0, 20), st.sampled_from(["start", "end"]), st.sampled_from(ORDERS), st.randoms())  # fmt: skip
@settings(max_examples=250)
def test_no_prompts_passages_are_longer_than_the_limit(texts, limit, counter, overflow, rest, keep, order, random):
    chunks, ranked = table(texts), random.sample(range(len(texts)), len(texts))
    prompts = fill(chunks, ranked, limit, counter, overflow, rest, keep, order)
    assert length(prompts, counter) <= limit
    (prompt,) = Prompt.rows(prompts)
    assert len(prompt.titles) == len(prompt.passages) == len(prompt.sources)
    for title, text, source in zip(prompt.titles, prompt.passages, prompt.sources, strict=True):
        mine = [i for i in ranked if chunks.document[i] == source and chunks.title[i] == title]
        assert any(text in chunks.text[i] for i in mine)


@given(TEXTS, st.integers(1, 120), st.sampled_from([Tokens(), Characters()]), st.randoms())
def test_as_many_whole_chunks_are_taken_as_fit_in_the_order_of_the_ranking(texts, limit, counter, random):
    chunks, ranked = table(texts), random.sample(range(len(texts)), len(texts))
    n = max(n for n in range(len(ranked) + 1) if shown(chunks, ranked[:n], counter) <= limit)
    (prompt,) = Prompt.rows(fill(chunks, ranked, limit, counter))
    assert prompt.passages == tuple(chunks.text[i] for i in ranked[:n])
    assert prompt.sources == tuple(chunks.document[i] for i in ranked[:n])


@given(st.lists(st.integers(1, 12), max_size=8), st.integers(0, 40))
def test_skipping_takes_every_chunk_that_fits_into_what_is_left(sizes, limit):
    taken = whole(sizes, limit, skip=True)
    for place, size in enumerate(sizes):
        before = sum(sizes[i] for i in taken if i < place)
        assert (place in taken) == (before + size <= limit)


@given(TEXTS, st.integers(1, 100), st.integers(0, 40), COUNTERS, st.sampled_from(["stop", "skip", "truncate"]),
       st.integers(0, 20), st.sampled_from(["start", "end"]), st.randoms())  # fmt: skip
@settings(max_examples=250)
def test_a_larger_limit_never_gives_less_text(texts, limit, more, counter, overflow, rest, keep, random):
    chunks, ranked = table(texts), random.sample(range(len(texts)), len(texts))
    small, large = (fill(chunks, ranked, n, counter, overflow, rest, keep) for n in (limit, limit + more))
    assert length(small, counter) <= length(large, counter)
    if overflow != "skip":
        (first,), (second,) = Prompt.rows(small), Prompt.rows(large)
        for a, b in zip(first.passages, second.passages, strict=False):
            assert b.startswith(a) if keep == "start" else b.endswith(a)


TEN = table(["one two three four five six seven eight nine ten", "b"], titles=False)


@pytest.mark.parametrize(
    ("keep", "limit", "part"),
    [
        ("start", 10, "one two"), ("start", 9, "one two"), ("start", 8, "one"), ("start", 4, None),
        ("end", 10, "nine ten"), ("end", 6, "ten"), ("end", 4, None), ("start", 50, TEN.text[0]),
    ],
)  # fmt: skip
def test_a_truncated_chunk_is_its_longest_start_or_end_of_whole_words(keep, limit, part):
    (prompt,) = Prompt.rows(fill(TEN, [0, 1], limit, overflow="truncate", keep=keep))
    assert prompt.passages == ((part,) if part else ())


@pytest.mark.parametrize(("min_remaining", "taken"), [(9, True), (10, False), (11, False)])
def test_a_chunk_is_truncated_only_where_more_than_min_remaining_is_left(min_remaining, taken):
    # "b" and the blank line behind it are three characters of thirteen
    (prompt,) = Prompt.rows(fill(TEN, [1, 0], 13, overflow="truncate", min_remaining=min_remaining))
    assert prompt.passages == (("b", "one two") if taken else ("b",))


def test_titles_and_what_stands_between_passages_count():
    chunks = table(["12345", "67890"])
    assert Prompt.rows(fill(chunks, [0, 1], 18))[0].passages == ("12345", "67890")  # A, B, 2 * 3 line ends
    assert Prompt.rows(fill(chunks, [0, 1], 17))[0].passages == ("12345",)


def test_nothing_is_taken_after_the_first_that_does_not_fit_unless_it_is_skipped():
    chunks = table(["tiny", "a much longer passage", "wee"], titles=False)
    taken = {how: Prompt.rows(fill(chunks, [0, 1, 2], 15, overflow=how))[0].passages for how in ("stop", "skip")}
    assert taken == {"stop": ("tiny",), "skip": ("tiny", "wee")}


@given(st.text("ab \n\t", max_size=40), st.integers(0, 40), st.sampled_from(["start", "end"]))
def test_a_cut_is_the_longest_of_all_that_fit(text, room, keep):
    words = text.split()
    pieces = [" ".join(words[:n] if keep == "start" else words[len(words) - n :]) for n in range(1, len(words) + 1)]
    found = cut(text, keep, lambda piece: len(piece.split()) <= room)
    assert found in text
    assert " ".join(found.split()) == (pieces[: room or None][-1] if room and pieces else "")


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("best first", [4, 2, 5, 1, 3]),
        ("best last", [3, 1, 5, 2, 4]),
        ("edges", [4, 5, 3, 1, 2]),
        ("document", [3, 4, 1, 2, 5]),
    ],
)
def test_the_prompt_shows_chunks_in_the_order_asked_for(order, expected):
    owners = {1: "a", 2: "a", 5: "a", 3: "b", 4: "b"}
    ranked = [4, 2, 5, 1, 3]
    assert arranged(ranked, [owners[item] for item in ranked], order) == expected


@given(st.lists(st.integers(0, 30), unique=True, max_size=9), st.sampled_from(ORDERS))
def test_an_order_loses_nothing(items, order):
    assert sorted(arranged(items, [str(i % 3) for i in items], order)) == sorted(items)


def test_the_order_does_not_change_what_is_taken():
    chunks = table([f"passage number {i}" for i in range(6)])
    taken = [fill(chunks, [3, 0, 5, 1, 4, 2], 90, order=order) for order in ORDERS]
    assert len({frozenset(Prompt.rows(one)[0].passages) for one in taken}) == 1
    assert len({Prompt.rows(one)[0].passages for one in taken}) == len(ORDERS)


def known_to(chunks, ranked):
    return {CORPUS.recipe: chunks, QUERY.recipe: asked(), Node("query", (CORPUS,)).recipe: ranking(ranked)}


def test_four_thousand_characters_of_whole_chunks():
    chunks = table([f"{i} " + "x" * 997 for i in range(6)], titles=False)
    found = Node("query", (CORPUS,))
    budget = Budget(4000, Characters())
    prompts = run_node(budget.expand(CORPUS, QUERY, found), known_to(chunks, [4, 2, 0, 1, 3, 5]))
    assert [text[0] for text in prompts.passages[0]] == ["4", "2", "0"]  # each has 999 characters and 2 line ends


def test_diversity_decides_what_is_taken_and_leaves_the_ranking():
    chunks = table(["ferry fare", "ferry fare", "harbour dogs"], titles=False)
    found = Node("query", (CORPUS,))
    taken = {}
    for budget in (Budget(32, Characters()), Budget(32, Characters(), select=Diversity(HashedWords()))):
        known = known_to(chunks, [0, 1, 2])
        (prompt,) = Prompt.rows(run_node(budget.expand(CORPUS, QUERY, found), known))
        taken[type(budget.select).__name__] = prompt.passages
        assert known[found.recipe].items[0].tolist() == [0, 1, 2]
    assert taken == {"Relevance": ("ferry fare", "ferry fare"), "Diversity": ("ferry fare", "harbour dogs")}


def test_budgets_share_the_count_of_the_chunks_and_the_retrievers_vectors():
    found = Dense(HashedWords()).expand(CORPUS, QUERY)
    nodes = [{*Budget(limit, select=MMR(HashedWords())).expand(CORPUS, QUERY, found).walk()} for limit in (256, 512)]
    assert {type(node.op) for node in nodes[0] - nodes[1]} == {Fill}
    embeds = [node for node in nodes[0] if isinstance(node.op, HashedWords)]
    assert len(embeds) == 2


def test_a_budget_that_holds_everything_is_the_whole_ranking():
    chunks, found = table(["one", "two", "three"]), Node("query", (CORPUS,))
    made = [run_node(a.expand(CORPUS, QUERY, found), known_to(chunks, [2, 0, 1])) for a in (Budget(10_000), TopK())]
    assert made[0].digest == made[1].digest


@pytest.mark.parametrize(
    "budget",
    [
        Budget(60),
        Budget(60, overflow="truncate", min_remaining=5, order="document"),
        Budget(300, Characters(), overflow="skip", order="edges"),
        Budget(40, EstimatedTokens(), overflow="truncate", min_remaining=0, keep="end", order="best last"),
        Budget(60, select=Diversity(HashedWords())),
        Budget(1),
    ],
    ids=str,
)
def test_budgets_conform(budget):
    check_component(budget)
    check_assembler(budget)


@pytest.mark.parametrize("fields", [{"limit": 0}, {"limit": -5}, {"min_remaining": -1}])
def test_a_budget_out_of_range_is_refused(fields):
    with pytest.raises(InputError, match=r"^Budget: limit .* do not fit"):
        Budget(**fields)
