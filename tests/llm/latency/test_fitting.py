"""A fitted profile recovers the law that calls followed, says how well, and refuses what tells nothing of it."""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from dataclasses import fields, replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Echo

from evalkit.calls import INTERRUPTED, Attempt, Call, TokenUsage
from evalkit.cli import profile as profile_cli
from evalkit.clock import BatchClock, WallClock, run_async
from evalkit.errors import InputError, InputErrors
from evalkit.llm.call_keys import asked, call_key
from evalkit.llm.cassettes import write_entries
from evalkit.llm.claude import Claude
from evalkit.llm.latency.fitting import FEWEST, fit_profile
from evalkit.llm.latency.profiles import Profile, find_profile, read_profiles
from evalkit.llm.modelled import Modelled
from evalkit.llm.server import FakeClaude, serving
from evalkit.values import Prompt

TRUE = Profile(0.3, 0.0004, 0.015, 0.00005, jitter_first=0.25, jitter_rate=0.1, jitter_gap=0.4)
DAY = "2026-11-20"


def calls(profile=TRUE, n=60, seed=0, uncached=(200, 4000), cached=(500, 6000), output=(5, 60), model="m"):
    """Calls drawn from a profile, half of them reading from the cache."""
    noise, made = random.Random(seed), []
    for _ in range(n):
        new, read = noise.randint(*uncached), noise.choice([0, noise.randint(*cached)]) if cached else 0
        first = profile.draw_first(new, read, noise)
        pieces = profile.draw_pieces(first, length := noise.randint(*output), noise)
        made.append(
            Call(model, TokenUsage(input=new, cache_read=read, output=length), pieces, 0, pieces[-1], day=DAY)
        )
    return made


def test_stated_intervals_hold_the_true_figures_as_often_as_they_say():
    held: Counter[str] = Counter()
    runs = 150
    for seed in range(runs):
        found = fit_profile(calls(seed=seed)).parameters
        assert found.keys() == {field.name for field in fields(Profile)}
        held.update(name for name, p in found.items() if p.low <= getattr(TRUE, name) <= p.high)
    for name in held:  # 95 %, less four standard errors
        assert 0.95 - 4 * 0.0178 <= held[name] / runs <= 1.0, name
    assert sum(held.values()) < 0.99 * runs * len(held)  # intervals that always hold would say nothing


def test_standard_errors_are_the_spread_over_runs():
    fits = [fit_profile(calls(seed=seed)) for seed in range(100)]
    for name in ("base", "prefill", "per_token", "jitter_first", "jitter_rate"):
        values = [fit.parameters[name].value for fit in fits]
        mean = sum(values) / len(values)
        spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        stated = sum(fit.parameters[name].se for fit in fits) / len(fits)
        assert stated == pytest.approx(spread, rel=0.3), name
        assert mean == pytest.approx(getattr(TRUE, name), abs=4 * spread / len(values) ** 0.5 + 0.02 * mean), name


@given(st.integers(0, 10**6), st.floats(0.01, 2), st.floats(1e-5, 0.002), st.floats(0.001, 0.1))
@settings(max_examples=25)
def test_without_jitter_the_law_is_found_exactly(seed, base, prefill, per_token):
    law = Profile(base, prefill, per_token)
    fit = fit_profile(calls(law, 25, seed, uncached=(100, 5000), cached=None)).profile
    assert fit.base == pytest.approx(base, rel=1e-2, abs=1e-4)
    assert fit.prefill == pytest.approx(prefill, rel=1e-2)
    assert fit.per_token == pytest.approx(per_token, rel=1e-3)
    assert (fit.jitter_first, fit.jitter_rate) == (pytest.approx(0, abs=1e-3), pytest.approx(0, abs=1e-3))


@pytest.mark.parametrize("zero", ["base", "prefill"])
def test_no_figure_is_negative_where_the_truth_is_0(zero):
    law = replace(TRUE, **{zero: 0.0})
    for seed in range(20):
        fit = fit_profile(calls(law, seed=seed))
        found = fit.parameters[zero]
        assert 0 <= found.low <= found.value <= found.high
        assert getattr(fit.profile, zero) == found.value
        assert found.low < 0.2 * getattr(TRUE, zero)


@given(st.sampled_from([2, 3, 4]))
def test_pieces_of_several_tokens_give_the_same_rate(size):
    law = Profile(0.3, 0.0004, 0.015)
    whole = [call for call in calls(law, 200, output=(12, 60)) if call.usage.output % size == 0]
    joined = [replace(c, pieces=c.pieces[size - 1 :: size], first_text=0) for c in whole]
    assert fit_profile(joined).profile.per_token == pytest.approx(0.015, rel=1e-3)


