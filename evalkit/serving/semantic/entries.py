"""The entries of a semantic cache: kept in a state, found by an index of their vectors in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np

from evalkit.columns import Array
from evalkit.served import Next, Request, Serving
from evalkit.serving.keeping.kept import Found, Kept, lay, read
from evalkit.serving.keeping.keys import hashed
from evalkit.serving.semantic.index import VectorIndex
from evalkit.values import Value, Vectors

_SWEEP = 1_000


class Entries:
    """Near entries within one part: a scope (see `keys.scope`) and what guards against stale answers.

    The state decides what there is. Before the first look-up the index is made from all that it holds; after that,
    what an index finds and the state no longer has is dropped on the spot, and once in a while all of it is compared,
    so that the index stays about as large as the state, and what other processes wrote is found too.

    Parameters
    ----------
    kept : Kept
    serving : Serving
    index : function
        Returns an empty index.
    """

    def __init__(self, kept: Kept, serving: Serving, index: Callable[[], VectorIndex]) -> None:
        self._kept, self._serving, self._index = kept, serving, index
        self._parts: dict[str, VectorIndex] = {}
        self._places: dict[str, str] = {}  # key: its part
        self._on_the_way: set[str] = set()  # to the state, which does not have them yet
        self._lock = asyncio.Lock()
        self._learning = asyncio.Lock()
        self._read = False
        self._left = _SWEEP

    async def nearest(self, part: str, vector: Array, request: Request) -> tuple[Found, float] | None:
        """Return the nearest entry that holds for a request, with its cosine.

        Parameters
        ----------
        part : str
        vector : float32 array of shape (d,), of length 1
        """
        if not self._read:
            async with self._lock:
                if not self._read:
                    await self._compare()
                    self._read = True
        k = 1
        looked: set[str] = set()
        while (index := self._parts.get(part)) is not None:
            near = await request.compute("lookup", lambda: index.nearest(vector, k))  # noqa: B023
            for key, similarity in near:
                if key in looked:
                    continue
                looked.add(key)
                if (found := await self._kept.find(key, request)) is not None:
                    return found, similarity
                if key not in self._on_the_way and await self._kept.state.get(key) is None:
                    self._drop(key)
            if len(near) < k:
                return None
            k *= 4  # what does not hold for this request may lie before what does
        return None

    async def keep(
        self, part: str, vector: Array, request: Request, go_on: Next, value: Value, *, behind: bool
    ) -> None:
        """Keep what the model gave, unless the cache's fields or the corpus forbid it.

        Parameters
        ----------
        behind : bool
            Whether nobody waits for the index.
        """
        key, made = hashed(part, request.text), self._serving.now()
        self._on_the_way.add(key)
        arrived = partial(self._on_the_way.discard, key)
        vectors, about = Vectors(vector[None]), {"part": part}
        if not await self._kept.keep(request, go_on.node, key, value, vectors, about=about, then=arrived):
            arrived()
            return

        async def index() -> None:
            await request.compute("store", lambda: self._put(key, part, made, vector))
            self._left -= 1
            if self._left <= 0:
                self._left = max(_SWEEP, len(self._places))
                async with self._lock:
                    await self._compare()

        if behind:
            self._serving.beside(index())
        else:
            await index()

    async def learn(self, found: Found, seen: Callable[[list[list[int]]], list[list[int]]]) -> None:
        """Write down what was seen of an entry, if it is still there.

        Parameters
        ----------
        seen : function
            From what was seen before to what was seen now.
        """
        async with self._learning:  # so that of two who learn at once none is lost
            entry = await self._kept.state.get(found.key)
            whole = read(entry.value) if entry is not None else None
            if entry is None or whole is None:
                return
            about = {**whole[0], "seen": seen(whole[0].get("seen", []))}
            await self._kept.state.put(found.key, replace(entry, value=lay(about, whole[1]), level=""))

    def _put(self, key: str, part: str, made: float, vector: Array) -> None:
        self._drop(key)
        self._places[key] = part
        self._parts.setdefault(part, self._index()).add(key, made, vector)

    def _drop(self, key: str) -> None:
        part = self._places.pop(key, "")
        if part:
            self._parts[part].remove(key)
            if not len(self._parts[part]):
                del self._parts[part]

    async def _compare(self) -> None:
        """Take in what the state has, and drop what it has no more."""
        there, new = set(), []
        async for key, entry in self._kept.state.items():
            there.add(key)
            if key in self._places or (whole := read(entry.value)) is None or "part" not in whole[0]:
                continue
            new.append((entry.made, key, whole[0]["part"], np.array(cast("Vectors", whole[1][1]).values[0])))
        for key in [key for key in self._places if key not in there and key not in self._on_the_way]:
            self._drop(key)
        for made, key, part, vector in sorted(new, key=lambda entry: entry[:2]):
            if key not in self._places:
                self._put(key, part, made, vector)
