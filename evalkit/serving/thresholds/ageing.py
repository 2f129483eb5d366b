"""How a certificate ages: the setting it names, looked at again on later traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.serving.thresholds.bounding import Counted
from evalkit.serving.thresholds.certificates import Certificate
from evalkit.serving.thresholds.swept import ThresholdSweep, same_requests
from evalkit.serving.thresholds.tables import chosen as mask_of

if TYPE_CHECKING:
    import pandas as pd

Windows = int | Mapping[str, Array] | Sequence[Array]


@dataclass(frozen=True, eq=False)
class Ageing:
    """A certificate in later windows; `age` makes it. As text: what became of it, in a line.

    Parameters
    ----------
    certificate : Certificate
    table : DataFrame
        A row a window: ``window``; ``start`` and ``end``, seconds of its first and last request; ``requests``,
        ``hit_rate``, ``wrong``, ``unjudged`` hits; ``share`` that is wrong; ``low`` and ``high``, its one-sided
        bounds at ``level``; ``verdict``: "holds", "broken", "cannot tell"; and ``over``, whether more than the
        budget was wrong in the window. That is a fact, of whatever cause; the verdict is of the share behind it.
        Where one popular entry is wrong, a window is over, and nobody can tell of the next.
    worse : DataFrame
        What wrong answers of all windows together are due to, the greatest rise first: ``by``, "kind" or "pair";
        ``kind`` of the request; ``asked`` and ``given`` intent (empty for a kind); ``wrong`` answers; ``per_1000``
        answers now, and ``was`` when it was certified; ``rise``, the one less the other. What did not rise is not
        among them.
    """

    certificate: Certificate
    table: pd.DataFrame = field(repr=False)
    worse: pd.DataFrame = field(repr=False)

    @property
    def broken(self) -> tuple[str, ...]:
        """Windows in which the budget is certain to be exceeded."""
        return tuple(self.table["window"][self.table["verdict"] == "broken"])

    def __str__(self) -> str:
        """What became of the certificate, in one line."""
        counts, over = Counter(self.table["verdict"]), self.table["window"][self.table["over"]].tolist()
        told = [
            f"{verdict} in {counts[verdict]}" for verdict in ("holds", "cannot tell", "broken") if counts[verdict]
        ]
        line = f"{self.certificate.design.label}: {', '.join(told)} of {len(self.table)} windows"
        if self.broken:
            line += f", first in {self.broken[0]}"
        if not over:
            return line
        kinds = self.worse["kind"][self.worse["by"] == "kind"].tolist()
        rose = f"; most of the rise: {kinds[0]}" if kinds else ""
        return f"{line}; more than the budget was wrong in {', '.join(over)}{rose}"


def age(
    certificate: Certificate,
    sweep: ThresholdSweep,
    windows: Windows = 1,
    *,
    where: Array | None = None,
) -> Ageing:
    """Look at a certified setting again, window by window.

    The first window's bounds have half of the certificate's error, the second's a sixth, the k-th's ``1 / (k (k +
    1))``: the probability that any window is ever said wrongly to hold is at most ``1 - level``, however many follow
    and whoever stops when; that one is said wrongly to be broken, likewise. Every window is judged by itself: traffic
    that got better does not make up for what was worse.

    Parameters
    ----------
    certificate : Certificate
        If nothing is certified, its nearest design is looked at.
    sweep : ThresholdSweep
        With the certified setting: of later traffic, or the one that was certified on, with later windows of it.
    windows : int, or bool arrays of shape (n,), by label or in order
        A number: so many, equally long in time.
    where : bool array of shape (n,), optional
        Only these requests, such as those of certain intents.

    Returns
    -------
    Ageing

    Raises
    ------
    InputError
        If the sweep lacks the setting, a window is empty or does not fit, or, in the certified traffic itself, a
        window holds requests it was tuned on.
    """
    import pandas as pd

    rule, once = certificate.design.setting, certificate.sweeps[certificate.design.sweep]
    setting = sweep.find(rule.rule, ttl=rule.ttl, guard=rule.guard)
    mask = mask_of(sweep, where)
    parts = {label: mask & part for label, part in _windows(sweep, windows, mask).items()}
    if not parts or any(np.sum(list(parts.values()), axis=0) > 1):
        raise InputError("age: no window, or windows that share requests; give at least one, each its own requests")
    for label, part in parts.items():
        if not part.any():
            raise InputError(f"age: no request in window {label}; give fewer windows, or others")
        if same_requests(sweep, once) and (part & certificate.dev).any():
            raise InputError(f"age: window {label} holds requests of dev; leave out what the setting was chosen on")
    rows = [
        _row(certificate, sweep, setting, label, part, k) for k, (label, part) in enumerate(parts.items(), start=1)
    ]
    now = np.logical_or.reduce(list(parts.values()))
    worse = _worse((sweep, setting, now), (once, certificate.design.position, certificate.test), certificate)
    return Ageing(certificate, pd.DataFrame(rows), worse)


def _windows(sweep: ThresholdSweep, windows: Windows, mask: Array) -> dict[str, Array]:
    if isinstance(windows, Mapping):
        labels = [str(label) for label in windows]
        if len(set(labels)) < len(labels):
            raise InputError(f"age: two windows of one label ({', '.join(labels)}); give each its own")
        return {str(label): mask_of(sweep, part, f"window {label}") for label, part in windows.items()}
    if isinstance(windows, list | tuple | np.ndarray):
        return {str(k): mask_of(sweep, part, f"window {k}") for k, part in enumerate(windows, start=1)}
    if not isinstance(windows, int | float | np.number) or isinstance(windows, bool):
        raise InputError(f"age: windows is {windows!r}; give a number, or a bool array for each window")
    if not (1 <= windows <= mask.sum() and windows == int(windows)):
        raise InputError(
            f"age: {windows} windows of {int(mask.sum())} requests; give a whole number, with a request for each"
        )
    at = np.array([a.at for a in sweep.arrivals])
    start, end = at[mask].min(), at[mask].max()
    number = np.minimum((at - start) / max(end - start, 1e-9) * windows, windows - 1).astype(np.int64)
    return {str(k + 1): mask & (number == k) for k in range(int(windows))}


def _row(
    certificate: Certificate, sweep: ThresholdSweep, setting: int, label: str, part: Array, k: int
) -> dict[str, object]:
    level = 1 - (1 - certificate.level) / (k * (k + 1))
    found = Counted(sweep, setting, part, of=certificate.of, clusters=certificate.clusters).bounded(level)
    said = found.verdict(certificate.budget)
    at = [sweep.arrivals[i].at for i in np.flatnonzero(part)[[0, -1]].tolist()]
    return {
        "window": label, "start": at[0], "end": at[1], "requests": found.requests, "hit_rate": found.hit_rate,
        "wrong": found.wrong, "unjudged": found.unjudged, "share": found.value, "low": found.low, "high": found.high,
        "level": level, "verdict": "cannot tell" if said == "too few to tell" else said,
        "over": found.value > certificate.budget,
    }  # fmt: skip


Look = tuple[ThresholdSweep, int, Array]


def _worse(now: Look, before: Look, certificate: Certificate) -> pd.DataFrame:
    """Return the kinds, and pairs of intents, that give more wrong answers than before."""
    import pandas as pd

    rows: list[tuple[object, ...]] = []
    for by in ("kind", "pair"):
        counts, old = _wrong(*now, by), _wrong(*before, by)
        requests, once = (_trials(look, certificate) for look in (now, before))
        for key, wrong in counts.items():
            rate, was = 1e3 * wrong / requests, 1e3 * old[key] / once if once else 0.0
            if rate > was:
                rows.append((by, *key, wrong, rate, was, rate - was))
    found = sorted(rows, key=lambda row: (row[0], -float(str(row[-1])), row[1:4]))
    return pd.DataFrame(found, columns=["by", "kind", "asked", "given", "wrong", "per_1000", "was", "rise"])


def _trials(look: Look, certificate: Certificate) -> int:
    sweep, setting, where = look
    among = sweep.answered if certificate.of == "answers" else sweep.hit
    return int((where & among[setting]).sum())


def _wrong(
    sweep: ThresholdSweep, setting: int, where: Array, by: Literal["kind", "pair"]
) -> Counter[tuple[str, ...]]:
    """Count wrong answers by kind of request; or by that, the intent asked and the intent given."""
    makers, given = sweep.makers, sweep.given_by[setting]
    rows = np.flatnonzero(where & sweep.wrong[setting]).tolist()
    requests = [(sweep.arrivals[i], makers[given[i]]) for i in rows]
    return Counter((a.kind, a.intent, m.intent) if by == "pair" else (a.kind, "", "") for a, m in requests)
