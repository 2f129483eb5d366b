"""What every component must hold to, whoever wrote it.

Run `check` over an instance of your own component in a test; it applies every suite that fits::

    from evalkit.testing import check

    def test_my_chunker_conforms():
        check(MyChunker(size=64))

The project's own tests run it over everything that the packages of components export, so a new component that is
exported is checked without a new test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from evalkit.clock import WallClock, run_async
from evalkit.columns import Strings
from evalkit.evaluate.execute import apply
from evalkit.forms import conforms
from evalkit.testing.corpus import tiny_dataset
from evalkit.testing.identity import Stub, check_component
from evalkit.types import CORPUS, QUERY, Assembler, Chunker, Digest, Embedder, Generator, Node, Retriever
from evalkit.values import Answer, Chunks, Documents, Prompt, Prompts, Queries, Rankings, Value

# --- chunkers --------------------------------------------------------------------------------------------------


@cache
def hard_documents() -> Documents:
    """Return documents that break chunkers: scripts, marks without a letter, one endless word, next to nothing."""
    texts = {
        "accents": "Zu\u0308rich, Malmö. n\u0303 e\u0301\u0301. " * 9,
        "blank": " \n\t ",
        "control": "one\x00two\u200bthree\u200b\u200b \ufeffend\u200b",
        "crlf": "First line.\r\nSecond line.\r\n\r\nA new paragraph.\r\n" * 8,
        "emoji": "👩\u200d🚀🇳🇴 landed. " * 12,
        "empty": "",
        "invisible": "\u200b\u200c",
        "list": "\n".join(f"- item {i}: {i * 37} euros" for i in range(40)),
        "long-word": "x" * 3_000 + " short " + "ab" * 700,
        "mixed": "東京都は日本の首都。 Москва. القاهرة. 서울특별시는 대한민국의 수도이다. " * 4,
        "no-separator": "ferry,harbour;quay-" * 60,
        "one": "a",
        "padded": "\n\n   Wide   margins.   \n\n\n   Here too.  \n",
        "symbols": "½ ﬁ Ⅷ ㎏ İ ß " * 10,
    }
    ids = sorted(texts)
    return Documents(
        Strings.of(ids),
        Strings.of("" if name == "one" else f"About {name}" for name in ids),
        Strings.of(texts[name] for name in ids),
        Strings.of("{}" for _ in ids),
    )


def check_chunker(chunker: Any, documents: Documents | None = None) -> None:
    """Check that chunks are true pieces of their documents, in order, and that none of the text is lost.

    Where the chunker has a field ``overlap`` that is 0, no character may be in two chunks; where it has ``size`` and
    ``tokenizer``, no chunk may be longer (a single character that is several tokens counts as one).

    Raises
    ------
    AssertionError
        With the document and what does not hold.
    """
    tables = [tiny_dataset().documents, hard_documents()] if documents is None else [documents]
    for table in tables:
        chunks = chunker(table)
        assert isinstance(chunks, Chunks), f"{chunker}: gives {type(chunks).__name__}, not Chunks"
        assert chunker(table).digest == chunks.digest, f"{chunker}: a second call gives other chunks"
        columns = (chunks.document, chunks.title, chunks.start.tolist(), chunks.end.tolist(), chunks.text)
        rows = list(zip(*columns, strict=True))
        order = {name: i for i, name in enumerate(table.id)}
        assert {row[0] for row in rows} <= set(order), f"{chunker}: a chunk of a document that was not given"
        places = [(order[row[0]], row[2]) for row in rows]
        assert places == sorted(places), f"{chunker}: chunks are not in the order of documents, then of their start"
        for name, title, text in zip(table.id, table.title, table.text, strict=True):
            _check_pieces(chunker, name, title, text, [row[1:] for row in rows if row[0] == name])
        alone = [chunker(table.row(i)) for i in range(len(table))]
        assert Chunks.concat(alone).digest == chunks.digest, (
            f"{chunker}: a document's chunks depend on its neighbours"
        )
        assert len(chunker(table.take([]))) == 0, f"{chunker}: chunks of no documents"


def _check_pieces(chunker: Any, name: str, title: str, text: str, pieces: list[tuple[str, int, int, str]]) -> None:
    where, seen = f"{chunker}, document {name!r}", np.zeros(len(text), dtype=np.int64)
    for shown, start, end, piece in pieces:
        assert text[start:end] == piece, f"{where}: {start}..{end} is {text[start:end]!r}, the chunk says {piece!r}"
        assert piece.strip(), f"{where}: a blank chunk at {start}..{end}"
        assert shown in (title, ""), f"{where}: title {shown!r} is not the document's"
        seen[start:end] += 1
    lost = [i for i in np.flatnonzero(seen == 0).tolist() if not text[i].isspace()]
    assert not lost, f"{where}: character {text[lost[0]]!r} at {lost[0]} is in no chunk"
    if getattr(chunker, "overlap", None) == 0:
        assert seen.max(initial=0) <= 1, f"{where}: character {int(seen.argmax())} is in two chunks, with overlap 0"
    if hasattr(chunker, "size") and hasattr(chunker, "tokenizer"):
        for _, start, end, _ in pieces:
            length = _tokens_within(chunker.tokenizer, text, start, end)
            assert length <= chunker.size, f"{where}: {length} tokens at {start}..{end}, size is {chunker.size}"


def _tokens_within(tokenizer: str, text: str, start: int, end: int) -> int:
    from evalkit.stages import models

    offsets = models.tokenizer(tokenizer).encode(text, add_special_tokens=False).offsets
    starts = [a for a, b in offsets if b > a and start <= a < end]
    return len(starts) - starts.count(starts[0]) + 1 if starts else 0


# --- embedders -------------------------------------------------------------------------------------------------


def check_embedder(embedder: Any) -> None:
    """Check that an embedder gives unit vectors, in the order of the texts, and what it promises of batches.

    Where it calls itself ``row_exact``, a text's vector must be the same to the bit alone and among others.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    queries = tiny_dataset().queries
    texts = [*queries.text, "", "?", "a much longer text than the others. " * 12]
    vectors = embedder.encode(texts)
    assert vectors.dtype == np.float32, f"{embedder}: vectors are {vectors.dtype}, not float32"
    assert vectors.ndim == 2, f"{embedder}: vectors of shape {vectors.shape}, not (texts, dimensions)"
    assert len(vectors) == len(texts), f"{embedder}: {len(vectors)} vectors of {len(texts)} texts"
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert np.abs(lengths - 1).max() < 1e-5, (
        f"{embedder}: vectors of length {lengths.min()} to {lengths.max()}, not 1"
    )
    assert np.array_equal(embedder.encode(texts), vectors), f"{embedder}: the same call gives other vectors"
    nothing = embedder.encode([])
    assert nothing.shape == (0, vectors.shape[1]), f"{embedder}: no texts give shape {nothing.shape}"
    assert nothing.dtype == np.float32, f"{embedder}: no texts give {nothing.dtype}"

    alone = np.concatenate([embedder.encode([text]) for text in texts])
    nearness = (alone.astype(np.float64) * vectors).sum(axis=1)
    assert nearness.min() > 0.98, (
        f"{embedder}: text {int(nearness.argmin())} has another vector alone than in a batch"
    )
    if embedder.row_exact:
        assert np.array_equal(alone, vectors), f"{embedder}: row_exact, but a batch changes the vectors' last bits"

    asked = embedder(queries)
    assert len(asked) == len(queries), f"{embedder}: {len(asked)} vectors of {len(queries)} queries"
    counts = embedder.tokens(texts)
    assert counts.shape == (len(texts),), f"{embedder}: token counts of shape {counts.shape}"
    assert counts.dtype == np.int64, f"{embedder}: token counts are {counts.dtype}"
    assert counts[-1] > counts[-2], f"{embedder}: a long text counts no more tokens than a short one"
    over = "word " * (2 * embedder.max_length)
    assert embedder.tokens([over])[0] > embedder.max_length, (
        f"{embedder}: tokens are counted after the cut, not before"
    )
    cut, longer = embedder.encode([over, over + "zebra"])
    assert float(cut @ longer) > 0.9999, f"{embedder}: what lies behind max_length changes the vector"


