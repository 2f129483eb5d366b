from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import dense, small_dataset

from evalkit import EvalkitError, InputError, Service, replay
from evalkit.llm import Breakpoints, Chat, Modelled, Profile
from evalkit.serving import Arrival, Cache
from evalkit.serving.layers.history import ConversationHistory
from evalkit.serving.layers.prefetch import Prefetch
from evalkit.serving.state.memory import Memory
from evalkit.values import Answer, Prompt

SECONDS = {"embed": 0.05, "search": 0.1, "assemble": 0.01}


@dataclass(frozen=True)
class Recalls:
    """Answers with what it was told, and takes its time."""

    seconds: float = 1.0

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        await clock.sleep(self.seconds)
        return Answer(json.dumps([prompt.question, len(prompt.history), prompt.history[-2::2]]))


def served(layers, store, arrivals, **changes):
    variant = dense(generate=Recalls())
    return replay(
        Service(variant, layers), small_dataset(), arrivals, store=store, **{"cost": SECONDS, "cores": 8, **changes}
    )


def talk(*texts, start=0.0, gap=10.0, conversation="c", **who) -> list[Arrival]:
    return [Arrival(t, at=start + gap * i, conversation=conversation, **who) for i, t in enumerate(texts)]


def told(found) -> list[list[Any]]:
    return [json.loads(answer) for answer in found.per_request["answer"]]


def test_a_question_is_told_the_turns_before_it_and_no_more_than_asked_for(store):
    found = served((ConversationHistory(turns=2),), store, talk("one", "two", "three", "four"))
    assert [row[:2] for row in told(found)] == [["one", 0], ["two", 2], ["three", 4], ["four", 4]]
    assert [row[2] for row in told(found)] == [[], ["one"], ["two"], ["three"]]
    assert found.per_request["turns"].tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize(("turns", "counts"), [(0, [0, 0, 0]), (1, [0, 2, 2]), (None, [0, 2, 4])])
def test_none_is_all_and_0_is_none(store, turns, counts):
    found = served((ConversationHistory(turns=turns),), store, talk("one", "two", "three"))
    assert [row[1] for row in told(found)] == counts


@dataclass(frozen=True)
class Watched:
    """Notes what every request was told."""

    at: str = "answer"

    def start(self, serving: Any) -> Any:
        async def handle(request: Any, go_on: Any) -> Any:
            request.note("told", json.dumps(request.history))
            return await go_on(request)

        return handle


@pytest.mark.parametrize("write", ["behind", "before"])
@given(
    asked=st.lists(
        st.tuples(
            st.sampled_from(["", "a", "b"]),
            st.sampled_from(["t", "u"]),
            st.sampled_from(["x", "y"]),
            st.sampled_from([0.0, 0.1, 0.7, 5.0]),
            st.sampled_from([None, None, 0.4]),
        ),
        min_size=1,
        max_size=14,
    ),
    turns=st.sampled_from([1, 2, None]),
)
@settings(max_examples=25)
def test_each_gets_exactly_its_conversations_turns_whatever_comes_together(shared_store, write, asked, turns):
    arrivals, now = [], 0.0
    for i, (conversation, tenant, user, gap, patience) in enumerate(asked):
        now += gap
        arrivals.append(Arrival(f"question {i}", now, user, tenant, conversation, patience=patience))
    layers = (ConversationHistory(turns=turns, write=write), Watched())
    found = served(layers, shared_store, arrivals)
    said: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for outcome in found.outcomes:  # in order of arrival
        who = outcome.arrival.tenant, outcome.arrival.user, outcome.arrival.conversation
        before = said[who] if who[2] else []
        if "told" in outcome.notes:
            expected = before if turns is None else before[max(0, len(before) - 2 * turns) :]
            assert json.loads(outcome.notes["told"]) == expected
        if outcome.outcome == "answered":
            said[who] += [outcome.arrival.text, outcome.answers.text[0]]
    assert not found.failures


def test_two_questions_of_one_conversation_at_once_are_answered_one_after_the_other(store):
    found = served((ConversationHistory(),), store, [*talk("one", "two", gap=0.0), *talk("x", conversation="d")])
    assert [row[1] for row in told(found)] == [0, 2, 0]
    assert found.per_request["ms"].tolist() == pytest.approx([1160, 2320, 1160])


def test_a_question_waits_until_the_turn_before_it_is_written_but_the_answer_does_not(store):
    arrivals = talk("one", "two", gap=0.0)
    for write, ms in {"behind": [1160, 2820], "before": [1660, 3320]}.items():
        history = ConversationHistory(write=write, storage=Slow(writes=0.5))
        found = served((history,), store, arrivals)
        assert found.per_request["ms"].tolist() == pytest.approx(ms)
        assert [row[1] for row in told(found)] == [0, 2]


