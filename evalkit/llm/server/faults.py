"""Faults on purpose, as data: what goes wrong, for which requests, the same in every run."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalkit.errors import InputError, InputErrors
from evalkit.forms import Reader, build
from evalkit.llm.server.refusals import Refused

Kind = Literal[
    "rate_limited",
    "spend_cap",
    "spend_limit",
    "key_refused",
    "not_permitted",
    "server_error",
    "timed_out",
    "overloaded",
    "overloaded_in_stream",
    "cut_before_headers",
    "cut_after_start",
    "cut_after_pieces",
    "slow_first_token",
    "malformed_event",
    "wrong_content_length",
]

_STATUS: dict[str, tuple[int, str]] = {
    "rate_limited": (429, "This request would exceed your organization's rate limit. Please try again later."),
    "spend_cap": (429, "You have reached your monthly spend limit. Access resumes next month."),
    "spend_limit": (400, "You have reached your specified API usage limits. You will regain access next month."),
    "key_refused": (401, "invalid x-api-key"),
    "not_permitted": (403, "Your API key does not have permission to use the specified resource."),
    "server_error": (500, "Internal server error"),
    "timed_out": (504, "Request timed out"),
    "overloaded": (529, "Overloaded"),
}


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Parameters
    ----------
    kind : str
        An error instead of an answer: ``rate_limited`` (429, with ``retry-after`` if `retry_after` says so),
        ``spend_cap`` (429, never with it, ``error.details.error_code`` is ``enforced_spend_limit_reached``),
        ``spend_limit`` (400: the limit that a customer set), ``key_refused`` (401), ``not_permitted`` (403),
        ``server_error`` (500), ``timed_out`` (504), ``overloaded`` (529). In the answer: ``overloaded_in_stream``
        (HTTP 200, then ``event: error`` after `pieces`), ``cut_before_headers``, ``cut_after_start`` (behind
        ``message_start``), ``cut_after_pieces`` (the connection closes), ``slow_first_token`` (by `seconds`),
        ``malformed_event`` (the piece after `pieces` is no JSON), ``wrong_content_length`` (stated longer than the
        body by `excess` bytes). An answer that is not streamed is cut in the middle of its body, is no JSON, or is
        a 529 where a stream would be overloaded.
    share : float
        Of the requests, between 0 and 1.
    at : sequence of int
        Numbers of requests, counted from 1 as they arrive; they come before shares.
    retry_after : float or None
        Seconds that an error's ``retry-after`` states; None: it has none.
    pieces : int
        Pieces of text that are sent before.
    seconds : float
        How much later the first token comes.
    excess : int
        Bytes that ``content-length`` states too many; negative: too few.
    """

    kind: Kind
    share: float = 0.0
    at: tuple[int, ...] = ()
    retry_after: float | None = None
    pieces: int = 1
    seconds: float = 1.0
    excess: int = 64

    def __post_init__(self) -> None:
        faults = [
            ("share", f"is {self.share}; a number from 0 to 1 is needed", not 0 <= self.share <= 1),
            ("at", "has a number below 1; requests are counted from 1", any(n < 1 for n in self.at)),
            ("pieces", f"is {self.pieces}; it must be at least 0", self.pieces < 0),
            ("seconds", f"is {self.seconds}; a time of at least 0 is needed", not 0 <= self.seconds < math.inf),
            ("excess", "is 0, which is no fault", self.excess == 0),
            ("retry_after", "stands for an error only", self.retry_after is not None and not self.refuses),
            ("retry_after", "a spend cap never has one", self.retry_after is not None and "spend" in self.kind),
        ]
        wrong = [f"fault {self.kind}: {name} {what}" for name, what, is_wrong in faults if is_wrong]
        if wrong:
            raise InputErrors(wrong)

    @property
    def refuses(self) -> bool:
        """Whether it is an error instead of an answer."""
        return self.kind in _STATUS

    def refusal(self) -> Refused:
        """Return the error."""
        status, message = _STATUS[self.kind]
        headers = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        details = {"error_code": "enforced_spend_limit_reached"} if self.kind == "spend_cap" else None
        return Refused(status, message, headers, details)


@dataclass(frozen=True)
class Faults:
    """Which requests go wrong, and how. The request's number and the seed decide, whatever else goes on.

    Parameters
    ----------
    script : sequence of Fault
        Their shares add up to at most 1; a request has at most one fault.
    seed : int
    """

    script: tuple[Fault, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if (total := math.fsum(fault.share for fault in self.script)) > 1 + 1e-9:
            raise InputError(f"faults: shares add up to {total:g}; they share the requests, so at most to 1")
        numbers = [n for fault in self.script for n in fault.at]
        if twice := {n for n in numbers if numbers.count(n) > 1}:
            raise InputError(f"faults: request {min(twice)} has two faults; give it one")

    def of(self, number: int) -> Fault | None:
        """Return the fault of the request that arrived as the n-th, counted from 1."""
        if not self.script:
            return None
        for fault in self.script:
            if number in fault.at:
                return fault
        drawn, below = _uniform(self.seed, number), 0.0
        for fault in self.script:
            below += fault.share
            if drawn < below:
                return fault
        return None

    @classmethod
    def load(cls, path: str | Path) -> Faults:
        """Read faults from YAML: ``{seed: 1, script: [{kind: overloaded, share: 0.02}]}``.

        Raises
        ------
        InputErrors
            For everything that is wrong in it, with the file.
        """
        import yaml

        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
        reader = Reader(where=lambda place: ": ".join([str(path), ".".join(map(str, place))][: 1 + bool(place)]))
        found: Faults = build({} if data is None else data, cls, reader)
        if reader.faults:
            raise InputErrors(reader.faults)
        return found


def _uniform(seed: int, number: int) -> float:
    """Draw a number in [0, 1) that the two decide alone."""
    drawn = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn, "big") / 2**64
