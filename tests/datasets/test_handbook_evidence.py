"""Evidence that the handbook tells variants apart: figures, printed (``pytest -s -m slow``) and held to bounds.

Five unlike retrievers search it; what they find is looked at from all sides.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest

from evalkit.datasets import load_dataset
from evalkit.datasets.formats.native import judgements
from evalkit.datasets.rows import Faults
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.metrics.statistics import paired
from evalkit.similarity import cosine
from evalkit.stages import BM25, ONNX, Dense, Hybrid, LateInteraction, Parents, Recursive, Sentences, Whole
from evalkit.types import QUERY
from evalkit.variants import Variant

pytestmark = pytest.mark.slow

CHUNKS, EMBEDDER = Recursive(size=128), ONNX()
SYSTEMS = {
    "dense": Variant(chunk=CHUNKS, retrieve=Dense(EMBEDDER, k=60)),
    "bm25": Variant(chunk=Whole(), retrieve=BM25(k=20)),
    "bm25 on short chunks": Variant(chunk=Recursive(size=64), retrieve=BM25(k=80, stemmer=None, k1=1.5, b=0.75)),
    "late interaction": Variant(
        chunk=CHUNKS,
        retrieve=Hybrid(Dense(EMBEDDER, k=60), BM25(k=60), alpha=0.5, k=60),
        rerank=LateInteraction(k=60, depth=60),
    ),
    "sentences": Variant(chunk=Whole(), retrieve=Parents(Dense(EMBEDDER, k=100), small=Sentences(size=48), k=20)),
}
HYBRID = Variant(chunk=CHUNKS, retrieve=Hybrid(Dense(EMBEDDER, k=60), BM25(k=60), alpha=0.7, k=60))


@pytest.fixture(scope="module")
def handbook(pytestconfig):
    return load_dataset(pytestconfig.rootpath / "datasets" / "handbook")


@pytest.fixture(scope="module")
def found(handbook, shared_store, tmp_path_factory):
    """{system: {query: document ids, best first}}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVALKIT_MODELS", str(tmp_path_factory.mktemp("models")))
        systems = {**SYSTEMS, "hybrid": HYBRID}
        ends = {n: {"found": v.nodes()["retrieve"], "chunks": v.nodes()["chunks"]} for n, v in systems.items()}
        plan, context = make_plan(ends), Context(shared_store)
        done = execute(plan, sources(handbook, 0, shared_store), context)
    queries = list(context.whole(done[QUERY.recipe].blocks).id)
    rankings = {}
    for name in systems:
        ranked = context.whole(done[plan.wanted[name]["found"]].blocks)
        document = list(context.whole(done[plan.wanted[name]["chunks"]].blocks).document)
        rows = zip(queries, ranked.items, strict=True)
        rankings[name] = {q: list(dict.fromkeys(document[i] for i in items.tolist())) for q, items in rows}
    return rankings


@pytest.fixture(scope="module")
def scores(handbook, found):
    """{system: nDCG@10 of every query, in the data set's order}."""
    made = {}
    for name, ranked in found.items():
        made[name] = np.array([_ndcg(handbook.qrels[q], ranked[q]) for q in handbook.queries.id])
    print("\nnDCG@10: " + ", ".join(f"{name} {values.mean():.3f}" for name, values in made.items()))
    return made


def _ndcg(qrels, ranking):
    gains = [qrels.get(document, 0) for document in ranking[:10]]
    ideal = sorted(qrels.values(), reverse=True)[:10]
    return _dcg(gains) / _dcg(ideal) if _dcg(ideal) else 0.0


def _dcg(gains):
    return sum(gain / np.log2(place + 2) for place, gain in enumerate(gains))


def test_embeddings_and_words_each_win_on_a_fifth_of_the_questions(scores):
    gap = scores["dense"] - scores["bm25"]
    dense, bm25 = (gap >= 0.1).mean(), (gap <= -0.1).mean()
    print(f"wins by 0.1 nDCG@10: dense {dense:.0%}, BM25 {bm25:.0%}")
    assert min(dense, bm25) >= 0.2


def test_the_baseline_is_neither_hopeless_nor_perfect_and_differs_by_kind(handbook, scores):
    kinds = defaultdict(list)
    for query, score in zip(handbook.queries.id, scores["dense"], strict=True):
        kinds[handbook.attributes[query]["kind"]].append(score)
    means = {kind: float(np.mean(values)) for kind, values in kinds.items()}
    print("dense by kind: " + ", ".join(f"{kind} {mean:.2f}" for kind, mean in sorted(means.items())))
    assert 0.5 <= scores["dense"].mean() <= 0.85
    assert max(means.values()) - min(means.values()) >= 0.2


@pytest.mark.parametrize("other", ["dense", "bm25"])
def test_hybrid_search_is_better_than_either_beyond_chance(scores, other):
    result = paired(scores[other], scores["hybrid"], seed=0)
    print(f"hybrid over {other}: {result.difference:+.3f} [{result.low:.3f}, {result.high:.3f}], p {result.p:.4f}")
    assert result.difference > 0
    assert result.p < 0.05


