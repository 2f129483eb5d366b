"""A Claude behind the loopback server judges: over a real socket, with its faults and its bill."""

from __future__ import annotations

import pandas as pd
import pytest
from rule_judge import RuleJudge, Says
from toys import dense

from evalkit import run
from evalkit.llm.claude import Claude
from evalkit.llm.server.app import FakeClaude
from evalkit.llm.server.faults import Fault, Faults
from evalkit.llm.server.run import serving
from evalkit.store import DiskStore

LIE = "Moons are cheese."
JUDGED = ["Faithfulness", "AnswerRelevancy", "ContextPrecision", "ContextRecall"]


def summary(results):
    return results.summary.set_index("metric")


def test_a_claude_over_a_real_socket_judges_as_the_rules_behind_it(tiny, tmp_path):
    direct = run(dense(generate=Says(LIE)), tiny, JUDGED, judge=RuleJudge(), store=DiskStore(tmp_path / "direct"))
    with serving(FakeClaude(RuleJudge())) as server:
        judge = Claude("claude-haiku-5-5", base_url=server.url, server="here")
        store = DiskStore(tmp_path / "served")
        served = run(dense(generate=Says(LIE)), tiny, JUDGED, judge=judge, store=store)
        totals = server.ledger(rows=False)
        again = run(dense(generate=Says(LIE)), tiny, JUDGED, judge=judge, store=store)
        assert server.ledger(rows=False) == totals
    quality = [*JUDGED, *(f"{name}[failed]" for name in JUDGED)]
    pd.testing.assert_frame_equal(
        summary(served).loc[quality, ["value", "low", "high", "n"]],
        summary(direct).loc[quality, ["value", "low", "high", "n"]],
    )
    assert summary(served).loc["JudgeDollars", "value"] > 0
    assert served.manifest["spending"]["dollars"] == pytest.approx(summary(served).loc["JudgeDollars", "value"])
    assert (again.digest, again.manifest["spending"]["calls"]) == (served.digest, 0)


def test_calls_that_stay_broken_are_failed_judgements_and_made_again_by_the_next_run(tiny, tmp_path):
    faults = Faults((Fault("overloaded", at=(2, 3)), Fault("malformed_event", at=(5,))))
    with serving(FakeClaude(RuleJudge(), faults=faults)) as server:
        judge = Claude(base_url=server.url, server="here", retries=0)
        found = run(dense(generate=Says()), tiny, ["ContextRecall"], judge=judge, store=DiskStore(tmp_path / "s"))
        rows = summary(found)
        assert rows.loc["ContextRecall[failed]", "value"] == pytest.approx(3 / len(tiny.queries))
        again = run(dense(generate=Says()), tiny, ["ContextRecall"], judge=judge, store=DiskStore(tmp_path / "s"))
    assert summary(again).loc["ContextRecall", "n"] == len(tiny.queries)
    assert again.manifest["incomplete"] == {}


def test_a_spent_credit_ends_the_judging_and_says_what_to_do(tiny, store):
    with serving(FakeClaude(RuleJudge(), faults=Faults((Fault("spend_cap", share=1.0),)))) as server:
        judge = Claude(base_url=server.url, server="here")
        found = run(dense(generate=Says()), tiny, ["TokenF1", "ContextRecall"], judge=judge, store=store)
    told = [what for what in found.manifest["incomplete"] if "failed:" in what]
    assert told
    assert all("Claude" in what and "\n" not in what for what in told)
    assert summary(found).loc["TokenF1", "n"] == len(tiny.queries)
