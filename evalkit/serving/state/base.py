"""What a state keeps, and what every kind of state can do."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from evalkit.served import Serving


@dataclass(frozen=True)
class Entry:
    """What is kept under a key.

    Parameters
    ----------
    value : bytes
        As `packing.pack` writes it, or anything else but a pickle.
    made : float
        When it was made, in seconds of `Serving.now`.
    ttl : float or None
        Seconds from its making for which it may be given; hits do not renew it. None: for ever.
    tags : tuple of str
        What it rests on (documents), so that all that does can be dropped.
    by : str
        The request that made it.
    hits : int
    last_hit : float or None
        Counted by `State.hit`.
    level : str
        Which state had it, where there are several.
    """

    value: bytes
    made: float
    ttl: float | None = None
    tags: tuple[str, ...] = ()
    by: str = ""
    hits: int = 0
    last_hit: float | None = None
    level: str = ""

    def alive(self, now: float) -> bool:
        """Whether it may be given: a TTL of 0 is never, and what was made in the future is of another calendar."""
        return self.made <= now and (self.ttl is None or now - self.made < self.ttl)


class State(Protocol):
    """Entries under keys, in a space of their own. An optional server that is gone makes it empty, never wrong.

    Attributes
    ----------
    counts : Counter
        ``hits``, ``misses``, ``puts``, ``evictions``, ``expired``, ``errors``, ``bytes`` (as it stands).
    """

    counts: Counter[str]

    async def get(self, key: str) -> Entry | None:
        """Return what is kept, if it is alive."""

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an entry in the place of what was there; one that is larger than the state may be is not kept."""

    async def hit(self, key: str, now: float) -> None:
        """Count that an entry was given; it is then the one that was used last."""

    async def delete(self, key: str) -> bool:
        """Drop an entry; whether there was one."""

    async def drop(self, tag: str) -> int:
        """Drop every entry with a tag; how many."""

    async def clear(self) -> int:
        """Drop everything in this space, and nothing else; how many."""

    def items(self) -> AsyncIterator[tuple[str, Entry]]:
        """Go through what is alive: to look, to find what is poisoned, to build an index."""

    async def close(self) -> None:
        """Let go of files and connections."""


def opened(storage: Storage, space: str, serving: Serving) -> State:
    """Open a layer's state for as long as its service runs; a run that keeps nothing leaves nothing behind."""
    state = storage.open(space + serving.run, serving)

    async def close() -> None:
        if serving.run:
            await state.clear()
        await state.close()

    serving.at_end(close)
    serving.holds(state)
    return state


class Storage(Protocol):
    """Where a layer keeps its entries: a value, as a spec writes it."""

    def open(self, space: str, serving: Serving) -> State:
        """Return the state of one space (a layer of a service); it opens files and connections on first use.

        Parameters
        ----------
        space : str
            Hexadecimal; other spaces in the same place see nothing of it.
        serving : Serving
            By its `now` entries expire; around what waits for a socket its clock is held (``clock.io()``).
        """
