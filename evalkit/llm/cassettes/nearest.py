"""What is recorded nearest to a call that is not: so that a miss says what has changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.llm.cassettes.cassette import Cassette
from evalkit.llm.cassettes.rows import entry_of

_WORDS = re.compile(r"\w+")
_LENGTH = 60
_LISTED = 4
_OF_CALLS = """
SELECT key, json_extract(row, '$.prompt.question'),
  (json_extract(row, '$.prompt') IS NOT json(:prompt)) + (json_extract(row, '$.generator') IS NOT json(:who))
  + (json_extract(row, '$.prompt.passages') IS NOT json(:passages))
  + (json_extract(row, '$.generator.is') IS NOT :class)
  + (json_extract(row, '$.sample') IS NOT :sample)
FROM rows WHERE json_extract(row, '$.kind') = 'call'
"""
_OF_EMBEDDINGS = """
SELECT key, json_extract(row, '$.text'),
  (json_extract(row, '$.embedder') IS NOT json(:who)) + (json_extract(row, '$.embedder.is') IS NOT :class)
  + (json_extract(row, '$.side') IS NOT :side)
FROM rows WHERE json_extract(row, '$.kind') = 'embedding'
"""
_TEXT_COUNTS = 3.0
"""What another question weighs, against one for each other part."""


class Miss(EvalkitError):
    """A call that a cassette does not have, where only what it has may be used."""


def missed(cassette: Cassette, asked: Mapping[str, Any]) -> Miss:
    """Say in one line that a call is not recorded, what is nearest to it, and what differs.

    Parameters
    ----------
    cassette : Cassette
    asked : mapping
        As the journal writes down what was asked: ``generator``, ``prompt`` and ``sample`` of a call, ``embedder``,
        ``side`` and ``text`` of an embedding.
    """
    embedding = "embedder" in asked
    text = asked["text"] if embedding else asked["prompt"]["question"]
    what = f"no vector of {asked['side']} {_short(text)}" if embedding else (
        f"no answer to {_short(text)} (sample {asked['sample']})"
    )  # fmt: skip
    near = _nearest(cassette, asked, text)
    if near is None:
        told = f"it holds no {'embeddings' if embedding else 'calls'} at all"
    else:
        key, entry = near
        found = list(_differences(asked, entry)) or ["nothing but the versions of the packages that it rests on"]
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        told = f"nearest is {key[:12]}, which differs in {'; '.join(found[:_LISTED])}{more}"
    return Miss(f"{cassette.path}: {what} is recorded; {told}. To record it: --cassette-mode record")


def _nearest(cassette: Cassette, asked: Mapping[str, Any], text: str) -> tuple[str, dict[str, Any]] | None:
    words = set(_WORDS.findall(text.casefold()))
    best: tuple[float, str] | None = None
    for key, recorded, others in _compared(cassette, asked):
        distance = others + (0.0 if recorded == text else _TEXT_COUNTS * (1.001 - _overlap(words, recorded or "")))
        best = min(best or (distance, key), (distance, key))
    return None if best is None else (best[1], entry_of(cassette.rows.find([best[1]])[best[1]]))


def _compared(cassette: Cassette, asked: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Every recorded call of the kind: its key, its question, and how many other parts differ."""
    who = asked.get("generator") or asked.get("embedder") or {}
    given: dict[str, object] = {"who": _plain(who), "class": who.get("is")}
    if "embedder" in asked:
        yield from cassette.rows.scan(_OF_EMBEDDINGS, {**given, "side": asked["side"]})
    else:
        prompt = asked["prompt"]
        given |= {"prompt": _plain(prompt), "passages": _plain(prompt["passages"]), "sample": asked["sample"]}
        yield from cassette.rows.scan(_OF_CALLS, given)


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _overlap(words: set[str], text: str) -> float:
    """Share of words that two texts have in common (Jaccard)."""
    others = set(_WORDS.findall(text.casefold()))
    return len(words & others) / max(len(words | others), 1)


def _differences(asked: Mapping[str, Any], recorded: Mapping[str, Any]) -> Iterator[str]:
    """Say what a recorded call has otherwise than the one that was asked for."""
    if "embedder" in asked:
        if recorded.get("text") != asked["text"]:
            yield f"its text {_short(recorded.get('text', ''))}"
        if recorded.get("side") != asked["side"]:
            yield f"its side '{recorded.get('side')}', not '{asked['side']}'"
        yield from _fields(asked["embedder"], recorded.get("embedder", {}), "the embedder's")
        return
    mine, other = asked["prompt"], recorded.get("prompt", {})
    if other.get("question") != mine["question"]:
        yield f"its question {_short(other.get('question', ''))}"
    for name, one in (("passages", "passage"), ("titles", "title"), ("sources", "source"), ("history", "turn")):
        yield from _lists(mine.get(name, []), other.get(name, []), name, one)
    yield from _fields(asked["generator"], recorded.get("generator", {}), "the generator's")
    if recorded.get("sample") != asked["sample"]:
        yield f"its sample {recorded.get('sample')}, not {asked['sample']}"


def _lists(mine: list[str], other: list[str], name: str, one: str) -> Iterator[str]:
    if len(mine) != len(other):
        yield f"its {len(other)} {name}, not {len(mine)}"
    elif mine != other:
        places = [str(i) for i, (a, b) in enumerate(zip(mine, other, strict=True), 1) if a != b]
        yield f"{one} {', '.join(places[:_LISTED])} of {len(mine)}"


def _fields(mine: Any, other: Any, whose: str, name: str = "") -> Iterator[str]:
    """Say which fields differ, down to the innermost; another class counts as one."""
    if mine == other:
        return
    both = isinstance(mine, Mapping) and isinstance(other, Mapping)
    if both and mine.get("is") == other.get("is"):
        for field in sorted({*mine, *other}):
            yield from _fields(mine.get(field), other.get(field), whose, f"{name}.{field}" if name else field)
    else:
        yield f"{whose} {name or 'class'} {_named(other)}, not {_named(mine)}"


def _named(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("is", "another value")).rpartition(":")[2]
    return _short(value) if isinstance(value, str) else _short(_plain(value), "")


def _short(text: str, quote: str = "'") -> str:
    """A text in one line, its beginning if it is long."""
    line = " ".join(text.split())
    return f"{quote}{line if len(line) <= _LENGTH else line[: _LENGTH - 1] + '…'}{quote}"