# --- retrievers ------------------------------------------------------------------------------------------------


@cache
def _searched() -> tuple[Chunks, Queries]:
    """Chunks with twins among them, and queries of which one has no word that any chunk has."""
    from evalkit.stages import Recursive

    data = tiny_dataset()
    chunks = Recursive(size=64)(data.documents)
    queries = Queries(
        Strings.of(["fare", "twin", "unknown", "dog"]),
        Strings.of([data.queries.text[0], "The crossing takes fifty minutes.", "qzxv wvkq", data.queries.text[3]]),
    )
    return chunks.take([*range(len(chunks)), 3, 3, 0]), queries


_corpus_side: dict[Digest, Value] = {}
"""What retrievers made of the chunks, by recipe: embedders are slow, and several retrievers share one."""


def run_node(node: Node, known: dict[Digest, Value]) -> Value:
    """Return a node's value; `known` holds the sources' values by recipe and receives all others."""
    for part in node.walk():
        if part.recipe not in known:
            known[part.recipe] = apply(part, [known[parent.recipe] for parent in part.inputs])[0]
    return known[node.recipe]


def check_retriever(retriever: Any) -> None:
    """Check a retriever's rankings: in order, without repeats, the same whatever else is asked, heads of deeper ones.

    The corpus has fewer chunks than a retriever with ``k = 1000`` asks for, chunks with equal text, and a query
    without any known word.

    Raises
    ------
    AssertionError
        With the query and what does not hold.
    """
    chunks, queries = _searched()
    top = retriever.expand(CORPUS, QUERY)
    known: dict[Digest, Value] = {CORPUS.recipe: chunks, QUERY.recipe: queries, **_corpus_side}
    found = run_node(top, known)
    assert isinstance(found, Rankings), f"{retriever}: gives {type(found).__name__}, not Rankings"
    _check_rankings(retriever, found, len(queries), len(chunks))

    per_query = {node.recipe for node in top.walk() if node.per_query}
    _corpus_side.update({recipe: value for recipe, value in known.items() if recipe not in per_query})

    def rows(wanted: Sequence[int]) -> str:
        return run_node(top, {**_corpus_side, QUERY.recipe: queries.take(wanted)}).digest

    for i, name in enumerate(queries.id):
        assert rows([i]) == found.row(i).digest, f"{retriever}: query {name} alone gives another ranking"
    assert rows([3, 1, 2]) == found.take([3, 1, 2]).digest, f"{retriever}: the order of queries changes rankings"
    assert rows([]) == found.take([]).digest, f"{retriever}: rankings of no queries"

    if hasattr(retriever, "k"):
        deep = run_node(replace(retriever, k=1000).expand(CORPUS, QUERY), known)
        assert isinstance(deep, Rankings)
        _check_rankings(retriever, deep, len(queries), len(chunks))
        for k in (1, 2, 7, len(chunks)):
            head = run_node(replace(retriever, k=k).expand(CORPUS, QUERY), known)
            assert isinstance(head, Rankings)
            assert np.diff(head.items.offsets).max() <= k, f"{retriever}: more than k = {k} chunks"
            assert head.digest == deep.top(k).digest, (
                f"{retriever}: with k = {k} it is not the head of a deeper search"
            )