def test_only_whole_streamed_calls_of_one_try_count_and_the_others_are_counted():
    good = calls(n=40)
    one = good[0]
    bad = [
        replace(one, stop=INTERRUPTED, complete=False),
        replace(one, complete=False),
        replace(one, attempts=(Attempt("529 overloaded_error", 9.0),)),
        replace(one, pieces=()),
        replace(one, pieces=(1.0,), seconds=1.0),
        replace(one, pieces=(1.0, 1.0), seconds=1.0),
        replace(one, pieces=(), service="batch"),
    ]
    fit, clean = fit_profile([*bad, *good]), fit_profile(good)
    assert fit.profile == clean.profile
    assert (fit.n, clean.n, clean.left_out) == (40, 40, {})
    assert fit.left_out == {
        "interrupted": 2,
        "tried more than once": 1,
        "not streamed, or of one piece": 2,
        "with all pieces at once": 1,
        "in a batch": 1,
    }


def test_the_range_that_it_was_fitted_on_is_stated():
    made = calls(n=50)
    fit = fit_profile(made)
    for name, of in (("uncached", "uncached"), ("cached", "cache_read"), ("output", "output")):
        counts = [getattr(call.usage, of) for call in made]
        assert getattr(fit, name) == (min(counts), max(counts))


def test_residuals_show_a_trend_a_wrong_shape_and_a_shared_cause():
    made = calls(n=120)
    sound = fit_profile(made).residuals["first"]
    assert sound.normal > 0.01
    assert abs(sound.trend) < 0.25
    assert sound.worst < 5

    def slower(call, factor):
        return replace(call, pieces=tuple(t * factor for t in call.pieces), seconds=call.seconds * factor)

    drifting = fit_profile([slower(call, 1 + i / 60) for i, call in enumerate(made)])
    assert drifting.residuals["first"].trend > 0.5
    assert drifting.together > 0.5
    odd = fit_profile([slower(call, 8.0 if i % 15 == 0 else 1.0) for i, call in enumerate(made)])
    assert odd.residuals["first"].normal < 1e-6
    assert odd.residuals["first"].worst > 3


