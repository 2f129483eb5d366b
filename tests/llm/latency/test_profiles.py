"""A profile is a law whose figures are medians; the named ones meet what their documents state."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import InputError, InputErrors
from evalkit.forms import Reader, build, plain
from evalkit.llm.latency.profiles import Profile, find_profile, profiles, read_profiles

NAMED = {name: named for name, named in profiles().items() if named.profile is not None}
seconds = st.floats(0, 10)
sigmas = st.floats(0, 1)
laws = st.builds(Profile, seconds, st.floats(0, 0.01), st.floats(0, 1), st.floats(0, 0.01), sigmas, sigmas, sigmas)
counts = st.integers(0, 300)


def draw(profile, uncached, cached, output, noise):
    first = profile.draw_first(uncached, cached, noise)
    return first, profile.draw_pieces(first, output, noise)


@pytest.mark.parametrize("name", NAMED)
def test_at_its_sizes_a_named_profile_meets_the_documents_figures(name):
    named = NAMED[name]
    figures, profile = named.figures, named.profile
    assert figures, name
    assert named.source
    assert named.assumed
    meets = {
        "first": profile.first(named.prompt),
        "total": profile.total(named.prompt, named.output),
        "total_cached": profile.total(0, named.output, cached=named.prompt),
    }
    for figure in figures.keys() & meets.keys():
        assert meets[figure] == pytest.approx(figures[figure], rel=1e-4), figure
    assert figures.keys() <= meets.keys() | {"low", "high"}


@pytest.mark.parametrize("name", [name for name in NAMED if "low" in NAMED[name].figures])
def test_a_documented_range_holds_nineteen_calls_of_twenty(name):
    named, noise = NAMED[name], random.Random(5)
    low, high = named.figures["low"], named.figures["high"]
    times = [draw(named.profile, named.prompt, 0, named.output, noise)[1][-1] for _ in range(4000)]
    within = sum(low <= t <= high for t in times) / len(times)
    assert within == pytest.approx(0.95, abs=0.015)  # four standard errors
    assert sum(t < low for t in times) == pytest.approx(sum(t > high for t in times), abs=60)


def test_the_claims_page_has_a_profile_each():
    known = profiles()
    assert known["roadmap"].figures == {"first": 0.1, "total": 0.55}
    assert known["roadmap-prompt-cache"].figures == {"total": 0.55, "total_cached": 0.2}
    assert known["course"].figures == {"total": 1.7}
    assert (known["agent-answer"].figures, known["agent-intent"].figures) == (
        {"low": 20, "high": 23},
        {"low": 1, "high": 2},
    )
    assert known["faq"].profile is None
    for name, whole in {"roadmap": 0.85, "course": 2.0}.items():
        stages = {
            stage: s for stage, s in known[name].stages.items() if stage not in ("lookup", "store")
        }  # a cache's
        assert sum(stages.values()) + known[name].figures["total"] == pytest.approx(whole)


def test_routing_gives_the_roadmaps_mean():
    tiers = {"roadmap-simple": 0.6, "roadmap-medium": 0.3, "roadmap-complex": 0.1}
    mean = sum(share * NAMED[name].profile.total(1000, 61) for name, share in tiers.items())
    assert mean == pytest.approx(0.220, abs=1e-5)


def test_no_profile_meets_both_of_the_roadmaps_claims_on_first_tokens_and_prompt_caching():
    streamed = NAMED["roadmap"].profile
    saved = streamed.total(1000, 61) - streamed.total(0, 61, cached=1000)
    assert saved <= streamed.first(1000) == pytest.approx(0.1)  # R3 wants 0.35
    assert NAMED["roadmap-prompt-cache"].profile.first(1000) > 0.35


@given(laws, counts, counts, counts, st.integers())
def test_pieces_come_in_order_one_a_token_and_the_first_at_the_first(profile, uncached, cached, output, seed):
    first, pieces = draw(profile, uncached, cached, output, random.Random(seed))
    assert len(pieces) == output
    assert pieces[:1] == ((first,) if output else ())
    assert all(a <= b for a, b in itertools.pairwise(pieces))


@given(st.builds(Profile, seconds, st.floats(0, 0.01), st.floats(0, 1), st.floats(0, 0.01)), counts, counts, counts)
def test_without_jitter_times_are_the_formulas(profile, uncached, cached, output):
    first, pieces = draw(profile, uncached, cached, output, random.Random(0))
    assert first == pytest.approx(profile.base + profile.prefill * uncached + profile.cached * cached, abs=1e-6)
    for i, at in enumerate(pieces):
        assert at == pytest.approx(first + i * profile.per_token, abs=2e-6)


@given(laws, st.integers(2, 60), st.integers())
def test_jitter_of_gaps_moves_tokens_and_leaves_a_calls_length(profile, output, seed):
    even = Profile(**{**vars(profile), "jitter_gap": 0.0})
    mine, theirs = (draw(p, 10, 0, output, random.Random(seed))[1][-1] for p in (profile, even))
    assert mine == pytest.approx(theirs, abs=2e-6)


def test_the_median_is_the_profiles_and_the_mean_is_longer_as_stated():
    profile = Profile(0.2, 0.001, 0.02, jitter_first=0.5, jitter_rate=0.4)
    noise, n = random.Random(3), 6000
    calls = [draw(profile, 100, 0, 11, noise) for _ in range(n)]
    for times, median, sigma in (
        ([first for first, _ in calls], 0.3, 0.5),
        ([pieces[-1] - first for first, pieces in calls], 0.2, 0.4),
    ):
        below = sum(t < median for t in times)
        assert abs(below - n / 2) < 4 * math.sqrt(n) / 2
        mean = median * math.exp(sigma**2 / 2)
        deviation = mean * math.sqrt(math.exp(sigma**2) - 1)
        assert statistics.fmean(times) == pytest.approx(mean, abs=4 * deviation / math.sqrt(n))
        assert mean > 1.08 * median  # so the test tells them apart


def test_longer_prompts_and_answers_never_take_less_and_cached_tokens_take_what_they_are_said_to():
    profile = Profile(0.1, 0.002, 0.01, cached=0.0005)
    assert profile.first(100) - profile.first(0) == pytest.approx(0.2)
    assert profile.first(0, 100) - profile.first(0) == pytest.approx(0.05)
    assert profile.total(0, 0) == profile.total(0, 1) == profile.base
    assert profile.total(0, 3) - profile.total(0, 2) == pytest.approx(0.01)


@pytest.mark.parametrize("field", ["base", "prefill", "per_token", "cached", "jitter_first", "jitter_gap"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1"])
def test_a_figure_that_is_none_is_refused(field, value):
    with pytest.raises(InputError, match=f"^Profile: {field} is .*; a number of at least 0 is needed$"):
        Profile(**{"base": 1.0, field: value})


@given(laws)
def test_a_profile_is_written_and_read_back(profile):
    reader = Reader()
    assert build(plain(profile)["Profile"], Profile, reader) == profile
    assert not reader.faults


def test_a_file_adds_profiles_and_goes_before_evalkits_own(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    path.write_text("mine: {profile: {base: 2}}\nroadmap: {profile: {base: 0.5, per_token: 0.001}}\n")
    monkeypatch.setenv("EVALKIT_PROFILES", str(path))
    assert find_profile("mine") == Profile(2.0)
    assert find_profile("roadmap") == Profile(0.5, per_token=0.001)
    assert find_profile("course") == NAMED["course"].profile
    monkeypatch.delenv("EVALKIT_PROFILES")
    assert find_profile("roadmap") == NAMED["roadmap"].profile


def test_a_changed_file_is_read_anew_and_a_file_with_one_profile_is_named_by_its_path(tmp_path):
    path = tmp_path / "one.yml"
    path.write_text("mine: {profile: {base: 2}}")
    assert find_profile(str(path)) == Profile(2.0)
    path.write_text("mine: {profile: {base: 3}}\n# and more")
    assert find_profile(str(path)) == Profile(3.0)
    path.write_text("mine: {profile: {base: 3}}\nother: {profile: {base: 4}}")
    with pytest.raises(InputError, match=r"one.yml: holds 2 profiles; name the file in EVALKIT_PROFILES"):
        find_profile(str(path))


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("- 1", [": a mapping of names to profiles is needed"]),
        ("", [": a mapping of names to profiles is needed"]),
        ("a: [", [": not YAML"]),
        ("a: {profile: {base: 1, bse: 1}}", [": a.profile.bse: Profile has no field 'bse'; did you mean 'base'?"]),
        ("a: {profile: {base: -1}}", [": a.profile: Profile: base is -1.0; a number of at least 0 is needed"]),
        ("a: {profile: {base: x}}", [": a.profile.base: a number is needed, not the text 'x'"]),
        (
            "a: {stage: {}}\nb: {profile: {}}",
            [": a.stage: NamedProfile has no field 'stage'", ": b.profile: Profile needs the field 'base'"],
        ),
    ],
)
def test_a_files_faults_are_told_together_with_their_keys(tmp_path, text, faults):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_profiles(path)
    told = getattr(caught.value, "faults", (str(caught.value),))
    assert len(told) == len(faults)
    for line, fault in zip(told, faults, strict=True):
        assert line.startswith(f"{path}{fault}")
    assert len(faults) == 1 or isinstance(caught.value, InputErrors)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("roadmapp", "no latency profile 'roadmapp'; did you mean 'roadmap'?"),
        ("faq", "profile 'faq' is of a system that asks no model; it has stages' times only"),
        ("nowhere.yaml", "nowhere.yaml: cannot be read ([Errno 2] No such file or directory"),
    ],
)
def test_a_profile_that_is_not_there_is_refused_in_one_line(name, told):
    with pytest.raises(InputError) as caught:
        find_profile(name)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
