"""`Replayed`: the answers as recorded, in the time that they took, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from recorded import MODEL, Model, answered, broke_off, call, embedded, failed, prompt, some

from evalkit import fingerprint
from evalkit.calls import INTERRUPTED, CallFailed
from evalkit.clock import BatchClock, WallClock
from evalkit.errors import InputError
from evalkit.llm.call_keys import asked, call_key
from evalkit.llm.cassettes import Miss, write_entries
from evalkit.llm.modelled import Modelled
from evalkit.llm.pricing import Prices
from evalkit.llm.replayed import Replayed
from evalkit.serving.clock import VirtualClock
from evalkit.testing import check_component
from evalkit.types import Generator
from evalkit.values import Answer

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Echo:
    """A generator that calls no model."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt, sample, clock):
        return Answer(prompt.question)


@pytest.fixture
def file(tmp_path):
    write_entries(tmp_path / "demo.jsonl.gz", some())
    return tmp_path / "demo.jsonl.gz"


@pytest.fixture
def replayed(file):
    return Replayed(MODEL, str(file))


def timed(generator, ask, sample=0):
    """An answer, and when it was there on a virtual clock."""
    clock = VirtualClock()

    async def work():
        answer = await generator(ask, sample, clock)
        return answer, clock.now()

    return clock.run(work())


def test_an_answer_is_the_recorded_one_with_every_part_of_its_call(replayed):
    answer, _ = timed(replayed, prompt(3))
    assert answer == Answer("By ferry 3.\nÖland", ("d1",), call(3))
    assert timed(replayed, prompt(0), sample=1)[0].call == call(0)
    assert isinstance(replayed, Generator)


def test_it_takes_the_seconds_that_the_call_took_on_a_clock_and_none_if_told_so(replayed):
    assert timed(replayed, prompt(3))[1] == pytest.approx(1.0)
    assert timed(replace(replayed, timing="none"), prompt(3)) == (timed(replayed, prompt(3))[0], 0.0)


def test_requests_at_once_wait_side_by_side(replayed):
    clock = VirtualClock()

    async def work():
        await asyncio.gather(*(replayed(prompt(i), 0, clock) for i in range(5)))
        return clock.now()

    assert clock.run(work()) == pytest.approx(1.0)


def test_nobody_waits_in_a_batch_and_real_time_passes_on_a_wall_clock(tmp_path):
    key, entry = answered(0, call=call(0, seconds=60.0))
    write_entries(tmp_path / "slow.jsonl.gz", {key: entry})
    slow = Replayed(MODEL, str(tmp_path / "slow.jsonl.gz"))
    assert asyncio.run(slow(prompt(0), 0, BatchClock())).call.seconds == 60.0

    async def impatient():
        await asyncio.wait_for(slow(prompt(0), 0, WallClock()), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())


def test_what_was_never_asked_is_a_miss_that_names_the_nearest(replayed, file):
    with pytest.raises(Miss, match=rf"{file}: no answer to 'How do I get to island 77\?' \(sample 0\) is recorded"):
        timed(replayed, prompt(77))
    with pytest.raises(Miss, match="the generator's model 'claude-haiku-5-5', not 'claude-opus-5'"):
        timed(Replayed(Model("claude-opus-5"), str(file)), prompt(3))


def test_a_broken_stream_breaks_off_again_and_a_failure_fails_again_after_its_time(replayed):
    answer, at = timed(replayed, prompt(5))
    assert (answer.text, answer.call.stop, at) == ("By fer", INTERRUPTED, pytest.approx(1.0))
    clock = VirtualClock()

    async def work():
        with pytest.raises(CallFailed, match="Model: island 6: overloaded; run again") as caught:
            await replayed(prompt(6), 0, clock)
        return caught.value, clock.now()

    failure, at = clock.run(work())
    assert (failure.final, at) == (False, pytest.approx(1.0))
    assert failure.call.plain() == failed(6)[1]["call"]


def test_a_failure_that_was_final_is_final_again(tmp_path):
    write_entries(tmp_path / "x.jsonl.gz", dict([failed(1, final=True)]))
    with pytest.raises(CallFailed) as caught:
        timed(Replayed(MODEL, str(tmp_path / "x.jsonl.gz")), prompt(1))
    assert caught.value.final


