"""Embedding over HTTP, by any server that speaks OpenAI's protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np

from evalkit.columns import Array
from evalkit.errors import EvalkitError, InputError
from evalkit.values import Chunks, Queries, Vectors

_OPENAI = "https://api.openai.com/v1"
_CHARACTERS = 4
_RETRIES = 2
_widths: dict[tuple[OpenAIEmbeddings, str], int] = {}
"""Dimensions that servers gave in this process."""


@dataclass(frozen=True)
class OpenAIEmbeddings:
    """Embeddings from OpenAI, or from a server that speaks its protocol (vLLM, Ollama, llama.cpp).

    It needs the package ``openai`` (``pip install 'evalkit[openai]'``). The key is read from ``OPENAI_API_KEY`` at
    every call and is written nowhere; local servers need none.

    Nobody outside a server can hash its weights. The identity is therefore the model's name *and* who serves it:
    two servers may serve different weights under one name, and to pay twice is better than to mix them up. How the
    texts were sent (`batch_size`, `timeout`) is not part of it: a server's vectors differ in the last bits with what
    else it computes anyhow, and the first vector of a text is the one that is kept.

    Parameters
    ----------
    model : str
        As the server calls it.
    base_url : str or None
        The server, with its version: ``http://127.0.0.1:8000/v1``. None: ``OPENAI_BASE_URL``, else OpenAI.
    server : str
        A name that stands in the identity instead of the URL, so that what was embedded is found again when the
        server moves. To give two servers one name says that they serve the same weights.
    dimensions : int or None
        Dimensions to ask for, of models that can shorten their vectors. None: all.
    max_length : int
        Tokens after which a text is cut off. Without the model's tokenizer a token is taken to be four characters,
        as in English prose; where a server refuses texts as too long, make it smaller.
    batch_size : int
        Texts a request on the corpus side; queries are sent one a request.
    timeout : float
        Seconds that a request may take. One that fails is tried twice again, later each time.
    query_prefix, passage_prefix : str
        Put before every text, for models trained so (E5, BGE).

    Raises
    ------
    InputError
        If the package is missing, or the server refuses the key, the model or the texts.
    EvalkitError
        If the server cannot be reached, fails, or answers with something else than one vector a text.
    """

    model: str = "text-embedding-3-small"
    base_url: str | None = None
    server: str = ""
    dimensions: int | None = None
    max_length: int = 8191
    batch_size: int = 32
    timeout: float = 60.0
    query_prefix: str = ""
    passage_prefix: str = ""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = True
    journalled: ClassVar[bool] = True
    paid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.model:
            raise InputError("OpenAIEmbeddings: model is empty; name one that the server has")
        for name in ("batch_size", "dimensions", "max_length"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"OpenAIEmbeddings: {name} is {getattr(self, name)}; it must be at least 1")
        if not self.timeout > 0:
            raise InputError(f"OpenAIEmbeddings: timeout is {self.timeout}; it must be more than 0 seconds")
        if self.base_url is not None:
            _checked(self.base_url, "base_url")

    def identity(self) -> dict[str, Any]:
        """Say who serves the model; how the texts are sent there does not count."""
        return {"base_url": self.server or self._url, "batch_size": None, "timeout": None}

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        """Embed chunks (titles included) or queries: float32 of shape (n, d)."""
        if isinstance(texts, Chunks):
            return Vectors(self.encode([self.passage_prefix + t for t in texts.searched]))
        return Vectors(self.encode([self.query_prefix + t for t in texts.text]))

    def encode(self, texts: list[str]) -> Array:
        """Embed plain texts, `batch_size` a request. An empty text, which servers refuse, is sent as a space."""
        if not texts:
            width = self.dimensions or _widths.get((self, self._url)) or self.encode([""]).shape[1]
            return np.zeros((0, width), dtype=np.float32)
        sent = [text[: _CHARACTERS * self.max_length] or " " for text in texts]
        batches = [sent[start : start + self.batch_size] for start in range(0, len(sent), self.batch_size)]
        return np.concatenate([self._request(batch) for batch in batches])

    def tokens(self, texts: list[str]) -> Array:
        """Tokens of every text before any cut, at four characters each, rounded up: int64 of shape (n,)."""
        return np.array([-(-len(text) // _CHARACTERS) for text in texts], dtype=np.int64)

    @property
    def _url(self) -> str:
        if self.base_url is not None:
            return self.base_url.rstrip("/")
        return _checked(os.environ.get("OPENAI_BASE_URL") or _OPENAI, "OPENAI_BASE_URL").rstrip("/")

    def _request(self, texts: list[str]) -> Array:
        url, key = self._url, os.environ.get("OPENAI_API_KEY", "").strip()
        if url == _OPENAI and not key:
            raise InputError(f"OpenAIEmbeddings, {url}: no key; set OPENAI_API_KEY")
        wanted = {} if self.dimensions is None else {"dimensions": self.dimensions}
        with self._told(url, key):
            answer = _client(url, key, self.timeout).embeddings.create(model=self.model, input=texts, **wanted)
            rows = {int(row.index): np.array(list(row.embedding), dtype=np.float64) for row in answer.data}
        return self._vectors(url, rows, len(texts))

    def _vectors(self, url: str, rows: dict[int, Array], count: int) -> Array:
        """Put an answer in the texts' order and bring it to length 1."""
        where = f"OpenAIEmbeddings, {url}, model '{self.model}'"
        if set(rows) != set(range(count)):
            raise EvalkitError(f"{where}: {len(rows)} vectors for {count} texts; lower batch_size, or check base_url")
        wanted = self.dimensions or _widths.get((self, url)) or len(rows[0])
        if others := {len(row) for row in rows.values()} - {wanted}:
            raise EvalkitError(f"{where}: vectors of {max(others)} dimensions, not {wanted}; check model, dimensions")
        values = np.stack([rows[i] for i in range(count)])
        lengths = np.sqrt(np.square(values).sum(axis=1, keepdims=True))
        if not (np.isfinite(lengths).all() and lengths.all()):
            raise EvalkitError(f"{where}: a vector is zero or holds numbers that are none; check model")
        _widths[self, url] = wanted
        return np.asarray(values / lengths, dtype=np.float32)

    @contextmanager
    def _told(self, url: str, key: str) -> Iterator[None]:
        """Say what went wrong, where and what to do, in one line without the key."""
        openai = _package()
        where = f"OpenAIEmbeddings, {url}, model '{self.model}'"
        try:
            yield
        except openai.APITimeoutError:
            raise EvalkitError(f"{where}: no answer in {self.timeout:g} s; raise timeout") from None
        except openai.APIConnectionError:
            raise EvalkitError(f"{where}: cannot be reached; start it, or set base_url or OPENAI_BASE_URL") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise InputError(f"{where}: the key is refused ({error.status_code}); set OPENAI_API_KEY") from None
        except openai.APIStatusError as error:
            said = " ".join(error.message.replace(key, "***").split() if key else error.message.split())[:200]
            kind, what = _REFUSED.get(error.status_code, (EvalkitError, "failed after the retries; try again later"))
            raise kind(f"{where}: {what} ({said})") from None
        except (AttributeError, TypeError, ValueError):
            raise EvalkitError(f"{where}: the answer holds no embeddings; check base_url") from None


