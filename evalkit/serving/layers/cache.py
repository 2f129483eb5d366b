"""The exact cache: gives again what the same question got before, around any place that a request passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving.keeping.kept import Kept, Until, Write, check
from evalkit.serving.keeping.keys import Key, check_key, key_of
from evalkit.serving.state.base import Storage
from evalkit.serving.state.memory import Memory
from evalkit.values import Value


@dataclass(frozen=True)
class Cache:
    """Gives again what the same request got before.

    Everything that may change the value is in the key: the service, the model with its prompt and parameters, the
    tenant, what was said before. Vectors are the exception: they are shared by all who send the same text to the same
    model.

    Parameters
    ----------
    at : {"answer", "retrieve", "prompt", "embed"}
        Whose value is kept: the answer (asked before anything is worked out), the final ranking, the prompt, or the
        vector of every text that is embedded for a question.
    key : {"question", "context", "context set"}
        What makes two requests one: the question after folding case, white space and Unicode form; or the question
        and the passages of its prompt, in their order or (hiding the order, which may change an answer) as a set.
        With a context, which answers alone may have, retrieval is done first and a hit saves the model's call only.
    ttl : float or None
        Seconds for which an entry may be given, from its making; hits do not renew it. 0: never. None: for ever.
    storage : Storage
        Where entries are kept.
    until : {"ingestion", "ingestion touches it", "nothing"}
        What ends an entry before its TTL: any change of the documents; a change of a document that its prompt holds
        (a new document that would be found now does not count); or nothing. A ranking never outlives its corpus,
        since it names chunks by their place; a vector rests on no document.
    only : {"precomputed"} or None
        ``precomputed``: written only by what is asked before the traffic begins (``replay(warm=...)``).
    write : {"behind", "before"}
        Whether an entry is written beside the answer, which then waits for no storage, or before it is given.

    Notes
    -----
    Each request's row says ``cache[<at>]`` (``precomputed[<at>]``): ``hit`` or ``miss``; of a hit its age in seconds
    and, where the storage has several, the level.
    """

    at: Place = "answer"
    key: Key = "question"
    ttl: float | None = None
    storage: Storage = field(default_factory=Memory)
    until: Until = "ingestion"
    only: Literal["precomputed"] | None = None
    write: Write = "behind"

    keeps_answers: ClassVar[bool] = True
    shares_answers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_key("Cache", self.at, self.key)
        check(self)

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work."""
        kept = Kept(self, serving)
        name = self.only or "cache"
        note = f"{name}[{self.at}]"

        async def handle(request: Request, go_on: Next) -> Value:
            key = await key_of(self.key, self.at, serving, request, go_on)
            found = await kept.find(key, request)
            if found is not None:
                request.note(note, "hit")
                return await kept.give(request, go_on.node, found, name)
            request.note(note, "miss")
            value = await go_on(request)
            await kept.keep(request, go_on.node, key, value)
            return value

        return handle
