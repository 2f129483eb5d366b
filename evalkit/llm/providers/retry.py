"""The one owner of retries: which faults are tried again and when, and what is told when no try is left.

A provider's client makes no retries of its own. Its generator turns every outcome of a try into `Came` or `Fault`
(errors that a server sent: with `refusals.refused`) and hands the try to `answered`; a request whose outcome is no
answer goes through `tried`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, TypeVar

from evalkit import fingerprint
from evalkit.calls import INTERRUPTED, Attempt, Call, CallFailed, TokenUsage
from evalkit.llm.messages import without_marks
from evalkit.types import Clock
from evalkit.values import Answer, Prompt

LONGEST_WAIT = 60.0
"""Seconds that a server may ask to wait; where it asks for more, the call fails and says until when."""

_FIRST, _LONGEST, _JITTER = 0.5, 8.0, 0.25
_NONE = TokenUsage()
T = TypeVar("T")


@dataclass(frozen=True)
class Came:
    """What a try gave: an answer, or what came of it before its stream broke.

    Parameters
    ----------
    text : str
        With its marks of citation.
    usage : TokenUsage
    pieces : tuple of float
        The clock's times of the streamed pieces of any kind; empty where nothing was streamed.
    first_text : int
        Index in `pieces` of the first piece of text; ``len(pieces)`` where none came.
    stop : str
    request_id : str
    complete : bool
        Whether the final usage arrived. An answer may be whole without: some servers send none.
    """

    text: str
    usage: TokenUsage = _NONE
    pieces: tuple[float, ...] = ()
    first_text: int = 0
    stop: str = "end_turn"
    request_id: str = ""
    complete: bool = True


@dataclass(frozen=True)
class Fault:
    """Why a try failed.

    Parameters
    ----------
    error : str
        A name for the records, such as ``529 overloaded_error`` or ``stream cut``; no words of the server.
    told : str
        One line for people: what happened and what to do, without a key.
    again : bool
        Whether the same request may succeed when it is sent again.
    after : float or None
        Seconds that the server asks to wait before.
    final : bool
        Nothing that is sent this way can succeed before somebody acts (see `CallFailed`).
    usage : TokenUsage
        What the try is known to have used.
    request_id : str
    part : Came or None
        What came of the answer before its stream broke; None where no text came.
    """

    error: str
    told: str
    again: bool = True
    after: float | None = None
    final: bool = False
    usage: TokenUsage = _NONE
    request_id: str = ""
    part: Came | None = None


Failed = tuple[Fault, float]
"""A fault and the seconds that its try took."""


async def tried(
    attempt: Callable[[], Awaitable[T | Fault]], retries: int, key: str, clock: Clock
) -> tuple[T | None, list[Failed]]:
    """Try until a try succeeds, a fault is not to be tried again, or no try is left.

    Parameters
    ----------
    attempt : coroutine function
        One try. It raises nothing that a provider does: every outcome is returned.
    retries : int
        Tries after the first.
    key : str
        What the call is: waits differ between calls, and are the same in every run.
    clock : Clock

    Returns
    -------
    value : T or None
        None if every try failed.
    failed : list of (Fault, float)
        The tries that failed, in order.
    """
    failed: list[Failed] = []
    for number in range(retries + 1):
        started = clock.now()
        outcome = await attempt()
        if not isinstance(outcome, Fault):
            return outcome, failed
        failed.append((outcome, clock.now() - started))
        if number == retries or not outcome.again:
            break
        await clock.sleep(backoff(number, key) if outcome.after is None else outcome.after)
    return None, failed


async def answered(
    attempt: Callable[[], Awaitable[Came | Fault]],
    prompt: Prompt,
    sample: int,
    clock: Clock,
    *,
    where: str,
    model: str,
    retries: int,
) -> Answer:
    """Make a call with its retries, and state what it took.

    Where every try failed, the answer is what came of the last stream that broke after its first text: ``call.stop``
    is `INTERRUPTED` and ``call.complete`` False.

    Parameters
    ----------
    attempt : coroutine function
        One try (see `tried`).
    prompt : Prompt
    sample : int
    clock : Clock
    where : str
        Which generator, at which server, with which model: begins every error.
    model : str
        As the price list names it.
    retries : int
        Tries after the first.

    Raises
    ------
    CallFailed
        If no try gave any text, or a fault was final.
    """
    since, day = clock.now(), today()
    came, failed = await tried(attempt, retries, fingerprint.digest([prompt, sample]), clock)
    last = failed[-1][0] if failed else None
    if came is None and last is not None and not last.final:
        broken = [(one, one[0].part) for one in failed if one[0].part is not None]
        if broken:
            kept, part = broken[-1]
            came = replace(part, stop=INTERRUPTED, complete=False)
            failed.remove(kept)
    attempts = tuple(Attempt(fault.error, seconds, fault.usage, fault.request_id) for fault, seconds in failed)
    seconds = clock.now() - since
    if came is None:
        raise failure(where, model, failed, seconds=seconds, day=day)
    text, cited = without_marks(came.text, prompt.sources)
    pieces = tuple(at - since for at in came.pieces)
    call = Call(
        model, came.usage, pieces, came.first_text, seconds, came.stop, came.request_id, day,
        complete=came.complete, attempts=attempts,
    )  # fmt: skip
    return Answer(text, cited, call)


def failure(
    where: str,
    model: str,
    failed: list[Failed],
    *,
    seconds: float,
    day: str,
    service: Literal["standard", "batch"] = "standard",
) -> CallFailed:
    """Return the error of a call whose tries all failed; it states them all."""
    last = failed[-1][0]
    attempts = tuple(Attempt(fault.error, took, fault.usage, fault.request_id) for fault, took in failed)
    tries = f" on each of {len(failed)} tries" if len(failed) > 1 and last.again else ""
    call = Call(
        model, seconds=seconds, stop=last.error, day=day, service=service, complete=False, attempts=attempts
    )  # fmt: skip
    return CallFailed(f"{where}: {last.error}{tries}: {last.told}", call, last.final)


def backoff(number: int, key: str) -> float:
    """Return the seconds to wait after a try, the first being 0: ``min(0.5 * 2**number, 8)``, less up to a quarter.

    How much less depends on the call and the number alone.
    """
    drawn = hashlib.blake2b(f"{key}:{number}".encode(), digest_size=8).digest()
    share = int.from_bytes(drawn, "big") / 2**64
    return min(_FIRST * 2.0 ** min(number, 10), _LONGEST) * (1 - _JITTER * share)


def today() -> str:
    """Return the ISO date by which a call is priced (UTC)."""
    return datetime.now(UTC).date().isoformat()
