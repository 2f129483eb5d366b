"""Recorded answers are read with their prices, or refused line by line; runs of evalkit's own are too."""

from __future__ import annotations

import numpy as np
import pytest
from toys import Echo, dense, small_dataset

from evalkit import InputError, Service, Sweep, replay, run
from evalkit.calls import Call, TokenUsage
from evalkit.errors import InputErrors
from evalkit.llm.pricing import Price, Prices
from evalkit.llm.tokens import estimate_tokens
from evalkit.serving import Arrival
from evalkit.serving.routers.outcomes import RecordedOutcomes
from evalkit.values import Answer

PRICES = Prices(
    (Price("big", "2024-01-01", 10, 30), Price("big", "2025-01-01", 5, 15), Price("small", "2024-01-01", 1, 1))
)
HEADER = "prompt,big,small,big_response,small_response"


def written(tmp_path, text):
    path = tmp_path / "responses.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_with_the_cheaper_model_first_and_prices_of_the_day(tmp_path):
    path = written(tmp_path, f'{HEADER}\n"one\nquestion",True,False,"a, b",c\nanother,1,0,dd,\n')
    found = RecordedOutcomes.read(path, day="2024-06-01", prices=PRICES, shared_tokens=7)
    assert found.models == ("small", "big")
    assert found.prompts == ("one\nquestion", "another")
    assert found.answers == (("c", "a, b"), ("", "dd"))
    assert found.right.tolist() == [[False, True], [False, True]]
    asked = 7 + estimate_tokens("one\nquestion", "big")
    assert found.usd[0, 1] == pytest.approx((10 * asked + 30 * estimate_tokens("a, b", "big")) / 1e6)
    assert found.usd[1, 0] == pytest.approx((7 + estimate_tokens("another", "small")) / 1e6)
    assert found.origin == "modelled"
    assert "since 2024-01-01" in found.told
    newest = RecordedOutcomes.read(path, prices=PRICES, tokens=lambda text, model: len(text))
    assert newest.usd[0, 1] == pytest.approx((5 * 12 + 15 * 4) / 1e6)


def test_every_line_that_is_wrong_is_named(tmp_path):
    path = written(
        tmp_path, f'{HEADER}\n"two\nlines",maybe,True,a,b\nx,True,False,a\n ,True,no,a,b\nfine,True,True,a,b\n'
    )
    with pytest.raises(InputErrors) as caught:
        RecordedOutcomes.read(path, prices=PRICES)
    assert [fault.removeprefix(str(path)) for fault in caught.value.faults] == [
        ":2: big is 'maybe'; whether it was right is True or False",
        ":4: 4 fields; the header has 5",
        ":5: the prompt is empty",
        ":5: small is 'no'; whether it was right is True or False",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (f"{HEADER}\n", "holds no prompt"),
        ("question,big,big_response\n", "no column 'prompt'"),
        ("prompt,big,big_response\n", "columns of 1 models"),
        (f"{HEADER},big\n", "two columns are named 'big'"),
        ("prompt,big,huge,big_response,huge_response\n", "no price for 'huge'"),
        (f'{HEADER}\na,True,True,"b,c\n', ":2: not CSV"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        RecordedOutcomes.read(written(tmp_path, text), prices=PRICES)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"prompt\xff")
    for name in ("x.csv", "missing.csv"):
        with pytest.raises(InputError, match="cannot be read"):
            RecordedOutcomes.read(tmp_path / name, prices=PRICES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"usd": np.array([[2.0, 1.0]])}, "order of cost"),
        ({"usd": np.array([[1.0, np.nan]])}, "a cost is not known"),
        ({"quality": np.array([[1.0, 1.1]])}, "not from 0 to 1"),
        ({"quality": np.array([[1.0, np.nan]])}, "not from 0 to 1"),
        ({"quality": np.array([1.0])}, "shape"),
        ({"answers": (("a",),)}, "an answer is missing"),
        ({"passages": ((), ())}, "passages"),
        ({"prompts": ()}, "0 prompts"),
        ({"models": ("w", "w")}, "^RecordedOutcomes: 'w' is given twice; name each model once$"),
    ],
)
def test_outcomes_that_cannot_be_are_refused(change, said):
    given = {
        "name": "x", "models": ("a", "b"), "prompts": ("q",), "answers": (("a", "b"),),
        "quality": np.array([[0.0, 1.0]]), "usd": np.array([[1.0, 2.0]]),
    }  # fmt: skip
    RecordedOutcomes(**given)
    with pytest.raises(InputError, match=said):
        RecordedOutcomes(**{**given, **change})


