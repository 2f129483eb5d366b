"""What tells requests apart: what no answer may cross, and what makes two questions one."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Literal, cast, get_args

from evalkit.errors import InputError
from evalkit.served import Next, Place, Request, Serving
from evalkit.values import Prompts, Queries

Key = Literal["question", "context", "context set"]
"""What makes two requests one. ``question``: the normalised question. ``context``: and the passages of the prompt, in
their order. ``context set``: and the passages in no order, so that two prompts that differ in it share an answer."""


def normalise(text: str) -> str:
    """Fold what does not change a question: Unicode form, case, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def hashed(*parts: str) -> str:
    """Hash texts, each apart from the next (BLAKE2b, 128 bits, hexadecimal)."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def scope(serving: Serving, request: Request, go_on: Next) -> str:
    """Return what an entry never leaves: the service, the model with its prompt and parameters, the tenant, the talk.

    The recipe of the node holds the model, the prompt's making and all before it; the service's fingerprint the
    layers, which may change an answer too. A question within a conversation is another one than the same words alone,
    and a call that is tried again wants another answer.
    """
    return hashed(serving.fingerprint, go_on.node.recipe, request.tenant, str(request.sample), *request.history)


def context(prompt: Prompts, *, ordered: bool = True) -> str:
    """Hash what a one-row prompt holds beside the question: each passage with its title and its document."""
    rows = zip(prompt.sources.values, prompt.titles.values, prompt.passages.values, strict=True)
    parts = [hashed(*row) for row in rows]
    return hashed(*(parts if ordered else sorted(parts)))


async def key_of(key: Key, at: Place, serving: Serving, request: Request, go_on: Next) -> str:
    """Return the key of a request at a place.

    A ranking names chunks by their place in a corpus, so its key holds the corpus. A vector's key is the text as it
    stands and the model: neither tenant nor service, which nobody can read off a vector of the same text. ``context``
    makes the prompt first.
    """
    if at == "embed":
        return await _embedded(request, go_on)
    parts = [scope(serving, request, go_on), normalise(request.text)]
    if at == "retrieve":
        parts.append(request.corpus)
    elif key != "question":
        prompt = cast("Prompts", await request.get(go_on.node.inputs[0]))
        parts.append(context(prompt, ordered=key == "context"))
    return hashed(*parts)


def check_key(layer: str, at: Place, key: Key) -> None:
    """Refuse a place that has no key, or a key that the place does not have.

    Raises
    ------
    InputError
    """
    places = ("answer", "retrieve", "prompt", "embed")
    if at not in places:
        raise InputError(f"{layer}: at is {at!r}; it is one of {', '.join(map(repr, places))}")
    if key not in get_args(Key):
        raise InputError(f"{layer}: key is {key!r}; it is 'question', 'context' or 'context set'")
    if key != "question" and at != "answer":
        raise InputError(f"{layer}: at {at!r} there is no context yet; take key='question', or at='answer'")


async def _embedded(request: Request, go_on: Next) -> str:
    """Only the node and its inputs count; of questions their texts alone, where the model is given no more."""
    parts = [go_on.node.recipe]
    for parent in go_on.node.inputs:
        if not parent.per_query:
            parts.append(request.corpus)
            continue
        asked = await request.get(parent)
        texts = isinstance(asked, Queries) and hasattr(go_on.node.op, "encode")  # an `Embedder`
        parts.extend(cast("Queries", asked).text if texts else (asked.digest,))
    return hashed(*parts)
