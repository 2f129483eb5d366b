"""Metrics of answers, against hand-worked cases and the definitions of their papers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.metrics import MetricError, parse
from evalkit.metrics.answers import normalise

texts = st.text(alphabet="abc dë.,!", max_size=20)
sentences = st.lists(st.sampled_from(["cat", "sat", "mat", "dog"]), max_size=9).map(" ".join)
EMBEDDINGS = {"cat": [1.0, 0.0], "kitten": [0.6, 0.8], "bond": [0.0, -2.0], "anti": [-3.0, 0.0]}


def embed(names):
    return np.array([EMBEDDINGS[name] for name in names])


def score(name, prediction, references, **context):
    return parse(name).score([prediction], [references], **context)[0]


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        ("The Cat!", ["cat"], 1, 1),
        ("the cat sat", ["cat sat down"], 0, 0.8),
        ("dog", ["cat", "dog"], 1, 1),
        ("cat cat", ["cat"], 0, 2 / 3),
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", ["a"], 1, 1),
        ("U.S.", ["us"], 1, 1),
    ],
)
def test_exact_match_and_f1_follow_squad(prediction, references, exact, f1):
    assert score("ExactMatch", prediction, references) == exact
    assert score("TokenF1", prediction, references) == pytest.approx(f1)


def longest_common(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(sentences, sentences)
def test_rouge_l_agrees_with_the_textbook_table(prediction, reference):
    first, second = prediction.split(), reference.split()
    common = longest_common(first, second)
    expected = 2 * common / (len(first) + len(second)) if first and second else float(first == second)
    assert score("RougeL", prediction, [reference]) == pytest.approx(expected)


@given(texts, st.lists(texts, max_size=3), texts)
@settings(max_examples=50)
def test_another_reference_never_lowers_a_score(prediction, references, extra):
    for name in ("ExactMatch", "TokenF1", "RougeL"):
        if references:
            assert score(name, prediction, [*references, extra]) >= score(name, prediction, references)


@given(texts, texts)
def test_scores_are_symmetric_and_one_for_equal_texts(first, second):
    for name in ("ExactMatch", "TokenF1", "RougeL"):
        assert score(name, first, [second]) == pytest.approx(score(name, second, [first]))
        assert score(name, first, [first]) == 1


def test_normalisation_is_that_of_the_squad_script():
    assert normalise("  The   quick, (brown) fox's an apple ") == "quick brown foxs apple"


def test_semantic_similarity_is_the_cosine_with_the_nearest_reference():
    assert score("SemanticSimilarity", "cat", ["bond", "kitten"], embed=embed) == pytest.approx(0.6)
    assert score("SemanticSimilarity", "cat", ["anti"], embed=embed) == pytest.approx(-1.0)


def test_semantic_similarity_of_equal_texts_is_exactly_one_without_embedding_them():
    assert score("SemanticSimilarity", "never embedded", ["never embedded"], embed=embed) == 1.0
    assert score("SemanticSimilarity", "", ["cat"], embed=embed) == 0.0
    assert score("SemanticSimilarity", "", [], embed=embed) == 1.0
    assert score("SemanticSimilarity", "cat", [], embed=embed) == 0.0


def test_texts_are_embedded_once_in_order_of_appearance():
    seen = []

    def record(names):
        seen.append(list(names))
        return embed(names)

    parse("SemanticSimilarity").score(["cat", "cat"], [["kitten"], ["bond", "kitten"]], embed=record)
    assert seen == [["cat", "kitten", "bond"]]


def test_support_is_the_share_of_answer_words_in_the_context():
    contexts = [["the cat sat", "on a mat"]]
    assert score("Supported", "cat on the moon", [], contexts=contexts) == pytest.approx(2 / 3)
    assert score("Supported(ngram=2)", "cat sat on mat", [], contexts=contexts) == pytest.approx(2 / 3)
    assert score("Supported(ngram=9)", "cat sat", [], contexts=contexts) == 1
    assert score("Supported", "", [], contexts=contexts) == 1
    assert score("Supported", "cat", [], contexts=[[]]) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know.",
        "I don\N{RIGHT SINGLE QUOTATION MARK}t know.",
        "The context does not contain the answer.",
        "There is no information about this.",
        "Sorry, I cannot answer that",
        "That is not mentioned in the documents.",
        "",
    ],
)
def test_a_refusal_is_right_on_an_unanswerable_query(answer):
    assert score("Refusal", answer, []) == 1
    assert score('Refusal(on="all")', answer, ["Paris"]) == 0


def test_an_answer_is_wrong_on_an_unanswerable_query_and_not_scored_on_others():
    assert score("Refusal", "Paris", []) == 0
    assert np.isnan(score("Refusal", "Paris", ["Paris"]))
    assert score('Refusal(on="all")', "Paris", ["Paris"]) == 1
    assert score("Refusal", "Nope", [], refuses=lambda answer: answer == "Nope") == 1


@pytest.mark.parametrize(
    ("name", "predictions", "references", "context", "message"),
    [
        ("ExactMatch", ["a"], [], {}, "1 predictions for 0"),
        ("TokenF1", [None], [["a"]], {}, "prediction 0 is NoneType"),
        ("RougeL", ["a"], ["a"], {}, "references of query 0 must be a list"),
        ("SemanticSimilarity", ["a"], [["b"]], {}, "pass embed="),
        ("SemanticSimilarity", ["a"], [["b"]], {"embed": lambda t: np.zeros((1, 2))}, "one row for each"),
        ("SemanticSimilarity", ["a"], [["b"]], {"embed": lambda t: np.zeros((2, 2))}, "zero or not finite"),
        ("Supported", ["a"], [["b"]], {}, "pass contexts="),
        ("Supported", ["a"], [["b"]], {"contexts": []}, "0 contexts for 1 answers"),
    ],
)
def test_wrong_input_is_refused(name, predictions, references, context, message):
    with pytest.raises(MetricError, match=message):
        parse(name).score(predictions, references, **context)
