"""A miss says what is recorded nearest, and what has changed."""

from __future__ import annotations

import pytest
from recorded import MODEL, Model, answered, embedded, prompt, some

from evalkit.llm.call_keys import asked
from evalkit.llm.cassettes import Cassette, missed, write_entries
from evalkit.values import Answer


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "demo.jsonl.gz"
    write_entries(path, some())
    return path


def miss(file, question=None, generator=MODEL, sample=0, **changes):
    ask = prompt(2, **({"question": question} if question else {}), **changes)
    return str(missed(Cassette.open(file), asked(generator, ask, sample)))


def test_a_miss_names_the_nearest_call_and_what_differs(file):
    near = answered(2)[0][:12]
    assert miss(file, "How do I get to the island 2?") == (
        f"{file}: no answer to 'How do I get to the island 2?' (sample 0) is recorded; nearest is {near}, "
        "which differs in its question 'How do I get to island 2?'. To record it: --cassette-mode record"
    )
    assert "differs in passage 2 of 2." in miss(file, passages=(prompt(2).passages[0], "By train."))
    assert "its 2 passages, not 1; its 2 titles, not 1" in miss(file, passages=("By bus.",), titles=("",))
    assert "differs in turn 1 of 2." in miss(file, history=("Good evening", "Good day"))
    assert "differs in its sample 0, not 7." in miss(file, sample=7)
    told = miss(file, generator=Model("claude-opus-5", 100))
    assert near in told
    assert "the generator's max_tokens 512, not 100; the generator's model 'claude-haiku-5-5', not 'claude-op" in told
    assert "nothing but the versions of the packages" in miss(file)


def test_the_nearest_is_the_one_that_differs_least_not_the_first(tmp_path):
    path, other = tmp_path / "x.jsonl.gz", Model("claude-opus-5")
    same_question = answered(2, generator=other)
    write_entries(path, dict([same_question, *(answered(i) for i in range(3, 40))]))
    assert same_question[0][:12] in miss(path)
    assert "the generator's model 'claude-opus-5', not 'claude-haiku-5-5'." in miss(path)


def test_a_miss_is_one_line_however_long_the_question(file):
    told = miss(file, "Why?\n" * 5000)
    assert "\n" not in told
    assert len(told) < 600


def test_a_vector_that_is_missing_names_the_nearest_too(file):
    ask = {**embedded()[1], "text": "By ferry, slowly."}
    told = str(missed(Cassette.open(file), ask))
    assert f"no vector of passage 'By ferry, slowly.' is recorded; nearest is {embedded()[0][:12]}" in told
    assert "differs in its text 'By ferry.'." in told
    told = str(missed(Cassette.open(file), {**embedded()[1], "side": "query"}))
    assert "differs in its side 'passage', not 'query'." in told


def test_a_miss_in_a_cassette_without_calls_says_so(tmp_path):
    write_entries(tmp_path / "x.jsonl.gz", dict([embedded()]))
    assert "it holds no calls at all" in miss(tmp_path / "x.jsonl.gz")
    assert Answer.read(answered(0)[1]).text  # else the others are none either
