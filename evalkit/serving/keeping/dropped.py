"""What was dropped from a cache, and why: written down beside the entries, in a space of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from evalkit.served import Serving
from evalkit.serving.keeping.keys import hashed
from evalkit.serving.state.base import Entry, Storage


@dataclass(frozen=True)
class Dropped:
    """One invalidation.

    Parameters
    ----------
    at : float
        Seconds of `Serving.now`.
    what : str
        A document, ``key <key>``, or ``everything``.
    why : str
    entries : int
        How many went.
    """

    at: float
    what: str
    why: str
    entries: int


class Log:
    """The invalidations of one space.

    Parameters
    ----------
    storage : Storage
    space : str
        Of the entries.
    serving : Serving
    """

    def __init__(self, storage: Storage, space: str, serving: Serving) -> None:
        self._state = storage.open(hashed(space, "dropped"), serving)

    async def add(self, dropped: Dropped) -> None:
        """Write one down."""
        value = json.dumps(asdict(dropped)).encode()
        await self._state.put(hashed(value.decode()), Entry(value, dropped.at))

    async def read(self) -> list[Dropped]:
        """Return all, in order of time, then of what went."""
        found = [Dropped(**json.loads(entry.value)) async for _, entry in self._state.items()]
        return sorted(found, key=lambda dropped: (dropped.at, dropped.what))

    async def close(self) -> None:
        """Let go of the state."""
        await self._state.close()
