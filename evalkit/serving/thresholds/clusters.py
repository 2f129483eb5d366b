"""Requests that are not independent: they got one entry, belong to one conversation, or want the same."""

from __future__ import annotations

import numpy as np

from evalkit.columns import Array
from evalkit.datasets.traffic import of_intent
from evalkit.errors import InputError
from evalkit.serving.thresholds.swept import ThresholdSweep


def intents(sweep: ThresholdSweep) -> Array:
    """Label requests by what they want: tenant and intent, a trap with the intent that it is near.

    Such clusters are the same under every setting, as entries are not: a whole curve can be drawn. Requests for one
    intent share the entries that are right for them, and the wording that makes an entry near; its traps get the
    same entries, wrongly; the turns of a generated conversation (``talk/0``, ``talk/1``) belong to one, too. What has
    no intent is one with its like: the same text of the same tenant.

    Returns
    -------
    int64 array of shape (n,)
    """
    known: dict[tuple[str, str, bool], int] = {}
    wanted = [(a.tenant, of_intent(a.intent) if a.intent else a.text, bool(a.intent)) for a in sweep.arrivals]
    return np.array([known.setdefault(one, len(known)) for one in wanted], dtype=np.int64)


def labels_of(sweep: ThresholdSweep, clusters: Array | None, name: str) -> Array:
    """Return what is drawn together: the labels given, one a request, or `intents`.

    Raises
    ------
    InputError
        If there is not one label a request. It begins with `name`.
    """
    if clusters is None:
        return intents(sweep)
    labels, n = np.asarray(clusters), len(sweep.arrivals)
    if labels.shape != (n,):
        raise InputError(f"{name}: clusters has shape {labels.shape}; give a label for each of the {n} requests")
    return labels


def check_draws(name: str, *, seed: int, level: float, resamples: int = 1) -> None:
    """Refuse what no bootstrap can be drawn with; the error begins with `name`.

    Raises
    ------
    InputError
        If a number is out of range; all such numbers are in it.
    """
    numbers: tuple[object, ...] = seed, resamples
    whole = [isinstance(one, int | np.integer) and not isinstance(one, bool) for one in numbers]
    said = [
        f"{what} is {value}, but has to be {must}"
        for what, value, must, fits in (
            ("seed", seed, "a whole number from 0", whole[0] and seed >= 0),
            ("resamples", resamples, "a whole number from 1", whole[1] and resamples >= 1),
            ("level", level, "above 0 and below 1", 0 < level < 1),
        )
        if not fits
    ]
    if said:
        raise InputError(f"{name}: {'; '.join(said)}")
