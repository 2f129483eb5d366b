"""Traffic: who asks what and when, and which documents come in meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.columns import Array, Strings
from evalkit.datasets.rows import Faults, Row
from evalkit.values import Table

if TYPE_CHECKING:
    import pandas as pd

DAY = 86_400.0
_TEXTS = ("user", "tenant", "text", "intent", "answer", "kind", "conversation")
_COUNTS = ("turn", "prompt_tokens", "answer_tokens")
_LAST = 2**53  # the last whole number of a float64


@dataclass(frozen=True, eq=False)
class Traffic(Table):
    """Requests in order of arrival, a row each.

    Parameters
    ----------
    at : float64 array of shape (n,)
        Seconds from the start.
    user, tenant, text : Strings
    intent : Strings
        What is wanted: requests with one intent want one answer. Empty where a log does not say.
    answer : Strings
        The right answer at that time; empty where a log does not say.
    kind : Strings
        ``canonical``, ``paraphrase``, ``trap: <kind>``, ``conversation``, or what a log says.
    conversation : Strings
        Empty outside conversations.
    turn : int64 array of shape (n,)
        Place in the conversation, from 0.
    prompt_tokens, answer_tokens : int64 array of shape (n,)
        Of recorded calls; 0 where a log does not say.
    """

    at: Array
    user: Strings
    tenant: Strings
    text: Strings
    intent: Strings
    answer: Strings
    kind: Strings
    conversation: Strings
    turn: Array
    prompt_tokens: Array
    answer_tokens: Array

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]]) -> Traffic:
        """Build from records, which are put in order of arrival; what a record leaves out is empty or 0."""
        ordered = sorted(rows, key=lambda row: float(row["at"]))  # stable: equal times stay in the given order
        texts = {name: Strings.of(str(row.get(name) or "") for row in ordered) for name in _TEXTS}
        counts = {name: np.array([int(row.get(name) or 0) for row in ordered], dtype=np.int64) for name in _COUNTS}
        columns: dict[str, Any] = {"at": np.array([float(row["at"]) for row in ordered]), **texts, **counts}
        return cls(**columns)

    def frame(self) -> pd.DataFrame:
        """Return the requests as a data frame with the same columns."""
        import pandas as pd

        return pd.DataFrame(
            {
                name: column.tolist() if isinstance(column, np.ndarray) else list(column)
                for name, column in self._columns()
            }
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the requests as JSON Lines, one a line; what is empty or 0 is left out."""
        rows = self.frame().to_dict("records")
        stated = ({name: value for name, value in row.items() if value or name == "at"} for row in rows)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in stated)
        Path(path).write_text("".join(lines), encoding="utf-8")

    def between(self, start: float, end: float) -> Traffic:
        """Return the requests from `start` up to, not including, `end` seconds."""
        return self.take(np.flatnonzero((self.at >= start) & (self.at < end)))

    def _columns(self) -> Iterable[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in self.__dataclass_fields__)


@dataclass(frozen=True)
class Ingestion:
    """Documents that come in at some time, and those that go.

    Parameters
    ----------
    at : float
        Seconds from the start.
    added, removed : tuple of str
        Document ids.
    """

    at: float
    added: tuple[str, ...]
    removed: tuple[str, ...] = ()


def of_intent(name: str) -> str:
    """The intent or conversation that a request's intent belongs to: ``fee`` of the trap ``fee!0``."""
    return name.partition("!")[0].partition("/")[0]


def read_traffic(rows: Iterable[Row], known: Set[str], faults: Faults) -> Traffic:
    """Check the records of ``traffic.jsonl``.

    A request has a text or, in a trace, at least token counts. `known` are the intents and conversations that a
    request's intent must be of; where it is empty, any will do.
    """
    found = []
    for where, row in rows:
        at, text = row.get("at"), row.get("text") or ""
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= _LAST:
            faults.add(where, f"request at {at!r}; times are seconds from 0")
        elif wrong := [name for name in _COUNTS if not _is_count(row.get(name, 0))]:
            faults.add(where, f"request: '{wrong[0]}' is not a whole number from 0")
        elif not isinstance(text, str) or not (text.strip() or row.get("prompt_tokens") or row.get("answer_tokens")):
            faults.add(where, "request without a text")
        elif wrong := [name for name in _TEXTS if not isinstance(row.get(name, ""), str)]:
            faults.add(where, f"request: '{wrong[0]}' is not a text")
        elif known and (intent := row.get("intent")) and intent not in known and of_intent(intent) not in known:
            faults.add(where, f"request of an unknown intent '{intent}'")
        else:
            found.append(dict(row))
    return Traffic.of(found)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LAST


def read_events(rows: Iterable[Row], documents: Container[object], faults: Faults) -> tuple[Ingestion, ...]:
    """Check the records of ``events.jsonl``."""
    found = []
    for where, row in rows:
        at, added, removed = row.get("at"), row.get("added") or [], row.get("removed") or []
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= _LAST:
            faults.add(where, f"event at {at!r}; times are seconds from 0")
        elif not isinstance(added, list) or not isinstance(removed, list) or not (added or removed):
            faults.add(where, "event: 'added' and 'removed' are lists of document ids, one of them not empty")
        elif unknown := [name for name in (*added, *removed) if name not in documents]:
            faults.add(where, f"event with the unknown document '{unknown[0]}'")
        else:
            found.append(Ingestion(float(at), tuple(added), tuple(removed)))
    return tuple(sorted(found, key=lambda event: event.at))
