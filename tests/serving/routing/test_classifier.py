from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords, dense, small_dataset

from evalkit import InputError, Service, presets, replay
from evalkit.errors import InputErrors
from evalkit.serving import Arrival
from evalkit.serving.layers.router import Router
from evalkit.serving.routing import Classifier, Direct, Example, ExampleFile, Route
from evalkit.serving.routing.classifier import EXAMPLES, labelled
from evalkit.serving.routing.learning import Classify, Learn, Linear
from evalkit.stages import Dense
from evalkit.testing import check_component
from evalkit.values import Vectors


def unit(rng, n, d):
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def problem(seed=0, n=90, d=8, routes=3):
    rng = np.random.default_rng(seed)
    vectors = unit(rng, n, d)
    labels = np.array([f"r{i}" for i in (vectors @ unit(rng, routes, d).T).argmax(axis=1)])
    labels[rng.random(n) < 0.1] = "r0"  # noise, so that no plane divides them
    return Vectors(vectors), tuple(labels.tolist())


@pytest.mark.parametrize(("c", "routes"), [(0.3, 3), (1.0, 2), (20.0, 3)])
def test_the_regression_is_that_of_scikit_learn(c, routes):
    sklearn = pytest.importorskip("sklearn.linear_model")
    vectors, labels = problem(routes=routes)
    learnt = Learn(labels, "logistic", c)(vectors)
    names = tuple(sorted(set(labels)))
    ours = Classify(names, "logistic", -1.0, "").scores(learnt, vectors)
    known = sklearn.LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(vectors.values.astype(float), labels)
    theirs = known.predict_proba(vectors.values.astype(float))
    if routes == 2:  # there one vector of weights stands for both, penalised once: as if C were half of ours
        known = sklearn.LogisticRegression(C=2 * c, tol=1e-10, max_iter=10_000)
        theirs = known.fit(vectors.values.astype(float), labels).predict_proba(vectors.values.astype(float))
    assert list(known.classes_) == list(names)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_centroid_is_the_mean_and_its_score_the_cosine():
    vectors, labels = problem()
    learnt = Learn(labels, "centroid", 1.0)(vectors)
    scores = Classify(("r0", "r1", "r2"), "centroid", -1.0, "").scores(learnt, vectors)
    for j, name in enumerate(("r0", "r1", "r2")):
        mean = vectors.values[np.array(labels) == name].astype(float).mean(axis=0)
        expected = vectors.values.astype(float) @ mean / np.linalg.norm(mean)
        np.testing.assert_allclose(scores[:, j], expected, atol=1e-12)


@given(st.integers(1, 9), st.sampled_from(["centroid", "logistic"]))
@settings(max_examples=20)
def test_a_decision_depends_on_its_own_question_to_the_bit(n, method):
    vectors, labels = problem()
    learnt = Learn(labels, method, 1.0)(vectors)
    decide = Classify(("r0", "r1", "r2"), method, -1.0, "")
    some = vectors.take(range(n))
    whole = decide(learnt, some)
    for i in range(n):
        alone = decide(learnt, some.row(i))
        assert alone.name[0] == whole.name[i]
        assert alone.score[0] == whole.score[i]


LINE = Linear(np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2))


@pytest.mark.parametrize(
    ("at_least", "prefer", "names"),
    [
        (-1.0, "", ["a", "b", "a"]),
        (0.9, "", ["a", "", ""]),
        (1.0, "", ["a", "", ""]),
        (0.6, "b", ["a", "b", "b"]),
        (-1.0, "b", ["b", "b", "b"]),
        (1.0, "b", ["a", "a", "a"]),
    ],
)
def test_a_threshold_means_what_it_says(at_least, prefer, names):
    vectors = Vectors(np.array([[1, 0], [0.6, 0.8], [np.sqrt(0.5), np.sqrt(0.5)]], dtype=np.float32))
    assert list(Classify(("a", "b"), "centroid", at_least, prefer)(LINE, vectors).name) == names


def test_examples_come_from_a_file_whose_content_is_its_identity(tmp_path):
    rows = [{"text": "red apples", "route": "fruit"}, {"text": "thanks", "route": "social"}]
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    for path in (one, other):
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    given_ = Classifier(tuple(Example(**row) for row in rows))
    read = [Classifier(ExampleFile(str(path))) for path in (one, other)]
    prints = [Service(dense(), (Router(rule=rule),)).fingerprint for rule in read]
    assert prints[0] == prints[1]
    assert read[0].needs(dense().nodes()) == given_.needs(dense().nodes())
    one.write_text('{"text": "x"}\nno json\n{"text": "a", "route": "b"}\n', encoding="utf-8")
    with pytest.raises(InputErrors) as caught:
        ExampleFile(str(one))
    assert [fault.rpartition("one.jsonl:")[2].partition(" ")[0] for fault in caught.value.faults] == ["1:", "2:"]
    with pytest.raises(InputError, match="cannot be read"):
        ExampleFile(str(tmp_path / "none"))


def test_a_data_sets_labels_become_examples():
    data = small_dataset()
    found = labelled(data.__class__(data.name, data.documents, data.queries, data.qrels,
                                    attributes={"q1": {"kind": "fruit"}, "q4": {"kind": "odd"}}),
                     {"fruit": "docs", "odd": "direct"}, by="kind")  # fmt: skip
    assert found == (Example("red apples", "docs"), Example("xylophone", "direct"))
    with pytest.raises(InputError, match="no question of small has one of the labels order"):
        labelled(data, {"order": "direct"})


def test_two_replays_learn_the_same_and_the_second_learns_nothing_anew(store):
    layers = (Router(rule=Classifier(method="logistic"), routes=(Route("social"),)),)
    arrivals = [Arrival(text, at=float(i)) for i, text in enumerate(("thank you", "what does it cost", "hello"))]
    tables, stored = [], []
    for _ in range(2):
        tables.append(replay(Service(dense(), layers), small_dataset(), arrivals, cost={}, store=store).per_request)
        stored.append(sorted(store.folder.glob("objects/*/*")))
    assert tables[0].equals(tables[1])
    assert stored[0] == stored[1]
    assert tables[0]["route"].tolist() == ["social", "question", "social"]


def test_the_real_model_tells_small_talk_from_questions_it_has_not_seen(tiny, shared_store):
    router = Router(rule=Classifier(), routes=(Route("social", Direct()),))
    chat = ["Good evening", "Many thanks, that was kind", "hi!", "bye for now"]
    arrivals = [Arrival(text, at=float(i)) for i, text in enumerate([*chat, *tiny.queries.text])]
    found = replay(Service(presets.baseline(), (router,)), tiny, arrivals, cost={}, store=shared_store).per_request
    assert found["route"].tolist() == ["social"] * 4 + ["question"] * 8


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"method": "forest"}, "it is 'centroid' or 'logistic'"),
        ({"c": 0.0}, "c is 0.0"),
        ({"at_least": 1.5}, "between -1 and 1"),
        ({"examples": EXAMPLES[:2]}, "examples of 1 routes"),
        ({"prefer": "fish"}, "no example is of 'fish'"),
    ],
)
def test_wrong_parameters_are_refused(wrong, what):
    with pytest.raises(InputError, match=what):
        Classifier(**wrong)


def test_a_classifier_is_a_value():
    check_component(Classifier(), {"prefer": "social", "embedder": HashedWords()})
    assert Dense(HashedWords()).embedder == HashedWords()
