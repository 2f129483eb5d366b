"""What is measured of each request in a factorial design, and what its replays must have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError, nearest
from evalkit.llm.messages import NO_ANSWER
from evalkit.metrics import P50, P95, DollarsPer1000, FirstToken, HitRate, Mean, ServedWrong
from evalkit.metrics.statistics.factorial import Term, standard_order

if TYPE_CHECKING:
    from evalkit.serving.results.outcomes import Replay

NOTHING, JOINED = "nothing", " + "
RIGHT = 0.5
"""Token F1 from which on an answer counts as right, where one must be called right or wrong."""
_LESS = 1e-9
"""A token F1 that is lower by no more than this is the same."""


@dataclass(frozen=True)
class Measure:
    """A number a request, and what is made of it.

    Parameters
    ----------
    unit : str
    kind : {"mean", "share", "quantile"}
    of : callable
        Takes the replay of a cell and that of the cell with nothing on; nan where it does not apply.
    q : float
        Of a quantile.
    """

    unit: str
    kind: Literal["mean", "share", "quantile"]
    of: Callable[[Replay, Replay], Array]
    q: float = math.nan


def _column(name: str, scale: float = 1.0) -> Callable[[Replay, Replay], Array]:
    return lambda replay, nothing: replay.per_request[name].to_numpy(dtype=np.float64) * scale


def _answered(name: str) -> Callable[[Replay, Replay], Array]:
    def values(replay: Replay, nothing: Replay) -> Array:
        rows = replay.per_request
        return np.where(rows["outcome"] == "answered", rows[name].to_numpy(dtype=np.float64), math.nan)

    return values


def _wrong(replay: Replay, nothing: Replay) -> Array:
    """1 for a wrong hit, 0 for a right one and for none; nan for what nobody can judge, as in `Replay.lookups`."""
    rows = replay.per_request
    judged = np.array([math.nan if wrong is None else float(wrong) for wrong in rows["wrong"]])
    return np.where(rows["hit"] == "", np.where(rows["intent"] == "", math.nan, 0.0), judged)


def _worse(replay: Replay, nothing: Replay) -> Array:
    fallen = replay.quality < nothing.quality - _LESS
    return np.where(np.isfinite(replay.quality), fallen.astype(np.float64), math.nan)


def _lost(replay: Replay, nothing: Replay) -> Array:
    fallen = (replay.quality < RIGHT) & (nothing.quality >= RIGHT)
    return np.where(np.isfinite(replay.quality), fallen.astype(np.float64), math.nan)


MEASURES: Mapping[str, Measure] = {
    str(Mean()): Measure("ms", "mean", _answered("ms")),
    str(P50()): Measure("ms", "quantile", _answered("ms"), 0.5),
    str(P95()): Measure("ms", "quantile", _answered("ms"), 0.95),
    str(FirstToken(q=0.95)): Measure("ms", "quantile", _answered("first_ms"), 0.95),
    str(DollarsPer1000()): Measure("$", "mean", _column("usd", 1e3)),
    "tokens read": Measure("tokens", "mean", _column("cache_read_tokens")),
    str(HitRate()): Measure("", "share", lambda r, _: (r.per_request["hit"] != "").to_numpy(dtype=np.float64)),
    str(ServedWrong()): Measure("", "share", _wrong),
    "worse": Measure("", "share", _worse),
    "lost": Measure("", "share", _lost),
    "declined": Measure("", "share", lambda r, _: (r.per_request["answer"] == NO_ANSWER).to_numpy(dtype=np.float64)),
    "quality": Measure("", "mean", lambda r, _: r.quality),
    "answered": Measure(
        "", "share", lambda r, _: (r.per_request["outcome"] == "answered").to_numpy(dtype=np.float64)
    ),
}  # fmt: skip


def paired(measure: Measure, cells: Sequence[Replay]) -> tuple[Array, Array]:
    """Return which requests a measure applies to in all cells, and its values: shapes (n,) and (known, cells)."""
    rows = np.column_stack([measure.of(replay, cells[0]) for replay in cells])
    known = np.isfinite(rows).all(axis=1)
    return known, rows[known]


def label(term: Collection[str]) -> str:
    """Return what a cell is called: its factors joined, or "nothing"."""
    return JOINED.join(term) or NOTHING


def arranged(
    replays: Mapping[str, Replay] | Mapping[Collection[str], Replay], factors: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[Term, Replay]]:
    """Return the factors, and the replays of a full design in standard order.

    Raises
    ------
    InputError
        If a combination is missing, given twice or of an unknown factor, or the traffic differs.
    """
    found: dict[frozenset[str], Replay] = {}
    seen: dict[str, None] = {}
    for key, replay in replays.items():
        names = _names(key)
        if frozenset(names) in found:
            raise InputError(f"factorial: '{label(names)}' is given twice; give each combination once")
        found[frozenset(names)] = replay
        seen |= dict.fromkeys(names)
    order = tuple(seen if factors is None else factors)
    if not order:
        raise InputError("factorial: no switch is on in any replay; give all combinations of at least one")
    if unknown := [name for name in seen if name not in order]:
        raise InputError(f"factorial: no factor '{unknown[0]}'{nearest(unknown[0], order)}")
    terms = standard_order(order)
    if missing := [term for term in terms if frozenset(term) not in found]:
        raise InputError(
            f"factorial: {len(missing)} of {len(terms)} combinations are missing, such as '{label(missing[0])}'; "
            "replay each"
        )
    cells = {term: found[frozenset(term)] for term in terms}
    _check_traffic(cells)
    return order, cells


def _names(key: str | Collection[str]) -> tuple[str, ...]:
    if isinstance(key, str):
        return () if key == NOTHING else tuple(part.strip() for part in key.split(JOINED))
    return tuple(sorted(key)) if isinstance(key, frozenset | set) else tuple(key)


def _check_traffic(cells: Mapping[Term, Replay]) -> None:
    first = cells[()].outcomes
    if not first:
        raise InputError("factorial: replays without a request; give some traffic")
    for term, replay in cells.items():
        if len(replay.outcomes) != len(first):
            raise InputError(
                f"factorial: '{label(term)}' has {len(replay.outcomes)} requests and '{NOTHING}' {len(first)}; "
                "replay the same traffic"
            )
        for mine, theirs in zip(replay.outcomes, first, strict=True):
            if (mine.number, mine.arrival) != (theirs.number, theirs.arrival):
                raise InputError(
                    f"factorial: request {mine.number} of '{label(term)}' differs from that of '{NOTHING}'; "
                    "replay the same traffic"
                )
