"""Traffic as a replay takes it: open loop, where requests come when they come, or closed, where users wait."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from evalkit.datasets import Traffic
from evalkit.errors import InputError
from evalkit.evaluate.prompting import conversations

_LAST = 1e10
"""Seconds, some three hundred years: later than that a float tells no microseconds."""


@dataclass(frozen=True)
class Arrival:
    """A question that someone asks at some time.

    Parameters
    ----------
    text : str
    at : float
        Seconds from the replay's start.
    user, tenant, conversation : str
    intent, answer, kind : str
        As in `Traffic`: what scores the request afterwards. No layer sees them.
    patience : float or None
        Seconds after which the user leaves, and the request is given up. None: never.
    history : tuple of str
        What was said before in the conversation, where a log knows it; a layer may tell the request another.
    """

    text: str
    at: float = 0.0
    user: str = ""
    tenant: str = ""
    conversation: str = ""
    intent: str = ""
    answer: str = ""
    kind: str = ""
    patience: float | None = None
    history: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.at < _LAST:
            raise InputError(
                f"replay: an arrival before the start or at no time ({self.at}); times are seconds, 0 to {_LAST:g}"
            )
        try:
            "".join((self.text, self.user, self.tenant, self.conversation, *self.history)).encode()
        except UnicodeEncodeError:
            raise InputError(f"replay: an arrival with half a character in a text ({self.text!r})") from None
        if self.patience is not None and not self.patience > 0:
            raise InputError(f"replay: patience is {self.patience}; it is seconds above 0, or None for ever")


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """Users who each ask, wait for the answer, think, and ask again.

    Parameters
    ----------
    requests : Traffic or sequence of Arrival
        Who asks what: each goes to the next user who is free, in order; times are not looked at. What a request says
        of its user and tenant stays.
    users : int
        How many there are: so many requests at most are under way.
    think : float
        Mean seconds between an answer and the next question of a user, exponentially distributed; also before the
        first. 0: none.
    seed : int
        Of the thinking.
    """

    requests: Traffic | Sequence[Arrival] = field(repr=False)
    users: int = 1
    think: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.users < 1 or not 0 <= self.think < math.inf:
            raise InputError(
                f"ClosedLoop: users must be at least 1 and think at least 0, not {self.users}, {self.think}"
            )


def arrivals_of(traffic: Traffic | Sequence[Arrival]) -> list[Arrival]:
    """Return requests in order of time; equal times stay in the given order.

    Raises
    ------
    InputError
        If there is none.
    """
    if isinstance(traffic, Traffic):
        columns = ("text", "at", "user", "tenant", "conversation", "intent", "answer", "kind")
        rows = zip(*(getattr(traffic, name) for name in columns), strict=True)
        found = [Arrival(text, float(at), *rest) for text, at, *rest in rows]
    else:
        found = sorted(traffic, key=lambda arrival: arrival.at)
    if not found:
        raise InputError("replay: no arrivals; give some, or None for every query of the data set")
    return found


def with_histories(traffic: Traffic) -> list[Arrival]:
    """Return recorded requests, the turns of a conversation each with what was said before, answers as recorded.

    The answers are those that the traffic states; a service that keeps histories itself has its own in their place.
    """
    return [
        replace(arrival, history=said)
        for arrival, (_, said) in zip(arrivals_of(traffic), conversations(traffic), strict=True)
    ]
