"""What exact and semantic caches share: values as entries and back, what they rest on, when they must go."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Protocol, get_args
from uuid import uuid4

from evalkit import fingerprint
from evalkit.errors import EvalkitError, InputError
from evalkit.served import Ingested, Place, Request, Serving
from evalkit.serving.keeping.dropped import Dropped, Log
from evalkit.serving.keeping.keys import hashed
from evalkit.serving.keeping.made import Made, tags_of, tell, told
from evalkit.serving.state.base import Entry, Storage, opened
from evalkit.serving.state.packing import pack, unpack
from evalkit.types import Digest, Node
from evalkit.values import Value

Until = Literal["nothing", "ingestion touches it", "ingestion"]
Write = Literal["before", "behind"]
OTHER_RUN = "another run: "
"""Stands before the number of a request that belonged to another run of the service."""


class Keeping(Protocol):
    """What the fields of every cache say; see `Cache`."""

    @property
    def at(self) -> Place:
        """Where it stands."""

    @property
    def ttl(self) -> float | None:
        """Seconds for which an entry may be given."""

    @property
    def until(self) -> Until:
        """What ends an entry beside its TTL."""

    @property
    def only(self) -> Literal["precomputed"] | None:
        """Whose answers are kept."""

    @property
    def write(self) -> Write:
        """Whether an answer waits until it is kept."""

    @property
    def storage(self) -> Storage:
        """Where entries are."""


def check(layer: Keeping) -> None:
    """Refuse a cache whose fields say what cannot be.

    Raises
    ------
    InputError
    """
    name = type(layer).__name__
    if layer.ttl is not None and not layer.ttl >= 0:
        raise InputError(f"{name}: ttl is {layer.ttl}; it is seconds from 0, or None for ever")
    stated = {"until": Until, "write": Write}
    for field, kind in stated.items():
        if getattr(layer, field) not in get_args(kind):
            known = ", ".join(map(repr, get_args(kind)))
            raise InputError(f"{name}: {field} is {getattr(layer, field)!r}; it is one of {known}")
    if layer.only not in (None, "precomputed"):
        raise InputError(f"{name}: only is {layer.only!r}; it is 'precomputed', or None for every request")


def space_of(layer: Keeping, service: Digest) -> str:
    """Return the space of a layer of a service. Vectors depend on neither, so theirs is one for all."""
    return hashed("embed") if layer.at == "embed" else hashed(service, fingerprint.digest([layer]))


def lay(about: Mapping[str, Any], values: Sequence[Value]) -> bytes:
    """Return what `read` reads: JSON-ready facts (question, tenant), then values."""
    parts = [json.dumps(about, sort_keys=True).encode(), *(pack(value) for value in values)]
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def read(data: bytes) -> tuple[dict[str, Any], tuple[Value, ...]] | None:
    """Read what `lay` wrote; None where it is damaged, or of another version of evalkit."""
    parts, at = [], 0
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 8], "little")
        parts.append(data[at + 8 : end])
        at = end
    values = [unpack(part) for part in parts[1:]]
    if at != len(data) or not values or any(value is None for value in values):
        return None
    try:
        return json.loads(parts[0]), tuple(value for value in values if value is not None)
    except ValueError:
        return None


_read_again = lru_cache(256)(read)  # memory gives the same bytes with every hit


@dataclass(frozen=True)
class Found:
    """An entry that may be given.

    Parameters
    ----------
    key : str
    entry : Entry
    about : {name: JSON-ready value}
        ``question``, ``tenant``, ``corpus``, and what the cache added.
    values : tuple of Value
        The value kept, and what the cache added.
    """

    key: str
    entry: Entry
    about: Mapping[str, Any]
    values: tuple[Value, ...]


class Kept:
    """The entries of one cache at work. It registers for ingestion and for the service's end by itself.

    Attributes
    ----------
    state : State
        To go through what is there, as for an index.
    """

    def __init__(self, layer: Keeping, serving: Serving) -> None:
        self._layer, self._serving = layer, serving
        self._space = space_of(layer, serving.fingerprint)
        self.state = opened(layer.storage, self._space, serving)
        self._run = uuid4().hex  # never in a result: only whether it is this run's
        self._since: dict[Digest, frozenset[str]] = {}
        self._current: Digest | None = None
        serving.at_ingestion(self._ingested)

    async def find(self, key: str, request: Request) -> Found | None:
        """Return what is kept under a key, if it is alive, whole, and holds for the request's corpus."""
        self._begun(request)
        entry = await self.state.get(key)
        whole = _read_again(entry.value) if entry is not None and entry.alive(self._serving.now()) else None
        if entry is None or whole is None or not self._holds(entry, whole[0].get("corpus", ""), request.corpus):
            return None
        return Found(key, entry, *whole)

    def _begun(self, request: Request) -> None:
        """Take down the corpus from before any ingestion: changes are counted from it."""
        if self._current is None:
            self._since.setdefault(request.corpus, frozenset())

    async def give(self, request: Request, node: Node, found: Found, layer: str) -> Value:
        """Count a hit, say so in the request's row, and return the value.

        Parameters
        ----------
        layer : str
            By which the hit is named in the results.
        """
        entry, at = found.entry, self._layer.at
        by = entry.by.removeprefix(self._run)
        if by == entry.by:
            by = OTHER_RUN + entry.by[len(self._run) :]
        now = self._serving.now()
        request.note(f"{layer}[{at}] age", now - entry.made)
        if entry.level:
            request.note(f"{layer}[{at}] level", entry.level)
        if at == "answer":
            request.served(layer, by, entry.level)
        tell(request, node, found.values[0], Made(by, entry.made, entry.tags, found.about["corpus"]))
        await self._do(self.state.hit(found.key, now))
        return found.values[0]

    async def keep(
        self,
        request: Request,
        node: Node,
        key: str,
        value: Value,
        *more: Value,
        about: Mapping[str, Any] | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> bool:
        """Write a value that `node` gave, unless the layer's fields or the corpus forbid it; whether it is written.

        Parameters
        ----------
        more : Value
            Kept beside it, as a vector.
        about : {name: JSON-ready value}, optional
            Kept beside it.
        then : function
            Called when it is written, or could not be.
        """
        self._begun(request)
        layer = self._layer
        if layer.ttl == 0 or (layer.only is not None and request.number >= 0):
            return False
        if not request.fit or self._past(request.corpus):
            return False
        made = told(request, node, value)
        if made is None:
            try:
                tags = await tags_of(self._serving, request, layer.at, node, value)
            except EvalkitError:
                return False  # an answer in spite of a failed retrieval: nothing says what it rests on
            made = Made(str(request.number), self._serving.now(), tags, request.corpus)
        if made.shared:
            return False
        facts = {"question": request.text, "tenant": request.tenant, "corpus": made.corpus, **(about or {})}
        number = made.by.removeprefix(OTHER_RUN)
        run = self._run if number == made.by else "?" * len(self._run)
        entry = Entry(b"", made.made, layer.ttl, made.tags, run + number)

        async def write() -> None:
            try:
                if not self._past(request.corpus):
                    await self.state.put(key, replace(entry, value=lay(facts, (value, *more))))
            finally:
                then()

        await self._do(write())
        return True

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        if self._layer.write == "before":
            await work
        else:
            self._serving.beside(work)

    def _past(self, corpus: Digest) -> bool:
        """Whether documents have come or gone since a request began, so that what it made is old already."""
        return self._layer.at != "embed" and self._current is not None and corpus != self._current

    def _holds(self, entry: Entry, own: Digest, corpus: Digest) -> bool:
        """Whether no ingestion since an entry was made, from the corpus `own`, counts against it.

        Looked at with every hit, not only when documents come: a server may have been gone at that moment, and an
        entry of another run may rest on documents that nobody here has heard of.
        """
        if self._layer.at == "embed" or self._layer.until == "nothing" or own == corpus:
            return True
        if self._layer.until == "ingestion" or corpus != self._current:
            return False
        changed = self._since.get(own)
        return changed is not None and changed.isdisjoint(entry.tags)

    async def _ingested(self, event: Ingested) -> None:
        self._since = {corpus: changed | event.documents for corpus, changed in self._since.items()}
        self._since[event.corpus] = frozenset()
        self._current = event.corpus
        if self._layer.at == "embed" or self._layer.until == "nothing":
            return
        if self._layer.until == "ingestion":
            dropped = {"everything": await self.state.clear()}
        else:
            dropped = {name: await self.state.drop(name) for name in sorted(event.documents)}
        if self._serving.run:
            return  # what ends with this run needs no log
        log = Log(self._layer.storage, self._space, self._serving)
        for what, count in dropped.items():
            await log.add(Dropped(self._serving.now(), what, "ingestion", count))
        await log.close()
