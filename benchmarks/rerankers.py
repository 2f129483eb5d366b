"""What reranking a query costs, in units of embedding it, and what one text a call costs beside batches.

Run ``python benchmarks/rerankers.py``. The cross-encoder has random weights and the size of
ms-marco-MiniLM-L6-v2: its scores mean nothing, its speed is that model's. Times are the best of several rounds, the
contestants taking turns, so that a busy moment of the machine hits all of them alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from evalkit import load_dataset
from evalkit.evaluate.apply import apply
from evalkit.stages import MMR, Dense, LateInteraction, Recursive, RedundancyFilter, SentenceTransformer, models
from evalkit.stages.rerank import CrossEncoder
from evalkit.stages.rerank.cross_encoder import ScorePairs
from evalkit.stages.rerank.tokens import EmbedTokens
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Queries

CHUNKS, DEPTHS, ROUNDS = 120, (10, 50), 3


def cross_encoder(folder: str) -> str:
    """Save a cross-encoder of random weights."""
    tokenizer = AutoTokenizer.from_pretrained(models.model_folder(models.MINILM))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
        intermediate_size=1536, num_labels=1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def race(contest: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the best time of each contestant in seconds."""
    best = dict.fromkeys(contest, float("inf"))
    for _ in range(ROUNDS):
        for name, run in contest.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def queries(model: str, known: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Return the work that one query is to each reranker, beside the work of embedding it."""
    retriever = Dense(k=max(DEPTHS))
    ranking = retriever.expand(CORPUS, QUERY)
    run(ranking, known)
    found = {node.recipe for node in ranking.walk()}
    embed = next(node for node in ranking.walk() if node.per_query and node.stage == "embed")
    contest: dict[str, Callable[[], Any]] = {"embed the query": lambda: work(embed, known)}
    for depth in DEPTHS:
        rerankers: dict[str, Any] = {
            "MMR": MMR(depth=depth),
            "LateInteraction": LateInteraction(depth=depth),
            "CrossEncoder": CrossEncoder(model, depth=depth),
        }
        if depth == max(DEPTHS):
            rerankers["RedundancyFilter"] = RedundancyFilter()
        for name, reranker in rerankers.items():
            end = reranker.expand(CORPUS, QUERY, ranking)
            run(end, known)
            added = [node for node in end.walk() if node.per_query and node.recipe not in found]
            contest[f"{name}, depth {depth}"] = lambda added=added: [work(node, known) for node in added]
    return contest


def run(end: Node, known: dict[str, Any]) -> None:
    for node in end.walk():
        if node.recipe not in known:
            known[node.recipe] = work(node, known)


def work(node: Node, known: dict[str, Any]) -> Any:
    return apply(node, [known[parent.recipe] for parent in node.inputs]).value


def batches(model: str, chunks: Any, question: str) -> dict[str, Callable[[], Any]]:
    """Return the same texts and pairs, one a call and in batches of 32."""
    texts = list(chunks.searched)[:64]
    pairs = [(question, text) for text in texts]
    embedder, encoder = models.sentence_transformer(models.MINILM), models.cross_encoder(model)
    tokens, scores = EmbedTokens(models.MINILM, 256), ScorePairs(model, 256, 50)
    return {
        "64 passages' token vectors, one a call": lambda: tokens(chunks.take(range(64))),
        "64 passages' token vectors, batches of 32": lambda: embedder.encode(
            texts, batch_size=32, output_value="token_embeddings", show_progress_bar=False
        ),
        "64 pairs, one a call": lambda: scores.score(pairs),
        "64 pairs, batches of 32": lambda: encoder.predict(pairs, batch_size=32, show_progress_bar=False),
    }


def main() -> None:
    data = load_dataset(Path(__file__).parents[1] / "datasets" / "handbook")
    chunks = Recursive(size=128)(data.documents).take(range(CHUNKS))
    question: Queries = data.queries.row(0)
    SentenceTransformer().encode(["warm up"])
    with tempfile.TemporaryDirectory() as folder:
        model = cross_encoder(folder)
        best = race(queries(model, {CORPUS.recipe: chunks, QUERY.recipe: question}))
        unit = best["embed the query"]
        print(f"{'one query':44}{'ms':>9}{'x embedding':>13}")
        for name, took in best.items():
            print(f"{name:44}{took * 1e3:9.2f}{took / unit:13.2f}")
        print(f"\n{'':44}{'ms':>9}{'x batches':>13}")
        found = race(batches(model, chunks, question.text[0]))
        for name, took in found.items():
            peer = found[f"{name.rpartition(',')[0]}, batches of 32"]
            print(f"{name:44}{took * 1e3:9.1f}{took / peer:13.2f}")


if __name__ == "__main__":
    main()
