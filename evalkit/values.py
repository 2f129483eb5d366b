"""What flows along the edges of the graph: tables of queries, chunks, vectors, rankings, prompts and answers.

Every value is a frozen dataclass whose fields are columns. A `Table` has rows: it can be cut into blocks and
joined again. A plain `Value` (an index) is used whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np

from evalkit.calls import Call
from evalkit.columns import Array, Ragged, Strings, concat, flatten, take, unflatten

FORMAT = 3
"""Version of the way values are laid down; a stored value of another version is made anew."""

_NOT_GIVEN: Any = None


@dataclass(frozen=True, eq=False)
class Value:
    """Named columns with an identity: the digest of their content."""

    def arrays(self) -> dict[str, Array]:
        """All columns as named arrays."""
        pairs = (pair for field in fields(self) for pair in flatten(field.name, getattr(self, field.name)))
        return dict(pairs)

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> Self:
        """Rebuild a value from `arrays`, without copying."""
        return cls(**{field.name: unflatten(field.name, arrays) for field in fields(cls)})

    @cached_property
    def digest(self) -> str:
        """Hash of type, names, shapes and bytes: equal content, equal digest, in every process."""
        return content_digest(type(self).__name__, self.arrays())


def content_digest(kind: str, arrays: dict[str, Array]) -> str:
    """Hash named arrays (BLAKE2b, 160 bits, hexadecimal)."""
    state = hashlib.blake2b(f"{FORMAT}:{kind}".encode(), digest_size=20)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"\0{name}:{array.dtype.str}:{array.shape}\0".encode())
        state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


@dataclass(frozen=True, eq=False)
class Table(Value):
    """A value with rows."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: Sequence[int] | Array) -> Self:
        """Return the given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return type(self)(**{f.name: take(getattr(self, f.name), index) for f in fields(self)})

    def row(self, i: int) -> Self:
        """Return a table of row `i` alone."""
        return self.take([i])

    @classmethod
    def concat(cls, tables: Sequence[Self]) -> Self:
        """Join tables of one kind, top to bottom."""
        return cls(**{f.name: concat([getattr(t, f.name) for t in tables]) for f in fields(cls)})


@dataclass(frozen=True, eq=False)
class Documents(Table):
    """A corpus, sorted by id, so that the order of a file's lines changes nothing.

    `metadata` holds one JSON object a document.
    """

    id: Strings
    title: Strings
    text: Strings
    metadata: Strings


@dataclass(frozen=True, eq=False)
class Queries(Table):
    """Questions, sorted by id.

    `history` holds what was said before in the same conversation, oldest first: the user, the assistant, in turn.
    """

    id: Strings
    text: Strings
    history: Ragged[Strings] = _NOT_GIVEN

    def __post_init__(self) -> None:
        _without_history(self)


@dataclass(frozen=True, eq=False)
class Chunks(Table):
    """Pieces of documents: ``text == document.text[start:end]``, sorted by document, then start.

    A position in this table is what rankings name. `title` is empty where titles are not to be searched.
    """

    document: Strings
    title: Strings
    start: Array
    end: Array
    text: Strings

    @cached_property
    def searched(self) -> Strings:
        """The text that retrievers see: the title, a space and the chunk."""
        pairs = zip(self.title, self.text, strict=True)
        return Strings.of(f"{title} {text}" if title else text for title, text in pairs)


@dataclass(frozen=True, eq=False)
class Vectors(Table):
    """Embeddings: float32 of shape (n, d), of length 1."""

    values: Array


@dataclass(frozen=True, eq=False)
class Rankings(Table):
    """Chunks found for each query, best first: positions in `Chunks` (int32) and scores (float64)."""

    items: Ragged[Array]
    scores: Ragged[Array]

    @classmethod
    def of(cls, items: Sequence[Array], scores: Sequence[Array]) -> Rankings:
        """Build from one array of positions and one of scores a query."""
        return cls(Ragged.of(items, np.int32), Ragged.of(scores, np.float64))

    def top(self, k: int) -> Rankings:
        """Cut every ranking after its first `k` entries."""
        lengths = np.diff(self.items.offsets)
        kept = np.arange(int(lengths.sum())) - np.repeat(self.items.offsets[:-1], lengths) < k
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(lengths, k), dtype=np.int64)])
        return Rankings(Ragged(self.items.values[kept], offsets), Ragged(self.scores.values[kept], offsets))


@dataclass(frozen=True, eq=False)
class Prompts(Table):
    """A question with the passages that go to the model, their titles and the documents they are from.

    `history` is as in `Queries`; an assembler may have shortened it.
    """

    question: Strings
    titles: Ragged[Strings]
    passages: Ragged[Strings]
    sources: Ragged[Strings]
    history: Ragged[Strings] = _NOT_GIVEN

    def __post_init__(self) -> None:
        _without_history(self)


def _without_history(table: Queries | Prompts) -> None:
    """Where no history is given, every row has an empty one."""
    if getattr(table, "history", None) is None:
        object.__setattr__(table, "history", Ragged.of([[]] * len(table)))


@dataclass(frozen=True, eq=False)
class Answers(Table):
    """Generated answers and the documents that they cite.

    `calls` holds what each one took of a model, one JSON object a row (`Call.plain`), empty where none was called.
    """

    text: Strings
    cited: Ragged[Strings]
    calls: Strings = _NOT_GIVEN

    def __post_init__(self) -> None:
        if getattr(self, "calls", None) is None:
            object.__setattr__(self, "calls", Strings.of([""] * len(self)))

    def made(self) -> list[Call | None]:
        """The calls, read."""
        return [Call.read(json.loads(text)) if text else None for text in self.calls]


@dataclass(frozen=True)
class Prompt:
    """One prompt, as a generator receives it."""

    question: str
    titles: tuple[str, ...]
    passages: tuple[str, ...]
    sources: tuple[str, ...]
    history: tuple[str, ...] = ()

    @classmethod
    def rows(cls, prompts: Prompts) -> list[Prompt]:
        """All rows of a table of prompts."""
        columns = (prompts.titles, prompts.passages, prompts.sources, prompts.history)
        lists = zip(*(map(tuple, column) for column in columns), strict=True)
        return [cls(question, *row) for question, row in zip(prompts.question, lists, strict=True)]


@dataclass(frozen=True)
class Answer:
    """One answer, as a generator returns it.

    Parameters
    ----------
    text : str
        Without marks of citation.
    cited : tuple of str
        Sources, each once.
    call : Call or None
        What it took of a model; None for a generator that calls none.
    """

    text: str
    cited: tuple[str, ...] = ()
    call: Call | None = None

    def plain(self) -> dict[str, Any]:
        """Return the answer as JSON-ready data."""
        return {
            "text": self.text,
            "cited": list(self.cited),
            **({"call": self.call.plain()} if self.call is not None else {}),
        }

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Answer:
        """Read what `plain` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        return cls(data["text"], tuple(data["cited"]), Call.read(data["call"]) if "call" in data else None)

    @staticmethod
    def table(answers: Sequence[Answer]) -> Answers:
        """Answers as a table."""
        calls = (json.dumps(a.call.plain(), sort_keys=True) if a.call is not None else "" for a in answers)
        return Answers(Strings.of(a.text for a in answers), Ragged.of([a.cited for a in answers]), Strings.of(calls))


def kinds() -> dict[str, type[Value]]:
    """Every kind of value by name, also those that a component's own module declares."""
    found: dict[str, type[Value]] = {}
    todo: list[Any] = [Value]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo.extend(kind.__subclasses__())
    return found