_REFUSED: dict[int, tuple[type[EvalkitError], str]] = {
    404: (InputError, "no such model, or no embeddings at this URL; check model and base_url"),
    429: (EvalkitError, "too many requests, or the quota is spent; try again later, what was embedded is kept"),
    **dict.fromkeys((400, 413, 422), (InputError, "the texts are refused; lower max_length or batch_size")),
}


def _checked(url: str, name: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"OpenAIEmbeddings: {name} is {url!r}; a URL such as http://127.0.0.1:8000/v1 is needed")
    if "@" in parts.netloc or parts.query:
        raise InputError(f"OpenAIEmbeddings: {name} holds more than a place; a key belongs into OPENAI_API_KEY")
    return url


def _package() -> Any:
    try:
        return import_module("openai")
    except ImportError:
        raise InputError(
            "OpenAIEmbeddings: the package openai is not installed; pip install 'evalkit[openai]'"
        ) from None


_clients: dict[tuple[str, str, float], Any] = {}


def _client(url: str, key: str, timeout: float) -> Any:
    """The process's connections to a server; one without a key gets a word in its place, which the client wants."""
    at = url, key, timeout
    if at not in _clients:
        made = _package().OpenAI(base_url=url, api_key=key or "none", timeout=timeout, max_retries=_RETRIES)
        if _clients.setdefault(at, made) is not made:  # another thread was quicker
            made.close()
    return _clients[at]


def close_clients() -> None:
    """Close the process's connections; the next call opens them anew. A client that is dropped leaves them open."""
    while _clients:
        _clients.popitem()[1].close()
