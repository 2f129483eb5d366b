"""Routing on what two models really answered: RouteLLM's GSM8K responses (Ong et al. 2024)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
from toys import HashedWords, dense, small_dataset

from evalkit import Service, replay
from evalkit.calls import Call, TokenUsage
from evalkit.serving import Arrival
from evalkit.serving.layers.router import Router
from evalkit.serving.routing import Classifier, Direct, Example, Route
from evalkit.values import Answer, Prompt

WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"


@cache
def recorded(path: str) -> dict[str, dict[str, str]]:
    csv.field_size_limit(10**7)
    with open(path, encoding="utf-8", newline="") as file:
        return {row["prompt"]: row for row in csv.DictReader(file)}


@dataclass(frozen=True)
class Recorded:
    """A model's recorded responses."""

    model: str
    path: str

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        text = recorded(self.path)[prompt.question][f"{self.model}_response"]
        return Answer(text, (), Call(self.model, TokenUsage(output=len(text))))


@dataclass(frozen=True)
class Perfect:
    """Knows which questions the weak model gets right, and sends it those; the strong one gets the rest."""

    path: str

    names: ClassVar[tuple[str, ...]] = ("weak",)

    def needs(self, nodes: Any) -> tuple[()]:
        return ()

    def start(self, serving: Any) -> Any:
        async def decide(request: Any) -> str:
            return "weak" if recorded(self.path)[request.text][WEAK] == "True" else ""

        return decide


@pytest.fixture
def path(needs_shared) -> str:
    return str(needs_shared("routellm") / "gsm8k_responses.csv")


def asked(path, questions, layers, store, own=STRONG):
    variant = dense(generate=Recorded(own, path))
    arrivals = [Arrival(text, at=float(i)) for i, text in enumerate(questions)]
    found = replay(Service(variant, layers), small_dataset(), arrivals, cost={}, store=store)
    models = [outcome.calls[0].model for outcome in found.outcomes]
    assert [len(outcome.calls) for outcome in found.outcomes] == [1] * len(arrivals)
    rows = recorded(path)
    right = [rows[text][model] == "True" for text, model in zip(questions, models, strict=True)]
    for outcome, model in zip(found.outcomes, models, strict=True):
        assert outcome.answers.text[0] == rows[outcome.arrival.text][f"{model}_response"]
    return float(np.mean(right)), models.count(STRONG) / len(models)


def test_a_perfect_router_is_better_than_the_strong_model_and_asks_it_a_third_of_the_questions(path, store):
    questions = list(recorded(path))
    direct = Route("weak", Direct(Recorded(WEAK, path)))
    assert asked(path, questions, (), store, WEAK) == pytest.approx((0.638, 0.0), abs=5e-4)
    assert asked(path, questions, (), store) == pytest.approx((0.857, 1.0), abs=5e-4)
    routed = Router(rule=Perfect(path), routes=(direct,))
    assert asked(path, questions, (routed,), store) == pytest.approx((0.929, 1 - 0.638), abs=5e-4)


def test_a_threshold_trades_cost_against_quality(path, store):
    questions = list(recorded(path))
    known, new = questions[::2], questions[1::2]
    examples = tuple(Example(text, "weak" if recorded(path)[text][WEAK] == "True" else "strong") for text in known)
    shares, rights = [], []
    for at_least in (1.0, 0.75, 0.6, 0.0):
        rule = Classifier(
            examples,
            "logistic",
            at_least=at_least,
            prefer="weak",
            embedder=HashedWords(dimensions=256, max_length=99),
        )
        router = Router(rule=rule, routes=(Route("weak", Recorded(WEAK, path)),))
        right, share = asked(path, new, (router,), store)
        shares.append(share)
        rights.append(right)
    assert shares[0] == 1.0
    assert shares[-1] == 0.0
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 4
    # strong alone, two mixtures, weak alone: less money, fewer right answers
    assert rights == sorted(rights, reverse=True)
