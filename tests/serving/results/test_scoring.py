"""Wrong hits are counted by intents and reference answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes_made import call, hit, outcome
from toys import dense

from evalkit import InputError, Service, replay
from evalkit.metrics import CacheRecall, ServedWrong, TokenF1, WrongShare
from evalkit.metrics.statistics import proportion_interval
from evalkit.serving import Arrival, Cache, Replay


def judged(*outcomes, warm=()) -> list[tuple[bool | None, bool | None]]:
    rows = Replay(outcomes, "modelled", warm=warm).per_request
    return list(zip(rows["wrong"], rows["stale"], strict=True))


@pytest.mark.parametrize(
    ("asked", "wrong", "stale"),
    [
        ({"intent": "fee", "answer": "EUR 5"}, False, False),
        ({"intent": "fee", "answer": "EUR 6"}, True, True),
        ({"intent": "fee!0", "answer": "EUR 5"}, True, False),
        ({"intent": "fee!0", "answer": "EUR 6"}, True, False),
        ({"intent": "fee", "answer": "EUR 5", "tenant": "other"}, True, False),
        ({"intent": "fee"}, None, None),
        ({"answer": "EUR 5"}, None, None),
    ],
)
def test_a_hit_is_right_for_the_same_intent_and_the_same_answer_only(asked, wrong, stale):
    maker = outcome(0, intent="fee", answer="EUR 5", tenant="mine")
    assert judged(maker, hit(1, 0, **{"tenant": "mine", **asked}))[1] == (wrong, stale)


def test_a_hit_on_the_trap_is_as_wrong_as_the_traps_hit_on_its_base():
    trap = outcome(0, intent="fee!0", answer="no")
    assert judged(trap, hit(1, 0, intent="fee", answer="no"))[1] == (True, False)


def test_entries_of_another_run_are_unknown_and_those_of_the_warm_requests_are_not():
    warm = [outcome(-1, intent="fee", answer="x")]
    asked = {"intent": "fee", "answer": "x"}
    found = judged(hit(0, -1, **asked), hit(1, "another run", **asked), hit(2, "", **asked), warm=warm)
    assert found == [(False, False), (None, None), (None, None)]
    assert judged(hit(0, -1, **asked)) == [(None, None)]


def test_what_missed_is_neither_right_nor_wrong():
    assert judged(outcome(0, intent="fee", answer="x")) == [(None, None)]


def test_a_request_should_hit_when_its_answer_had_been_given_before_it_came():
    same = {"intent": "a", "answer": "x", "tenant": "t"}
    outcomes = [
        outcome(0, arrived=0.0, took=5.0, **same),
        outcome(1, arrived=4.0, **same),
        outcome(2, arrived=5.0, **same),
        outcome(3, arrived=9.0, **{**same, "tenant": "u"}),
        outcome(4, arrived=9.0, **{**same, "answer": "y"}),
        outcome(5, arrived=9.0, **{**same, "intent": "a!0"}),
        outcome(6, arrived=9.0, took=0.0, intent="new", answer="z"),
    ]
    should = Replay(outcomes, "modelled").lookups().should_hit
    assert should is not None
    assert should.tolist() == [False, False, True, False, False, False, False]


def test_what_was_refused_gave_no_answer_that_could_be_kept():
    same = {"intent": "a", "answer": "x"}
    found = Replay([outcome(0, became="refused", **same), outcome(1, arrived=9.0, **same)], "modelled").lookups()
    assert found.should_hit is not None
    assert found.should_hit.tolist() == [False, False]


def test_an_answer_that_was_made_while_the_request_waited_counts_as_one_to_be_had():
    same = {"intent": "a", "answer": "x"}
    found = Replay([outcome(0, took=5.0, **same), hit(1, 0, arrived=1.0, took=4.0, **same)], "modelled").lookups()
    assert found.should_hit is not None
    assert found.should_hit.tolist() == [False, True]
    assert CacheRecall().of(found).value == 1.0


def table(found: Replay) -> dict[tuple[str, str], tuple[float, float, float, int, str]]:
    return {
        (row.kind, row.metric): (row.value, row.low, row.high, row.n, row.of) for row in found.caching.itertuples()
    }


def mixed() -> Replay:
    paraphrase, trap = {"kind": "paraphrase"}, {"kind": "trap: negation"}
    made = call(seconds=2.0)
    outcomes = [
        outcome(0, intent="a", answer="x", kind="canonical", calls=[made]),
        hit(1, 0, arrived=2.0, intent="a", answer="x", made=made, **paraphrase),
        hit(2, 0, arrived=3.0, intent="a", answer="y", made=made, **paraphrase),
        hit(3, 0, arrived=4.0, intent="a!0", answer="no", made=made, **trap),
        outcome(4, arrived=5.0, intent="a!1", answer="no", **trap),
        hit(5, "elsewhere", arrived=6.0, intent="a", answer="x", made=made, **paraphrase),
        outcome(6, arrived=7.0, became="refused", intent="a", answer="x", **paraphrase),
        outcome(7, arrived=8.0, kind="canonical"),
    ]
    return Replay(outcomes, "modelled")


def test_every_share_names_its_denominator_and_has_clopper_and_pearsons_interval():
    rows = table(mixed())
    expected = {
        ("all", "HitRate"): (4, 8, "requests"),
        ("all", "HitRate: cache"): (4, 8, "requests"),
        ("all", "unjudged"): (1, 4, "hits"),
        ("all", "WrongShare"): (2, 3, "judged hits"),
        ("all", "stale"): (1, 3, "judged hits"),
        ("all", "CachePrecision"): (1, 3, "judged hits"),
        ("all", "ServedWrong"): (2, 6, "judged requests"),
        ("all", "CacheRecall"): (1, 2, "judged requests that should hit"),
        ("all", "FalseHitRate"): (2, 4, "judged requests that should miss"),
        ("trap: negation", "HitRate"): (1, 2, "requests"),
        ("trap: negation", "WrongShare"): (1, 1, "judged hits"),
        ("paraphrase", "WrongShare"): (1, 2, "judged hits"),
        ("paraphrase", "HitRate"): (3, 4, "requests"),
        ("canonical", "HitRate"): (0, 2, "requests"),
    }
    for key, (events, n, of) in expected.items():
        e = proportion_interval(events, n)
        assert rows[key] == (pytest.approx(e.value), pytest.approx(e.low), pytest.approx(e.high), n, of), key


def test_kinds_add_up_to_all():
    rows = table(mixed())
    for name in ("HitRate", "unjudged", "WrongShare", "stale", "saved $", "saved s"):
        parts = [rows[kind, name] for kind in ("canonical", "paraphrase", "trap: negation")]
        events = [p[0] if name.startswith("saved") else p[0] * p[3] if p[3] else 0.0 for p in parts]
        whole = rows["all", name]
        assert sum(events) == pytest.approx(whole[0] if name.startswith("saved") else whole[0] * whole[3])


def test_what_caches_saved_is_what_the_answers_had_cost_and_taken():
    found = mixed()
    price = found.per_request["usd"][0]
    rows = table(found)
    assert price > 0
    assert rows["all", "saved $"][0] == pytest.approx(4 * price)
    assert rows["all", "saved s"][0] == pytest.approx(8.0)
    assert rows["trap: negation", "saved s"][0] == pytest.approx(2.0)


def test_levels_of_a_cache_divide_by_all_requests():
    levels = [("cache: memory", 3), ("cache: redis", 2)]
    names = [name for name, count in levels for _ in range(count)]
    hits = [outcome(i, notes={"hit": name, "made_by": "0"}) for i, name in enumerate(names)]
    rows = table(Replay([*hits, *(outcome(9 + i) for i in range(5))], "modelled"))
    assert rows["all", "HitRate: cache: memory"][::3] == (0.3, 10)
    assert rows["all", "HitRate: cache: redis"][::3] == (0.2, 10)
    assert rows["all", "HitRate"][0] == 0.5


def test_without_a_label_nothing_is_judged_and_nothing_fails():
    found = Replay([outcome(0), hit(1, 0)], "modelled")
    assert len(found.lookups().hit) == 0
    rows = table(found)
    assert math.isnan(rows["all", "WrongShare"][0])
    assert rows["all", "unjudged"][0] == 1.0
    with pytest.raises(InputError, match="no request of kind 'trap'"):
        found.lookups("trap")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x", "y"]), st.integers(-1, 9)), max_size=20))
def test_any_labels_give_lookups_that_agree_with_the_rows(rows):
    outcomes = []
    for i, (intent, answer, maker) in enumerate(rows):
        made = {"arrived": float(i), "took": 0.5, "intent": intent, "answer": answer}
        outcomes.append(hit(i, maker, **made) if 0 <= maker < i else outcome(i, **made))
    found = Replay(outcomes, "modelled")
    if not rows:
        return
    wrong = [w for w in found.per_request["wrong"] if w is not None]
    looked = found.lookups()
    assert looked.hit.sum() == len(wrong)
    assert (looked.hit & ~looked.right).sum() == sum(wrong)
    if wrong:
        assert WrongShare().of(looked).value == pytest.approx(np.mean(wrong))


def test_intervals_can_allow_for_requests_of_one_intent():
    rng = np.random.default_rng(2)
    outcomes = [outcome(i, intent=f"i{i}", answer="x") for i in range(10)]
    for i in range(10, 200):
        maker = int(rng.integers(0, 10))
        intent = f"i{maker}" if maker % 2 else f"i{maker}!0"
        outcomes.append(hit(i, maker, arrived=float(i), intent=intent, answer="x"))
    found = Replay(outcomes, "modelled")
    plain, clustered = (ServedWrong().of(found.lookups(clustered=c)) for c in (False, True))
    assert plain.value == clustered.value
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)


def test_quality_is_token_f1_of_what_was_served_and_zero_where_nothing_was():
    outcomes = [
        outcome(0, text="six weeks", answer="six weeks"),
        outcome(1, text="about six weeks or so", answer="six weeks"),
        outcome(2, became="refused", answer="six weeks"),
        outcome(3),
    ]
    found = Replay(outcomes, "modelled").quality
    expected = TokenF1().score(["six weeks", "about six weeks or so", ""], [["six weeks"]] * 3)
    np.testing.assert_array_equal(found[:3], expected)
    assert found[2] == 0.0
    assert math.isnan(found[3])


def test_a_real_replay_finds_a_cache_that_ingestion_should_have_emptied(tiny, store):
    """The reference answer changes between two requests of one intent; the cache does not notice."""
    question = tiny.queries.text[0]
    asked = [
        Arrival(question, t, intent="fare", answer=answer, kind="canonical")
        for t, answer in [(0.0, "EUR 5"), (10.0, "EUR 5"), (20.0, "EUR 6")]
    ]
    found = replay(Service(dense(), (Cache(),)), tiny, asked, cost={"generate": 1.0}, store=store)
    assert found.per_request["wrong"].tolist() == [None, False, True]
    assert found.per_request["stale"].tolist() == [None, False, True]
