"""Rate limits as the API has them: token buckets a model, refilled without pause."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from evalkit.errors import InputErrors
from evalkit.llm.server.refusals import Refused

_ROUNDING = 1e-9
"""Refilling adds up fractions: who has waited as long as was said must not fail by one in the last digit."""


@dataclass(frozen=True)
class Limits:
    """How much a minute; None: without limit.

    Parameters
    ----------
    requests : int or None
    input_tokens : int or None
        Tokens read from the prompt cache do not count.
    output_tokens : int or None
    """

    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        wrong = [
            f"limit of {name} is {n}; at least 1 is needed" for name, n in given.items() if n is not None and n < 1
        ]
        if wrong:
            raise InputErrors(wrong)


class _Bucket:
    """A minute's worth of something, refilled without pause. It may be overdrawn by the request that empties it."""

    def __init__(self, capacity: int, now: float) -> None:
        self.capacity, self.level, self.at = capacity, float(capacity), now

    def fill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.at) * self.capacity / 60)
        self.at = now

    def seconds_to(self, level: float) -> float:
        return max(0.0, (level - self.level) * 60 / self.capacity)


class Buckets:
    """The limits of one model at work.

    A request is let in as long as each bucket holds one more. What it takes is known only later (its output), so
    the last one may take more than there is; those behind wait until that is made up for.

    Parameters
    ----------
    limits : Limits
    now : float
        Seconds of the clock that is asked with later.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        named = {
            "requests": limits.requests,
            "input-tokens": limits.input_tokens,
            "output-tokens": limits.output_tokens,
        }
        self._held = {name: _Bucket(capacity, now) for name, capacity in named.items() if capacity is not None}

    def admit(self, now: float) -> None:
        """Let one request in.

        Raises
        ------
        Refused
            429 where a bucket is empty, with ``retry-after`` in whole seconds: by then all hold one more.
        """
        waits = []
        for name, bucket in self._held.items():
            bucket.fill(now)
            if bucket.level < 1 - _ROUNDING:
                waits.append((bucket.seconds_to(1), f"{bucket.capacity:,} {name.replace('-', ' ')} per minute"))
        if waits:
            seconds, what = max(waits)
            message = f"This request would exceed your organization's rate limit of {what}."
            raise Refused(429, message, {"retry-after": str(max(1, math.ceil(seconds)))})
        self._take("requests", 1)

    def took(self, input_tokens: int, output_tokens: int) -> None:
        """Note what a request that was let in took; `input_tokens` without those read from the prompt cache."""
        self._take("input-tokens", input_tokens)
        self._take("output-tokens", output_tokens)

    def _take(self, name: str, number: int) -> None:
        if (bucket := self._held.get(name)) is not None:
            bucket.level -= number

    def headers(self, now: float, today: datetime | None = None) -> Iterator[tuple[str, str]]:
        """Yield the ``anthropic-ratelimit-*`` headers; unlike the API's, remaining tokens are not rounded.

        Parameters
        ----------
        now : float
            Seconds, for the buckets.
        today : datetime, optional
            The same moment in the calendar, for the times of reset.
        """
        today = datetime.now(UTC) if today is None else today
        shown = dict(self._held)
        for bucket in shown.values():
            bucket.fill(now)
        if both := [shown[name] for name in ("input-tokens", "output-tokens") if name in shown]:
            together = _Bucket(sum(bucket.capacity for bucket in both), now)
            together.level = sum(bucket.level for bucket in both)
            shown["tokens"] = together
        for name, bucket in shown.items():
            full = today + timedelta(seconds=bucket.seconds_to(bucket.capacity))
            yield f"anthropic-ratelimit-{name}-limit", str(bucket.capacity)
            yield f"anthropic-ratelimit-{name}-remaining", str(max(0, math.floor(bucket.level)))
            yield f"anthropic-ratelimit-{name}-reset", full.strftime("%Y-%m-%dT%H:%M:%SZ")
