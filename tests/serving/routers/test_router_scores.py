"""A router that was measured on recorded outcomes decides the same when it serves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from outcomes_of import made
from toys import HashedWords, dense, small_dataset

from evalkit import InputError, Service, replay
from evalkit.calls import Call, TokenUsage
from evalkit.errors import InputErrors
from evalkit.serving import Arrival
from evalkit.serving.checks import JudgedAnswer, JudgedFile, LikelyRight, NotEmpty
from evalkit.serving.layers.cascade import Cascade
from evalkit.serving.layers.router import Router
from evalkit.serving.routers.outcomes import RecordedOutcomes
from evalkit.serving.routers.scores import AnswerChecks, AnswerWrong, StrongNeeded, WordTiers
from evalkit.serving.routing import Direct, Route, When
from evalkit.testing import check_component
from evalkit.values import Answer, Prompt

WORDS = HashedWords(dimensions=64, max_length=99)


def sums_of_two(n=120, seed=0):
    """A weak model that gets long questions wrong, and then mostly writes down a sum that does not hold."""
    rng = np.random.default_rng(seed)
    prompts, answers, right = [], [], []
    for i in range(n):
        a, b, hard = int(rng.integers(1, 50)), int(rng.integers(1, 50)), bool(rng.random() < 0.4)
        wrong = hard if rng.random() < 0.8 else not hard
        prompts.append(f"{i}: what is {a} plus {b}" + " if all goes as it went before" * hard)
        value = a + b + 7 * (wrong and rng.random() < 0.9)
        answers.append((f"{a} + {b} = {value}", f"{a} + {b} = {a + b}"))
        right.append((not wrong, True))
    usd = np.column_stack([rng.uniform(1, 2, n), rng.uniform(20, 30, n)])
    return RecordedOutcomes("sums", ("weak", "strong"), tuple(prompts), tuple(answers), np.array(right, float), usd)


@dataclass(frozen=True)
class Says:
    """A model with recorded answers."""

    model: str
    said: tuple[tuple[str, str], ...]

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        return Answer(dict(self.said)[prompt.question], (), Call(self.model, TokenUsage(1, output=1)))


def models(outcomes):
    return [Says(m, tuple(zip(outcomes.prompts, (a[j] for a in outcomes.answers), strict=True)))
            for j, m in enumerate(outcomes.models)]  # fmt: skip


def served(outcomes, rows, layer, own, store):
    asked = [Arrival(outcomes.prompts[i], at=float(k)) for k, i in enumerate(rows)]
    found = replay(Service(dense(generate=own), (layer,)), small_dataset(), asked, cost={}, store=store)
    return [[call.model for call in outcome.calls] for outcome in found.outcomes]


def test_a_classifier_serves_as_it_was_measured(store):
    outcomes = sums_of_two()
    known = outcomes.parts(2, 0, "half") == 0
    router, (weak, strong) = StrongNeeded(embedder=WORDS), models(outcomes)
    scores, rows = router.scores(outcomes, known), np.flatnonzero(~known)
    threshold = float(np.median(scores[rows]))
    layer = Router(rule=router.rule(outcomes, known, threshold), routes=(Route("strong", Direct(strong)),))
    calls = served(outcomes, rows, layer, weak, store)
    assert calls == [["strong"] if scores[i] >= threshold else ["weak"] for i in rows]
    assert {"strong", "weak"} == {call for row in calls for call in row}


@pytest.mark.parametrize("embedder", [None, WORDS])
def test_a_learnt_check_serves_as_it_was_measured(store, embedder):
    outcomes = sums_of_two(seed=1)
    known = outcomes.parts(2, 0, "half") == 0
    encoder = None if embedder is None else Encodes()
    router, (weak, strong) = AnswerWrong(encoder), models(outcomes)
    scores, rows = router.scores(outcomes, known), np.flatnonzero(~known)
    threshold = float(np.median(scores[rows]))
    layer = Cascade(first=weak, checks=(router.check(outcomes, known, threshold),))
    calls = served(outcomes, rows, layer, strong, store)
    assert calls == [["weak", "strong"] if scores[i] >= threshold else ["weak"] for i in rows]
    wrong = ~outcomes.right[rows, 0]
    assert scores[rows][wrong].mean() > scores[rows][~wrong].mean() + 0.1


@dataclass(frozen=True)
class Encodes:
    """Two numbers of a text."""

    def encode(self, texts: list[str]) -> Any:
        return np.array([[len(text), text.count("=")] for text in texts], dtype=np.float32)


@pytest.mark.parametrize("router", [StrongNeeded(embedder=WORDS), AnswerWrong()])
def test_a_known_prompts_score_does_not_hang_on_its_own_outcome(router):
    outcomes = sums_of_two(seed=2)
    known = outcomes.parts(2, 0, "half") == 0
    before = router.scores(outcomes, known)
    i = int(np.flatnonzero(known)[0])
    turned = outcomes.quality.copy()
    turned[i, 0] = 1 - turned[i, 0]
    other = RecordedOutcomes("sums", outcomes.models, outcomes.prompts, outcomes.answers, turned, outcomes.usd)
    after = router.scores(other, known)
    assert after[i] == before[i]
    assert (after[~known] != before[~known]).any()  # but others learn from it
    unknown = int(np.flatnonzero(~known)[0])
    turned = outcomes.quality.copy()
    turned[unknown, 0] = 1 - turned[unknown, 0]
    other = RecordedOutcomes("sums", outcomes.models, outcomes.prompts, outcomes.answers, turned, outcomes.usd)
    np.testing.assert_array_equal(router.scores(other, known), before)


def test_word_tiers_are_the_places_of_the_rules_routes():
    outcomes, _ = made(3)
    texts = ("why is that", "which one", "hello")
    asked = RecordedOutcomes("x", outcomes.models, texts, outcomes.answers, outcomes.quality, outcomes.usd)
    assert WordTiers().scores(asked, np.ones(3, bool)).tolist() == [2.0, 1.0, 0.0]
    some = WordTiers((When("complex", words=("why",)),))
    assert some.scores(asked, np.ones(3, bool)).tolist() == [2.0, 3.0, 3.0]
    with pytest.raises(InputError, match="name every route"):
        WordTiers(tiers=("simple", "complex"))


def test_checks_that_are_there_make_a_cascade():
    outcomes, _ = made(4)
    answers = (("", "b"), ("I do not know.", "b"), ("fine", "b"), (" ", "b"))
    asked = RecordedOutcomes("x", outcomes.models, outcomes.prompts, answers, outcomes.quality, outcomes.usd)
    assert AnswerChecks().scores(asked, np.ones(4, bool)).tolist() == [1.0, 1.0, 0.0, 1.0]
    assert AnswerChecks((NotEmpty(),)).scores(asked, np.ones(4, bool)).tolist() == [1.0, 0.0, 0.0, 1.0]


def test_what_learns_needs_both_kinds():
    outcomes, _ = made(40)
    all_right = np.ones_like(outcomes.quality)
    same = RecordedOutcomes("x", outcomes.models, outcomes.prompts, outcomes.answers, all_right, outcomes.usd)
    for router in (StrongNeeded(embedder=WORDS), AnswerWrong()):
        with pytest.raises(InputError, match="all of one kind"):
            router.scores(same, np.ones(40, bool))
    with pytest.raises(InputError, match="at least 2 folds"):
        AnswerWrong(folds=1)


def test_a_learnt_check_is_a_component(tmp_path):
    path = tmp_path / "judged.jsonl"
    rows = [
        {"question": "q", "text": text, "right": right} for text, right in (("1 + 1 = 2", True), ("1 + 1 =", False))
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    check = LikelyRight(JudgedFile(str(path)))
    check_component(LikelyRight(), {"embedder": Encodes(), "examples": LikelyRight().examples[:-1]})
    check_component(JudgedFile(str(path)))
    assert check.known == (JudgedAnswer("q", "1 + 1 = 2", True), JudgedAnswer("q", "1 + 1 =", False))
    prompt = Prompt("q", (), (), ())
    assert check.wrong(Answer("2 + 2 ="), prompt) > 0.5 > check.wrong(Answer("2 + 2 = 4"), prompt)
    assert check.fault(Answer("2 + 2 ="), prompt) == "likely wrong"
    assert check.fault(Answer("2 + 2 = 4"), prompt) == ""
    assert LikelyRight(threshold=0.0).fault(Answer("2 + 2 = 4"), prompt) == "likely wrong"


@pytest.mark.parametrize(
    "wrong",
    [lambda: LikelyRight(threshold=1.1), lambda: LikelyRight(c=0.0), lambda: LikelyRight(LikelyRight().examples[:3])],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(InputError, match=r"^LikelyRight: "):
        wrong()


def test_a_file_of_judged_answers_is_refused_line_by_line(tmp_path):
    path = tmp_path / "judged.jsonl"
    path.write_text(
        '{"question": "q", "text": "t", "right": true}\n{"text": "t"}\n\n{"question": "q", "text": 1}\nx\n'
    )
    with pytest.raises(InputErrors) as caught:
        JudgedFile(str(path))
    assert [fault.removeprefix(str(path)).partition(":")[2].partition(":")[0] for fault in caught.value.faults] == [
        "2", "4", "5",
    ]  # fmt: skip
    with pytest.raises(InputError, match="cannot be read"):
        JudgedFile(str(tmp_path / "none.jsonl"))
