"""A cassette's lines: a header, then one call a line as JSON, with a checksum of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from evalkit.calls import Call
from evalkit.errors import InputError
from evalkit.types import Digest
from evalkit.values import Prompt

FORMAT = 1
"""Version of the way lines are written; a file of a later one is refused."""

Kind = Literal["call", "given up", "embedding"]

_SUM = b'{"#": "'
_OWN = ("#", "key", "kind")


@dataclass(frozen=True)
class Header:
    """A cassette's first line.

    Parameters
    ----------
    lines : int
        That follow.
    sum : str
        Of all of them (BLAKE2b, 128 bits, hexadecimal): the content's identity, however it is compressed.
    calls, given_up, embeddings : int
        Lines by kind.
    refreshing : str
        Names a refresh that has not come to its end, so that the next one goes on with it.
    """

    lines: int
    sum: str
    calls: int
    given_up: int
    embeddings: int
    refreshing: str = ""

    def line(self) -> bytes:
        """Return it as written."""
        stated = {"cassette": FORMAT, **asdict(self)}
        return json.dumps({k: v for k, v in stated.items() if v != ""}).encode() + b"\n"


@dataclass(frozen=True)
class Recorded:
    """One line of a cassette.

    Parameters
    ----------
    key : Digest
    kind : {"call", "given up", "embedding"}
        given up: a stream that broke, with the text that came, or a call that got no answer, with its error.
    generator : mapping
        Canonical form of the generator, or of the embedder.
    prompt : Prompt or None
        None for an embedding.
    sample : int
    text : str
        The answer; for an embedding what was embedded.
    call : Call or None
        None for an embedding, and for a generator that calls no model.
    of : Digest
        Key of the call that was given up.
    error : str
        Why it got no answer.
    """

    key: Digest
    kind: Kind
    generator: Mapping[str, Any]
    prompt: Prompt | None = None
    sample: int = 0
    text: str = ""
    call: Call | None = None
    of: Digest = ""
    error: str = ""

    @classmethod
    def read(cls, key: Digest, entry: Mapping[str, Any]) -> Recorded:
        """Read an entry.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        kind = kind_of(entry)
        if kind is None:
            raise ValueError("neither a call nor an embedding")
        return cls(
            key,
            kind,
            entry.get("generator") or entry.get("embedder") or {},
            read_prompt(entry["prompt"]) if "prompt" in entry else None,
            entry.get("sample", 0),
            entry.get("text", ""),
            Call.read(entry["call"]) if "call" in entry else None,
            entry.get("of", ""),
            entry.get("error", ""),
        )


def kind_of(entry: Mapping[str, Any]) -> Kind | None:
    """Return what a journal's entry is; None for one that is no call of a model."""
    if "of" in entry:
        return "given up"
    if "float32" in entry:
        return "embedding"
    return "call" if "text" in entry and "cited" in entry else None


def read_prompt(data: Mapping[str, Any]) -> Prompt:
    """Read a prompt's canonical form."""
    found = {field.name: data[field.name] for field in fields(Prompt) if field.name in data}
    named: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in found.items()}
    return Prompt(**named)


def write_row(key: Digest, entry: Mapping[str, Any]) -> str:
    """Return an entry's line without its end: the checksum comes first, under a name of its own."""
    named = {**entry, "key": key, "kind": kind_of(entry)}
    text = json.dumps(named, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f'{_SUM.decode()}{_sum(text.encode())}", {text[1:]}'


def read_row(line: bytes) -> tuple[Digest, dict[str, Any]]:
    """Return a line's key and entry.

    Raises
    ------
    ValueError
        If it is damaged, with what is wrong.
    """
    found, _, rest = line.removeprefix(_SUM).partition(b'", ')
    if not line.startswith(_SUM) or found.decode(errors="replace") != _sum(b"{" + rest):
        raise ValueError("is damaged: it is not what its checksum says")
    try:
        named = json.loads(line)
        key = named["key"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"is no call ({type(error).__name__}: {error})") from None
    entry = {name: value for name, value in named.items() if name not in _OWN}
    if not isinstance(key, str) or kind_of(entry) is None:
        raise ValueError("is no call and no embedding")
    return key, entry


def read_recorded(key: Digest, entry: Mapping[str, Any]) -> Recorded:
    """Read an entry whose row is whole.

    Raises
    ------
    ValueError
        If it is not what such an entry is, with what is wrong.
    """
    try:
        return Recorded.read(key, entry)
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        raise ValueError(f"is no call ({type(error).__name__}: {error})") from None


def entry_of(row: str) -> dict[str, Any]:
    """Return the entry of a row that was checked before."""
    entry: dict[str, Any] = json.loads(row)
    for name in _OWN:
        del entry[name]
    return entry


def _sum(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=8).hexdigest()
