"""Intents with their paraphrases and traps, and conversations: what caches and routers are tested with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from evalkit.datasets.rows import Faults, Row, Span, read_span

TrapKind = Literal["other entity", "other number", "negation", "other scope", "other time", "reversed roles"]
_FEWEST_TURNS = 2


@dataclass(frozen=True)
class Trap:
    """A question that looks like an intent's and has another answer.

    Parameters
    ----------
    kind : TrapKind
        In what it differs.
    text, answer : str
    document : str
        The document that holds its answer.
    """

    kind: TrapKind
    text: str
    answer: str
    document: str


@dataclass(frozen=True)
class Intent:
    """One thing that people want to know, in many words.

    Parameters
    ----------
    name, tenant : str
    text : str
        The question in its plainest form.
    answer : str
    evidence : tuple of Span
    paraphrases : tuple of str
        Other wordings with the same answer.
    traps : tuple of Trap
    before : (document, answer) or None
        Until this document has come in, the answer is the older one.
    split : str
        Empty where there are none.
    """

    name: str
    tenant: str
    text: str
    answer: str
    evidence: tuple[Span, ...]
    paraphrases: tuple[str, ...] = ()
    traps: tuple[Trap, ...] = ()
    before: tuple[str, str] | None = None
    split: str = ""


@dataclass(frozen=True)
class Turn:
    """One question in a conversation: as it is said, and as it would stand alone."""

    user: str
    standalone: str
    answer: str
    evidence: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """Turns of which later ones need earlier ones.

    Parameters
    ----------
    name, tenant : str
    turns : tuple of Turn
    split : str
        Empty where there are none.
    """

    name: str
    tenant: str
    turns: tuple[Turn, ...]
    split: str = ""

    def history(self, turn: int) -> tuple[str, ...]:
        """What was said before a turn: the user, the assistant, in turn."""
        return tuple(text for t in self.turns[:turn] for text in (t.user, t.answer))


class _Record:
    """Reads one record's fields and says what is wrong with them."""

    def __init__(self, row: Row, what: str, texts: Mapping[str, Mapping[str, Any]], faults: Faults) -> None:
        self.where, self.data, self.texts, self.faults = row.where, row.data, texts, faults
        self.what = f"{what} '{row.data.get('intent') or row.data.get('id') or '?'}'"
        self.sound = True

    def fault(self, what: str) -> None:
        self.sound = False
        self.faults.add(self.where, f"{self.what}: {what}")

    def text(self, data: Mapping[str, Any], key: str) -> str:
        value = data.get(key)
        if isinstance(value, str) and value.strip():
            return value
        self.fault(f"'{key}' must be a text that is not empty")
        return ""

    def optional(self, key: str) -> str:
        value = self.data.get(key, "")
        if isinstance(value, str):
            return value
        self.fault(f"'{key}' must be a text")
        return ""

    def items(self, data: Mapping[str, Any], key: str, kind: type) -> list[Any]:
        value = data.get(key) or []
        if isinstance(value, list) and all(isinstance(item, kind) and item for item in value):
            return value
        self.fault(f"'{key}' must be a list of {'texts' if kind is str else 'objects'}")
        return []

    def document(self, data: Mapping[str, Any]) -> str:
        name = data.get("document")
        if isinstance(name, str) and name in self.texts:
            return name
        self.fault(f"unknown document '{name}'")
        return ""

    def evidence(self, data: Mapping[str, Any]) -> tuple[Span, ...]:
        spans = tuple(
            read_span(item, self.texts, self.where, self.faults) for item in self.items(data, "evidence", dict)
        )
        if None in spans:
            self.sound = False
        return tuple(span for span in spans if span)


def read_intents(rows: Iterable[Row], texts: Mapping[str, Mapping[str, Any]], faults: Faults) -> dict[str, Intent]:
    """Check the records of ``paraphrases.jsonl``; `texts` holds the documents by id."""
    found: dict[str, Intent] = {}
    for row in rows:
        record = _Record(row, "intent", texts, faults)
        intent = _intent(record)
        if intent.name in found:
            record.fault("was already given; put all its paraphrases on one line")
        if record.sound:
            found[intent.name] = intent
    return found


def _intent(record: _Record) -> Intent:
    data = record.data
    before = data.get("before")
    if before is not None and not isinstance(before, dict):
        record.fault("'before' must be an object with document and answer")
        before = None
    return Intent(
        record.text(data, "intent"),
        record.text(data, "tenant"),
        record.text(data, "text"),
        record.text(data, "answer"),
        record.evidence(data),
        tuple(record.items(data, "paraphrases", str)),
        tuple(_traps(record)),
        None if before is None else (record.document(before), record.text(before, "answer")),
        record.optional("split"),
    )


def _traps(record: _Record) -> Iterator[Trap]:
    for item in record.items(record.data, "traps", dict):
        kind = item.get("kind")
        if kind not in get_args(TrapKind):
            record.fault(f"trap of kind {kind!r}; one of: {', '.join(get_args(TrapKind))}")
        yield Trap(kind, record.text(item, "text"), record.text(item, "answer"), record.document(item))


def read_conversations(
    rows: Iterable[Row], texts: Mapping[str, Mapping[str, Any]], faults: Faults
) -> dict[str, Conversation]:
    """Check the records of ``conversations.jsonl``."""
    found: dict[str, Conversation] = {}
    for row in rows:
        record = _Record(row, "conversation", texts, faults)
        name, tenant = record.text(row.data, "id"), record.text(row.data, "tenant")
        turns = tuple(
            Turn(record.text(t, "user"), record.text(t, "standalone"), record.text(t, "answer"), record.evidence(t))
            for t in record.items(row.data, "turns", dict)
        )
        if len(turns) < _FEWEST_TURNS:
            record.fault(f"{len(turns)} turns; a conversation has at least {_FEWEST_TURNS}")
        if name in found:
            record.fault("was already given")
        if record.sound:
            found[name] = Conversation(name, tenant, turns, record.optional("split"))
    return found