def test_a_read_length_that_never_differs_leaves_cached_untold_and_says_so():
    noise = random.Random(1)
    made = [
        replace(call, usage=replace(call.usage, cache_read=2000))
        for call in calls(n=60, seed=noise.randint(0, 9), cached=None)
    ]
    fit = fit_profile(made)
    assert "cached" not in fit.parameters
    assert fit.profile.cached == 0.0
    assert fit.notes == (
        "cached: cannot be told from base and prefill, taken as 0; record calls that read other lengths",
    )
    assert fit_profile(calls(n=60)).notes == ()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ([], "fit: 0 usable calls (none left out); record at least 20 whole, streamed ones"),
        (calls(n=FEWEST - 1), "fit: 19 usable calls (none left out); record at least 20"),
        (
            [replace(call, stop=INTERRUPTED, complete=False) for call in calls(n=30)],
            "fit: 0 usable calls (30 interrupted); record at least 20",
        ),
        (
            calls(uncached=(900, 1000)),
            "fit: base cannot be told from prefill: nearly all prompts have 90",
        ),
        (calls(uncached=(0, 0)), "fit: base cannot be told from prefill: nearly all prompts have 0 to 0 uncached"),
        ([*calls(), *calls(model="n")], "fit: calls to m, n; fit one model at a time"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(made, told):
    with pytest.raises(InputError) as caught:
        fit_profile(made)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


# from the loopback server, and from a cassette


def recorded(generator, prompts):
    """Ask a generator, several at a time, on a real clock."""

    async def everyone():
        clock, limit = WallClock(), asyncio.Semaphore(8)

        async def one(prompt):
            async with limit:
                return await generator(prompt, 0, clock)

        return await asyncio.gather(*map(one, prompts))

    return run_async(everyone())


SENTENCE = "The ferry to Tolm leaves every two hours, from six in the morning to eight in the evening, all summer. "


def prompts(n):
    return [Prompt(f"Question {i}?", ("",), (SENTENCE * (1 + 97 * i % 60),), ("d",)) for i in range(n)]


def test_what_a_client_recorded_over_a_socket_gives_the_servers_profile_and_never_a_faster_one(monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    law = Profile(0.05, 0.0001, 0.01, jitter_first=0.1, jitter_rate=0.1)
    with serving(FakeClaude(Modelled(Echo(), law), speed=1.0)) as server:
        made = [answer.call for answer in recorded(Claude(base_url=server.url), prompts(32))]
    fit = fit_profile(made)
    assert (fit.n, fit.model) == (32, "claude-haiku-5-5")
    assert fit.uncached[1] > 1.5 * fit.uncached[0]
    # a loaded machine may only add: to the base by the way there, to the others by oversleeping
    found, slack = fit.parameters, {"base": 0.15, "prefill": law.prefill, "per_token": law.per_token}
    for name, most in slack.items():
        assert found[name].high > getattr(law, name), name
        assert found[name].low < getattr(law, name) + most, name


@pytest.fixture
def cassette(tmp_path):
    """A cassette of modelled calls."""
    law = replace(TRUE, jitter_first=0.1)
    modelled = Modelled(Echo(), law, "claude-haiku-5-5", seed=3)
    entries = {}
    for prompt in prompts(40):
        answer = run_async(modelled(prompt, 0, BatchClock()))
        entries[call_key(modelled, prompt, 0)] = {**answer.plain(), **asked(modelled, prompt, 0)}
    path = tmp_path / "calls.jsonl.gz"
    write_entries(path, entries)
    return path


@pytest.fixture
def call():
    """Run the command; return what it said."""

    def run(*arguments: object) -> str:
        said: list[str] = []
        parser = argparse.ArgumentParser()
        profile_cli.add_fit_profile_command(parser.add_subparsers(), said.append)
        options = parser.parse_args(["fit-profile", *map(str, arguments)])
        assert options.command(options) == 0
        return "\n".join(said)

    return run


def test_the_command_writes_a_profile_that_a_generator_reads_back(cassette, tmp_path, call):
    out = tmp_path / "mine.yaml"
    said = call(cassette, "--name", "mine", "--out", out)
    assert said.startswith("40 calls to claude-haiku-5-5\n")
    assert "beyond that it is an extrapolation" in said
    assert "40 of the calls were modelled, not measured" in said
    fitted = find_profile(str(out))
    assert fitted.base == pytest.approx(TRUE.base, abs=0.1)
    assert fitted.prefill == pytest.approx(TRUE.prefill, rel=0.2)
    assert fitted.per_token == pytest.approx(TRUE.per_token, rel=0.1)
    named = read_profiles(out)["mine"]
    assert named.source == "fitted on 40 recorded calls to claude-haiku-5-5"
    low, high = (named.fit["parameters"]["per_token"][end] for end in ("low", "high"))
    assert low < TRUE.per_token < high
    answer = run_async(Modelled(Echo(), str(out))(prompts(1)[0], 0, BatchClock()))
    assert answer.call.seconds > 0.3


def test_the_command_keeps_what_the_file_holds_and_reads_a_folder_of_cassettes(cassette, tmp_path, call, monkeypatch):
    out = tmp_path / "mine.yaml"
    out.write_text("old: {profile: {base: 2}}\nmine: {profile: {base: 3}}\n")
    call(cassette.parent, "--name", "mine", "--out", out, "--model", "claude-haiku-5-5")
    monkeypatch.setenv("EVALKIT_PROFILES", str(out))
    assert find_profile("old") == Profile(2.0)
    assert find_profile("mine").base < 1
    assert list(yaml.safe_load(out.read_text())) == ["old", "mine"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["{calls}", "--name", "a", "--out", "{folder}/a.txt"],
            "--out {folder}/a.txt: name a file that ends in .yaml",
        ),
        (["{calls}", "--name", "a b", "--out", "{folder}/a.yaml"], "--name 'a b': use letters, digits"),
        (["{calls}", "--name", "a.yaml", "--out", "{folder}/a.yaml"], "--name 'a.yaml': use letters, digits"),
        (
            ["{folder}/no.jsonl.gz", "--name", "a", "--out", "{folder}/a.yaml"],
            "{folder}/no.jsonl.gz: no such cassette",
        ),
        (["{folder}/empty", "--name", "a", "--out", "{folder}/a.yaml"], "{folder}/empty: holds no cassette"),
        (
            ["{calls}", "--name", "a", "--out", "{folder}/a.yaml", "--model", "claude-haiku-55"],
            "--model claude-haiku-55: not in {calls}; did you mean 'claude-haiku-5-5'?",
        ),
        (["{calls}", "--name", "a", "--out", "{folder}/bad.yaml"], "{folder}/bad.yaml: a.profile.base: a number"),
        (["{calls}", "--name", "a", "--out", "{folder}/no/a.yaml"], "{folder}/no/a.yaml: cannot be written"),
    ],
)
def test_the_command_refuses_in_one_line_and_leaves_files_alone(cassette, tmp_path, call, arguments, told):
    (tmp_path / "empty").mkdir()
    bad = "a: {profile: {base: x}}"
    (tmp_path / "bad.yaml").write_text(bad)
    names = {"calls": cassette, "folder": tmp_path}
    with pytest.raises((InputError, InputErrors)) as caught:
        call(*(argument.format(**names) for argument in arguments))
    assert str(caught.value).startswith(told.format(**names))
    assert "\n" not in str(caught.value)
    assert (tmp_path / "bad.yaml").read_text() == bad
    assert not (tmp_path / "a.yaml").exists()
