"""Judges in a run: known verdicts, every failure counted, costs apart, a limit held, nothing judged twice."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from rule_judge import FAULTS, RuleJudge, Says, follows, sentences
from toys import CALLS, calls, dense

from evalkit import Results, Sweep, SweepBudget, run
from evalkit.errors import InputError, InputErrors
from evalkit.evaluate.judging.bench import SYSTEM, as_judge
from evalkit.llm.claude import Claude
from evalkit.llm.messages import Chat
from evalkit.metrics import parse
from evalkit.metrics.statistics import mean_interval
from evalkit.spec import dumps, loads
from evalkit.store import DiskStore
from evalkit.values import Answer, Prompt

LIE = "Moons are cheese."
JUDGED = ["Faithfulness", "AnswerRelevancy", "ContextPrecision", "ContextRecall"]
PAID = RuleJudge(model="claude-opus-5")
DOLLARS = (1000 * 5 + 200 * 25) / 1e6
"""What one call of `PAID` costs."""


@pytest.fixture(autouse=True)
def asked(tmp_path, monkeypatch):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))


def summary(results, variant="base"):
    rows = results.summary[results.summary["variant"] == variant]
    return rows.set_index("metric")


def passages(results, data, store, label="base"):
    samples = results.to_ragas(label, data, store)
    return {s.user_input: (s.retrieved_contexts or [], s.reference or "") for s in samples.samples}


def test_a_judge_that_follows_rules_gives_the_values_that_follow(tiny, store):
    sweep = Sweep(dense(generate=Says()), grid={"generate": [Says(LIE)]})
    found = run(sweep, tiny, JUDGED, judge=RuleJudge(), store=store)
    honest, liar = (summary(found, label) for label in found.systems)
    assert (honest.loc["Faithfulness", "value"], liar.loc["Faithfulness", "value"]) == (1.0, 0.5)
    recall, precision = [], []
    for texts, reference in passages(found, tiny, store, next(iter(found.systems))).values():
        recall.append(np.mean([follows(one, "\n".join(texts)) for one in sentences(reference)]))
        useful = np.array([follows(reference, text) for text in texts], dtype=float)
        at = np.cumsum(useful) / np.arange(1, len(texts) + 1)
        precision.append((at * useful).sum() / max(useful.sum(), 1))
    assert 0 < np.mean(recall) < 1
    assert honest.loc["ContextRecall", "value"] == pytest.approx(np.mean(recall))
    assert honest.loc["ContextPrecision", "value"] == pytest.approx(np.mean(precision), abs=1e-6)
    assert honest.loc["Faithfulness[failed]", "value"] == 0
    assert set(found.summary["origin"]) == {"measured"}


def test_a_second_run_asks_nothing_and_says_the_same(tiny, store):
    first = run(dense(generate=Says(LIE)), tiny, JUDGED, judge=RuleJudge(), store=store)
    made = len(calls())
    again = run(dense(generate=Says(LIE)), tiny, JUDGED, judge=RuleJudge(), store=store)
    assert len(calls()) == made > 0
    assert again.digest == first.digest
    assert again.per_query.equals(first.per_query)


def test_what_two_systems_share_is_judged_once(tiny, tmp_path):
    one = run(dense(generate=Says()), tiny, ["ContextRecall"], judge=PAID, store=DiskStore(tmp_path / "a"))
    alone = len(calls())
    sweep = Sweep(dense(generate=Says()), grid={"generate": [Says(LIE)]})
    both = run(sweep, tiny, ["ContextRecall"], judge=PAID, store=DiskStore(tmp_path / "b"))
    assert len(calls()) == 2 * alone
    bills = both.summary[both.summary["metric"] == "JudgeDollars"]["value"]
    assert bills.tolist() == pytest.approx([summary(one).loc["JudgeDollars", "value"]] * 2)
    assert both.manifest["spending"]["dollars"] == pytest.approx(bills.iloc[0])


def test_a_judges_cost_is_counted_apart_and_under_the_same_limit(tiny, store):
    found = run(dense(generate=Says()), tiny, [*JUDGED, "DollarsPerQuery"], judge=PAID, store=store)
    rows = summary(found)
    assert rows.loc["DollarsPerQuery", "value"] == 0
    assert rows.loc["JudgeCalls", "value"] == len(calls())
    assert rows.loc["JudgeTokens", "value"] == len(calls()) * 1200
    assert rows.loc["JudgeDollars", "value"] == pytest.approx(len(calls()) * DOLLARS)
    assert found.manifest["spending"]["dollars"] == pytest.approx(len(calls()) * DOLLARS)
    assert [row["model"] for row in found.manifest["prices"]] == ["claude-opus-5"]
    again = run(dense(generate=Says()), tiny, JUDGED, judge=PAID, store=store)
    assert again.manifest["spending"]["dollars"] == 0
    assert summary(again).loc["JudgeDollars", "value"] == rows.loc["JudgeDollars", "value"]


def test_a_judge_that_cannot_be_priced_is_refused_before_anything_is_paid_for(tiny, store):
    with pytest.raises(InputError, match="judge: no price for model 'claude-house'"):
        run(dense(generate=Says()), tiny, ["ContextRecall"], judge=RuleJudge(model="claude-house"), store=store)
    assert calls() == []


def test_a_judge_without_a_price_has_no_dollars(tiny, store):
    rows = summary(run(dense(generate=Says()), tiny, ["ContextRecall"], judge=RuleJudge(), store=store))
    assert "JudgeDollars" not in rows.index
    assert rows.loc["JudgeTokens", "value"] == len(calls()) * 1200


def test_repeats_are_samples_of_their_own_and_tell_the_judges_noise(tiny, store):
    metric = "ContextRecall(repeats=6)"
    steady = summary(run(dense(generate=Says()), tiny, [metric], judge=RuleJudge(), store=store))
    assert steady.loc[f"{metric}[noise]", "value"] == 0
    assert steady.loc[f"{metric}[noise]", "high"] > 0.1
    found = run(dense(generate=Says()), tiny, [metric], judge=RuleJudge(noise=0.3), store=store)
    noisy = summary(found)
    assert len(calls()) == 2 * 6 * len(tiny.queries)
    assert noisy.loc[f"{metric}[noise]", "low"] < (0.3 * 0.7) ** 0.5 < noisy.loc[f"{metric}[noise]", "high"]
    assert noisy.loc[metric, "n"] == len(tiny.queries)
    own = found.per_query[found.per_query["metric"] == metric]["value"]
    assert noisy.loc[metric, "value"] == pytest.approx(own.mean())
    assert noisy.loc[metric, "high"] - noisy.loc[metric, "low"] > 0.1
    once = summary(run(dense(generate=Says()), tiny, ["ContextRecall"], judge=RuleJudge(), store=store))
    assert "ContextRecall[noise]" not in once.index


@pytest.mark.parametrize("fault", FAULTS)
def test_every_failed_judgement_is_counted_as_failed_and_bounds_the_mean(tiny, store, fault):
    metric = "Faithfulness" if fault == "too few" else "ContextRecall"
    judge = RuleJudge(fault=fault, breaks="statements" if fault == "too few" else "ferry")
    sound = summary(run(dense(generate=Says(LIE)), tiny, [metric], judge=RuleJudge(), store=store))
    found = run(dense(generate=Says(LIE)), tiny, [metric], judge=judge, store=store)
    rows, queries = summary(found), len(tiny.queries)
    failed = round(rows.loc[f"{metric}[failed]", "value"] * queries)
    assert failed > 0
    assert rows.loc[metric, "n"] == queries - failed
    assert sum(count for what, count in found.manifest["incomplete"].items() if "failed:" in what) == failed
    worst, best = rows.loc[f"{metric}[worst]", "value"], rows.loc[f"{metric}[best]", "value"]
    assert worst <= sound.loc[metric, "value"] <= best
    assert best - worst == pytest.approx(failed / queries)
    known = found.per_query[found.per_query["metric"] == metric]
    assert len(known) == queries - failed
    assert known["value"].notna().all()
    assert "failed" in repr(found)


def test_a_failed_repeat_leaves_the_others_of_its_query(tiny, store):
    @dataclass(frozen=True)
    class Hiccups(RuleJudge):
        async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
            answer = await super().__call__(prompt, sample, clock)
            return Answer("no idea", (), answer.call) if sample == 1 else answer

    metric = "ContextRecall(repeats=3)"
    rows = summary(run(dense(generate=Says()), tiny, [metric], judge=Hiccups(), store=store))
    assert rows.loc[f"{metric}[failed]", "value"] == pytest.approx(1 / 3)
    assert rows.loc[metric, "n"] == len(tiny.queries)


def test_where_no_call_can_succeed_none_is_made_any_more_and_the_rest_of_the_run_stands(tiny, store, tmp_path):
    judge = RuleJudge(fault="failure", breaks="e", final=True)
    found = run(dense(generate=Says()), tiny, ["TokenF1", "ContextRecall"], judge=judge, store=store)
    assert 0 < len(calls()) <= 8
    rows = summary(found)
    assert rows.loc["TokenF1", "n"] == len(tiny.queries)
    assert np.isnan(rows.loc["ContextRecall", "value"])
    assert rows.loc["ContextRecall", "n"] == 0
    told = found.manifest["incomplete"]
    failed = told["base: ContextRecall failed: RuleJudge: overloaded; try again later"]
    assert failed + told.get("base: ContextRecall was not judged any more", 0) == len(tiny.queries)
    found.save(tmp_path / "kept")
    assert Results.load(tmp_path / "kept").digest == found.digest
    assert "?" in repr(found)


def test_a_judge_that_fails_time_and_again_is_asked_no_more(tiny, store):
    judge = RuleJudge(fault="failure", breaks="e")
    found = run(dense(generate=Says()), tiny, ["ContextPrecision(repeats=20)"], judge=judge, store=store)
    assert len(calls()) < 20
    assert any("was not judged any more" in what for what in found.manifest["incomplete"])
    sound = run(dense(generate=Says()), tiny, ["ContextPrecision"], judge=RuleJudge(), store=store)
    assert sound.manifest["incomplete"] == {}


def test_a_limit_is_never_passed_and_the_next_run_goes_on_from_there(tiny, store):
    sweep = Sweep(dense(generate=Says()), grid={"generate": [Says(LIE)]})
    bound = PAID.at_most(Prompt("", (), (), ()))
    limit = bound + 5 * DOLLARS
    cut = run(sweep, tiny, ["Faithfulness"], judge=PAID, budget=SweepBudget(dollars=limit), store=store)
    made = len(calls())
    assert cut.manifest["spending"]["dollars"] <= limit
    assert 5 <= made < 32
    assert any("was not judged any more" in what for what in cut.manifest["incomplete"])
    whole = run(sweep, tiny, ["Faithfulness"], judge=PAID, store=store)
    assert whole.manifest["incomplete"] == {}
    assert whole.manifest["spending"]["calls"] == len(calls()) - made
    assert whole.manifest["spending"]["dollars"] == pytest.approx((len(calls()) - made) * DOLLARS)
    assert all(summary(whole, label).loc["Faithfulness", "n"] == len(tiny.queries) for label in whole.systems)


def test_an_interrupt_keeps_what_was_judged_and_a_second_run_finishes(tiny, store):
    metric, every = "ContextRecall(repeats=4)", 4 * len(tiny.queries)
    found = run(dense(generate=Says()), tiny, ["TokenF1", metric], judge=Interrupts(), store=store)
    made = len(calls())
    assert 3 <= made < every
    assert summary(found).loc["TokenF1", "n"] == len(tiny.queries)
    assert made // 4 <= summary(found).loc[metric, "n"] <= made
    assert found.manifest["incomplete"][f"base: {metric} was not judged any more"] == every - made
    whole = run(dense(generate=Says()), tiny, ["TokenF1", metric], judge=Interrupts(), store=store)
    assert (len(calls()), whole.manifest["incomplete"]) == (every, {})


@dataclass(frozen=True)
class Interrupts(RuleJudge):
    """Presses Ctrl-C when it is asked for the third time, and works one question at a time."""

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        async with _turn():
            answer = await super().__call__(prompt, sample, clock)
            if len(calls()) == 3:
                os.kill(os.getpid(), signal.SIGINT)
                await clock.sleep(0.3)
        return answer


def _turn():
    import asyncio

    loop = asyncio.get_running_loop()
    if not hasattr(loop, "one_at_a_time"):
        loop.one_at_a_time = asyncio.Semaphore(1)
    return loop.one_at_a_time


def test_systems_are_compared_on_the_queries_that_were_judged_of_both(tiny, store):
    sweep = Sweep(dense(generate=Says()), grid={"generate": [Says(LIE)]})
    judge = RuleJudge(fault="garbage", breaks="euros")
    found = run(sweep, tiny, ["Faithfulness"], judge=judge, store=store)
    comparison = next(iter(found.compare().by_metric["Faithfulness"].values()))
    wide = found.per_query[found.per_query["metric"] == "Faithfulness"].pivot(
        index="query", columns="variant", values="value"
    )
    assert comparison.n == len(wide.dropna()) < len(tiny.queries)
    assert list(found.compare().by_metric) == ["Faithfulness", "PromptTokens"][:1]


def test_a_generator_is_told_to_judge_unless_it_has_instructions_of_its_own():
    told = as_judge(Claude())
    assert told == Claude(chat=Chat(system=SYSTEM))
    own = Claude(chat=Chat(system="Be strict."))
    assert as_judge(own) is own
    assert as_judge(RuleJudge()) == RuleJudge()


def test_an_error_that_is_no_failed_call_ends_the_run(tiny, store):
    @dataclass(frozen=True)
    class Broken:
        version: ClassVar[int] = 1
        stage: ClassVar[str] = "generate"

        async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
            raise InputError("Broken: base_url is missing")

    with pytest.raises(InputError, match="base_url is missing"):
        run(dense(generate=Says()), tiny, ["ContextRecall"], judge=Broken(), store=store)


SPEC = """
name: judged
dataset: datasets/tiny
sweep:
  base: {Variant: {retrieve: BM25}}
