"""Random stacks of every layer that keeps or shares what it gave: whatever they do, each answer is the right one."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords, dense, small_dataset

import evalkit
from evalkit import Service, Variant
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival, Cache, layers
from evalkit.serving.keeping.kept import OTHER_RUN
from evalkit.serving.keeping.keys import normalise
from evalkit.serving.layers.coalesce import Coalesce
from evalkit.serving.layers.history import ConversationHistory
from evalkit.serving.state.levels import Levels
from evalkit.serving.state.memory import Memory
from evalkit.serving.state.sqlite import SQLite
from evalkit.stages import Dense, TopK
from evalkit.values import Answer, Prompt

replay = functools.partial(evalkit.replay, keep=True)

SEMANTIC = hasattr(layers, "SemanticCache")
TEXTS = ("red apples", " Red  APPLES", "pears fall", "who judges plums", "blue plums grow")
SECONDS = 0.75


@dataclass(frozen=True)
class Telltale:
    """Answers with all that it may depend on: its name, the question, what was said, the passages."""

    model: str

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        await clock.sleep(SECONDS)
        told = (self.model, prompt.question, *map(beginning, prompt.history), *prompt.passages)
        return Answer(" | ".join(told), prompt.sources)


def beginning(text: str) -> str:
    """The beginning of what was said: answers that repeat all that was said before would grow without end."""
    return normalise(text)[:60]


def variant(model: str, k: int, passages: int) -> Variant:
    return dense(
        retrieve=Dense(HashedWords(dimensions=512), k=k), assemble=TopK(k=passages), generate=Telltale(model)
    )


VARIANTS = (variant("small", 3, 2), variant("large", 3, 2), variant("small", 3, 3), variant("small", 1, 2))
UNTIL = st.sampled_from(["ingestion", "ingestion touches it"])
WRITE = st.sampled_from(["before", "behind"])


@st.composite
def stacks(draw: Any) -> tuple[tuple[Any, ...], float | None]:
    """Layers in any order, of one TTL, without their storage; and the TTL."""
    ttl = draw(st.sampled_from([None, 1.0, 4.0]))
    key = st.sampled_from(["question", "context", "context set"])
    caches = st.builds(Cache, at=st.just("answer"), key=key, ttl=st.just(ttl), until=UNTIL, write=WRITE)
    parts = st.builds(
        Cache, at=st.sampled_from(["retrieve", "prompt", "embed"]), ttl=st.just(ttl), until=UNTIL, write=WRITE
    )
    shared = st.builds(Coalesce, at=st.just("answer"), key=key)
    parts_shared = st.builds(Coalesce, at=st.sampled_from(["retrieve", "prompt", "embed"]))
    kinds = [caches, parts, shared, parts_shared]
    if SEMANTIC:
        from evalkit.serving.semantic.decisions import Threshold

        semantic = layers.SemanticCache
        near = {"rule": st.just(Threshold(1.0)), "ttl": st.just(ttl), "until": UNTIL, "write": WRITE}
        kinds.append(st.builds(semantic, guard=st.sampled_from(["corpus", "context"]), **near))
        kinds.append(st.builds(semantic, at=st.just("retrieve"), **near))
    return tuple(draw(st.lists(st.one_of(kinds), min_size=1, max_size=5))), ttl


@st.composite
def traffic(draw: Any) -> list[Arrival]:
    """Requests of tenants, some at once; within a conversation one after the other."""
    steps = st.tuples(
        st.sampled_from([0.0, 0.25, 1.0]),
        st.sampled_from(TEXTS),
        st.sampled_from(["", "a", "b"]),
        st.sampled_from(["", "", "c", "d"]),
    )
    now, found = 0.0, []
    for wait, text, tenant, conversation in draw(st.lists(steps, min_size=3, max_size=14)):
        now += 2.0 if conversation else wait
        found.append(Arrival(text, at=now, tenant=tenant, conversation=conversation))
    return found


INGESTIONS = st.lists(
    st.tuples(st.sampled_from([1.125, 3.125, 6.125]), st.sampled_from(["d1", "d2", "d3"])),
    max_size=2,
    unique_by=(lambda p: p[0], lambda p: p[1]),
).map(lambda pairs: [Ingestion(at, (), (name,)) for at, name in sorted(pairs)])


def storages(kind: str, folder: str) -> Any:
    file = SQLite(path=str(Path(folder) / "state.sqlite"))
    return {"memory": Memory(), "sqlite": file, "levels": Levels((Memory(), file))}[kind]


def served(layers: Sequence[Any], of: Variant, arrivals: Any, events: Any, store: Any) -> Any:
    service = Service(of, (ConversationHistory(), *layers))
    return replay(service, small_dataset(), arrivals, cores=2, cost={}, events=events, store=store)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "levels"])
@given(stacks(), traffic(), INGESTIONS, st.lists(st.sampled_from(VARIANTS), min_size=2, max_size=3))
@settings(max_examples=40)
def test_every_answer_is_that_of_the_same_service_without_layers(
    shared_store, kind, stack, arrivals, events, variants
):
    stacked, ttl = stack
    with tempfile.TemporaryDirectory() as folder:
        storage = storages(kind, folder)
        stacked = tuple(replace(one, storage=storage) if hasattr(one, "storage") else one for one in stacked)
        for one in variants:  # one service after the other, on what those before it left there
            found = served(stacked, one, arrivals, events, shared_store)
            fresh = served((), one, arrivals, events, shared_store)
            assert found.failures == {}
            for got, wanted in zip(found.outcomes, fresh.outcomes, strict=True):
                assert got.outcome == "answered"
                assert normalise(got.answers.text[0]) == normalise(wanted.answers.text[0])
                assert list(got.answers.cited[0]) == list(wanted.answers.cited[0])
            check_makers(found, ttl)


def check_makers(found: Any, ttl: float | None) -> None:
    """Nothing outlives its TTL, by what layers say and by when it was made, nor leaves its tenant and its talk."""
    for outcome in found.outcomes:
        ages = [value for name, value in outcome.notes.items() if name.endswith(" age")]
        assert all(age >= 0 and (ttl is None or age < ttl) for age in ages)
        by = str(outcome.notes.get("made_by", OTHER_RUN))
        if not by.startswith(OTHER_RUN):
            maker = found.outcomes[int(by)]
            assert maker.arrival.tenant == outcome.arrival.tenant
            assert maker.notes.get("turns", 0) == outcome.notes.get("turns", 0)
            assert "made_by" not in maker.notes or maker.notes["made_by"] == by
            assert ttl is None or outcome.arrived - maker.ended < ttl


def test_the_traffic_of_these_tests_does_hit(store):
    """Else nothing was shown."""
    arrivals = [Arrival(text, at=float(i), tenant="a") for i, text in enumerate([*TEXTS, *TEXTS])]
    found = served((Cache(), Coalesce(), Cache("embed")), VARIANTS[0], arrivals, (), store)
    assert found.per_request["cache[answer]"].tolist() == ["miss", "hit", "miss", "miss", "miss", *["hit"] * 5]
