from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import InputError
from evalkit.serving import Cache
from evalkit.serving.layers.cache import normalise


@dataclass
class Clock:
    time: float = 0.0

    def now(self) -> float:
        return self.time


@dataclass
class Asked:
    text: str
    tenant: str = ""
    user: str = ""
    clock: Clock = field(default_factory=Clock)
    notes: dict = field(default_factory=dict)

    def note(self, key, value):
        self.notes[key] = value


class Counting:
    """Answers anew each time it is asked, with the number of the call."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, request):
        self.calls += 1
        return f"{self.calls}: {request.tenant}: {request.text}"


def ask(handle, source, clock, text, tenant="") -> tuple[str, str]:
    request = Asked(text, tenant, clock=clock)
    value = asyncio.run(handle(request, source))
    (seen,) = request.notes.values()
    return seen, value


def test_an_entry_lives_from_its_making_and_hits_do_not_renew_it():
    handle, source, clock = Cache(ttl=10).start(), Counting(), Clock()
    seen = []
    for clock.time in (0, 6, 9.99, 10, 15, 19.9, 20):
        seen.append(ask(handle, source, clock, "q"))
    assert [s for s, _ in seen] == ["miss", "hit", "hit", "miss", "hit", "hit", "miss"]
    assert [v[0] for _, v in seen] == ["1", "1", "1", "2", "2", "2", "3"]


def test_an_entry_is_made_when_its_answer_is_there_not_when_it_was_asked_for():
    clock = Clock()
    handle = Cache(ttl=10).start()

    async def slow(request):
        clock.time += 8
        return "slow"

    assert ask(handle, slow, clock, "q")[0] == "miss"
    clock.time = 17.9
    assert ask(handle, slow, clock, "q")[0] == "hit"


def test_a_ttl_of_zero_keeps_nothing_and_none_keeps_for_ever():
    for ttl, expected in ((0, "miss"), (None, "hit")):
        handle, source, clock = Cache(ttl=ttl).start(), Counting(), Clock()
        ask(handle, source, clock, "q")
        clock.time = 0 if ttl == 0 else 1e12
        assert ask(handle, source, clock, "q")[0] == expected


def test_tenants_never_share_and_users_of_one_tenant_do():
    handle, source, clock = Cache().start(), Counting(), Clock()
    assert ask(handle, source, clock, "q", "a") == ("miss", "1: a: q")
    assert ask(handle, source, clock, "q", "b") == ("miss", "2: b: q")
    assert ask(handle, source, clock, "q", "") == ("miss", "3: : q")
    assert ask(handle, source, clock, "q", "a") == ("hit", "1: a: q")


def test_what_was_asked_for_last_stays_longest():
    handle, source, clock = Cache(entries=2).start(), Counting(), Clock()
    seen = [ask(handle, source, clock, text)[0] for text in ("p", "q", "p", "r", "p", "q")]
    assert seen == ["miss", "miss", "hit", "miss", "hit", "miss"]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("pq"), st.integers(0, 2)), min_size=12, max_size=30),
    st.integers(1, 3),
    st.none() | st.integers(0, 9),
)
@settings(max_examples=150)
def test_the_cache_is_a_bounded_dictionary_that_drops_what_was_unused_for_longest(asked, entries, ttl):
    handle, source, clock = Cache(ttl=ttl, entries=entries).start(), Counting(), Clock()
    model: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
    for tenant, text, wait in asked:
        clock.time += wait
        seen, value = ask(handle, source, clock, text, tenant)
        made, kept = model.get((tenant, text), (0.0, None))
        if kept is not None and (ttl is None or clock.time - made < ttl):
            assert (seen, value) == ("hit", kept)
        else:
            assert seen == "miss"
            model[tenant, text] = (clock.time, value)
        model.move_to_end((tenant, text))
        while len(model) > entries:
            model.popitem(last=False)
        assert value.endswith(f": {tenant}: {text}")


def test_an_error_is_never_kept():
    handle, clock = Cache().start(), Clock()

    async def fails(request):
        raise RuntimeError("busy")

    with pytest.raises(RuntimeError, match="busy"):
        ask(handle, fails, clock, "q")
    assert ask(handle, Counting(), clock, "q") == ("miss", "1: : q")


def test_every_start_begins_empty():
    cache, source, clock = Cache(), Counting(), Clock()
    assert [ask(cache.start(), source, clock, "q")[0] for _ in range(3)] == ["miss"] * 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is it?", "  what   IS\tit? ", True),
        ("Straße", "STRASSE", True),
        ("ﬁne", "fine", True),
        ("cafe\u0301", "café", True),
        ("What is it?", "What is it", False),
        ("form B", "form C", False),
        ("do", "do not", False),
    ],
)
def test_a_question_is_the_same_after_folding_case_form_and_white_space(one, other, same):
    assert (normalise(one) == normalise(other)) == same


@given(st.text())
def test_white_space_before_after_and_between_words_never_counts(text):
    assert normalise(f" \n{text}\t ") == normalise(text)
    assert normalise(text.replace(" ", "  \u00a0")) == normalise(text)


@pytest.mark.parametrize(
    "wrong", [{"at": "chunks"}, {"entries": 0}, {"ttl": -1}, {"entries": -5}], ids=lambda w: next(iter(w))
)
def test_a_cache_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match=r"^Cache: "):
        Cache(**wrong)
