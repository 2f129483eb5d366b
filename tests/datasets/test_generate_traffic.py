"""Generated days: what is drawn, what is true at each time, and that the committed day is the one the code makes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.datasets import Day, Ingestion, generate_traffic, load_dataset
from evalkit.datasets.traffic import DAY, of_intent
from evalkit.errors import InputError


@pytest.fixture(scope="module")
def handbook(pytestconfig):
    return load_dataset(pytestconfig.rootpath / "datasets" / "handbook")


@pytest.fixture(scope="module")
def day(handbook):
    return generate_traffic(handbook, seed=0)


def test_the_committed_day_is_what_the_generator_makes_of_seed_0(handbook, day, tmp_path, pytestconfig):
    day.save(tmp_path / "traffic.jsonl")
    committed = pytestconfig.rootpath / "datasets" / "handbook" / "traffic.jsonl"
    assert (tmp_path / "traffic.jsonl").read_bytes() == committed.read_bytes()
    assert handbook.traffic.digest == day.digest
    assert len(day) >= 5_000


def test_another_seed_is_another_day_and_the_same_seed_the_same(handbook):
    small = Day(requests=400, bursts=1)
    first, again, other = (generate_traffic(handbook, small, seed=seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest


def test_requests_arrive_in_order_within_the_day_and_most_of_them_in_working_hours(day):
    assert (np.diff(day.at) >= 0).all()
    assert day.at[0] >= 0
    assert day.at[-1] < DAY
    assert ((day.at >= 8 * 3600) & (day.at < 18 * 3600)).mean() > 0.8


def test_bursts_stand_out_from_the_daily_curve(handbook):
    """In no ten minutes without bursts is one intent asked 40 times; with bursts it is."""

    def most_at_once(bursts):
        frame = generate_traffic(handbook, Day(bursts=bursts, zipf=0.5), seed=5).frame()
        return frame.groupby([frame["at"] // 600, "intent"]).size().max()

    assert most_at_once(0) < 20
    assert most_at_once(4) > 40


def test_popularity_of_intents_follows_zipfs_law(handbook):
    plain = Day(requests=40_000, bursts=0, conversing=0, trapped=0, tenants=(("retail", 1.0),))
    quiet = replace(handbook, events=())
    asked = Counter(generate_traffic(quiet, plain, seed=3).intent)
    counts = np.array(sorted(asked.values(), reverse=True), dtype=float)
    slope = np.polyfit(np.log(np.arange(1, 41)), np.log(counts[:40]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.1)
    assert len(asked) == sum(intent.tenant == "retail" for intent in handbook.intents.values())


def test_kinds_tenants_and_conversations_have_the_shares_that_were_asked_for(handbook):
    frame = generate_traffic(replace(handbook, events=()), Day(requests=20_000, bursts=0), seed=4).frame()
    kinds = frame["kind"].str.partition(":")[0].value_counts(normalize=True)
    assert kinds["conversation"] == pytest.approx(0.08, abs=0.005)
    assert kinds["paraphrase"] == pytest.approx(0.92 * 0.5, abs=0.02)
    assert kinds["trap"] == pytest.approx(0.92 * 0.12, abs=0.02)
    assert frame["tenant"].value_counts(normalize=True)["business"] == pytest.approx(0.25, abs=0.02)


def test_every_user_is_of_one_tenant_and_asks_for_that_tenants_intents_alone(handbook, day):
    tenants = {name: intent.tenant for name, intent in handbook.intents.items()}
    tenants |= {name: talk.tenant for name, talk in handbook.conversations.items()}
    for user, tenant, intent in zip(day.user, day.tenant, day.intent, strict=True):
        assert user.startswith(tenant)
        assert tenants[of_intent(intent)] == tenant


def test_every_text_is_one_of_its_intents_and_has_its_answer(handbook, day):
    for at, text, intent, answer, kind in zip(day.at, day.text, day.intent, day.answer, day.kind, strict=True):
        if kind == "conversation":
            name, turn = intent.split("/")
            assert text == handbook.conversations[name].turns[int(turn)].user
        elif kind.startswith("trap"):
            name, number = intent.split("!")
            trap = handbook.intents[name].traps[int(number)]
            assert (text, answer, kind) == (trap.text, trap.answer, f"trap: {trap.kind}")
        else:
            known = handbook.intents[intent]
            assert text in ({known.text} if kind == "canonical" else set(known.paraphrases))
            assert answer in {known.answer, known.before[1] if known.before else known.answer}, (at, intent)


def test_an_answer_changes_when_its_document_comes_in_and_not_before(handbook, day):
    comes = {name: event.at for event in handbook.events for name in event.added}
    changed = Counter()
    for at, intent, answer, kind in zip(day.at, day.intent, day.answer, day.kind, strict=True):
        known = handbook.intents.get(intent)
        if kind in ("canonical", "paraphrase") and known.before and known.before[0] in comes:
            late = at >= comes[known.before[0]]
            assert answer == (known.answer if late else known.before[1])
            changed[intent, late] += 1
    both = [intent for intent, late in changed if late and (intent, False) in changed]
    assert len(both) >= 20, "too few intents are asked on both sides of their change"


def test_nothing_is_asked_whose_document_is_not_there(handbook, day):
    comes = {name: event.at for event in handbook.events for name in event.added}
    goes = {name: event.at for event in handbook.events for name in event.removed}
    for at, intent, kind in zip(day.at, day.intent, day.kind, strict=True):
        if kind.startswith("trap"):
            name, number = intent.split("!")
            document = handbook.intents[name].traps[int(number)].document
            assert comes.get(document, 0) <= at < goes.get(document, DAY), (at, intent)


def test_a_conversations_turns_come_in_order_from_one_user(day):
    frame = day.frame()
    for _, turns in frame[frame["conversation"] != ""].groupby("conversation"):
        assert turns["turn"].tolist() == list(range(len(turns)))
        assert turns["user"].nunique() == 1


def test_a_split_of_the_day_holds_its_intents_alone(handbook):
    dev, test = handbook.split("dev"), handbook.split("test")
    assert len(dev.traffic) + len(test.traffic) == len(handbook.traffic)
    assert len(dev.intents) + len(test.intents) == len(handbook.intents)
    assert {of_intent(name) for name in dev.traffic.intent} <= set(dev.intents) | set(dev.conversations)


def test_a_tenant_without_intents_and_a_day_that_cannot_be_are_refused(handbook):
    with pytest.raises(InputError, match="no intent of tenant 'kiosk'"):
        generate_traffic(handbook, Day(tenants=(("kiosk", 1.0),)))
    for wrong in ({"requests": 0}, {"paraphrased": 0.9, "trapped": 0.2}, {"bursts": 100, "burst_size": 100}):
        with pytest.raises(InputError, match="Day:"):
            Day(**wrong)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(200, 900), st.floats(0, 2), st.floats(0, 0.6), st.floats(0, 0.3), st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_day_has_as_many_requests_as_were_asked_for(handbook, n, zipf, paraphrased, trapped, bursts, seed):
    wanted = Day(requests=n, zipf=zipf, paraphrased=paraphrased, trapped=trapped, bursts=bursts, burst_size=40)
    made = generate_traffic(handbook, wanted, seed=seed)
    assert len(made) == n
    assert (np.diff(made.at) >= 0).all()


def test_the_events_name_documents_of_the_data_set_in_order(handbook):
    assert len(handbook.events) >= 8
    assert [event.at for event in handbook.events] == sorted(event.at for event in handbook.events)
    assert all(isinstance(event, Ingestion) for event in handbook.events)


@pytest.mark.parametrize("day", [Day(requests=240), Day(requests=250), Day(requests=300, conversing=0.3)])
def test_a_day_that_bursts_nearly_fill_ends(handbook, day):
    assert len(generate_traffic(handbook, day, seed=2)) == day.requests


def test_a_data_set_whose_documents_are_gone_is_refused_and_does_not_hang(handbook):
    gone = replace(handbook, events=(Ingestion(0.0, (), tuple(handbook.documents.id)),))
    with pytest.raises(InputError, match="traffic: hardly a document that answers anything is there"):
        generate_traffic(gone, Day(bursts=0), seed=0)


@pytest.mark.parametrize("wrong", [{"requests": 10.5}, {"zipf": float("nan")}, {"users": "5"}, {"trapped": -0.1}])
def test_a_number_that_is_none_is_told(wrong):
    with pytest.raises(InputError, match="Day: "):
        Day(**wrong)


def test_tenants_may_be_a_mapping(handbook):
    assert Day(tenants={"retail": 1.0}).tenants == (("retail", 1.0),)