def test_an_answer_stands_before_the_tries_that_failed(tmp_path):
    write_entries(tmp_path / "x.jsonl.gz", dict([failed(1), broke_off(1), answered(1)]))
    assert timed(Replayed(MODEL, str(tmp_path / "x.jsonl.gz")), prompt(1))[0].text == "By ferry 1.\nÖland"


def test_the_identity_is_the_generator_and_the_content_and_never_the_path(replayed, file, tmp_path):
    shutil.copy(file, tmp_path / "copy.jsonl.gz")
    copy = Replayed(MODEL, str(tmp_path / "copy.jsonl.gz"))
    assert fingerprint.digest(copy) == fingerprint.digest(replayed)
    write_entries(tmp_path / "copy.jsonl.gz", some(6))
    assert fingerprint.digest(Replayed(MODEL, str(tmp_path / "copy.jsonl.gz"))) != fingerprint.digest(replayed)
    assert fingerprint.digest(Replayed(Model("claude-opus-5"), str(file))) != fingerprint.digest(replayed)
    assert fingerprint.digest(replace(replayed, timing="none")) != fingerprint.digest(replayed)


def test_it_is_a_value_like_any_component(replayed, tmp_path):
    write_entries(tmp_path / "other.jsonl.gz", some(6))
    check_component(replayed, others={"cassette": str(tmp_path / "other.jsonl.gz"), "generator": Model("x")})
    assert timed(pickle.loads(pickle.dumps(replayed)), prompt(3))[0].call == call(3)  # noqa: S301 - our own bytes


def test_it_is_free_and_says_that_it_was_recorded(replayed, file):
    assert (replayed.paid, replayed.origin) == (False, "replayed")
    modelled = Modelled(Echo(), "roadmap")
    assert Replayed(modelled, str(file)).origin == "modelled"
    assert Modelled(replayed, "roadmap").origin == "modelled"  # a latency profile over recorded answers


def test_a_generator_that_calls_no_model_is_replayed_at_once(tmp_path):
    key = call_key(Echo(), prompt(1), 0)
    entry = {**Answer("seen", ("d2",)).plain(), **asked(Echo(), prompt(1), 0)}
    write_entries(tmp_path / "x.jsonl.gz", {key: entry})
    assert timed(Replayed(Echo(), str(tmp_path / "x.jsonl.gz")), prompt(1)) == (Answer("seen", ("d2",)), 0.0)


def test_wrong_parameters_are_told(file, tmp_path):
    with pytest.raises(InputError, match=r"Replayed: timing is 'fast'; it is 'recorded' or 'none'"):
        Replayed(MODEL, str(file), "fast")
    with pytest.raises(InputError, match="no such cassette"):
        Replayed(MODEL, str(tmp_path / "none.jsonl.gz"))


def test_another_process_replays_the_same_bytes_times_and_costs(file, tmp_path):
    def there(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(TESTS)}
        made = subprocess.run(
            [sys.executable, "-c", _THERE, str(file)], env=environment, capture_output=True, text=True, check=True
        )
        return made.stdout

    first, second = there("1"), there("4711")
    assert first == second
    told = json.loads(first)
    assert told["texts"] == [f"By ferry {i}.\nÖland" for i in range(5)]
    assert told["dollars"] == [Prices.load().dollars(call(i)) for i in range(5)]
    assert told["ended"] == pytest.approx(5.0)


_THERE = """
import json, sys
from recorded import MODEL, prompt
from evalkit.llm.pricing import Prices
from evalkit.llm.replayed import Replayed
from evalkit.serving.clock import VirtualClock
from evalkit.values import Answer

replayed, clock = Replayed(MODEL, sys.argv[1]), VirtualClock()

async def work():
    return [await replayed(prompt(i), 0, clock) for i in range(5)], clock.now()

answers, ended = clock.run(work())
print(json.dumps({
    "digest": Answer.table(answers).digest, "texts": [a.text for a in answers], "ended": ended,
    "pieces": [a.call.pieces for a in answers], "dollars": [Prices.load().dollars(a.call) for a in answers],
}))
"""


def test_vectors_are_no_answers(tmp_path):
    write_entries(tmp_path / "x.jsonl.gz", dict([embedded()]))
    with pytest.raises(Miss, match="it holds no calls at all"):
        timed(Replayed(MODEL, str(tmp_path / "x.jsonl.gz")), prompt(1))
