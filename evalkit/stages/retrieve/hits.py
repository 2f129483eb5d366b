"""What search functions return, in the forms that are in use, as one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

from evalkit.errors import InputError

_IDS = ("id", "document", "_id")
_METADATA_IDS = ("id", "document", "_id", "source")
_FORMS = "an id, an (id, score) pair, a mapping with id, document or _id, or a LangChain Document"


class Hit(NamedTuple):
    """One result: a document's id, a score if there is one, and a text from it, which may be empty."""

    document: str
    score: float | None
    text: str


def hits(results: Any) -> list[Hit]:
    """Read what a search function returned, best first.

    Parameters
    ----------
    results : iterable
        Of document ids; of ``(id, score)`` pairs; of mappings with ``id``, ``document`` or ``_id`` and, if you like,
        ``score`` (or ``_score``) and ``text``; of LangChain documents, whose id is ``metadata["id"]``, else
        ``metadata["source"]``, else their own; or of pairs of one of these and a score.

    Raises
    ------
    InputError
        If something is none of these, or scores are given for some only, are no numbers, or rise from one result to
        the next, as distances do.
    """
    if isinstance(results, str | bytes | Mapping) or not isinstance(results, Iterable):
        raise InputError(f"gave {_shown(results)}; a list of results is needed, best first")
    found = [_hit(result) for result in results]
    scores = [hit.score for hit in found if hit.score is not None]
    if len(scores) not in (0, len(found)):
        raise InputError(f"gave scores for {len(scores)} of {len(found)} results; give all of them, or none")
    for i, (score, before) in enumerate(zip(scores[1:], scores, strict=False), start=2):
        if score > before:
            raise InputError(
                f"gave the score {before:g} and after it, as result {i}, {score:g}; results are needed best first, "
                "with the highest score (negate distances, or leave them out)"
            )
    return found


def _hit(result: Any) -> Hit:
    if isinstance(result, Sequence) and not isinstance(result, str | bytes):
        if len(result) != 2:
            raise InputError(f"gave {_shown(result)} as a result; {_FORMS} is needed")
        return _hit(result[0])._replace(score=_score(result[1]))
    if isinstance(result, Mapping):
        score = next((result[key] for key in ("score", "_score") if result.get(key) is not None), None)
        text = result.get("text")
        return Hit(_first(result, _IDS, result), None if score is None else _score(score), str(text or ""))
    if hasattr(result, "page_content"):
        known = {"own id": getattr(result, "id", None), **result.metadata}
        return Hit(_first(known, (*_METADATA_IDS, "own id"), result), None, result.page_content)
    return Hit(_id(result, result), None, "")


def _first(known: Mapping[str, Any], names: Iterable[str], result: Any) -> str:
    return _id(next((known[name] for name in names if known.get(name) is not None), None), result)


def _id(value: Any, result: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | Integral):
        raise InputError(f"gave {_shown(result)} as a result; {_FORMS} is needed")
    return str(value)


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"gave the score {_shown(value)}; finite numbers are needed")
    return float(value)


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
