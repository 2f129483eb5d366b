"""Fine-tuning an embedding model on a data set's judgements."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.machine import packages_of
from evalkit.progress import progress
from evalkit.stages import Recursive, SentenceTransformer, models
from evalkit.stages.derived import derived
from evalkit.types import Chunker
from evalkit.values import Chunks

_VERSION = 1  # raised when the same data give another model
_SCALE = 20.0  # of cosines in the loss
_THREADS = 2  # fixed, since torch's sums depend on how they are divided
_WARM_UP = 0.1  # of all steps


class _Training:
    """What a tuned model's weights rest on."""

    packages = ("numpy", "sentence-transformers", "tokenizers", "torch", "transformers")


class Pair(NamedTuple):
    """A query, a document that is relevant to it, and the passage that stands for the document."""

    query: str
    document: str
    passage: str


def fine_tune(
    data: Dataset,
    model: str = models.MINILM,
    *,
    chunk: Chunker | None = None,
    epochs: int = 1,
    batch_size: int = 16,
    learning_rate: float = 2e-5,
    max_length: int = 256,
    lowest_grade: int = 1,
    seed: int = 0,
) -> str:
    """Tune a sentence-transformers model on judged queries, and keep it.

    Every query is drawn towards the passages of its relevant documents and away from the others of its batch, but
    not from those that are relevant to it too. AdamW, with a rate that rises over the first tenth of the steps and
    then falls to zero. The same arguments give the same bytes on one machine, and are trained once.

    Parameters
    ----------
    data : Dataset
        Usually one split, ``data.split("dev")``, so that another is left to measure on.
    model : str
        A hub name that is on this machine, or a folder.
    chunk : Chunker, optional
        Cuts documents into passages; default ``Recursive()``. A document's passage is the one with most of the
        answer's evidence; without evidence, the one that the untuned model finds nearest to the query.
    epochs, batch_size : int
    learning_rate : float
        The highest.
    max_length : int
        Tokens after which a text is cut off, special tokens included.
    lowest_grade : int
        Documents of this grade or above are relevant.
    seed : int
        Of the order of pairs and of dropout.

    Returns
    -------
    str
        The tuned model's folder, for ``SentenceTransformer(model=...)`` or ``ONNX(model=...)``.

    Raises
    ------
    InputError
        If no document is judged relevant, or an argument is out of range.

    References
    ----------
    Henderson et al., *Efficient Natural Language Response Suggestion for Smart Reply*, 2017 (the loss).
    Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019 (AdamW).
    """
    if epochs < 1 or batch_size < 2 or learning_rate <= 0 or lowest_grade < 1 or seed < 0:
        raise InputError(
            "fine_tune: epochs and lowest_grade must be at least 1, batch_size at least 2, learning_rate above 0 "
            "and seed at least 0"
        )
    limit = models.longest_input(model)
    if not 3 <= max_length <= limit:
        raise InputError(f"fine_tune: max_length is {max_length}; it must be from 3 to {limit}, which {model} takes")
    if not any(grade >= lowest_grade for judged in data.qrels.values() for grade in judged.values()):
        raise InputError(f"fine_tune: data set {data.name} has no judgement of grade {lowest_grade} or above")
    chunk = chunk if chunk is not None else Recursive()
    recipe = {
        "tuned": models.model_digest(model),
        "version": _VERSION,
        "data": data.digest,
        "chunk": chunk,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": float(learning_rate),
        "max_length": max_length,
        "lowest_grade": lowest_grade,
        "seed": seed,
        "packages": packages_of(_Training),
        "chunk packages": packages_of(chunk),
    }

    def make(folder: Path) -> None:
        found = pairs(data, chunk(data.documents), SentenceTransformer(model, max_length), lowest_grade)
        relevant = {
            q: {d for d, grade in judged.items() if grade >= lowest_grade} for q, judged in data.qrels.items()
        }
        asked = dict(zip(data.queries.id, data.queries.text, strict=True))
        batches = list(batched(len(found), batch_size, epochs, seed))
        with models.torch_turn, _repeatable(seed), progress("fine-tune", total=len(batches)) as bar:
            tuned = copy.deepcopy(models.sentence_transformer(model))
            tuned.max_seq_length = max_length
            for loss in _train(tuned, [[found[i] for i in rows] for rows in batches], asked, relevant, learning_rate):
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update(1)
            tuned.eval().save(str(folder), create_model_card=False)

    return str(derived(recipe, make))


