"""An exact cache, around any seam that a request makes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from evalkit.errors import InputError
from evalkit.serving.layers.keys import normalise
from evalkit.types import Handler, Next, Place, Request, Serving
from evalkit.values import Value


@dataclass(frozen=True)
class Cache:
    """Gives again what the same question got before.

    A hit needs the same tenant and the same question, after folding case and white space. What the variant is
    (model, prompt, corpus) need not enter the key: a cache belongs to one running service, and starts empty.

    Parameters
    ----------
    at : {"embed", "retrieve", "prompt", "answer"}
        The seam whose value is kept.
    ttl : float or None
        Seconds for which an entry may be given, from its making; hits do not renew it. None: for ever.
    entries : int
        At most so many; the one unused for longest goes first.
    """

    at: Place = "answer"
    ttl: float | None = None
    entries: int = 1000

    def __post_init__(self) -> None:
        if self.at not in ("embed", "retrieve", "prompt", "answer"):
            raise InputError(f"Cache: at is {self.at!r}; it is one of 'embed', 'retrieve', 'prompt', 'answer'")
        if self.entries < 1 or (self.ttl is not None and self.ttl < 0):
            raise InputError("Cache: entries must be at least 1 and ttl at least 0, or None for ever")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work, with nothing kept."""
        kept: OrderedDict[tuple[str, str], tuple[float, Value]] = OrderedDict()

        async def handle(request: Request, go_on: Next) -> Value:
            key = (request.tenant, normalise(request.text))
            found = kept.get(key)
            if found is not None and (self.ttl is None or request.clock.now() - found[0] < self.ttl):
                kept.move_to_end(key)
                request.note(f"cache[{self.at}]", "hit")
                return found[1]
            request.note(f"cache[{self.at}]", "miss")
            value = await go_on(request)
            kept[key] = (request.clock.now(), value)
            kept.move_to_end(key)
            while len(kept) > self.entries:
                kept.popitem(last=False)
            return value

        return handle
