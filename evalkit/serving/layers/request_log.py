"""A log of requests, written behind them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from evalkit.calls import CallFailed
from evalkit.errors import EvalkitError, InputError
from evalkit.llm.cassettes.secrets import Secrets
from evalkit.paths import resolve
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.refused import Refused
from evalkit.values import Answers, Value


@dataclass(frozen=True)
class RequestLog:
    """Appends every request as a line of JSON to a file; no request waits for it.

    A line holds who asked what and when, what came of it (as in `Outcome`), the answer, its citations, and what
    layers have noted by then: list the log first, and it sees all. Times are seconds: ``at`` of the service's
    calendar, ``seconds`` from the arrival to the answer. Texts that hold what looks like a key, or a secret of the
    environment, are withheld and say so. Lines stand in the order in which they were written. A file that cannot be
    written loses lines, which are counted among the service's failures, and disturbs no request.

    Parameters
    ----------
    path : str
        From the project's root. It is no part of the service's identity.
    seconds : float
        Modelled time that a write takes beside the real one: that of a database behind a network.
    wait : bool
        Whether the answer waits for the write, which is what a service does that writes before it answers.
    at : {"answer"}
    """

    path: str = "results/requests.jsonl"
    seconds: float = 0.03
    wait: bool = False
    at: Literal["answer"] = "answer"

    def __post_init__(self) -> None:
        if self.at not in ("answer",) or not self.path.strip() or not self.seconds >= 0:
            raise InputError(
                f"RequestLog: at is {self.at!r}, path {self.path!r} and seconds {self.seconds} do not fit; it stands "
                "at 'answer', names a file, and a write takes at least 0 s"
            )

    def identity(self) -> dict[str, Any]:
        """Where the file lies changes nothing."""
        return {"path": "a file"}

    def start(self, serving: Serving) -> Handler:
        """Return the log at work; the file is opened with the first line."""
        file, secrets = _File(resolve(self.path), self.path), Secrets.known()

        async def write(row: dict[str, Any]) -> None:
            await serving.clock.elapse(self.seconds)
            file.add(json.dumps(_clean(row, secrets), ensure_ascii=False))

        async def close() -> None:
            file.close()

        serving.at_end(close)

        async def handle(request: Request, go_on: Next) -> Value:
            try:
                value = await go_on(request)
            except (Refused, CallFailed, asyncio.CancelledError, EvalkitError) as error:
                serving.beside(write(_row(request, serving, *_outcome(error))))
                raise
            answers = cast("Answers", value)
            row = _row(request, serving, "answered", "") | {"answer": answers.text[0], "cited": [*answers.cited[0]]}
            if not self.wait:
                serving.beside(write(row))
                return value
            try:
                await write(row)
            except EvalkitError as error:
                request.note("log", str(error))
            return value

        return handle


def _outcome(error: BaseException) -> tuple[str, str]:
    if isinstance(error, Refused):
        return "refused", str(error)
    if isinstance(error, CallFailed):
        return "failed", error.call.stop
    return ("abandoned", "") if isinstance(error, asyncio.CancelledError) else ("failed", type(error).__name__)


def _row(request: Request, serving: Serving, outcome: str, reason: str) -> dict[str, Any]:
    names = ("number", "user", "tenant", "conversation", "text")
    return {
        "at": serving.now(),
        "seconds": request.clock.now() - request.arrived,
        **{name: getattr(request, name) for name in names},
        "outcome": outcome,
        "reason": reason,
        "notes": dict(request.notes),
    }


def _clean(row: Any, secrets: Secrets) -> Any:
    """Return JSON-ready data with every text withheld that holds a secret."""
    if isinstance(row, dict):
        return {key: _clean(value, secrets) for key, value in row.items()}
    if isinstance(row, list):
        return [_clean(value, secrets) for value in row]
    what = secrets.what(row) if isinstance(row, str) else None
    return row if what is None else f"(withheld: {what})"


class _File:
    """A file that is opened when the first line comes."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._file: TextIO | None = None

    def add(self, line: str) -> None:
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
            self._file.write(line + "\n")
        except OSError as error:
            raise EvalkitError(f"RequestLog: {self._name}: cannot be written ({error.strerror})") from None

    def close(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                raise EvalkitError(f"RequestLog: {self._name}: cannot be written ({error.strerror})") from None
