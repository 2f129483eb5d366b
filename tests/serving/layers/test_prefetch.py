from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import dense, keywords, small_dataset

from evalkit import InputError, Service, replay
from evalkit.serving import Arrival
from evalkit.serving.layers.prefetch import Prefetch
from evalkit.serving.layers.router import Router
from evalkit.serving.routing import ByTenant, Group, Route
from evalkit.values import Answer

SECONDS = {"embed": 0.05, "search": 0.25, "assemble": 0.01}


@dataclass(frozen=True)
class LookUp:
    """A cache in another process that takes a stated time and knows some questions."""

    seconds: float = 0.1
    knows: tuple[str, ...] = ()
    at: str = "answer"

    def start(self, serving: Any) -> Any:
        async def handle(request: Any, go_on: Any) -> Any:
            await serving.clock.sleep(self.seconds)
            if request.text in self.knows:
                request.served("LookUp", "0")
                return Answer.table([Answer("known")])
            return await go_on(request)

        return handle


def served(layers, store, arrivals=("red apples", "pears fall"), variant=None, **changes):
    arrivals = [a if isinstance(a, Arrival) else Arrival(a, at=10.0 * i) for i, a in enumerate(arrivals)]
    service = Service(dense() if variant is None else variant, layers)
    return replay(service, small_dataset(), arrivals, store=store, **{"cost": SECONDS, "cores": 2, **changes})


@given(
    look_up=st.sampled_from([0.0, 0.02, 0.1, 0.3, 1.0]),
    search=st.sampled_from([0.0, 0.05, 0.25, 0.9]),
    embed=st.sampled_from([0.0, 0.015, 0.1]),
)
@settings(max_examples=25)
def test_a_miss_takes_the_longer_of_look_up_and_retrieval(shared_store, look_up, search, embed):
    cost = {"embed": embed, "search": search, "assemble": 0.01}
    one_by_one, together = (
        served(layers, shared_store, cost=cost).per_request
        for layers in ((LookUp(look_up),), (Prefetch(), LookUp(look_up)))
    )
    assert one_by_one["ms"].tolist() == pytest.approx([1000 * (look_up + embed + search + 0.01)] * 2)
    assert together["ms"].tolist() == pytest.approx([1000 * (max(look_up, embed + search) + 0.01)] * 2)
    assert together["answer"].tolist() == one_by_one["answer"].tolist()
    assert together["prefetch"].tolist() == ["used", "used"]


def test_the_roadmaps_850_ms_become_800(store):
    """Claims R5: a look-up of 50 ms beside 50 ms of embedding and 250 of search; the model takes 500."""
    cost = {"embed": 0.05, "search": 0.25, "generate": 0.5}
    times = [served(layers, store, cost=cost).per_request["ms"].tolist() for layers in
             ((LookUp(0.05),), (Prefetch(), LookUp(0.05)))]  # fmt: skip
    assert times == [pytest.approx([850, 850]), pytest.approx([800, 800])]


def test_a_hit_wastes_what_was_begun_and_waits_for_none_of_it(store):
    found = served((Prefetch(), LookUp(0.1, ("red apples",))), store)
    assert found.per_request["prefetch"].tolist() == ["wasted", "used"]
    assert found.per_request["ms"].tolist() == pytest.approx([100, 310])
    assert "assemble" not in [event.name for event in found.outcomes[0].events]


@pytest.mark.parametrize(("what", "ms"), [("embed", 660), ("retrieve", 410), ("prompt", 400)])
def test_the_further_the_seam_the_more_is_saved(store, what, ms):
    found = served((Prefetch(what), LookUp(0.4)), store)
    assert found.per_request["ms"].tolist() == pytest.approx([ms, ms])
    assert found.per_request["prefetch"].tolist() == ["used", "used"]
    hit = served((Prefetch(what), LookUp(0.4, ("red apples",))), store)
    assert hit.per_request["prefetch"].tolist() == ["wasted", "used"]


def test_behind_a_router_nothing_is_begun_that_the_route_does_not_need(store):
    router = Router(rule=ByTenant((Group("direct", ("chat",)),)), routes=(Route("direct"),))
    arrivals = [Arrival("red apples", tenant="chat"), Arrival("red apples", at=10)]
    found = served((router, Prefetch(), LookUp(0.1)), store, arrivals)
    assert found.per_request["prefetch"].tolist() == ["not needed", "used"]
    assert [event.name for event in found.outcomes[0].events if event.kind == "work"] == ["assemble"]


def test_on_one_core_what_a_hit_wastes_is_paid_for_by_others(store):
    arrivals = [Arrival("red apples"), Arrival("pears fall", at=0.01)]
    layers = (LookUp(0.1, ("red apples",)),)
    alone, beside = (
        served((*before, *layers), store, arrivals, cores=1).per_request["ms"] for before in ((), (Prefetch(),))
    )
    assert alone[1] == pytest.approx(410)
    assert 310 < beside[1] < 410  # the wasted work takes 90 ms of the core, the look-up was to take 100


def test_a_failure_of_what_nobody_needed_disturbs_nobody(store, caplog):
    from toys import FailingWords

    from evalkit.stages import Dense

    variant = dense(retrieve=Dense(FailingWords()))
    with pytest.raises(Exception, match="no memory left"):
        served((Prefetch(),), store, variant=variant)
    assert not caplog.records


def test_an_embedding_that_the_variant_does_not_make_cannot_be_begun(store):
    with pytest.raises(InputError, match="begin 'retrieve' or 'prompt'"):
        served((Prefetch("embed"),), store, variant=keywords())
    with pytest.raises(InputError, match="Prefetch: what is 'answer'"):
        Prefetch("answer")
