"""Intents with their paraphrases and traps, and conversations: what caches and routers are tested with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from evalkit.datasets.corpus import Corpus
from evalkit.datasets.record import Record
from evalkit.datasets.rows import Faults, Row, Span

TrapKind = Literal["other entity", "other number", "negation", "other scope", "other time", "reversed roles"]
_FEWEST_TURNS = 2

_INTENT = frozenset(("intent", "tenant", "text", "answer", "evidence", "paraphrases", "traps", "before", "split"))
_TRAP = frozenset(("kind", "text", "answer", "document"))
_BEFORE = frozenset(("document", "answer"))
_CONVERSATION = frozenset(("id", "tenant", "turns", "split"))
_TURN = frozenset(("user", "standalone", "answer", "evidence"))


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


def read_intents(rows: Iterable[Row], corpus: Corpus, faults: Faults) -> dict[str, Intent]:
    """Check the records of ``paraphrases.jsonl``."""
    found: dict[str, Intent] = {}
    for where, row in rows:
        record = Record(where, row, f"intent '{row.get('intent') or '?'}'", corpus, faults)
        intent = _intent(record)
        if intent.name in found:
            record.fault("was already given; put all its paraphrases on one line")
        if record.sound:
            found[intent.name] = intent
    return found


def _intent(record: Record) -> Intent:
    record.keys(_INTENT)
    return Intent(
        record.name("intent"),
        record.text("tenant"),
        record.text("text"),
        record.text("answer"),
        record.evidence(),
        record.texts("paraphrases"),
        tuple(_traps(record)),
        _older(record),
        record.optional("split"),
    )


def _traps(record: Record) -> Iterator[Trap]:
    for number, item in enumerate(record.objects("traps"), start=1):
        trap = record.part(item, f"trap {number}", _TRAP)
        kind: Any = item.get("kind")
        if kind not in get_args(TrapKind):
            trap.fault(f"trap of kind {kind!r}; one of: {', '.join(get_args(TrapKind))}")
        yield Trap(kind, trap.text("text"), trap.text("answer"), trap.document())


def _older(record: Record) -> tuple[str, str] | None:
    before = record.data.get("before")
    if before is None:
        return None
    if not isinstance(before, dict):
        record.fault("'before' must be an object with document and answer")
        return None
    older = record.part(before, "before", _BEFORE)
    return older.document(), older.text("answer")


def read_conversations(rows: Iterable[Row], corpus: Corpus, faults: Faults) -> dict[str, Conversation]:
    """Check the records of ``conversations.jsonl``."""
    found: dict[str, Conversation] = {}
    for where, row in rows:
        record = Record(where, row, f"conversation '{row.get('id') or '?'}'", corpus, faults)
        record.keys(_CONVERSATION)
        name, tenant, split = record.name("id"), record.text("tenant"), record.optional("split")
        turns = tuple(_turns(record))
        if record.sound and len(turns) < _FEWEST_TURNS:
            record.fault(f"{len(turns)} turns; a conversation has at least {_FEWEST_TURNS}")
        if name in found:
            record.fault("was already given")
        if record.sound:
            found[name] = Conversation(name, tenant, turns, split)
    return found


def _turns(record: Record) -> Iterator[Turn]:
    for number, item in enumerate(record.objects("turns"), start=1):
        turn = record.part(item, f"turn {number}", _TURN)
        yield Turn(turn.text("user"), turn.text("standalone"), turn.text("answer"), turn.evidence())
