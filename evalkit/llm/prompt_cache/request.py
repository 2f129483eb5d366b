"""A request as Anthropic's prompt cache sees it: blocks, breakpoints, and the keys of its prefixes.

Refused here, for a server to answer with a 400: parts out of order, a fifth breakpoint, one of 1h behind one of 5m,
one behind an empty block.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

from evalkit.calls import TTL
from evalkit.errors import InputError
from evalkit.llm.messages import Messages

MOST_BREAKPOINTS = 4
LOOK_BACK = 20
"""Positions that a breakpoint looks at, its own included."""
SECONDS: dict[TTL, float] = {"5m": 300.0, "1h": 3600.0}

Part = Literal["tools", "system", "messages"]
_PARTS: tuple[Part, ...] = ("tools", "system", "messages")

Mark = tuple[int, TTL]
"""A breakpoint: the index of the segment that it stands behind, and its TTL."""


@dataclass(frozen=True)
class Segment:
    """A content block, as far as the cache cares.

    Parameters
    ----------
    content : str
        All that must be equal for the block to be the same, its role included; or a digest of that.
    tokens : int
    part : {"tools", "system", "messages"}
    ttl : {"5m", "1h"} or None
        A breakpoint behind the block.
    run : {"", "tool_use", "tool_result"}
        Its kind, if it is one of which several in a row are one position of the look-back.
    """

    content: str
    tokens: int
    part: Part = "messages"
    ttl: TTL | None = None
    run: Literal["", "tool_use", "tool_result"] = ""

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise InputError(f"a {self.part} block has {self.tokens} tokens; count at least 0")
        if self.part not in _PARTS or (self.ttl is not None and self.ttl not in SECONDS):
            raise InputError(f"a block of {self.part!r} with ttl {self.ttl!r}; parts are {_PARTS}, TTLs '5m', '1h'")


@dataclass(frozen=True)
class CacheRequest:
    """A request, as far as the cache cares.

    Parameters
    ----------
    model : str
        As it is named: a name with a date and one without are two models here.
    segments : tuple of Segment
        Tools, then system, then messages.
    workspace : str
        Entries of one workspace are not seen by another.
    web_search, citations : bool
        Whether they are on. Like `speed`, a change voids what is cached of system and messages.
    speed : str
    tool_choice, thinking : str
        Any text that says how they are set. Like `images`, a change voids what is cached of messages.
    images : bool
        Whether the prompt has any.

    Raises
    ------
    InputError
        If parts are out of order, a fifth breakpoint is set, a 1h one stands behind a 5m one, or one behind an empty
        block.
    """

    model: str
    segments: tuple[Segment, ...]
    workspace: str = ""
    web_search: bool = False
    citations: bool = False
    speed: str = ""
    tool_choice: str = ""
    images: bool = False
    thinking: str = ""

    def __post_init__(self) -> None:
        order = [_PARTS.index(segment.part) for segment in self.segments]
        if order != sorted(order):
            raise InputError("blocks are out of order: tools come first, then system, then messages")
        if len(self.marks) > MOST_BREAKPOINTS:
            raise InputError(f"{len(self.marks)} cache breakpoints; set at most {MOST_BREAKPOINTS}")
        if not in_order([ttl for _, ttl in self.marks]):
            raise InputError("a 1h cache breakpoint stands behind a 5m one; put those of 1h first")
        if empty := [i for i, _ in self.marks if not self.segments[i].tokens]:
            raise InputError(f"block {empty[0]} is empty and has a cache breakpoint; set it behind one with text")

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        """Its breakpoints."""
        return tuple((i, segment.ttl) for i, segment in enumerate(self.segments) if segment.ttl is not None)

    @cached_property
    def prefixes(self) -> Prefixes:
        """Its prefixes, wherever breakpoints are set."""
        return Prefixes(
            self.model, tuple(self._keys()), tuple(accumulate(s.tokens for s in self.segments)), self._places
        )

    def _keys(self) -> Iterator[bytes]:
        """Hash each prefix, the settings included that can void its last part: each key is the key of the next."""
        settings = {
            "tools": (self.workspace, self.model),
            "system": (self.web_search, self.citations, self.speed),
            "messages": (self.tool_choice, self.images, self.thinking),
        }
        key, entered = b"", 0
        for segment in self.segments:
            while entered <= _PARTS.index(segment.part):
                key = _hash(repr((_PARTS[entered], settings[_PARTS[entered]])), key)
                entered += 1
            key = _hash(f"{segment.run}:{segment.content}", key)
            yield key

    @property
    def _places(self) -> tuple[int, ...]:
        place, places, before = -1, [], ""
        for segment in self.segments:
            place += not segment.run or segment.run != before
            before = segment.run
            places.append(place)
        return tuple(places)


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of a request, the i-th of them ending with segment i.

    Parameters
    ----------
    model : str
    keys : tuple of bytes
        Equal for equal prefixes under equal settings.
    tokens : tuple of int
        Of each whole prefix.
    positions : tuple of int
        Where its last block stands, counted as the look-back counts.
    """

    model: str
    keys: tuple[bytes, ...]
    tokens: tuple[int, ...]
    positions: tuple[int, ...]

    def within_look_back(self, i: int) -> range:
        """Return the prefixes that a breakpoint behind segment `i` looks at, its own first."""
        return range(i, bisect_left(self.positions, self.positions[i] - LOOK_BACK + 1) - 1, -1)


def in_order(ttls: Sequence[TTL]) -> bool:
    """Whether no 1h breakpoint stands behind a 5m one, as the rules demand."""
    return "5m" not in ttls or "1h" not in ttls[ttls.index("5m") :]


def segments_of(messages: Messages, count: Callable[[str], int]) -> tuple[Segment, ...]:
    """Return the blocks of a chat.

    Parameters
    ----------
    messages : Messages
    count : callable
        Counts the tokens of a text. What a model adds around blocks and turns is not counted.
    """
    system = [Segment(block.text, count(block.text), "system", block.ttl) for block in messages.system]
    said = [(turn.role, block) for turn in messages.turns for block in turn.blocks]
    turns = [Segment(f"{role}: {block.text}", count(block.text), "messages", block.ttl) for role, block in said]
    return (*system, *turns)


def _hash(text: str, key: bytes) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest()