def pairs(data: Dataset, chunks: Chunks, embedder: SentenceTransformer, lowest_grade: int) -> list[Pair]:
    """Return every relevant document of every query, with its passage, in order of ids.

    A document that has no chunk is left out.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(chunks.document):
        rows.setdefault(name, []).append(row)
    wanted = [
        (query, text, document)
        for query, text in zip(data.queries.id, data.queries.text, strict=True)
        for document, grade in sorted(data.qrels.get(query, {}).items())
        if grade >= lowest_grade and document in rows
    ]
    best = [_most_evidence(data, query, name, chunks, rows[name]) for query, _, name in wanted]
    unclear = [(text, name) for (_, text, name), row in zip(wanted, best, strict=True) if row is None]
    nearest = _nearest(unclear, chunks, rows, embedder) if unclear else {}
    chosen = (nearest[text, name] if row is None else row for (_, text, name), row in zip(wanted, best, strict=True))
    return [Pair(query, name, chunks.searched[row]) for (query, _, name), row in zip(wanted, chosen, strict=True)]


def _nearest(
    pairs: list[tuple[str, str]], chunks: Chunks, rows: dict[str, list[int]], embedder: SentenceTransformer
) -> dict[tuple[str, str], int]:
    """Return, for every query's text and document, the chunk that an embedder finds nearest."""
    asked = list(dict.fromkeys(text for text, _ in pairs))
    needed = sorted({row for _, name in pairs for row in rows[name]})
    made = embedder.encode([*asked, *(chunks.searched[row] for row in needed)])
    of_text = dict(zip(asked, made[: len(asked)], strict=True))
    of_row = dict(zip(needed, made[len(asked) :], strict=True))
    return {
        (text, name): rows[name][int(np.argmax([float(of_row[row] @ of_text[text]) for row in rows[name]]))]
        for text, name in pairs
    }


def _most_evidence(data: Dataset, query: str, name: str, chunks: Chunks, rows: list[int]) -> int | None:
    """Return the only chunk, or the one that holds most characters of evidence; None where none holds any."""
    if len(rows) == 1:
        return rows[0]
    spans = [span for span in data.answers[query].evidence if span.document == name] if query in data.answers else []
    held = [
        sum(max(0, min(span.end, int(chunks.end[row])) - max(span.start, int(chunks.start[row]))) for span in spans)
        for row in rows
    ]
    return rows[int(np.argmax(held))] if max(held) else None


def batched(size: int, batch_size: int, epochs: int, seed: int) -> Iterator[Array]:
    """Yield the pairs of every batch, in a new order each epoch; a last pair that would be alone joins the others."""
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(size)
        cuts = list(range(batch_size, size, batch_size))
        if cuts and size - cuts[-1] == 1:
            cuts.pop()
        yield from np.split(order, cuts)


def _train(
    model: Any, batches: list[list[Pair]], asked: dict[str, str], relevant: dict[str, set[str]], rate: float
) -> Iterator[float]:
    """Train in place, one batch a step; yields each step's loss."""
    import torch

    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    warm = max(1, round(_WARM_UP * len(batches)))
    for step, batch in enumerate(batches, start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(step / warm, (len(batches) - step + 1) / max(1, len(batches) - warm + 1))
        also = torch.tensor([[a is not b and b.document in relevant[a.query] for b in batch] for a in batch])
        loss = contrastive(
            _embed(model, [asked[pair.query] for pair in batch]),
            _embed(model, [pair.passage for pair in batch]),
            also,
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield float(loss.detach())


def contrastive(queries: Any, passages: Any, also_relevant: Any) -> Any:
    """Multiple negatives ranking loss: cross entropy of scaled cosines, each query's own passage being the right one.

    Parameters
    ----------
    queries, passages : torch.Tensor of shape (n, d)
    also_relevant : torch.Tensor of bool, shape (n, n)
        Passages of other pairs that are no negatives of a query.
    """
    import torch
    from torch.nn.functional import cross_entropy, normalize

    scores = _SCALE * normalize(queries) @ normalize(passages).T
    return cross_entropy(scores.masked_fill(also_relevant, -torch.inf), torch.arange(len(scores)))


def _embed(model: Any, texts: list[str]) -> Any:
    features = model.tokenizer(
        texts, padding=True, truncation=True, max_length=model.max_seq_length, return_tensors="pt"
    )
    return model(dict(features))["sentence_embedding"]


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Within this block torch computes the same for the same seed; afterwards it is as it was."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(_THREADS)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)
