"""Tables of a replay: a row an event, a row a request, a row a second."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.serving.results.flat import Flat

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.serving.results.outcomes import Replay

_ROUNDING = 1e-6
"""Milliseconds below which a difference of times is none: a nanosecond."""
_MOST_BINS = 10_000_000


def events(replay: Replay) -> pd.DataFrame:
    """One row an event, requests in order of arrival, a request's events in order of their ends.

    Returns
    -------
    DataFrame
        ``request`` (its number), ``name``, ``kind``, and ``start``, ``began``, ``end`` in seconds from the traffic's
        start.
    """
    import pandas as pd

    flat = replay.flat
    names = list(flat.names)
    times = {name: flat.events[name] - replay.start for name in ("start", "began", "end")}
    return pd.DataFrame(
        {
            "request": cast("Array", flat.requests["number"])[flat.request],
            "name": pd.Categorical.from_codes(_codes(flat.events["name"]), pd.Index(names)),
            "kind": pd.Categorical.from_codes(_codes(flat.events["kind"]), pd.Index(names)),
            **times,
        }
    )


def _codes(column: Array) -> NDArray[np.int64]:
    return column.astype(np.int64)


def per_request(replay: Replay) -> pd.DataFrame:
    """One row a request; see `Replay.per_request`."""
    import pandas as pd

    from evalkit.serving.results.scoring import scores
    from evalkit.serving.results.spending import spending

    outcomes, start = replay.outcomes, replay.start
    arrivals = [o.arrival for o in outcomes]
    arrived, first, ended = (np.array([getattr(o, n) for o in outcomes]) for n in ("arrived", "first", "ended"))
    own = own_times(replay.flat)
    columns: dict[str, Any] = {
        "number": np.array([o.number for o in outcomes], dtype=np.int64),
        **{name: [getattr(a, name) for a in arrivals] for name in ("text", "user", "tenant", "conversation")},
        **{name: [getattr(a, name) for a in arrivals] for name in ("kind", "intent")},
        "arrived": arrived - start,
        "ended": ended - start,
        "ms": (ended - arrived) * 1e3,
        "first_ms": (first - arrived) * 1e3,
        "queue_ms": own.pop("queue"),
        **{f"ms[{name}]": values for name, values in own.items()},
        "outcome": [o.outcome for o in outcomes],
        "reason": [o.reason for o in outcomes],
        "answer": [o.answers.text[0] if o.answers is not None else "" for o in outcomes],
        "hit": [str(o.notes.get("hit", "")) for o in outcomes],
        "made_by": [str(o.notes.get("made_by", "")) for o in outcomes],
        **spending(outcomes),
        **scores(outcomes, replay.warm),
    }
    return pd.DataFrame(columns | _notes(replay, columns))


def _notes(replay: Replay, taken: dict[str, Any]) -> dict[str, Any]:
    """What layers wrote down, a column a note; one that is called as a column of ours is told apart."""
    import pandas as pd

    rows = [outcome.notes for outcome in replay.outcomes]
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in ("hit", "made_by")]
    renamed = {name: f"note[{name}]" if name in taken else name for name in names}
    return {renamed[name]: pd.Series([row.get(name, math.nan) for row in rows]) for name in names}


def own_times(flat: Flat) -> dict[str, Array]:
    """Return for every request the milliseconds that each layer and stage took itself.

    A layer's own time is its span without the union of what lies within it: events of the same request that began
    after it did and ended before. Work counts from when it had a core; ``queue`` is the wait for one. Events of one
    name add up; where branches run side by side the sum exceeds the request's time.

    Returns
    -------
    {name: float64 array of shape (requests,)}
        Layers first, the outermost before the others, then stages in order of first appearance, and ``queue``.
    """
    request, columns = flat.request, flat.events
    order = np.lexsort((columns["end"], request))  # stable: what ended at once stays in order, the inner one first
    row, name, kind = request[order], columns["name"][order], columns["kind"][order]
    start, began, end = (columns[c][order] for c in ("start", "began", "end"))
    names = list(flat.names)
    layer = kind == (names.index("layer") if "layer" in names else -1)
    own = end - began
    own[layer] -= _within(row, start, end, layer)[layer]
    size = len(cast("Array", flat.requests["number"]))
    found: dict[str, Array] = {}
    for chosen in (layer, ~layer):
        codes = columns["name"][np.sort(order[chosen])]
        seen = list(dict.fromkeys(codes.tolist()))
        for code in seen[::-1] if chosen is layer else seen:  # an inner layer ends before the outer one
            mask = chosen & (name == code)
            ms = np.bincount(row[mask], weights=own[mask], minlength=size) * 1e3
            ms[ms < _ROUNDING] = 0.0
            found[names[code]] = ms + found.get(names[code], 0.0)
    return {**found, "queue": np.bincount(row, weights=began - start, minlength=size) * 1e3}


def _within(row: Array, start: Array, end: Array, wanted: Array) -> Array:
    """Return for every wanted event how long the union of those is that lie within it.

    Rows come one after another, each in order of ends, so what lies within an event stands before it. Taken from the
    last to the first, each adds what lies before all that was taken: no gap between those can hold it, as it ends
    before they do.
    """
    counts = np.bincount(row)
    firsts = np.cumsum(counts) - counts
    covered = np.zeros(len(row))
    for count in np.unique(counts[counts > 1]):
        base = firsts[counts == count]
        for j in range(1, count):
            outer = base[wanted[base + j]] + j
            if not len(outer):
                continue
            reached, total = end[outer], np.zeros(len(outer))
            for i in range(j - 1, -1, -1):
                inner = outer - (j - i)
                inside = start[inner] >= start[outer]
                total += np.where(inside, np.maximum(0.0, np.minimum(end[inner], reached) - start[inner]), 0.0)
                reached = np.where(inside, np.minimum(reached, start[inner]), reached)
            covered[outer] = total
    return covered


def per_second(replay: Replay, width: float = 1.0) -> pd.DataFrame:
    """One row a stretch of time; see `Replay.per_second`."""
    import pandas as pd

    if not 0 < width < math.inf:
        raise InputError(f"per_second: width is {width}; it is seconds above 0")
    rows = replay.per_request
    arrived, ended = rows["arrived"].to_numpy(), rows["ended"].to_numpy()
    last = math.floor(max(ended, default=0.0) / width) + 1
    if last > _MOST_BINS:
        raise InputError(f"per_second: {last:,} rows of {width:g} s; give a greater width")
    come, gone = ((times / width).astype(np.int64) for times in (arrived, ended))
    outcome = rows["outcome"].to_numpy()

    def count(where: Array, mask: Array | None = None) -> Array:
        return np.bincount(where if mask is None else where[mask], minlength=last)

    edges = np.arange(last + 1) * width
    present = np.diff(_passed(arrived, edges) - _passed(ended, edges)) / width
    columns: dict[str, Any] = {
        "second": edges[:-1],
        "arrivals": count(come),
        "ended": count(gone),
        "in_flight": np.maximum(present, 0.0),
        "hits": count(gone, (rows["hit"] != "").to_numpy()),
        **{name: count(gone, outcome == name) for name in ("answered", "refused", "failed", "abandoned")},
    }
    ms = rows["ms"][outcome == "answered"].groupby(gone[outcome == "answered"])
    for q in (0.5, 0.95):
        columns[f"p{100 * q:g}_ms"] = ms.quantile(q).reindex(range(last)).to_numpy()
    return pd.DataFrame(columns)


def _passed(times: Array, edges: Array) -> Array:
    """Return for each edge the seconds that passed since those of the times that lie before it, summed."""
    ordered = np.sort(times)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    before = np.searchsorted(ordered, edges, side="right")
    passed: Array = edges * before - sums[before]
    return passed