def test_two_of_several_models_are_chosen_by_name():
    usd, quality = np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 0.5, 1.0]])
    three = RecordedOutcomes("x", ("a", "b", "c"), ("q",), (("1", "2", "3"),), quality, usd, passages=(("p",),))
    pair = three.between("a", "c")
    assert (pair.models, pair.answers, pair.quality.tolist()) == (("a", "c"), (("1", "3"),), [[0.0, 1.0]])
    assert pair.passages == (("p",),)
    assert three.between("b", "c").passages == ()
    with pytest.raises(InputError, match="no outcomes of 'd'"):
        three.between("a", "d")
    with pytest.raises(InputError, match="order of cost"):
        three.between("c", "a")
    with pytest.raises(InputError, match=r"^x: 'a' against itself; name two models$"):
        three.between("a", "a")


class Priced(Echo):
    """Answers as `Echo`, for the price of a model; the dear one says more of what it found."""

    async def __call__(self, prompt, sample, clock):
        answer = await super().__call__(prompt, sample, clock)
        model = "claude-opus-4-5" if self.cost else "claude-haiku-4-5"
        text = prompt.passages[0] if self.cost and prompt.passages else answer.text
        return Answer(text, answer.cited, Call(model, TokenUsage(100, output=len(text)), day="2026-11-01"))


VARIANTS = {"dear": dense(generate=Priced(0.5)), "cheap": dense(generate=Priced())}


def test_replays_of_one_traffic_are_outcomes(store):
    data = small_dataset()
    asked = [
        Arrival("red apples", 0.0, answer="red apples grow"),
        Arrival("xylophone", 1.0),
        Arrival("pears fall", 2.0, answer="green"),
    ]
    found = {n: replay(Service(v), data, asked, cost={}, store=store) for n, v in VARIANTS.items()}
    outcomes = RecordedOutcomes.from_replays(found)
    assert outcomes.models == ("cheap", "dear")
    assert outcomes.prompts == ("red apples", "pears fall")
    for j, name in enumerate(outcomes.models):
        table = found[name].per_request.iloc[[0, 2]]
        np.testing.assert_array_equal(outcomes.quality[:, j], found[name].quality[[0, 2]])
        np.testing.assert_array_equal(outcomes.usd[:, j], table["usd"])
        assert [row[j] for row in outcomes.answers] == table["answer"].tolist()
    other = replay(Service(VARIANTS["cheap"]), data, asked[:2], cost={}, store=store)
    with pytest.raises(InputError, match="other questions"):
        RecordedOutcomes.from_replays({**found, "other": other})
    with pytest.raises(InputError, match="no request has a reference"):
        RecordedOutcomes.from_replays({n: one.where(text="xylophone") for n, one in found.items()})


def test_results_of_two_systems_on_one_data_set_are_outcomes(store):
    data = small_dataset()
    results = run(Sweep(VARIANTS["cheap"], systems=VARIANTS), data, ["TokenF1", "DollarsPer1000"], store=store)
    outcomes = RecordedOutcomes.from_results(results, ["dear", "cheap"], data, store=store)
    assert outcomes.models == ("cheap", "dear")
    per_query = results.per_query.set_index(["variant", "metric", "query"])["value"]
    for j, name in enumerate(outcomes.models):
        for i, text in enumerate(outcomes.prompts):
            query = next(q for q, t in zip(data.queries.id, data.queries.text, strict=True) if t == text)
            assert outcomes.quality[i, j] == per_query[name, "TokenF1", query]
            assert outcomes.usd[i, j] == pytest.approx(per_query[name, "DollarsPer1000", query] / 1000)
    assert all(len(passages) == 3 for passages in outcomes.passages)