metrics: [MRR@10, "Faithfulness(repeats=3)", AnswerRelevancy]
judge: {Claude: {model: claude-haiku-5-5, max_tokens: 2048}}
"""


def test_a_judge_is_named_in_a_spec_and_written_back():
    experiment = loads(SPEC)
    assert experiment.judge == Claude("claude-haiku-5-5", max_tokens=2048)
    assert experiment.metrics[1] == parse("Faithfulness(repeats=3)")
    assert loads(dumps(experiment)) == experiment


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("judge: {Claude: {modle: x}}", "Claude has no field 'modle'; did you mean 'model'?"),
        ("judge: BM25", "BM25 cannot stand here"),
        ("judge: {Claude: {batched: true}}", "asks one question after another"),
        ("race: {metric: AnswerRelevancy}\njudge: Claude", "is judged when all systems are done"),
    ],
)
def test_a_judge_that_cannot_be_one_is_told_with_its_line(line, what):
    text = SPEC.replace("judge: {Claude: {model: claude-haiku-5-5, max_tokens: 2048}}", line)
    with pytest.raises(InputErrors) as caught:
        loads(text, "spec.yaml")
    assert what in str(caught.value)
    assert "spec.yaml:" in str(caught.value)


def test_the_mean_of_one_judgement_each_has_the_usual_interval(tiny, store):
    found = run(dense(generate=Says(LIE)), tiny, ["ContextPrecision"], judge=RuleJudge(), store=store)
    own = found.per_query[found.per_query["metric"] == "ContextPrecision"].sort_values("query")["value"]
    usual = mean_interval(own.to_numpy(), seed=0)
    row = summary(found).loc["ContextPrecision"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx((usual.value, usual.low, usual.high))
