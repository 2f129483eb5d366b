"""10,000 calls under mixed faults: each ends, none is lost or counted twice, and both sides' accounts agree."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import astuple

import pytest
from speakers import KEY, MODEL, FirstSentence, a_prompt

from evalkit.calls import Attempt, CallFailed, TokenUsage
from evalkit.clock import WallClock
from evalkit.llm.claude import Claude
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.server import FakeClaude, Fault, Faults, serving
from evalkit.llm.server.ledger import summed

CALLS, TOGETHER = 10_000, 50
MIXED = Faults(
    (
        Fault("rate_limited", 0.03, retry_after=0.05),
        Fault("rate_limited", 0.01),
        Fault("spend_cap", 0.002),
        Fault("server_error", 0.03),
        Fault("timed_out", 0.01),
        Fault("overloaded", 0.03),
        Fault("overloaded_in_stream", 0.03, pieces=3),
        Fault("cut_before_headers", 0.02),
        Fault("cut_after_start", 0.02),
        Fault("cut_after_pieces", 0.02, pieces=1),
        Fault("cut_after_pieces", 0.02, pieces=99),
        Fault("slow_first_token", 0.01, seconds=0.1),
        Fault("malformed_event", 0.02, pieces=2),
        Fault("wrong_content_length", 0.01),
        Fault("wrong_content_length", 0.01, excess=-500),
    ),
    seed=7,
)


async def asked(claudes, prompts):
    """Make all calls, so many at a time; returns what each ended with, in order."""
    ends, clock, waiting = [None] * CALLS, WallClock(), iter(range(CALLS))

    async def work():
        for i in waiting:
            try:
                claude = claudes[i % len(claudes)]
                ends[i] = await claude(prompts[i % len(prompts)], i // len(prompts), clock)
            except CallFailed as failed:
                ends[i] = failed

    await asyncio.gather(*(work() for _ in range(TOGETHER)))
    return ends


@pytest.mark.slow
def test_ten_thousand_calls_under_faults_are_all_ended_and_all_accounted_for(monkeypatch, capsys):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    prompts = [a_prompt(length=150 + i % 40, question=f"Question {i}?") for i in range(400)]
    marks = [Chat(documents="system", breakpoints=Breakpoints(context=ttl)) for ttl in ("5m", "1h")]
    with serving(FakeClaude(FirstSentence(), MIXED), process=True) as server:
        claudes = [Claude(MODEL, chat=chat, base_url=server.url, retries=2) for chat in marks]
        began = time.perf_counter()
        ends = asyncio.run(asked(claudes, prompts))
        seconds = time.perf_counter() - began
        told = server.ledger()
    rows = {row["request_id"]: row for row in told["rows"]}
    calls = [end.call for end in ends]

    # each ends, with the answer or with a stated error
    failed = [end for end in ends if isinstance(end, CallFailed)]
    whole = [end for end in ends if not isinstance(end, CallFailed) and end.call.complete]
    broken = [end for end in ends if not isinstance(end, CallFailed) and not end.call.complete]
    assert len(failed) + len(whole) + len(broken) == CALLS
    assert all(str(end) and end.call.stop and end.call.attempts for end in failed)
    assert {(end.text, end.cited) for end in whole} == {("Passage 0 says so.", ("doc0",))}
    assert all(end.call.stop == "interrupted" and "Passage 0 says so.".startswith(end.text) for end in broken)
    assert len(whole) > 0.98 * CALLS
    assert failed

    # none is lost, none counted twice: every try of a client's is one row of the server's, and the other way round
    tries = [attempt for call in calls for attempt in call.attempts]
    tries += [Attempt("", 0.0, end.call.usage, end.call.request_id) for end in (*whole, *broken)]
    named = [each for each in tries if each.request_id]
    assert len(tries) == told["totals"]["requests"] == len(rows)
    assert len({each.request_id for each in named}) == len(named)
    unnamed = [row for row in rows.values() if row["request_id"] not in {each.request_id for each in named}]
    assert {row["fault"] for row in unnamed} == {"cut_before_headers"}
    assert len(unnamed) == len(tries) - len(named)

    # where the final usage arrived the accounts agree to the token, request by request and in sum
    final = {end.call.request_id: end.call.usage for end in whole}
    assert {name for name, row in rows.items() if row["complete"]} == set(final)
    assert all(TokenUsage(**rows[name]["usage"]) == usage for name, usage in final.items())
    assert summed(final.values()) == TokenUsage(**told["totals"]["usage_complete"])
    assert all(astuple(summed(final.values())))  # tokens of every kind

    # of a stream that was cut the client knows a lower bound: the prompt exactly, the output at most
    cut = [each for each in named if each.request_id not in final]
    for each in cut:
        billed = TokenUsage(**rows[each.request_id]["usage"])
        assert all(mine <= theirs for mine, theirs in zip(astuple(each.usage), astuple(billed), strict=True))
        assert each.usage.prompt in (0, billed.prompt)
    known, billed = summed(each.usage for each in cut), TokenUsage(**told["totals"]["usage_incomplete"])
    assert 0 < known.output < billed.output
    assert known.prompt == billed.prompt
    assert set(told["totals"]["faults"]) == {fault.kind for fault in MIXED.script}
    assert KEY not in json.dumps(told) + "".join(map(repr, ends))

    with capsys.disabled():
        print(f"\n{CALLS:,} calls, {len(tries):,} tries, {TOGETHER} at a time: {seconds:.1f} s")
        print(f"{len(whole):,} answered, {len(broken)} interrupted, {len(failed)} failed", end="; ")
        print(dict(Counter(end.call.stop for end in failed)))
        print("faults", told["totals"]["faults"])
        print("final usage, both sides", summed(final.values()))
        print("cut: client", known, "server", billed)
