"""Paid calls: each made once and kept at once, failures let others go on, batches outlive a kill, limits hold."""

from __future__ import annotations

import sqlite3

import pytest
from paid import BATCHES, Paid, PaidInBatches
from toys import CALLS, calls, dense

from evalkit import Sweep, SweepBudget, Timing, run
from evalkit.calls import INTERRUPTED, Call, TokenUsage
from evalkit.clock import run_async
from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate.calling import batching
from evalkit.evaluate.calling.caller import Asked, Caller
from evalkit.evaluate.calling.spending import OverBudget, Spending, spent_words
from evalkit.llm.pricing import Price, Prices
from evalkit.values import Prompt

METRICS = ["TokenF1", "DollarsPerQuery", 'Tokens(kind="input")']


@pytest.fixture(autouse=True)
def asked(tmp_path, monkeypatch):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    (tmp_path / "batches").mkdir()
    monkeypatch.setenv(BATCHES, str(tmp_path / "batches"))


def value(results, metric):
    return results.summary.set_index("metric").loc[metric, "value"]


def rows(store):
    with sqlite3.connect(store.layout.journal) as connection:
        return [entry for (entry,) in connection.execute("SELECT entry FROM journal")]


def test_what_answers_cost_stands_in_the_results_and_is_paid_once(tiny, store):
    first = run(dense(generate=Paid()), tiny, METRICS, store=store)
    spent = first.manifest["spending"]
    assert spent["calls"] == len(calls()) == len(tiny.queries)
    assert value(first, "DollarsPerQuery") * len(tiny.queries) == pytest.approx(spent["dollars"], rel=1e-12)
    used = value(first, 'Tokens(kind="input")')
    assert value(first, "DollarsPerQuery") == pytest.approx((used * 5 + 500 * 25) / 1e6, rel=1e-12)
    assert [row["model"] for row in first.manifest["prices"]] == ["claude-opus-5"]
    again = run(dense(generate=Paid()), tiny, METRICS, store=store)
    assert (again.manifest["spending"]["calls"], again.digest) == (0, first.digest)


def test_a_generator_that_calls_no_model_costs_nothing(tiny, store):
    found = run(dense(), tiny, ["DollarsPer1000", "Tokens"], store=store)
    assert value(found, "DollarsPer1000") == value(found, "Tokens") == 0


def test_dollars_of_a_model_without_a_price_are_refused_before_anything_runs(tiny, store):
    with pytest.raises(InputError, match="no price for model 'house-model', which dollars are asked of; add it"):
        run(dense(generate=Paid("house-model")), tiny, METRICS, store=store)
    assert calls() == []


def test_one_failed_call_lets_the_others_be_made_and_is_made_again_by_the_next_run(tiny, store):
    word = tiny.queries.text[3].split()[-1]
    with pytest.raises(EvalkitError, match=rf"overloaded; try again later \(1 of {len(tiny.queries)} calls"):
        run(dense(generate=Paid(refuses=word)), tiny, METRICS, store=store)
    assert len(calls()) == len(tiny.queries)
    failed = [row for row in rows(store) if '"error"' in row]
    assert sum('"of"' in row for row in failed) == 1
    with pytest.raises(EvalkitError, match="overloaded"):
        run(dense(generate=Paid(refuses=word)), tiny, METRICS, store=store)
    assert len(calls()) == len(tiny.queries) + 1


def test_where_no_call_can_succeed_none_is_begun_after_the_first(tiny, store):
    with pytest.raises(EvalkitError, match=r"overloaded; try again later$"):
        run(dense(generate=Paid(refuses="", final=True, pause=0.01)), tiny, METRICS, store=store)
    assert len(calls()) == min(8, len(tiny.queries))  # those that were under way


def test_a_broken_answer_is_used_and_told_of_and_asked_for_again(tiny, store):
    word = tiny.queries.text[0].split()[0]
    broken = sum(word in text for text in tiny.queries.text)
    first = run(dense(generate=Paid(breaks=word)), tiny, METRICS, store=store)
    assert f"{broken} of {len(tiny.queries)} answers are cut short" in str(first)
    assert first.manifest["spending"]["interrupted"] == broken
    again = run(dense(generate=Paid(breaks=word)), tiny, METRICS, store=store)
    assert again.manifest["spending"]["calls"] == broken


