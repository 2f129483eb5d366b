"""A modelled generator: another one's answers, a profile's times on any clock, the ledger's tokens at a price."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Echo, dense

from evalkit import fingerprint, replay
from evalkit.calls import INTERRUPTED, Call, TokenUsage
from evalkit.clock import BatchClock, WallClock, run_async
from evalkit.errors import InputError
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.forms import Reader, build, plain
from evalkit.llm.latency.profiles import Profile, find_profile
from evalkit.llm.messages import Breakpoints, Chat, with_marks
from evalkit.llm.modelled import Modelled
from evalkit.llm.tokens import estimate_tokens
from evalkit.serving import VirtualClock
from evalkit.testing import check_component, check_generator
from evalkit.values import Answer, Prompt
from evalkit.variants import components

HAIKU = "claude-haiku-5-5"
LONG = "The ferry to Tolm leaves every two hours from six in the morning. " * 60
ALL = Chat(documents="system", breakpoints=Breakpoints("1h", "5m", "5m"))
ROADMAP = find_profile("roadmap")
PAST = ("Is there a ferry?", "Yes.")


def prompt(question="When does it leave?", passages=(LONG,), history=()):
    return Prompt(
        question, ("",) * len(passages), tuple(passages), tuple(f"d{i}" for i in range(len(passages))), history
    )


def ask(generator, asked, sample=0, clock=None):
    return run_async(generator(asked, sample, clock or BatchClock()))


def virtually(work):
    """Run ``work(clock)`` on a fresh virtual clock."""
    clock = VirtualClock()
    return clock.run(work(clock))


texts = st.text(st.sampled_from("abc .é\n"), max_size=60)
prompts = st.builds(prompt, texts, st.lists(texts, max_size=3), st.sampled_from([(), PAST, (*PAST, *PAST)]))
laws = st.builds(
    Profile, st.floats(0, 10), st.floats(0, 0.01), st.floats(0, 1), st.floats(0, 0.01), *[st.floats(0, 1)] * 3
)


@given(prompts, st.integers(0, 3))
def test_answers_are_the_inner_generators_and_only_a_call_is_added(asked, sample):
    answer = ask(Modelled(Echo(), "roadmap", HAIKU), asked, sample)
    assert replace(answer, call=None) == ask(Echo(), asked, sample)
    assert answer.call.usage.output == estimate_tokens(with_marks(answer.text, answer.cited, asked.sources), HAIKU)
    assert len(answer.call.pieces) == answer.call.usage.output
    assert (answer.call.stop, answer.call.day, answer.call.complete, answer.call.model) == (
        "end_turn",
        "",
        True,
        HAIKU,
    )


@given(laws, prompts, st.integers(0, 9))
@settings(max_examples=60)
def test_on_the_virtual_clock_a_request_takes_what_its_call_says(profile, asked, seed):
    async def timed(clock):
        await clock.sleep(3.0)
        started = clock.now()
        answer = await Modelled(Echo(cost=5.0), profile, HAIKU, seed=seed)(asked, 0, clock)
        return clock.now() - started, answer.call

    took, call = virtually(timed)
    assert took == pytest.approx(call.seconds, abs=1e-9)
    assert call.seconds > 0 or profile.total(call.usage.input, call.usage.output) < 1e-5
    assert not call.pieces or call.seconds == call.pieces[-1]


def test_modelled_requests_wait_side_by_side_and_take_no_core():
    slow = Modelled(Echo(), Profile(10.0))

    async def many(clock):
        await asyncio.gather(*(slow(prompt(f"{i}?"), 0, clock) for i in range(50)))
        return clock.now()

    clock = VirtualClock(cores=1, cost=lambda stage, took: 1.0)
    assert clock.run(many(clock)) == pytest.approx(10.0)


def test_in_a_batch_nobody_waits():
    answer = run_async(asyncio.wait_for(Modelled(Echo(), Profile(1e7))(prompt(), 0, BatchClock()), timeout=60))
    assert answer.call.seconds >= 1e7  # a third of a year


class Scripted(WallClock):
    """Real work, on a watch that only moves as it is told."""

    def __init__(self, work_takes: float) -> None:
        self.at, self.work_takes, self.waited = 0.0, work_takes, []

    def now(self) -> float:
        return self.at

    async def compute(self, stage, work):
        self.at += self.work_takes
        return await super().compute(stage, work)

    async def elapse(self, seconds):
        self.waited.append(seconds)


@pytest.mark.parametrize(("took", "waited"), [(0.0, 10.0), (3.0, 7.0), (12.0, 0.0)])
def test_on_a_wall_clock_the_inner_work_is_taken_off_the_wait(took, waited):
    clock = Scripted(took)
    ask(Modelled(Echo(), Profile(10.0)), prompt(), clock=clock)
    assert clock.waited == [pytest.approx(waited)]


@dataclass(frozen=True)
class Recorded:
    """Answers as recorded: with a call of its own, and its times."""

    call: Call

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        await clock.elapse(self.call.seconds)
        return Answer("Every two hours.", ("d0",), self.call)


def test_of_a_recorded_call_the_output_and_its_end_are_kept_and_the_times_are_not():
    told = Call("other", TokenUsage(input=9, output=77), (1.0, 500.0), 0, 500.0, "max_tokens", "req", "2026-10-01")

    async def timed(clock):
        return await Modelled(Recorded(told), ROADMAP)(prompt(), 0, clock), clock.now()

    answer, took = virtually(timed)
    assert (answer.call.usage.output, answer.call.stop, len(answer.call.pieces)) == (77, "max_tokens", 77)
    assert (answer.call.model, answer.call.request_id, answer.call.day) == ("", "", "")
    assert took == pytest.approx(answer.call.seconds) == pytest.approx(ROADMAP.total(answer.call.usage.input, 77))


def test_a_recorded_answer_that_broke_off_stays_so_and_its_tokens_are_estimated():
    cut = Call("m", TokenUsage(output=1), (1.0,), 0, 1.0, INTERRUPTED, complete=False)
    call = ask(Modelled(Recorded(cut), ROADMAP), prompt()).call
    assert (call.stop, call.complete) == (INTERRUPTED, True)
    assert call.usage.output == estimate_tokens("Every two hours. [1]")


def test_jitter_depends_on_seed_prompt_and_sample_and_is_the_same_luck_for_every_profile():
    def first(profile=ROADMAP, asked=None, sample=0, **changes):
        jittered = replace(profile, jitter_first=0.3)
        call = ask(Modelled(Echo(), jittered, **changes), asked or prompt(), sample).call
        return call.pieces[0] / profile.first(call.usage.uncached, call.usage.cache_read)

    mine = first()
    assert mine == first()
    assert mine == pytest.approx(first(Profile(3.0)), rel=1e-4)
    assert mine == pytest.approx(first(model=HAIKU, cache="warm", chat=ALL), rel=1e-3)
    assert len({round(x, 5) for x in (mine, first(seed=1), first(sample=1), first(asked=prompt("Who?")))}) == 4


STUDY = """
import json, sys
from evalkit.clock import BatchClock, run_async
from test_modelled import study
print(json.dumps(study(sys.argv[1] == "backwards")))
"""


def study(backwards: bool = False) -> list[Any]:
    """Every number of some calls, to the last bit, asked at once in this order or the opposite one."""
    generators = [
        Modelled(Echo(), "agent-answer", HAIKU, ALL, cache, seed) for cache in ("cold", "warm") for seed in (0, 1)
    ]
    asked = list(itertools.product(generators, [prompt(), prompt("Who?", (LONG, "é"), PAST)], range(3)))

    async def everyone(clock):
        order = asked[::-1] if backwards else asked
        answers = await asyncio.gather(*(g(p, sample, clock) for g, p, sample in order))
        return answers[::-1] if backwards else answers

    return [answer.plain() for answer in run_async(everyone(BatchClock()))]


@pytest.mark.parametrize(("hash_seed", "order"), [("0", "forwards"), ("1", "backwards")])
def test_another_process_gives_the_same_bytes_in_any_order_whatever_its_hash_seed(hash_seed, order):
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {folders!r}" + STUDY
    run = subprocess.run(
        [sys.executable, "-c", code, order],
        env={"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == json.dumps(study())


# a component like any other


@pytest.mark.parametrize(
    "component",
    [
        Modelled(Echo(), "roadmap"),
        Modelled(
            Echo(), replace(ROADMAP, base=0.001, prefill=0.0, per_token=0.0, jitter_first=0.3), HAIKU, ALL, "warm"
        ),
    ],
)
def test_it_conforms(component):
    check_component(component, others={"chat": replace(ALL, system="Be brief.")})
    check_generator(component)


def test_a_spec_names_a_profile_or_writes_one():
    reader = Reader({**components(), "Modelled": Modelled, "Echo": Echo})
    named = build({"Modelled": {"generator": "Echo", "profile": "course", "cache": "warm"}}, Modelled, reader)
    written = build({"Modelled": {"generator": "Echo", "profile": {"base": 1, "per_token": 0.01}}}, Modelled, reader)
    assert reader.faults == []
    assert named == Modelled(Echo(), "course", cache="warm")
    assert written == Modelled(Echo(), Profile(1.0, per_token=0.01))
    assert build(plain(written), Modelled, reader) == written
    build({"Modelled": {"generator": "Echo", "profile": "corse"}}, Modelled, reader)
    assert reader.faults == ["Modelled: no latency profile 'corse'; did you mean 'course'?"]


def test_its_identity_is_the_profiles_figures_and_not_its_name(tmp_path, monkeypatch):
    named, written = Modelled(Echo(), "roadmap", HAIKU), Modelled(Echo(), ROADMAP, HAIKU)
    before = fingerprint.digest(named)
    assert before == fingerprint.digest(written)
    path = tmp_path / "mine.yaml"
    path.write_text("roadmap: {profile: {base: 0.5}}")
    monkeypatch.setenv("EVALKIT_PROFILES", str(path))
    assert fingerprint.digest(named) != before == fingerprint.digest(written)


@dataclass(frozen=True)
class Paid(Echo):
    paid: ClassVar[bool] = True


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"generator": Paid()}, "Modelled: generator: Paid costs money; model a free one, or a cassette's replay"),
        (
            {"generator": Modelled(Echo(), "roadmap")},
            "Modelled: generator: Modelled is modelled already; model the one within it",
        ),
        ({"profile": "faq"}, "profile 'faq' is of a system that asks no model; it has stages' times only"),
        ({"model": "claude-haiku-55"}, "no price for model 'claude-haiku-55'; did you mean 'claude-haiku-5-5'?"),
        ({"cache": "hot"}, "Modelled: cache is 'hot'; it is one of 'cold', 'warm', 'served'"),
    ],
)
def test_what_cannot_be_modelled_is_refused_in_one_line(given, told):
    with pytest.raises(InputError) as caught:
        Modelled(**{"generator": Echo(), "profile": "roadmap", **given})
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_a_served_cache_is_refused_where_calls_have_no_order():
    told = "^Modelled: cache is 'served', which needs requests in order of time; evaluate with 'cold' or 'warm'"
    with pytest.raises(InputError, match=told):
        ask(Modelled(Echo(), "roadmap", HAIKU, ALL, "served"), prompt())


# the whole pipeline


def test_a_replay_takes_the_documents_stages_and_the_calls_seconds_together(tiny, store):
    variant = dense(generate=Modelled(Echo(), replace(ROADMAP, jitter_first=0.2, jitter_rate=0.1), HAIKU))
    plan = make_plan({"": variant.nodes()})
    context, given = Context(store), sources(tiny, 0, store)
    done = execute(plan, given, context)
    whole = context.whole(done[plan.wanted[""]["prompt"]].blocks)
    calls = {about.question: ask(variant.generate, about).call for about in Prompt.rows(whole)}
    found = replay(variant, tiny, cost="roadmap", store=store).per_request
    assert len(found) == len(calls) == 8
    for text, ms in zip(found["text"], found["ms"], strict=True):
        assert ms == pytest.approx(1000 * (0.1 + 0.15 + 0.05 + calls[text].seconds), abs=1e-6)
    assert len({round(call.seconds, 6) for call in calls.values()}) == 8
