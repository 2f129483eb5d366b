"""Certificates: at most so many of the answers served are wrong, with so much confidence, or no threshold does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.serving.thresholds.bounding import Clusters, Of, check, required
from evalkit.serving.thresholds.designs import Asked, Design, by_kind, told
from evalkit.serving.thresholds.designs import on_dev as chosen
from evalkit.serving.thresholds.designs import on_test as judged
from evalkit.serving.thresholds.swept import Setting, ThresholdSweep, same_requests
from evalkit.serving.thresholds.tables import ALL
from evalkit.serving.thresholds.tables import chosen as mask_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Certificate", "Design", "by_kind", "certify", "required"]


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is certain of a cache's wrong answers; `certify` makes it. As text: the verdict, in a line.

    Parameters
    ----------
    budget, level : float
    of : {"answers", "hits"}
    clusters : {"entry", "intent"}
    designs : tuple of Design
        Those that are certified first, then by right hits on dev.
    kinds : DataFrame
        How the design of `design` did on test, by kind of request; see `by_kind`.
    sweeps : {label: ThresholdSweep}
        What was certified on.
    dev, test : bool arrays of shape (n,)
        Where it was tuned and judged.
    """

    budget: float
    level: float
    of: Of
    clusters: Clusters
    designs: tuple[Design, ...]
    kinds: pd.DataFrame = field(repr=False)
    sweeps: Mapping[str, ThresholdSweep] = field(repr=False)
    dev: Array = field(repr=False)
    test: Array = field(repr=False)

    @property
    def design(self) -> Design:
        """The certified one with the most right hits on dev; where there is none, the one that came nearest."""
        return self.designs[0]

    @property
    def certified(self) -> bool:
        """Whether a design is within the budget."""
        return self.design.certified

    @property
    def chosen(self) -> Setting | None:
        """The setting that is certified; None: none is."""
        return self.design.setting if self.certified else None

    def __str__(self) -> str:
        """The verdict, in one line."""
        what = f"{self.budget:.10g} of {self.of} wrong at {100 * self.level:.10g}% confidence"
        best, found = self.design, self.design.test
        if found is None:
            dev = f"the least bound on dev is {best.dev.high:.3g}, {best.label}, {best.dev.entries} entries given"
            return f"no threshold meets {what}: none is within it on dev ({dev})"
        seen = f"{found.wrong} of {found.requests if self.of == 'answers' else found.hits:,} {self.of} wrong on test"
        seen += f" ({found.value:.3g}, at most {found.high:.3g}), hit rate {found.hit_rate:.1%}"
        seen += f", {found.unjudged} hits unjudged and taken for wrong" if found.unjudged else ""
        if not self.certified:
            return f"no threshold meets {what}: the nearest, {best.label}, has {seen}"
        others = sum(one.certified for one in self.designs) - 1
        more = f"; {others} other design{'s' if others > 1 else ''} would do too" if others else ""
        if all(one.learns for one in self.designs if one.certified):
            return f"no threshold meets {what}, but {best.label} does: {seen}{more}"
        return f"{best.label} meets {what}: {seen}{more}"

    def table(self) -> pd.DataFrame:
        """Return a row a design: what else would meet the budget, and what would not.

        Returns
        -------
        DataFrame
            ``design``, ``certified``, ``p`` (adjusted); of dev and test each ``requests``, ``hit_rate``, ``right``
            hits, ``wrong`` and ``unjudged`` ones, the ``share`` that is wrong and its one-sided bounds, ``low`` and
            ``high``. On test they are missing where dev had nothing within the budget.
        """
        import pandas as pd

        rows = []
        for one in self.designs:
            row = {"design": one.label, "certified": one.certified, "p": one.p}
            for name, found in (("dev", one.dev), ("test", one.test)):
                row |= {f"{name}_{key}": value for key, value in told(found).items()} if found else {}
            rows.append(row)
        return pd.DataFrame(rows)


