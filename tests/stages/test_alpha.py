"""Weights per query: the rule of thumb, the features, and what a hybrid does with them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import HashedWords, dense

from evalkit import Sweep, run
from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.forms import Reader, build, plain
from evalkit.spec import names
from evalkit.stages import BM25, AdaptiveAlpha, Dense, Hybrid, LearntAlpha
from evalkit.stages.retrieve.alpha import Alpha, linear
from evalkit.stages.retrieve.features import described
from evalkit.stages.retrieve.fusing import Weights
from evalkit.testing import check_component, check_retriever
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY, Node, Retriever
from evalkit.values import Chunks, Queries

DENSE, SPARSE = Dense(HashedWords(), k=8), BM25(k=8)
FIELDS = ("length", "rare", "unknown", "question", "names")


def asked(*texts):
    return Queries(Strings.of(map(str, range(len(texts)))), Strings.of(texts))


def chunks(*texts):
    column, ids = Strings.of(texts), Strings.of(f"d{i:03}" for i in range(len(texts)))
    ends = np.array([len(text) for text in texts])
    return Chunks(ids, Strings.of("" for _ in texts), 0 * ends, ends, column)


def features(corpus, *texts):
    given = {CORPUS.recipe: corpus, QUERY.recipe: asked(*texts)}
    rows = run_node(described(CORPUS, QUERY), given).values
    return [dict(zip(FIELDS, row, strict=True)) for row in rows.tolist()]


@pytest.mark.parametrize(
    ("text", "alpha"),
    [
        ("", 0.4),
        ("refund policy", 0.4),
        ("how it works", 0.4),  # three words come before the question word
        ("how does it work", 0.6),
        ("What's the fare on Sundays?", 0.6),
        ("please show the fares somewhere", 0.7),  # "how" and "where" within other words
        ("tell me about the fares of the ferry line today", 0.7),
        ("one two three four five six seven eight nine ten", 0.7),
        ("one two three four five six seven eight nine ten eleven", 0.8),
        ("one two three four five six seven eight nine ten, but when", 0.6),  # a question before it is long
        ("who pays for the ticket", 0.7),  # the source's question words are five; who is none of them
    ],
)
def test_the_first_rule_that_fits_decides(text, alpha):
    assert AdaptiveAlpha()(asked(text)).values.tolist() == [alpha]


@given(st.lists(st.text(max_size=80), max_size=6))
def test_the_rule_looks_at_each_query_alone_and_stays_within_its_values(texts):
    rule = AdaptiveAlpha()
    together = rule(asked(*texts))
    assert together.values.dtype == np.float64
    assert together.values.shape == (len(texts),)
    assert together.values.tolist() == [rule(asked(text)).values[0] for text in texts]
    assert set(together.values.tolist()) <= {0.4, 0.6, 0.7, 0.8}


@pytest.mark.parametrize("changes", [{"short": 1.1}, {"other": -0.1}, {"long": math.nan}, {"few": 11}, {"few": -1}])
def test_a_rule_outside_its_range_is_refused(changes):
    with pytest.raises(InputError, match="AdaptiveAlpha: "):
        AdaptiveAlpha(**changes)


def test_features_are_what_they_are_said_to_be():
    corpus = chunks(*["the ferry leaves"] * 150, *["the ferry cafe opens"] * 2, "harbour B12")
    rows = features(
        corpus,
        "Where does the ferry leave?",
        "cafes of the harbour",
        "xylophone ferry",
        "B12 NASA 2024 plain",
        "",
        " ".join(["ferry"] * 30),
    )
    assert rows[0] == {"length": 5 / 20, "rare": 0, "unknown": pytest.approx(2 / 4), "question": 1, "names": 0}
    assert rows[1]["rare"] == 0.5  # of 153 chunks one has harbour and two have cafe
    assert rows[2] == {"length": 2 / 20, "rare": 0, "unknown": 0.5, "question": 0, "names": 0}
    assert rows[3]["names"] == 0.75
    assert rows[4] == dict.fromkeys(FIELDS, 0.0)
    assert rows[5]["length"] == 1.0


def test_features_of_a_query_do_not_depend_on_the_others():
    corpus, texts = chunks("red apples", "green pears 7"), ("Why red apples?", "", "pears 7 x", "the the")
    assert features(corpus, *texts) == [features(corpus, text)[0] for text in texts]


@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_a_learnt_weight_is_a_sum_cut_at_its_ends(coefficients, row):
    base, *rest = coefficients
    value = linear(base, tuple(rest), np.array([row]))[0]
    assert value == pytest.approx(min(1.0, max(0.0, base + sum(c * f for c, f in zip(rest, row, strict=True)))))
    assert 0 <= value <= 1


def test_coefficients_are_finite():
    with pytest.raises(InputError, match=r"LearntAlpha: .* coefficients are finite numbers"):
        LearntAlpha(rare=math.inf)


@pytest.mark.parametrize(
    "alpha", [AdaptiveAlpha(), LearntAlpha(0.6, rare=-0.4, question=0.2)], ids=["rule", "learnt"]
)
def test_an_alpha_is_a_value_and_a_hybrid_with_it_conforms(alpha):
    check_component(alpha)
    hybrid = Hybrid(DENSE, SPARSE, alpha=alpha, k=5)
    check_component(hybrid, others={"alpha": 0.5})
    check_retriever(hybrid)
    reader = Reader({**names(), "HashedWords": HashedWords})
    assert build(json.loads(json.dumps(plain(hybrid))), Retriever, reader) == hybrid


def test_every_coefficient_is_part_of_the_work():
    recipes = {LearntAlpha(**{name: 0.25}).alphas(CORPUS, QUERY).recipe for name in ("base", *FIELDS)}
    assert len(recipes) == 6
    assert LearntAlpha(0.2).alphas(CORPUS, QUERY).inputs == LearntAlpha(0.9).alphas(CORPUS, QUERY).inputs


def test_features_share_the_keyword_index_of_the_hybrid():
    hybrid = Hybrid(DENSE, SPARSE, alpha=LearntAlpha())
    stages = [node.stage for node in hybrid.expand(CORPUS, QUERY).walk() if not node.per_query]
    assert stages.count("index") == 2  # FAISS and one keyword index


def test_a_constant_learnt_alpha_ranks_like_the_constant(tiny, store):
    base = dense(retrieve=Hybrid(DENSE, SPARSE, alpha=0.3, k=5))
    results = run(Sweep(base, {"retrieve.alpha": [0.3, LearntAlpha(0.3)]}), tiny, "nDCG@5", store=store)
    wide = results.per_query.pivot_table(index="query", columns=["metric", "variant"], values="value", observed=True)
    assert wide["nDCG@5"].shape == (8, 2)
    assert (wide["nDCG@5"].iloc[:, 0] == wide["nDCG@5"].iloc[:, 1]).all()


@dataclass(frozen=True)
class ByLetter:
    """A user's own rule."""

    version = 1
    stage = "fuse"
    row_exact = True
    row_wise = False

    def alphas(self, chunks, query):
        return Node(self, (query,))

    def __call__(self, asked):
        return Weights(np.array([float(text.startswith("W")) for text in asked.text]))


def test_a_users_own_rule_needs_no_registration(tiny):
    assert isinstance(ByLetter(), Alpha)
    hybrid = Hybrid(DENSE, SPARSE, alpha=ByLetter(), k=4)
    found = run_node(hybrid.expand(CORPUS, QUERY), given := {CORPUS.recipe: corpus(tiny), QUERY.recipe: tiny.queries})
    sides = [run_node(side.expand(CORPUS, QUERY), given) for side in (DENSE, SPARSE)]
    for i, text in enumerate(tiny.queries.text):
        assert found.items[i].tolist() == sides[not text.startswith("W")].items[i].tolist()[:4]


def corpus(data):
    from evalkit.stages import Whole

    return Whole()(data.documents)
