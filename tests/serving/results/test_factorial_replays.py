"""What switches do together: full designs of replays of the same traffic, promises and claims."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from outcomes_made import RefusesEvery, call, hit, outcome
from toys import dense

from evalkit import InputError, Service, replay
from evalkit.llm.extractive import Extractive
from evalkit.llm.messages import NO_ANSWER, Breakpoints, Chat
from evalkit.llm.modelled import Modelled
from evalkit.metrics.statistics.factorial import standard_order
from evalkit.serving import Arrival, Cache, Replay
from evalkit.serving.layers import Router
from evalkit.serving.results.factorial import Factorial, factorial
from evalkit.spec import load_replay

MARKS = Breakpoints(system="5m", context="5m")
MS = {"cache": -300.0, "router": -200.0}


def made(term: tuple[str, ...], n: int = 60, *, together: float = 0.0) -> Replay:
    """Requests of 1 s on average, quicker by what is on."""
    took = 1.0 + sum(MS[f] for f in term) / 1e3 + together * (len(term) == 2)
    rows = [
        outcome(i, arrived=10.0 * i, took=took + 0.01 * (i % 7), intent="i", answer="the answer") for i in range(n)
    ]
    return Replay(rows, "modelled")


def design(**given: float) -> dict[tuple[str, ...], Replay]:
    return {term: made(term, **given) for term in ((), ("cache",), ("router",), ("cache", "router"))}


def row(table, **wanted):
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_switches_that_add_up_are_told_from_those_that_do_not():
    found = factorial(design())
    for metric in ("Mean", "P50", "P95"):
        assert row(found.effects, metric=metric, term="cache")["value"] == pytest.approx(-300)
        assert row(found.effects, metric=metric, term="cache x router")["value"] == 0
    for metric in ("Mean", "P95"):
        assert row(found.additive, metric=metric, how="sum")["difference"] == 0
    found = factorial(design(together=0.15))
    assert row(found.effects, metric="P95", term="cache x router")["value"] == pytest.approx(75)
    assert row(found.effects, metric="P95", term="cache")["value"] == pytest.approx(-225)
    gap = row(found.additive, metric="P95", how="sum")
    assert gap["measured"] - gap["promised"] == gap["difference"] == pytest.approx(150)
    assert gap["low"] > 149
    assert gap["p"] < 0.01
    when = {w: row(found.first_and_last, metric="Mean", factor="router", when=w)["value"] for w in ("alone", "last")}
    assert when == {"alone": pytest.approx(-200), "last": pytest.approx(-50)}


def test_a_document_is_held_to_what_it_states_and_to_what_that_adds_up_to():
    stated = {"Mean": {"cache": (850, 600), "router": (850, 690), "all": (850, 200)}}
    found = factorial(design(together=0.15), stated=stated).claimed.set_index(["term", "how"])
    base = 1000 + 10 * np.mean(np.arange(60) % 7)
    assert found.loc[("cache", "stated"), "change"] == pytest.approx(-250 / 850)
    assert found.loc[("cache", "stated"), "measured"] == pytest.approx(-300 / base)
    assert found.loc[("all", "sum"), "after"] == 850 - 250 - 160
    assert found.loc[("all", "product"), "after"] == pytest.approx(600 * 690 / 850)
    assert found.loc[("all", "stated"), "measured"] == pytest.approx(-350 / base)
    assert found["verdict"].to_dict() == {
        ("cache", "stated"): "fail", ("router", "stated"): "pass", ("all", "stated"): "fail", ("all", "sum"): "fail",
        ("all", "product"): "fail",
    }  # fmt: skip
    some = factorial(design(), stated={"Mean": {"all": (1, 0.2)}}).claimed
    assert list(some["how"]) == ["stated"]  # nothing is added up that is not stated


def test_wrong_hits_and_weaker_answers_are_told_apart():
    labels = [{"asked": "q", "intent": f"i{i % 2}", "answer": "ten euros a month"} for i in range(40)]
    right = [outcome(i, arrived=9.0 * i, text="ten euros a month", **labels[i]) for i in range(40)]
    cached = [hit(i, i - 1, arrived=9.0 * i, text="ten euros a month", **labels[i]) if i % 4 == 1 else right[i]
              for i in range(40)]  # fmt: skip
    poor = ("ten euros", "ten pounds", NO_ANSWER)
    weaker = [o if i % 5 else outcome(i, arrived=9.0 * i, text=poor[i // 5 % 3], **labels[i])
              for i, o in enumerate(right)]  # fmt: skip
    found = factorial({"nothing": Replay(right, "modelled"), "cache": Replay(cached, "modelled")})
    assert row(found.effects, metric="ServedWrong")["value"] == 0.25  # of another intent, though the words are alike
    assert row(found.effects, metric="worse")["value"] == 0
    found = factorial({"nothing": Replay(right, "modelled"), "router": Replay(weaker, "modelled")})
    values = {m: row(found.effects, metric=m)["value"] for m in ("ServedWrong", "worse", "lost", "declined")}
    assert values == {"ServedWrong": 0, "worse": 8 / 40, "lost": 5 / 40, "declined": 2 / 40}


def test_hits_that_nobody_can_judge_are_left_out_of_all_cells():
    plain = [outcome(i, intent="i" if i < 10 else "", answer="x") for i in range(20)]
    judged = [hit(i, 0, intent="i", answer="x") if i == 1 else o for i, o in enumerate(plain)]
    found = factorial({(): Replay(plain, "modelled"), ("cache",): Replay(judged, "modelled")})
    assert found.measured["ServedWrong"].n == 10
    assert found.measured["HitRate"].n == 20


@pytest.fixture(scope="module")
def served(tiny, shared_store) -> Factorial:
    """A cache, a prompt cache and a layer that refuses, in all combinations, by real replays."""
    texts = [tiny.queries.text[i * 5 % 8] for i in range(80)]
    traffic = [Arrival(text, 20.0 * i, intent=text, answer=text) for i, text in enumerate(texts)]
    reader = Extractive(dense().retrieve.embedder)

    def service(cache: bool, prompt: bool, refusing: bool) -> Service:
        chat = Chat(documents="system", breakpoints=MARKS if prompt else Breakpoints())
        model = Modelled(reader, "roadmap-prompt-cache", chat=chat, cache="served")
        layers = ((RefusesEvery(8),) if refusing else ()) + ((Cache(),) if cache else ())
        return Service(dense(generate=model), layers)

    names = ("cache", "prompt", "refusing")
    return factorial({
        frozenset(n for n, on in zip(names, switched, strict=True) if on): replay(
            service(*switched), tiny, traffic, cost={"search": 0.1, "lookup": 0.05}, store=shared_store
        )
        for switched in product((False, True), repeat=3)
    }, names)  # fmt: skip


def test_a_cache_takes_away_the_repeats_that_a_prompt_cache_would_have_read(served):
    read = {term: r.per_request["cache_read_tokens"].sum() for term, r in served.replays.items()}
    assert read["prompt",] > 0
    assert read["cache", "prompt"] < read["prompt",] / 2
    both = row(served.effects, metric="tokens read", term="cache x prompt")
    assert both["high"] < 0
    assert both["value"] == pytest.approx(
        sum((1 if ("cache" in t) == ("prompt" in t) else -1) * n for t, n in read.items()) / 80 / 4
    )
    assert row(served.effects, metric="Mean", term="cache x prompt")["value"] > 0  # two savings of the same time


def test_cells_are_those_of_the_replays_and_latencies_of_what_all_answered(served):
    first, *_, last = served.replays
    assert (first, set(last)) == ((), {"cache", "prompt", "refusing"})
    table = served.cells.set_index("cell")
    for term, seen in served.replays.items():
        cell = table.loc[" + ".join(term) or "nothing"]
        assert [bool(cell[f]) for f in served.factors] == [f in term for f in served.factors]
        rows = seen.per_request
        assert cell["HitRate"] == pytest.approx((rows["hit"] != "").mean())
        assert cell["answered"] == pytest.approx((rows["outcome"] == "answered").mean())
        everywhere = (rows["number"] % 8 != 7).to_numpy()
        assert cell["P95"] == pytest.approx(np.quantile(rows.loc[everywhere, "ms"], 0.95))
        assert cell["P95 low"] <= cell["P95"] <= cell["P95 high"]
    assert served.measured["Mean"].n == 70
    assert row(served.effects, metric="answered", term="refusing")["value"] == pytest.approx(-1 / 8)
    assert served.origin == "modelled"
    assert set(served.effects["origin"]) == {"modelled"}


def test_texts_tuples_and_sets_name_cells_in_any_order(served):
    texts = {" + ".join(reversed(t)) or "nothing": r for t, r in reversed(served.replays.items())}
    again = factorial(texts, served.factors)
    assert again.effects.equals(served.effects)
    assert tuple(again.replays) == tuple(served.replays)
    assert factorial(texts, served.factors, seed=1).effects["low"].tolist() != served.effects["low"].tolist()


def test_what_is_no_full_design_of_the_same_traffic_is_refused_in_one_line():
    cells = design()
    wrong = {
        "1 of 4 combinations are missing, such as 'cache'; replay": {
            k: v for k, v in cells.items() if k != ("cache",)
        },
        "'router + cache' is given twice": {**cells, ("router", "cache"): cells["cache", "router"]},
        "has 59 requests and 'nothing' 60": {**cells, ("cache",): made((), 59)},
        "request 3 of 'router' differs": {**cells, ("router",): other_question(cells["router",])},
        "no switch is on": {(): cells[()]},
        "without a request": {(): Replay([], "modelled"), ("a",): Replay([], "modelled")},
    }
    for words, given in wrong.items():
        with pytest.raises(InputError, match="factorial: ") as refused:
            factorial(given)
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="no factor 'router'"):
        factorial(cells, ("cache", "rooter"))


def other_question(seen: Replay) -> Replay:
    rows = list(seen.outcomes)
    rows[3] = rows[3]._replace(arrival=replace(rows[3].arrival, text="another"))
    return replace(seen, outcomes=rows)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"P59": {"all": (1, 0.5)}}, "no metric 'P59'; did you mean 'P95'?"),
        ({"Mean": {"cash": (1, 0.5)}}, "no factor 'cash'"),
        ({"Mean": {"cache": (0, 0.5)}}, "'cache' goes from 0 to 0.5"),
        ({"Mean": {"cache": (1, math.inf)}}, "'cache' goes from 1 to inf"),
        ({"ServedWrong": {"cache": (1, 0.5)}}, "is 0 with nothing on"),
    ],
)
def test_claims_of_what_was_not_measured_are_refused(stated, words):
    with pytest.raises(InputError) as refused:
        factorial(design(), stated=stated)
    assert words in str(refused.value)


def test_the_experiment_is_a_full_design_of_services_that_differ_in_what_their_names_say():
    load = load_replay(Path(__file__).parents[3] / "experiments" / "factorial.yaml")
    factors = ("semantic cache", "prompt cache", "router")
    assert sorted(load.services) == sorted(" + ".join(term) or "nothing" for term in standard_order(factors))
    for name, service in load.services.items():
        layers = [type(layer).__name__ for layer in service.layers]
        wanted = [kind for kind, on in zip(("Router", "SemanticCache"), factors[2::-2], strict=True) if on in name]
        assert layers == [*wanted, "Concurrency"]
        routes = next((layer.routes for layer in service.layers if isinstance(layer, Router)), ())
        for model in (service.variant.generate, *(route.to for route in routes)):
            assert model.chat.breakpoints == (MARKS if "prompt cache" in name else Breakpoints())
            assert replace(model.chat, breakpoints=Breakpoints()) == Chat(documents="system")
        plain = load.services["nothing"].variant
        assert replace(service.variant, generate=plain.generate) == plain


def test_money_is_compared_by_the_thousand():
    cells = {(): 100, ("short",): 40}
    replays = {k: Replay([outcome(i, calls=[call(n)]) for i in range(30)], "modelled") for k, n in cells.items()}
    found = factorial(replays)
    assert row(found.effects, metric="DollarsPer1000")["value"] == pytest.approx(-60 * 5e-6 * 1e3)
    assert row(found.additive, metric="DollarsPer1000", how="sum")["difference"] == 0