def _check_rankings(retriever: Any, found: Rankings, queries: int, size: int) -> None:
    assert len(found) == queries, f"{retriever}: {len(found)} rankings of {queries} queries"
    for i, (items, scores) in enumerate(zip(found.items, found.scores, strict=True)):
        where = f"{retriever}, query {i}"
        assert len(items) == len(scores), f"{where}: {len(items)} chunks, {len(scores)} scores"
        assert len(set(items.tolist())) == len(items), f"{where}: a chunk twice in {items.tolist()}"
        assert ((items >= 0) & (items < size)).all(), f"{where}: a position outside the corpus in {items.tolist()}"
        assert np.isfinite(scores).all(), f"{where}: a score is not finite"
        order = np.lexsort((items, -scores))
        assert (order == np.arange(len(items))).all(), f"{where}: not in order of score, then of position"


# --- assemblers and generators ---------------------------------------------------------------------------------


def check_assembler(assembler: Any) -> None:
    """Check that prompts hold what was retrieved, with its sources, and that none depends on another.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    chunks, queries = _searched()
    queries = queries.take([0, 1, 2])
    ranked: list[list[int]] = [[4, 0, 2], [], [1]]
    ranking = Rankings.of(
        [np.array(row, np.int32) for row in ranked], [np.linspace(1, 0.5, len(row)) for row in ranked]
    )
    chunk, ranks = Node("corpus"), Node(Stub(), (QUERY,))
    top = assembler.expand(chunk, QUERY, ranks)

    def prompts(rows: Sequence[int]) -> Prompts:
        given: dict[Digest, Value] = {
            chunk.recipe: chunks,
            QUERY.recipe: queries.take(rows),
            ranks.recipe: ranking.take(rows),
        }
        made = run_node(top, given)
        assert isinstance(made, Prompts), f"{assembler}: gives {type(made).__name__}, not Prompts"
        return made

    made = prompts([0, 1, 2])
    assert list(made.question) == list(queries.text), f"{assembler}: the prompts' questions are not the queries'"
    for row, prompt in zip(ranked, Prompt.rows(made), strict=True):
        sizes = {len(prompt.titles), len(prompt.passages), len(prompt.sources)}
        assert len(sizes) == 1, f"{assembler}: titles, passages and sources of different number"
        retrieved = {chunks.document[i] for i in row}
        assert set(prompt.sources) <= retrieved, f"{assembler}: sources {prompt.sources} were not retrieved"
    alone = Prompts.concat([prompts([i]) for i in range(3)])
    assert alone.digest == made.digest, f"{assembler}: a prompt depends on the others"


def check_generator(generator: Any) -> None:
    """Check that answers repeat, cite only what was given, and do not depend on what else is asked at once.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    chunks, queries = _searched()
    prompts = [
        Prompt(
            queries.text[i],
            *(tuple(column[row] for row in rows) for column in (chunks.title, chunks.text, chunks.document)),
        )
        for i, rows in enumerate([(0, 1), (2, 2, 3), (4,)])
    ]
    empty = Prompt("Is there anything here?", (), (), ())
    clock = WallClock()

    async def one_by_one() -> list[Answer]:
        return [await generator(prompt, 0, clock) for prompt in (*prompts, empty)]

    async def at_once() -> list[Answer]:
        return list(await asyncio.gather(*(generator(prompt, 0, clock) for prompt in (empty, *prompts[::-1]))))[::-1]

    answers = run_async(one_by_one())
    for prompt, answer in zip((*prompts, empty), answers, strict=True):
        assert isinstance(answer, Answer), f"{generator}: gives {type(answer).__name__}, not Answer"
        unknown = set(answer.cited) - set(prompt.sources)
        assert not unknown, f"{generator}: cites {sorted(unknown)}, which the prompt did not hold"
        assert len(set(answer.cited)) == len(answer.cited), f"{generator}: cites a source twice: {answer.cited}"
    assert any(answer.text for answer in answers), f"{generator}: every answer is empty"
    assert run_async(one_by_one()) == answers, f"{generator}: the same prompts get other answers"
    assert run_async(at_once()) == answers, f"{generator}: answers depend on what else is asked at once"


# --- all of them -----------------------------------------------------------------------------------------------

SUITES: Mapping[str, tuple[Any, Callable[[Any], None]]] = {
    "chunker": (Chunker, check_chunker),
    "embedder": (Embedder, check_embedder),
    "retriever": (Retriever, check_retriever),
    "assembler": (Assembler, check_assembler),
    "generator": (Generator, check_generator),
}
"""By role: the protocol that tells who has it, and the suite."""


def roles(component: Any) -> list[str]:
    """Return the roles that a component's methods fit."""
    return [role for role, (protocol, _) in SUITES.items() if conforms(component, protocol)]


def check(component: Any) -> None:
    """Run `check_component` and the suite of every role that the component has.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    check_component(component)
    for role in roles(component):
        SUITES[role][1](component)