def test_a_limit_is_never_passed_and_a_higher_one_goes_on(tiny, store):
    whole = run(dense(generate=Paid()), tiny, METRICS, store=type(store)(store.folder.parent / "other"))
    total = whole.manifest["spending"]["dollars"]
    made = len(calls())
    with pytest.raises(EvalkitError, match=r"could pass the limit of .*no system was done"):
        run(dense(generate=Paid()), tiny, METRICS, store=store, budget=SweepBudget(dollars=total * 0.7))
    some = len(calls()) - made
    assert 0 < some < len(tiny.queries)
    found = run(dense(generate=Paid()), tiny, METRICS, store=store, budget=SweepBudget(dollars=2 * total))
    assert len(calls()) - made == len(tiny.queries)
    assert found.manifest["spending"]["dollars"] < total
    assert found.table().equals(whole.table())


def test_what_a_broken_call_may_have_cost_counts_against_the_limit(tiny, store):
    generator = Paid(breaks="")
    whole = run(dense(generate=generator), tiny, METRICS, store=type(store)(store.folder.parent / "other"))
    known, made = whole.manifest["spending"]["dollars"], len(calls())
    dearest = 2 * max(
        generator.at_most(Prompt("", ("",), (document,) * 3, ("d",))) for document in tiny.documents.text
    )
    with pytest.raises(EvalkitError, match=r"is spent and up to \$.* more may be"):
        run(dense(generate=generator), tiny, METRICS, store=store, budget=SweepBudget(dollars=known + dearest))
    assert 0 < len(calls()) - made < len(tiny.queries)


def test_timing_asks_no_broken_answer_again(tiny, store):
    run(dense(generate=Paid(breaks="")), tiny, METRICS, store=store, timing=Timing(queries=4, warmup=1))
    assert len(calls()) == len(tiny.queries)


def test_batches_of_several_systems_are_waited_for_together_and_shared_calls_are_handed_in_once(
    tiny, store, tmp_path
):
    systems = {
        "again": dense(k=2, generate=PaidInBatches()),
        "other": dense(generate=PaidInBatches("claude-opus-5-5")),
    }
    found = run(Sweep(dense(generate=PaidInBatches()), systems=systems), tiny, ["TokenF1"], store=store)
    assert list(found.systems) == ["base", "again", "other"]
    assert len(calls()) == len(set(calls())) * 3 == 3 * len(tiny.queries)
    assert found.manifest["spending"]["calls"] == 3 * len(tiny.queries)


def test_systems_that_cost_nothing_are_done_whatever_the_limit(tiny, store):
    sweep = Sweep(dense(), systems={"paid": dense(generate=Paid())})
    found = run(sweep, tiny, ["TokenF1"], store=store, budget=SweepBudget(dollars=1e-9))
    assert list(found.systems) == ["base"]
    assert found.manifest["unfinished"] == ["paid"]
    assert "could pass the limit of $1e-09" in str(found)
    assert found.manifest["spending"]["calls"] == 0


async def killed(*given):
    raise RuntimeError("killed")


def test_a_batch_is_handed_in_once_and_fetched_after_a_kill(store, tmp_path, monkeypatch):
    generator = PaidInBatches()
    prompts = [Prompt(text, ("",), ("one two",), ("d",)) for text in ("a?", "b?", "c?")]
    caller = Caller(generator, store)
    todo = {caller.key(one): one for one in (Asked(prompt, 0) for prompt in prompts)}
    with monkeypatch.context() as dies:
        dies.setattr(PaidInBatches, "fetch", killed)
        with pytest.raises(RuntimeError, match="killed"):
            run_async(batching.answer_in_batches(caller, todo))
    assert len(list((tmp_path / "batches").iterdir())) == 1
    later = Caller(generator, type(store)(store.folder))
    found = run_async(batching.answer_in_batches(later, todo))
    assert [answer.text for answer in found.values()] == ["one two"] * 3
    assert len(list((tmp_path / "batches").iterdir())) == 1
    assert run_async(later(prompts[0])).text == "one two"
    assert len(calls()) == 3


def test_what_a_batch_did_not_answer_is_handed_in_anew_by_the_next_run(tiny, store, tmp_path):
    word = tiny.queries.text[2].split()[-1]
    for time in (1, 2):
        with pytest.raises(EvalkitError, match="overloaded"):
            run(dense(generate=PaidInBatches(refuses=word)), tiny, ["TokenF1"], store=store)
        assert len(list((tmp_path / "batches").iterdir())) == time
    assert len(calls()) == len(tiny.queries) + 1


