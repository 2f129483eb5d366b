"""What a cache takes for what: which intent was asked for, and which one's answer was given."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.metrics.statistics import clustered_proportion_interval
from evalkit.serving.thresholds.swept import ThresholdSweep
from evalkit.serving.thresholds.tables import chosen

if TYPE_CHECKING:
    import pandas as pd

Key = TypeVar("Key", bound=Hashable)
_PAIRS = (
    "asked", "given", "wrong", "share", "of_asked", "reverse", "stale", "entries", "kind", "base_asked", "base_given",
    "text_asked", "text_given",
)  # fmt: skip
_ENTRIES = (
    "entry", "text", "intent", "precomputed", "hits", "wrong", "wrong_share", "wrong_share_low", "wrong_share_high",
    "share", "intents_asked", "text_asked",
)  # fmt: skip


def confusions(sweep: ThresholdSweep, setting: int, where: Array | None = None) -> pd.DataFrame:
    """Return the pairs of intents that a setting confused, the most frequent first.

    Parameters
    ----------
    sweep : ThresholdSweep
    setting : int
        Its position in the sweep.
    where : bool array of shape (n,), optional
        Only these requests.

    Returns
    -------
    DataFrame
        A row a pair; equal counts are in order of the names.

        - ``asked``, ``given``: the intent of the request, and of the one whose answer it got;
        - ``wrong``: such hits; ``share`` of all wrong hits; ``of_asked``: their share of all requests for the intent;
          ``reverse``: wrong hits the other way round;
        - ``stale``: those whose answer was right once (``asked`` and ``given`` are one intent then);
        - ``entries``: how many entries the wrong answers came from;
        - ``kind`` of the requests, the most frequent one;
        - ``base_asked``, ``base_given``: the intent that a trap is near, and else the intent itself. Where both are
          one, a trap did what it was made for; else two intents are neighbours;
        - ``text_asked``, ``text_given``: the most frequent pair of texts, the earliest of several.

    Raises
    ------
    InputError
        If there is no such setting, or `where` does not fit the traffic.
    """
    import pandas as pd

    mask, rows = _wrong(sweep, setting, where)
    makers, given = sweep.makers, sweep.given_by[setting]
    pairs = _grouped(rows, lambda i: (sweep.arrivals[i].intent, makers[given[i]].intent))
    asked = Counter(sweep.arrivals[i].intent for i in np.flatnonzero(mask).tolist())
    found = []
    for (own, other), members in sorted(pairs.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        requests = [sweep.arrivals[i] for i in members]
        text, kept = _most((a.text, makers[given[i]].text) for a, i in zip(requests, members, strict=True))
        found.append((
            own, other, len(members), len(members) / len(rows), len(members) / asked[own],
            len(pairs.get((other, own), ())) if own != other else 0, int(sweep.stale[setting][members].sum()),
            len(set(given[members].tolist())), _most(a.kind for a in requests), base(own), base(other), text, kept,
        ))  # fmt: skip
    return pd.DataFrame(found, columns=list(_PAIRS))


def worst_entries(sweep: ThresholdSweep, setting: int, where: Array | None = None) -> pd.DataFrame:
    """Return the entries that a setting gave wrongly, the most often wrong first.

    Parameters
    ----------
    sweep, setting, where
        As for `confusions`.

    Returns
    -------
    DataFrame
        A row an entry; equal counts are in order of ``entry``, its position in the sweep's `makers`. ``text`` and
        ``intent`` it was made for, and whether it was ``precomputed``; judged ``hits``, ``wrong`` ones, their
        ``wrong_share`` with its 95 % interval (clustered by conversation), and ``share`` of all wrong hits;
        ``intents_asked``: how many intents it was wrong for; ``text_asked``: what it was wrong for most often.

    Raises
    ------
    InputError
        As for `confusions`.
    """
    import pandas as pd

    mask, rows = _wrong(sweep, setting, where)
    given, makers = sweep.given_by[setting], sweep.makers
    known = np.flatnonzero(mask & sweep.hit[setting] & sweep.judged[setting])
    hits = _grouped(known, lambda i: int(given[i]))
    entries = _grouped(rows, lambda i: int(given[i]))
    found = []
    for entry, members in sorted(entries.items(), key=lambda one: (-len(one[1]), one[0])):
        of = hits[entry]
        share = clustered_proportion_interval(sweep.wrong[setting][of], sweep.conversations[of])
        requests = [sweep.arrivals[i] for i in members]
        found.append((
            entry, makers[entry].text, makers[entry].intent, entry < len(sweep.precomputed), len(of), len(members),
            share.value, share.low, share.high, len(members) / len(rows), len({a.intent for a in requests}),
            _most(a.text for a in requests),
        ))  # fmt: skip
    return pd.DataFrame(found, columns=list(_ENTRIES))


def base(intent: str) -> str:
    """Return the intent that a trap is near: ``fee`` of ``fee!0``; of another intent, itself."""
    return intent.partition("!")[0]


def _wrong(sweep: ThresholdSweep, setting: int, where: Array | None) -> tuple[Array, Array]:
    """Return which requests are looked at, and the positions of those that were given a wrong answer."""
    if not -len(sweep.settings) <= setting < len(sweep.settings):
        raise InputError(
            f"confusions: no setting {setting} of {len(sweep.settings)}; name one by sweep.find(threshold)"
        )
    mask = chosen(sweep, where)
    return mask, np.flatnonzero(mask & sweep.wrong[setting])


def _grouped(rows: Array, key: Callable[[int], Key]) -> dict[Key, list[int]]:
    """Return rows by key, in their order."""
    found: defaultdict[Key, list[int]] = defaultdict(list)
    for i in rows.tolist():
        found[key(i)].append(i)
    return dict(found)


def _most(values: Iterable[Key]) -> Key:
    """Return the most frequent value, the first of several."""
    return Counter(values).most_common(1)[0][0]