def test_a_user_who_leaves_frees_the_conversation_and_leaves_no_turn(store):
    arrivals = [
        Arrival("one", conversation="c", patience=0.5),
        Arrival("two", at=0.1, conversation="c", patience=0.2),
        Arrival("three", at=0.2, conversation="c"),
    ]
    found = served((ConversationHistory(),), store, arrivals).per_request
    assert found["outcome"].tolist() == ["abandoned", "abandoned", "answered"]
    assert found["ended"].tolist() == pytest.approx([0.5, 0.3, 1.66])
    assert json.loads(found["answer"][2])[1] == 0


def test_a_cache_behind_the_history_tells_conversations_apart(store):
    arrivals = [*talk("one", "two"), *talk("nine", "two", start=100, conversation="d")]
    found = served((ConversationHistory(), Cache()), store, arrivals)
    assert [row[2] for row in told(found)] == [[], ["one"], [], ["nine"]]


def test_an_answer_from_a_cache_is_a_turn_too(store):
    arrivals = [*talk("one"), *talk("one", "two", start=100, conversation="d")]
    found = served((ConversationHistory(), Cache()), store, arrivals)
    assert found.per_request["ms"][1] == 0
    assert told(found)[2][1] == 2


def test_a_conversation_is_forgotten_so_long_after_its_last_turn(store):
    arrivals = [Arrival("q", at=t, conversation="c") for t in (0.0, 90.0, 180.0, 300.0)]
    found = served((ConversationHistory(ttl=100.0),), store, arrivals)
    assert [row[1] for row in told(found)] == [0, 2, 4, 0]


@dataclass(frozen=True)
class Slow(Memory):
    """Memory behind a network."""

    reads: float = 0.0
    writes: float = 0.0

    def open(self, space: str, serving: Any) -> Any:
        state, clock = super().open(space, serving), serving.clock
        get, put = state.get, state.put

        async def late_get(key: str) -> Any:
            await clock.sleep(self.reads)
            return await get(key)

        async def late_put(key: str, entry: Any) -> None:
            await clock.sleep(self.writes)
            await put(key, entry)

        state.get, state.put = late_get, late_put
        return state


@dataclass(frozen=True)
class Broken(Memory):
    """A state that can neither be read nor written."""

    def open(self, space: str, serving: Any) -> Any:
        state = super().open(space, serving)

        async def fail(*_: Any) -> None:
            raise EvalkitError("the disk is full")

        state.put = state.get = fail
        return state


@pytest.mark.parametrize("write", ["behind", "before"])
def test_a_state_that_fails_loses_turns_and_no_answer(store, write):
    found = served((ConversationHistory(write=write, storage=Broken()),), store, talk("one", "two"))
    assert found.per_request["outcome"].tolist() == ["answered", "answered"]
    assert [row[1] for row in told(found)] == [0, 0]
    assert found.failures == ({"the disk is full": 2} if write == "behind" else {})
    assert found.per_request["history"].str.contains("the disk is full").all()


def test_what_begins_work_before_the_history_is_told_to_stand_behind_it(store):
    history = ConversationHistory(storage=Slow(reads=0.01))
    with pytest.raises(InputError, match="list ConversationHistory before Prefetch"):
        served((Prefetch(), history), store, talk("one", "two"))
    found = served((history, Prefetch()), store, talk("one", "two"))
    assert [row[1] for row in told(found)] == [0, 2]


@pytest.mark.parametrize("wrong", [{"turns": -1}, {"ttl": -1.0}, {"write": "never"}, {"at": "prompt"}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(InputError, match="ConversationHistory: "):
        ConversationHistory(**wrong)


@dataclass(frozen=True)
class Wordy:
    """Answers at length."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        return Answer(f"{prompt.question}: answered at length. " * 20)


def test_a_window_that_moves_reads_nothing_from_the_prompt_cache_and_all_turns_do(store):
    """Claims R8: what multi-turn prefix caching saves hangs on what is kept of the history."""
    chat = Chat(documents="question", breakpoints=Breakpoints(history="5m"))
    profile = Profile(base=0.1, prefill=0.0005, cached=0.00005)
    variant = dense(generate=Modelled(Wordy(), profile, chat=chat, cache="served"))
    arrivals = talk(*[f"question {i}" for i in range(8)])
    usage, seconds = {}, {}
    for turns in (3, None):
        layers = (ConversationHistory(turns=turns),)
        found = replay(Service(variant, layers), small_dataset(), arrivals, cost={}, store=store)
        usage[turns] = [outcome.calls[0].usage for outcome in found.outcomes]
        seconds[turns] = found.per_request["ms"].tolist()
    assert usage[3][:4] == usage[None][:4]  # until the window is full
    assert [one.cache_read for one in usage[3][4:]] == [0] * 4
    assert all(b.cache_read > a.prompt - 200 > 0 for a, b in zip(usage[None][2:], usage[None][3:], strict=False))
    assert all(b < a for a, b in zip(seconds[3][4:], seconds[None][4:], strict=True))