def test_no_similarity_threshold_tells_paraphrases_from_traps(handbook):
    """At any cosine under MiniLM, accepting paraphrases accepts traps: the two distributions overlap."""
    near, far = [], []
    for intent in handbook.intents.values():
        texts = [intent.text, *intent.paraphrases, *(trap.text for trap in intent.traps)]
        vectors = EMBEDDER.encode(texts)
        alike = cosine(vectors[1:], vectors[0]).tolist()
        near += alike[: len(intent.paraphrases)]
        far += alike[len(intent.paraphrases) :]
    near_, far_ = np.array(near), np.array(far)
    above = (far_[:, None] > near_).mean()
    wrong = {t: (far_ >= t).sum() / max(1, (far_ >= t).sum() + (near_ >= t).sum()) for t in (0.7, 0.8, 0.85, 0.9)}
    print(f"a trap is nearer than a paraphrase in {above:.0%} of pairs")
    print(f"median cosine of traps {np.median(far_):.2f}, of paraphrases {np.median(near_):.2f}")
    print("wrong hits at a threshold: " + ", ".join(f"{t} {share:.0%}" for t, share in wrong.items()))
    assert above >= 0.2
    assert min(wrong.values()) >= 0.05


def test_what_five_unlike_retrievers_put_into_their_first_five_is_judged(handbook, found):
    pairs = {(q, d) for name in SYSTEMS for q, ranked in found[name].items() for d in ranked[:5]}
    missing = [(q, d) for q, d in pairs if d not in handbook.qrels[q]]
    print(f"{len(pairs):,} pairs in the first five of five retrievers, {len(missing)} without judgement")
    assert not missing


def test_an_audit_of_the_next_ten_found_at_most_one_relevant_document_missed(handbook, found, pytestconfig):
    """``audit.tsv``: 50 pairs drawn at random from ranks 6 to 15, not judged before, then read."""
    faults = Faults()
    rows = [row for _, row in judgements(pytestconfig.rootpath / "datasets" / "handbook" / "audit.tsv", faults)]
    faults.check()
    pairs = {(row["query"], row["document"]) for row in rows}
    missed = sum(int(row["grade"]) >= 2 for row in rows)
    next_ten = {(q, d) for name in SYSTEMS for q, ranked in found[name].items() for d in ranked[5:15]}
    print(f"audit: {len(pairs)} pairs, {missed} missed")
    assert len(pairs) == 50
    assert pairs <= next_ten
    assert not [pair for pair in pairs if pair[1] in handbook.qrels[pair[0]]]
    assert missed <= 1


def _shingles(text, n=5):
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_no_two_documents_are_near_duplicates_not_even_two_editions_of_one(handbook):
    shingles = {
        name: _shingles(text) for name, text in zip(handbook.documents.id, handbook.documents.text, strict=True)
    }
    most = max(
        (len(shingles[a] & shingles[b]) / min(len(shingles[a]), len(shingles[b])), a, b)
        for a, b in combinations(shingles, 2)
    )
    print(f"most five-word runs that two documents share: {most[0]:.1%} of the shorter ({most[1]}, {most[2]})")
    assert most[0] < 0.1


def test_no_question_is_asked_twice_and_no_wording_serves_two_intents(handbook):
    asked = Counter(" ".join(re.findall(r"\w+", text.casefold())) for text in _standalone(handbook))
    wordings = defaultdict(set)
    for intent in handbook.intents.values():
        for text in (intent.text, *intent.paraphrases, *(trap.text for trap in intent.traps)):
            wordings[" ".join(re.findall(r"\w+", text.casefold()))].add(intent.name)
    twice = [text for text, count in asked.items() if count > 1]
    shared = {text: names for text, names in wordings.items() if len(names) > 1}
    print(f"{len(asked)} questions, {len(twice)} asked twice; {len(wordings)} wordings, {len(shared)} of two intents")
    assert not twice
    assert not shared


def _standalone(handbook):
    texts = zip(handbook.queries.id, handbook.queries.text, strict=True)
    return [str(handbook.attributes[q].get("standalone", text)) for q, text in texts]


def test_lengths_and_vocabulary_are_those_of_written_prose(handbook):
    words = [re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.casefold()) for text in handbook.documents.text]
    lengths = np.array([len(text.split()) for text in handbook.documents.text])
    counts = Counter(word for text in words for word in text)
    once = sum(count == 1 for count in counts.values()) / len(counts)
    asked = np.array([len(text.split()) for text in handbook.queries.text])
    print(f"documents of {lengths.min()} to {lengths.max()} words, mean {lengths.mean():.0f}")
    print(f"{sum(counts.values()):,} words, {len(counts):,} different, {once:.0%} of these used once")
    print(f"questions of {asked.min()} to {asked.max()} words, median {np.median(asked):.0f}")
    assert lengths.min() >= 150
    assert lengths.max() <= 700
    assert len(counts) >= 5_000
    assert 0.3 <= once <= 0.7
    assert asked.min() <= 3
    assert asked.max() > 10


def test_every_part_is_as_large_as_it_says(handbook):
    kinds = Counter(known["kind"] for known in handbook.attributes.values())
    traps = Counter(trap.kind for intent in handbook.intents.values() for trap in intent.traps)
    grades = Counter(grade for judged in handbook.qrels.values() for grade in judged.values())
    print(f"{handbook}\nkinds {dict(kinds)}\ntraps {dict(traps)}\ngrades {dict(grades)}")
    assert len(handbook.documents) >= 160
    assert len(handbook.queries) >= 400
    assert len(kinds) >= 12
    assert min(kinds.values()) >= 25
    assert set(grades) == {0, 1, 2, 3}
    assert sum(grades.values()) >= 1_500
    assert len(handbook.intents) >= 120
    assert all(len(i.paraphrases) >= 4 and len(i.traps) >= 2 for i in handbook.intents.values())
    assert len(traps) == 6
    assert len(handbook.conversations) >= 40
    assert all(3 <= len(talk.turns) <= 8 for talk in handbook.conversations.values())
    assert len(handbook.traffic) >= 5_000
