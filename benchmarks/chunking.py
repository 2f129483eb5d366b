"""How fast evalkit cuts documents, beside the tokenizer and a splitter in Rust, and scores spans, beside a loop.

Run ``python benchmarks/chunking.py``. What counts are ratios within this process: contestants take turns, and the
best of several rounds is taken, so that a busy moment of the machine hits all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from evalkit import load_dataset
from evalkit.metrics import PrecisionOmega
from evalkit.metrics.spans import merged, overlap, size
from evalkit.stages import FixedTokens, Markdown, Recursive, Sentences, models

SIZE, CHARACTERS = 200, 400_000
QUESTIONS, CHUNKS, LENGTH = 472, 8_000, 700


def long_text() -> str:
    """The handbook's documents as sections of one Markdown text, again and again."""
    data = load_dataset("datasets/handbook").documents
    sections = [f"## {title}\n\n{text}\n\n" for title, text in zip(data.title, data.text, strict=True)]
    once = "# Handbook\n\n" + "".join(sections)
    return once * (CHARACTERS // len(once) + 1)


def race(contest: dict[str, Callable[[], Any]], rounds: int = 5) -> dict[str, float]:
    """Return the best time of each contestant in seconds."""
    best = dict.fromkeys(contest, float("inf"))
    for _ in range(rounds):
        for name, run in contest.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def chunkers(text: str) -> dict[str, Callable[[], Any]]:
    tokenizer = models.tokenizer(models.MINILM)
    contest: dict[str, Callable[[], Any]] = {
        "the tokenizer alone": lambda: tokenizer.encode(text, add_special_tokens=False).offsets
    }
    for chunker in (FixedTokens(size=SIZE), Recursive(size=SIZE), Sentences(size=SIZE), Markdown(size=SIZE)):
        contest[type(chunker).__name__] = lambda chunker=chunker: list(chunker.spans(text))
    try:
        from semantic_text_splitter import MarkdownSplitter, TextSplitter
    except ImportError:
        print("semantic_text_splitter is not installed: left out")
    else:
        for splitter in (TextSplitter, MarkdownSplitter):
            made = splitter.from_huggingface_tokenizer(tokenizer, SIZE)
            contest[f"semantic_text_splitter.{splitter.__name__}"] = lambda made=made: made.chunk_indices(text)
    return contest


def omega() -> dict[str, Callable[[], Any]]:
    """PrecisionOmega over every chunk of five long documents, and the same without an index."""
    rng = np.random.default_rng(0)
    chunks = [(f"d{i % 5}", i // 5 * LENGTH, i // 5 * LENGTH + 2 * LENGTH) for i in range(CHUNKS)]
    starts = rng.integers(0, CHUNKS // 5 * LENGTH, QUESTIONS).tolist()
    wanted = [[(f"d{i % 5}", at, at + 300)] for i, at in enumerate(starts)]

    def loop() -> list[float]:
        values = []
        for right in wanted:
            joined = merged([chunk for chunk in chunks if chunk[0] == right[0][0] and overlap([chunk], right)])
            both = overlap(joined, right)
            values.append(both / (size(joined) + size(right) - both))
        return values

    def indexed() -> Any:
        return PrecisionOmega().score([[]] * QUESTIONS, wanted, chunks)

    assert np.array_equal(loop(), indexed())
    return {"loop over all chunks": loop, "PrecisionOmega": indexed}


def report(best: dict[str, float], against: str) -> None:
    print(f"{'':42}{'seconds':>9}{'x ' + against:>26}")
    for name, took in best.items():
        print(f"{name:42}{took:9.3f}{took / best[against]:26.2f}")


if __name__ == "__main__":
    text = long_text()
    print(f"{len(text):,} characters, chunks of {SIZE} tokens")
    report(race(chunkers(text)), "the tokenizer alone")
    print(f"\n{QUESTIONS} questions, {CHUNKS:,} chunks")
    report(race(omega(), 3), "PrecisionOmega")