def test_a_limit_holds_over_batches_that_are_not_counted_yet(tiny, store, tmp_path, monkeypatch):
    monkeypatch.setattr(batching, "_IN_A_BATCH", 2)
    whole = run(dense(generate=PaidInBatches()), tiny, METRICS, store=type(store)(tmp_path / "other"))
    total = whole.manifest["spending"]["dollars"]
    handed_in = len(list((tmp_path / "batches").iterdir()))
    with pytest.raises(EvalkitError, match="could pass the limit"):
        run(dense(generate=PaidInBatches()), tiny, METRICS, store=store, budget=SweepBudget(dollars=total))
    assert 0 < len(list((tmp_path / "batches").iterdir())) - handed_in < handed_in
    found = run(dense(generate=PaidInBatches()), tiny, METRICS, store=store)
    assert found.manifest["spending"]["dollars"] < total
    assert found.table().equals(whole.table())


def test_tokens_need_no_price_and_what_is_not_priced_is_said(tiny, store):
    found = run(dense(generate=Paid("house-model")), tiny, ["Tokens"], store=store)
    assert value(found, "Tokens") > 0
    assert spent_words(found.manifest["spending"]) == "$0.0000 on 8 calls; 8 of a model without a price: not in it"
    with pytest.raises(InputError, match=r"no tokens of this kind; there are input, .*cache_write_5m"):
        run(dense(generate=Paid()), tiny, ['Tokens(kind="cache_write")'], store=store)


def test_lower_bounds_are_called_so(tiny, store):
    word = tiny.queries.text[0].split()[0]
    broken = sum(word in text for text in tiny.queries.text)
    found = run(dense(generate=Paid(breaks=word)), tiny, ["DollarsPerQuery"], store=store)
    assert f"base: a final usage did not arrive, so tokens and dollars are lower bounds ({broken} times)" in str(
        found
    )
    assert f"of {broken} the final usage did not arrive: at least this" in spent_words(found.manifest["spending"])


def test_a_limit_needs_a_bound_for_every_system_before_any_is_paid(tiny, store):
    systems = {"other": dense(generate=Paid("house-model"))}
    with pytest.raises(InputError, match="budget: no price for model 'house-model'"):
        run(
            Sweep(dense(generate=Paid()), systems=systems),
            tiny,
            ["Tokens"],
            store=store,
            budget=SweepBudget(dollars=9),
        )
    assert calls() == []


def test_batches_say_nothing_of_latency(tiny, store):
    found = run(dense(generate=PaidInBatches()), tiny, ["TokenF1"], store=store)
    assert len(found.per_query) >= len(tiny.queries)
    with pytest.raises(InputError, match="hands in batches says nothing of latency"):
        run(dense(generate=PaidInBatches()), tiny, ["TokenF1"], store=store, timing=Timing())


def test_timing_makes_no_paid_call_again_and_takes_what_the_call_took(tiny, store):
    found = run(dense(generate=Paid()), tiny, ["TokenF1"], store=store, timing=Timing(queries=4, warmup=1))
    assert len(calls()) == len(tiny.queries)
    rows = found.summary.set_index("metric")
    assert rows.loc['Mean(stage="generate")', "value"] == pytest.approx(500)
    assert rows.loc['Mean(stage="generate")', "origin"] == rows.loc["Mean", "origin"] == "replayed"
    before = found.per_query.query("metric == 'ms'")["value"].to_numpy() - 500
    first = found.per_query.query("metric == 'FirstToken'")["value"].to_numpy()
    text = found.per_query.query("metric == 'FirstText'")["value"].to_numpy()
    assert (first > 200).all()
    assert (first - 200 <= before).all()  # what comes before the call is at most all that is not the call
    assert text - first == pytest.approx([100] * 4)


def test_calls_for_one_prompt_at_once_are_one_call(store):
    import asyncio

    caller = Caller(Paid(pause=0.02), store)
    prompt = Prompt("a?", ("",), ("one two",), ("d",))

    async def at_once():
        return await asyncio.gather(*(caller(prompt) for _ in range(5)), caller(prompt, 1))

    answers = run_async(at_once())
    assert len(calls()) == 2  # one a sample
    assert len(set(answers)) == 1


def test_bounds_are_set_aside_while_calls_are_under_way():
    spending = Spending(1.0, Prices((Price("m", "2026-01-01", 1.0, 1.0),)))
    with spending.room_now(0.6):
        spending.add(Call("m", TokenUsage(input=500_000), stop=INTERRUPTED))
    assert (spending.dollars, spending.interrupted) == (0.5, 1)
    with pytest.raises(OverBudget), spending.room_now(0.6):
        pytest.fail("was let through")
    with spending.room_now(0.5):
        assert not spending._set_aside(0.1)  # waits: what is under way may turn out to cost less
