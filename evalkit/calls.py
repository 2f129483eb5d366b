"""What one call to a model was: tokens by kind, when each piece came, how it ended. Plain data that calls nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal

from evalkit.errors import EvalkitError, InputError

TTL = Literal["5m", "1h"]
"""For how long a prompt cache keeps what was written at a breakpoint."""

INTERRUPTED = "interrupted"
"""The `Call.stop` of an answer whose stream broke: what came of it is kept."""


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of a call, by what they cost.

    Parameters
    ----------
    input : int
        Of the prompt, neither read from nor written to a cache.
    cache_write_5m, cache_write_1h : int
        Written to the prompt cache, to be kept for 5 minutes or an hour.
    cache_read : int
        Read from the prompt cache.
    output : int
        Generated, reasoning included.
    """

    input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def prompt(self) -> int:
        """Tokens of the whole prompt, however they were charged."""
        return self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read

    @property
    def uncached(self) -> int:
        """Tokens of the prompt that had to be worked through."""
        return self.prompt - self.cache_read

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Attempt:
    """A try that was given up before the one that counts.

    Parameters
    ----------
    error : str
        What happened, e.g. ``529 overloaded_error`` or ``stream cut``; never a message that could hold a secret.
    seconds : float
        From its start to its end.
    usage : TokenUsage
        What it is known to have used: a lower bound, as its stream did not end.
    request_id : str
        As the server named it; empty where it did not.
    """

    error: str
    seconds: float
    usage: TokenUsage = TokenUsage()
    request_id: str = ""

    @property
    def refused(self) -> bool:
        """Whether the server answered with an error in the place of an answer, which costs nothing."""
        return self.error[:3].isdecimal() and self.usage == TokenUsage()


@dataclass(frozen=True)
class Call:
    """One call to a model, tries included.

    Parameters
    ----------
    model : str
        As the price list names it.
    usage : TokenUsage
        Of the try that counts.
    pieces : tuple of float
        Seconds from the call to each streamed piece of any kind (text, reasoning). A piece is not a token. Empty
        where nothing was streamed.
    first_text : int
        Index in `pieces` of the first piece of answer text; ``len(pieces)`` where none came.
    seconds : float
        From the call to its end, waits between tries included.
    stop : str
        Why it ended: ``end_turn``, ``max_tokens``, ``stop_sequence``, ``refusal``, or `INTERRUPTED`.
    request_id : str
        As the server named it.
    day : str
        ISO date on which the call was made, by which it is priced; empty for a modelled call, which costs what the
        newest prices say.
    service : {"standard", "batch"}
        What was asked for; a batch is half the price, and says nothing of latency.
    complete : bool
        Whether the final usage arrived. If not, `usage` is a lower bound.
    attempts : tuple of Attempt
        Tries that were given up before.
    """

    model: str
    usage: TokenUsage = TokenUsage()
    pieces: tuple[float, ...] = ()
    first_text: int = 0
    seconds: float = 0.0
    stop: str = "end_turn"
    request_id: str = ""
    day: str = ""
    service: Literal["standard", "batch"] = "standard"
    complete: bool = True
    attempts: tuple[Attempt, ...] = ()

    def __post_init__(self) -> None:
        times = (0.0, *self.pieces, self.seconds) if self.pieces else (0.0, self.seconds)
        if not all(map(math.isfinite, times)) or any(b < a for a, b in pairwise(times)):
            raise InputError(f"a call to {self.model or 'a model'}: its times run backwards or are none")

    @property
    def used(self) -> TokenUsage:
        """Tokens of all tries, as far as is known."""
        return sum((attempt.usage for attempt in self.attempts), self.usage)

    @property
    def at_least(self) -> bool:
        """Whether `used` is a lower bound: the final usage of a try did not arrive."""
        return not self.complete or not all(attempt.refused for attempt in self.attempts)

    def plain(self) -> dict[str, Any]:
        """Return the call as JSON-ready data."""
        return asdict(self) | {"pieces": list(self.pieces), "attempts": [asdict(a) for a in self.attempts]}

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Call:
        """Read what `plain` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        attempts = tuple(Attempt(**{**a, "usage": TokenUsage(**a["usage"])}) for a in data["attempts"])
        given = {**data, "usage": TokenUsage(**data["usage"]), "pieces": tuple(data["pieces"]), "attempts": attempts}
        return cls(**given)


class CallFailed(EvalkitError):
    """A call that got no answer, after all the tries it was allowed.

    Parameters
    ----------
    message : str
        One line: which generator, where, what happened, what to do. Never a key.
    call : Call
        What it took: its tries, with what they are known to have used. ``call.stop`` is the last error.
    final : bool
        Nothing that is sent this way can succeed before somebody acts: no key, a key refused, credit spent. The run
        begins no further call.
    """

    def __init__(self, message: str, call: Call, final: bool = False) -> None:
        super().__init__(message)
        self.call, self.final = call, final

    def __reduce__(self) -> tuple[type[CallFailed], tuple[str, Call, bool]]:
        return type(self), (str(self), self.call, self.final)
