"""A verified cache beside the plain threshold that is wrong no more often, and which of them answers more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.metrics import Estimate
from evalkit.metrics.statistics import Comparison, clustered_proportion_interval, paired
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.thresholds.clusters import check_draws, labels_of
from evalkit.serving.thresholds.swept import ThresholdSweep
from evalkit.serving.thresholds.tables import chosen

if TYPE_CHECKING:
    import pandas as pd

Of = Literal["answers", "hits"]


@dataclass(frozen=True)
class EqualError:
    """A verified rule and the plain threshold that hits most among those that are wrong no more often.

    Parameters
    ----------
    verified : int
        Position of the verified setting in the sweep.
    threshold : int or None
        Of the plain one. None: every threshold is wrong more often, and the verified rule stands against a cache that
        gives nothing.
    of : {"answers", "hits"}
        Whose wrong share was to be no higher: that of all answers, or of hits.
    chosen_on : {"the same requests", "dev"}
        On the same requests the threshold is the best in hindsight, which nobody can know before; chosen on dev it is
        one that could have been chosen, and its error on the others may be higher.
    requests : int
        That were looked at: those of which it can be judged, whatever they are given, if that is right.
    verified_error, threshold_error : Estimate
        Wrong share of all answers or of hits, as `of` says, on the requests looked at.
    hits, right_hits : Comparison
        Shares of requests, the verified rule's against the threshold's, paired. Difference above 0: the verified rule
        gains.
    labels : tuple of str
        What the two settings are called.
    """

    verified: int
    threshold: int | None
    of: Of
    chosen_on: Literal["the same requests", "dev"]
    requests: int
    verified_error: Estimate
    threshold_error: Estimate
    hits: Comparison
    right_hits: Comparison
    labels: tuple[str, str]

    def __str__(self) -> str:
        gained = self.hits.difference
        word = "gains" if gained > 0 else "loses" if gained < 0 else "changes"
        return (
            f"{self.labels[0]} {word} {abs(gained):.2%} of requests as hits against {self.labels[1]} "
            f"(wrong share of {self.of} {self.verified_error.value:.2%} and {self.threshold_error.value:.2%}; "
            f"threshold chosen on {self.chosen_on}): {self.hits.verdict}"
        )


def at_equal_error(
    sweep: ThresholdSweep,
    verified: int | Verified,
    where: Array | None = None,
    *,
    dev: Array | None = None,
    clusters: Array | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[EqualError, ...]:
    """Compare a verified rule with the plain threshold of the same guard and TTL that is wrong no more often.

    Parameters
    ----------
    sweep : ThresholdSweep
    verified : int or Verified
        The setting; a rule that the sweep has once.
    where : bool array of shape (n,), optional
        Only these requests.
    dev : bool array of shape (n,), optional
        Requests on which the threshold is chosen as well: there it is to be wrong no more often than the verified
        rule is there. It is then looked at on the others of `where`.
    clusters : array of shape (n,), optional
        What hangs together under both settings. Default: `intents`.
    seed, level
        Of the intervals and tests.

    Returns
    -------
    tuple of EqualError
        By the wrong share of all answers, and of hits: with the threshold that is the best in hindsight on all of
        `where`; and, with `dev`, both again with the one chosen there.

    Raises
    ------
    InputError
        If the setting is no verified one, there is no plain threshold beside it, or nothing can be judged.
    """
    check_draws("at_equal_error", seed=seed, level=level)
    position = int(verified) if isinstance(verified, int | np.integer) else sweep.find(verified)
    if not 0 <= position < len(sweep.settings):
        raise InputError(f"at_equal_error: no setting {position} among {len(sweep.settings)}; name a verified one")
    if not isinstance(sweep.settings[position].rule, Verified):
        raise InputError(f"at_equal_error: setting {position} is {sweep.label(position)}; name a verified one")
    plain = _beside(sweep, position)
    mask = chosen(sweep, where) & sweep.judged[[position, *plain]].all(axis=0)
    labels = labels_of(sweep, clusters, "at_equal_error")
    parts: list[tuple[Literal["the same requests", "dev"], Array, Array]] = [("the same requests", mask, mask)]
    if dev is not None:
        known = chosen(sweep, dev, "dev")
        parts.append(("dev", mask & known, mask & ~known))
    found = []
    for chosen_on, on, looked in parts:
        if not (on.any() and looked.any()):
            raise InputError(
                f"at_equal_error: no request to choose on or to look at ({chosen_on}); see where and dev"
            )
        for of in ("answers", "hits"):
            threshold = _most_hits(sweep, position, plain, on, of)
            found.append(_compared(sweep, position, threshold, of, chosen_on, looked, labels, seed, level))
    return tuple(found)


def equal_error_table(rows: Sequence[EqualError]) -> pd.DataFrame:
    """Return comparisons as a data frame, a row each.

    Columns: ``verified``, ``threshold`` (labels), ``wrong_of``, ``chosen_on``, ``requests``; ``verified_hits``,
    ``threshold_hits``, ``verified_wrong``, ``threshold_wrong`` (shares; of what, ``wrong_of`` says); ``gained`` and
    ``right_gained`` (of all requests, as hits and as right hits), each with ``_low``, ``_high`` and ``_verdict``.
    """
    import pandas as pd

    return pd.DataFrame([_row(one) for one in rows])


def _row(one: EqualError) -> dict[str, Any]:
    found: dict[str, Any] = {
        "verified": one.labels[0], "threshold": one.labels[1], "wrong_of": one.of, "chosen_on": one.chosen_on,
        "requests": one.requests, "verified_hits": one.hits.other, "threshold_hits": one.hits.baseline,
        "verified_wrong": one.verified_error.value, "threshold_wrong": one.threshold_error.value,
    }  # fmt: skip
    for name, compared in (("gained", one.hits), ("right_gained", one.right_hits)):
        found |= {name: compared.difference, f"{name}_low": compared.low, f"{name}_high": compared.high}
        found[f"{name}_verdict"] = compared.verdict
    return found


def _beside(sweep: ThresholdSweep, position: int) -> list[int]:
    """Return the plain thresholds of the same guard and TTL."""
    of = sweep.settings[position]
    found = [
        i
        for i, one in enumerate(sweep.settings)
        if isinstance(one.rule, Threshold) and (one.guard, one.ttl) == (of.guard, of.ttl)
    ]
    if not found:
        raise InputError(
            f"at_equal_error: no plain threshold with guard {of.guard} and ttl {of.ttl}; sweep some beside the rule"
        )
    return found


def _wrong_share(sweep: ThresholdSweep, setting: int, on: Array, of: Of) -> float:
    """Return the wrong share of answers or of hits; 0 where there is no hit."""
    among = int(on.sum()) if of == "answers" else int((sweep.hit[setting] & on).sum())
    return int((sweep.wrong[setting] & on).sum()) / among if among else 0.0


def _most_hits(sweep: ThresholdSweep, position: int, plain: list[int], on: Array, of: Of) -> int | None:
    """Return the threshold with the most hits that is wrong no more often; of equal ones the less often wrong."""
    most = _wrong_share(sweep, position, on, of)
    within = [i for i in plain if _wrong_share(sweep, i, on, of) <= most]

    def merit(i: int) -> tuple[int, float, int]:
        return int((sweep.hit[i] & on).sum()), -_wrong_share(sweep, i, on, of), -i

    return max(within, key=merit, default=None)


def _compared(
    sweep: ThresholdSweep,
    position: int,
    threshold: int | None,
    of: Of,
    chosen_on: Literal["the same requests", "dev"],
    looked: Array,
    clusters: Array,
    seed: int,
    level: float,
) -> EqualError:
    nothing = np.zeros(len(looked), dtype=np.bool_)
    hit, wrong = (
        [nothing if i is None else table[i] for i in (threshold, position)] for table in (sweep.hit, sweep.wrong)
    )
    errors = [
        clustered_proportion_interval(w[among], clusters[among], level=level)
        for h, w in zip(hit, wrong, strict=True)
        for among in (looked if of == "answers" else looked & h,)
    ]
    hits, right = (
        paired(
            *(values[looked].astype(np.float64) for values in pair), seed=seed, clusters=clusters[looked], level=level
        )
        for pair in (hit, [h & ~w for h, w in zip(hit, wrong, strict=True)])
    )
    named = "nothing" if threshold is None else sweep.label(threshold)
    labels = sweep.label(position), named
    return EqualError(
        position, threshold, of, chosen_on, int(looked.sum()), errors[1], errors[0], hits, right, labels
    )  # fmt: skip
