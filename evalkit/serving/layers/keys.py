"""What tells requests apart: what no answer may cross, and what makes two questions one."""

from __future__ import annotations

import hashlib
import unicodedata

from evalkit.types import Next, Request, Serving


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

    The recipe of the node holds the model, the prompt's making and all before it; the service's fingerprint the layers,
    which may change an answer too. A question within a conversation is another one than the same words alone.
    """
    return hashed(serving.fingerprint, go_on.node.recipe, request.tenant, *request.history)
