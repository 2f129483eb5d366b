"""Outcomes as plain columns, and back: what tables are worked out from, and what a saved replay holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from evalkit.calls import Call
from evalkit.columns import Array, Ragged, Strings
from evalkit.served import Event
from evalkit.serving.arrivals import Arrival
from evalkit.serving.results.outcomes import Outcome
from evalkit.values import Answers, content_digest

Columns = dict[str, "Strings | Array"]
LABELS = ("user", "tenant", "conversation", "intent", "answer", "kind")
"""What an arrival says of itself beside its text and its times."""


@dataclass(frozen=True, eq=False)
class Flat:
    """Outcomes as four tables of columns.

    Parameters
    ----------
    requests : {column: values}
        A row an outcome; `given` is its place in `answers`, or -1; `events` and `calls` are how many it has.
    events : {column: values}
        A row an event; `name` and `kind` are places in `names`.
    names : Strings
    calls : {column: values}
        A row a call, as JSON but for its pieces, which are `pieces` many of `times`.
    times : float64 array
    answers : {column: values}
        A row each distinct answer.
    """

    requests: Columns
    events: dict[str, Array]
    names: Strings
    calls: Columns
    times: Array
    answers: Columns

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Flat:
        """Lay outcomes down as columns."""
        given, answers = _answers(outcomes)
        events = [event for outcome in outcomes for event in outcome.events]
        names = {text: i for i, text in enumerate(dict.fromkeys(t for e in events for t in (e.name, e.kind)))}
        calls = [call for outcome in outcomes for call in outcome.calls]
        arrivals = [outcome.arrival for outcome in outcomes]
        requests: Columns = {
            "number": np.array([o.number for o in outcomes], dtype=np.int64),
            "text": Strings.of(a.text for a in arrivals),
            **{name: Strings.of(getattr(a, name) for a in arrivals) for name in LABELS},
            "at": _floats([a.at for a in arrivals]),
            "patience": _floats([math.nan if a.patience is None else a.patience for a in arrivals]),
            "arrived": _floats([o.arrived for o in outcomes]),
            "first": _floats([o.first for o in outcomes]),
            "ended": _floats([o.ended for o in outcomes]),
            "outcome": Strings.of(o.outcome for o in outcomes),
            "reason": Strings.of(o.reason for o in outcomes),
            "notes": Strings.of(_json(_plain(o.notes)) for o in outcomes),
            "given": given,
            "events": np.array([len(o.events) for o in outcomes], dtype=np.int64),
            "calls": np.array([len(o.calls) for o in outcomes], dtype=np.int64),
        }
        return cls(
            requests,
            {
                "name": np.array([names[e.name] for e in events], dtype=np.int64),
                "kind": np.array([names[e.kind] for e in events], dtype=np.int64),
                "start": _floats([e.start for e in events]),
                "began": _floats([e.began for e in events]),
                "end": _floats([e.end for e in events]),
            },
            Strings.of(names),
            {
                "call": Strings.of(_call(call) for call in calls),
                "pieces": np.array([len(call.pieces) for call in calls], dtype=np.int64),
            },
            np.concatenate([_floats(call.pieces) for call in calls] or [_floats([])]),
            answers,
        )

    @property
    def digest(self) -> str:
        """Hash of all of it: the same for the same outcomes, in every process."""
        more: Columns = {"names": self.names, "times": self.times}
        tables: tuple[Mapping[str, Strings | Array], ...] = (
            self.requests, self.events, self.calls, self.answers, more
        )  # fmt: skip
        flat = {f"{i} {name}": column for i, table in enumerate(tables) for name, column in table.items()}
        arrays: dict[str, Array] = {}
        for name, column in flat.items():
            parts = {"": column} if isinstance(column, np.ndarray) else {"d": column.data, "o": column.offsets}
            arrays.update({f"{name} {part}": array for part, array in parts.items()})
        return content_digest("Replay", arrays)

    @property
    def request(self) -> Array:
        """For every event, the row of its request."""
        counts = cast("Array", self.requests["events"])
        return np.repeat(np.arange(len(counts)), counts)

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes."""
        names = list(self.names)
        rows = zip(*(self.events[c].tolist() for c in ("name", "kind", "start", "began", "end")), strict=True)
        events = [Event(names[name], names[kind], *times) for name, kind, *times in rows]
        calls = self._calls()
        answers = [
            Answers(Strings.of([text]), Ragged.of([tuple(json.loads(cited))]), Strings.of([call]))
            for text, cited, call in zip(*(self.answers[c] for c in ("text", "cited", "calls")), strict=True)
        ]
        found, event, call = [], 0, 0
        for row in _rows(self.requests):
            e, c = event + row["events"], call + row["calls"]
            labels = {name: row[name] for name in LABELS}
            patience = None if math.isnan(row["patience"]) else row["patience"]
            found.append(
                Outcome(
                    row["number"], Arrival(row["text"], row["at"], **labels, patience=patience),
                    row["arrived"], row["first"], row["ended"], row["outcome"], row["reason"],
                    answers[row["given"]] if row["given"] >= 0 else None,
                    tuple(calls[call:c]), json.loads(row["notes"]), tuple(events[event:e]),
                )
            )  # fmt: skip
            event, call = e, c
        return found

    def _calls(self) -> list[Call]:
        found, end = [], 0
        for text, pieces in zip(self.calls["call"], self.calls["pieces"], strict=True):
            start, end = end, end + int(pieces)
            found.append(Call.read({**json.loads(text), "pieces": self.times[start:end].tolist()}))
        return found


def _answers(outcomes: Sequence[Outcome]) -> tuple[Array, Columns]:
    """Each distinct answer once, in the order of first use: hits hand on what others made."""
    seen: dict[int, int] = {}
    known: dict[tuple[str, str, str], int] = {}
    given = np.full(len(outcomes), -1, dtype=np.int64)
    for row, outcome in enumerate(outcomes):
        if (answers := outcome.answers) is None:
            continue
        place = seen.get(id(answers))
        if place is None:
            content = (answers.text[0], _json(list(answers.cited[0])), answers.calls[0])
            place = seen[id(answers)] = known.setdefault(content, len(known))
        given[row] = place
    texts, cited, calls = zip(*known, strict=True) if known else ((), (), ())
    return given, {"text": Strings.of(texts), "cited": Strings.of(cited), "calls": Strings.of(calls)}


def _rows(columns: Columns) -> list[dict[str, Any]]:
    lists = [column.tolist() if isinstance(column, np.ndarray) else list(column) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _floats(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float64)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(notes: Mapping[str, str | float]) -> dict[str, str | float]:
    """Notes in one order, numbers as floats: 1 and 1.0 are one note."""
    return {name: note if isinstance(note := notes[name], str) else float(note) for name in sorted(notes)}


def _call(call: Call) -> str:
    """A call without its pieces, which are far too many to be written as text."""
    attempts = [{**vars(a), "usage": vars(a.usage)} for a in call.attempts]
    return _json({**vars(call), "usage": vars(call.usage), "pieces": [], "attempts": attempts})