def certify(
    sweep: ThresholdSweep | Mapping[str, ThresholdSweep],
    budget: float = 0.01,
    *,
    dev: Array,
    test: Array,
    of: Of = "answers",
    level: float = 0.95,
    clusters: Clusters = "entry",
    dev_level: float | None = None,
) -> Certificate:
    """Choose a cache on dev and say on test whether its wrong answers are certain to be within a budget.

    A *design* is a kind of rule (thresholds, or `Verified`), a guard and a TTL of one sweep. For each the setting
    with the most right hits on dev is taken, among those whose upper bound on dev is within the budget. Each is
    looked at on test once, and Holm's correction over the designs that are looked at keeps the chance that any one is
    certified wrongly below ``1 - level``. So what dev flatters is caught, and the best of several certified designs
    may be picked. A cache without right hits is no answer: it is never certified.

    A hit that nobody can judge (`ThresholdSweep.judged`) counts as wrong: what is certified holds whatever it was.
    Where requests were labelled at random, leave the others out of both masks. A miss is never wrong.

    Parameters
    ----------
    sweep : ThresholdSweep or {label: ThresholdSweep}
        Several, such as of other embedders, must be of the same requests.
    budget : float
        Share of wrong answers, above 0 and below 1.
    dev, test : bool arrays of shape (n,)
        See `evalkit.serving.thresholds.splits`. No request is in both.
    of : {"answers", "hits"}
        Whether the budget is of all answers served, those of the model included (`ServedWrong`), or of the cache's
        own (`WrongShare`).
    level : float
        Confidence, one-sided.
    clusters : {"entry", "intent"}
        What is wrong together, beside the requests of one conversation. ``entry``: hits of one entry; certified is
        traffic in which the same intents are as popular as they were. ``intent``: hits of all entries that were made
        for an intent; certified is traffic with other intents of the same kind, or with another popularity of these.
        It takes hundreds of intents on either side.
    dev_level : float, optional
        Of the bound on dev. Default: `level`. A lower one tries bolder settings, and fails on test more often; what
        is certified is as certain.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If masks overlap, do not fit or are empty, sweeps are of different requests, or a number is out of range.

    References
    ----------
    Angelopoulos et al., *Learn then test: calibrating predictive algorithms to achieve risk control*, 2021 (choosing
    settings by tests with family-wise error control). Holm, *A simple sequentially rejective multiple test
    procedure*, Scandinavian Journal of Statistics 1979.
    """
    check(budget, level)
    if dev_level is not None:
        check(budget, dev_level, "dev_level")
    if of not in ("answers", "hits") or clusters not in ("entry", "intent"):
        raise InputError(
            f"certificate: of is 'answers' or 'hits', clusters 'entry' or 'intent', not {of}, {clusters}"
        )
    sweeps = {"": sweep} if isinstance(sweep, ThresholdSweep) else dict(sweep)
    on_dev, on_test = _masks(sweeps, dev, test)
    asked = Asked(budget, level, of, clusters)
    choosing = asked if dev_level is None else asked._replace(level=dev_level)
    candidates = [one for label, each in sweeps.items() for one in chosen(label, each, on_dev, choosing)]
    designs = judged(sweeps, candidates, on_test, asked)
    best, looks = designs[0], max(1, sum(one.test is not None for one in designs))
    kinds = by_kind(sweeps[best.sweep], best.position, on_test, asked._replace(level=1 - (1 - level) / looks))
    if best.test is not None:  # of all together it says what the certificate does, at the step that Holm allows
        seen, every = best.test, kinds["kind"] == ALL
        kinds.loc[every, ["low", "high", "verdict"]] = seen.low, seen.high, seen.verdict(budget)
    return Certificate(budget, level, of, clusters, tuple(designs), kinds, sweeps, on_dev, on_test)


def _masks(sweeps: Mapping[str, ThresholdSweep], dev: Array, test: Array) -> tuple[Array, Array]:
    if not sweeps:
        raise InputError("certificate: no sweep; give one, or several by label")
    first, *rest = sweeps.values()
    for other in rest:
        if not same_requests(first, other):
            raise InputError("certificate: the sweeps are of different requests; sweep the same traffic")
    on_dev, on_test = mask_of(first, dev, "dev"), mask_of(first, test, "test")
    if both := int((on_dev & on_test).sum()):
        raise InputError(f"certificate: {both} requests are in dev and in test; judge on others than you tune on")
    if not (on_dev.any() and on_test.any()):
        raise InputError("certificate: dev or test has no request; see evalkit.serving.thresholds.splits")
    return on_dev, on_test
