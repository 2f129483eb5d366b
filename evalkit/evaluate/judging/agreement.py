"""How far a judge agrees with reference labels, so that nobody trusts one unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from evalkit.errors import InputError
from evalkit.evaluate.results import Results
from evalkit.metrics import Estimate, Metric

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.metrics.statistics import Agreement

Labels = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class JudgeAgreement:
    """A judge's verdicts beside reference labels of the same answers.

    Parameters
    ----------
    metric : str
        The judged one.
    reference : str
        What it was held against.
    agreement : Agreement
        Kappa, its interval, and the table of counts: the judge's labels are the rows.
    worst : Estimate
        Kappa with every failed judgement at the label farthest from the reference: the same where none failed.
    failed : int
        Labelled answers on which the judge failed each time it was asked.
    unjudged : int
        Labelled answers that the judge was not asked about.
    unlabelled : int
        Judged answers without a label.
    """

    metric: str
    reference: str
    agreement: Agreement
    worst: Estimate
    failed: int
    unjudged: int
    unlabelled: int

    @property
    def kappa(self) -> Estimate:
        """Cohen's kappa over the answers that have both: `n` says how many."""
        return self.agreement.kappa

    @property
    def table(self) -> pd.DataFrame:
        """Counts: the judge's labels down, the reference's across."""
        import pandas as pd

        names = list(self.agreement.categories)
        rows, columns = pd.Index(names, name="judge"), pd.Index(names, name="reference")
        return pd.DataFrame(self.agreement.table, index=rows, columns=columns)

    def __repr__(self) -> str:
        found = self.kappa
        head = f"{self.metric} against {self.reference}: kappa {found} (n = {found.n}, {found.method})"
        lost = f"failed {self.failed}, not judged {self.unjudged}, without a label {self.unlabelled}"
        worst = f"; kappa if the failed ones all disagreed {self.worst}" if self.failed else ""
        shares = f"agreement {self.agreement.observed:.3f}, by chance {self.agreement.expected:.3f}"
        return f"{head}\n{shares}; {lost}{worst}\n{self.table}"


def judge_agreement(
    results: Results,
    metric: str | Metric,
    references: str | Metric | Labels | Mapping[str, Labels],
    *,
    system: str | None = None,
    threshold: float | Sequence[float] = 0.5,
    reference_threshold: float | Sequence[float] | None = None,
    weights: Literal["none", "linear", "quadratic"] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> JudgeAgreement:
    """Hold a judge's verdicts against reference labels of the same answers.

    Values become labels by threshold: 1 from the threshold on, else 0; several thresholds make an ordinal scale.

    Parameters
    ----------
    results : Results
        In which the judged metric was measured.
    metric : str or Metric
        The judged metric, or any other that is measured per query.
    references : str, Metric or mapping
        A metric of the same results that rests on reference answers (``"ExactMatch"``, ``"TokenF1"``); or labels
        given by people, ``{query: number}`` for one system, ``{system: {query: number}}`` for several.
    system : str, optional
        Look at this system alone. Default: at all; a query's answers then belong together, and the interval comes
        from a bootstrap of whole queries.
    threshold, reference_threshold : float or sequence of float
        Of the judge and of the reference (default: as the judge's), as many of one as of the other.
    weights : {"none", "linear", "quadratic"}, optional
        Default: none for two labels, linear for more.
    level : float
    seed : int

    Raises
    ------
    InputError
        If a metric was not measured, thresholds do not fit, labels do not name systems where there are several, or
        no answer has both a verdict and a label.

    References
    ----------
    Cohen 1960, 1968; see `evalkit.metrics.statistics.kappa`.
    """
    from evalkit.metrics.statistics import kappa

    cuts = _cuts("threshold", threshold)
    right_cuts = cuts if reference_threshold is None else _cuts("reference_threshold", reference_threshold)
    if len(cuts) != len(right_cuts):
        raise InputError(f"judge_agreement: {len(cuts)} and {len(right_cuts)} thresholds; give as many of both")
    known = list(dict.fromkeys(results.per_query["metric"]))
    name = results.metric(str(metric), known)
    systems = [results.label(system)] if system is not None else list(results.systems)
    judged = _values(results, name, systems)
    shares = _values(results, f"{name}[failed]", systems)
    labels, reference = _labels(results, references, known, systems)
    failed = sorted(key for key, share in shares.items() if share == 1 and key in labels and key not in judged)
    both = sorted(judged.keys() & labels.keys())
    if not both:
        raise InputError(f"judge_agreement: no answer has both a value of {name} and a label of {reference}")
    categories = range(len(cuts) + 1)
    how = weights or ("none" if len(cuts) == 1 else "linear")

    def agree(verdicts: Sequence[int], keys: Sequence[tuple[str, str]]) -> Agreement:
        right = [_label(labels[key], right_cuts) for key in keys]
        together = [query for _, query in keys] if len(systems) > 1 else None
        return kappa(
            verdicts, right, categories=categories, weights=how, clusters=together, level=level, seed=seed
        )  # fmt: skip

    said = [_label(judged[key], cuts) for key in both]
    against = [0 if 2 * _label(labels[key], right_cuts) >= len(cuts) else len(cuts) for key in failed]
    found = agree(said, both)
    return JudgeAgreement(
        metric=name,
        reference=reference,
        agreement=found,
        worst=agree([*said, *against], [*both, *failed]).kappa if failed else found.kappa,
        failed=len(failed),
        unjudged=len(labels.keys() - judged.keys() - set(failed)),
        unlabelled=len(judged.keys() - labels.keys()),
    )


def _cuts(name: str, given: float | Sequence[float]) -> list[float]:
    cuts = [float(given)] if isinstance(given, int | float) else [float(cut) for cut in given]
    if not cuts or not np.isfinite(cuts).all() or cuts != sorted(set(cuts)):
        raise InputError(f"judge_agreement: {name} is {given!r}; give a number, or several that rise")
    return cuts


def _label(value: float, cuts: Sequence[float]) -> int:
    return int(np.searchsorted(cuts, value, side="right"))


def _values(results: Results, metric: str, systems: Sequence[str]) -> dict[tuple[str, str], float]:
    """Return a metric's values by system and query."""
    frame = results.per_query
    rows = frame[(frame["metric"] == metric) & frame["variant"].isin(list(systems))]
    columns = (rows[name].tolist() for name in ("variant", "query", "value"))
    return {(label, query): value for label, query, value in zip(*columns, strict=True)}


def _labels(
    results: Results,
    references: str | Metric | Labels | Mapping[str, Labels],
    known: Sequence[str],
    systems: Sequence[str],
) -> tuple[dict[tuple[str, str], float], str]:
    """Return the reference labels by system and query, and what they are called."""
    if isinstance(references, str | Metric):
        name = results.metric(str(references), known)
        return _values(results, name, systems), name
    nested = {key: own for key, own in references.items() if isinstance(own, Mapping)}
    if len(nested) == len(references):
        unknown = [label for label in nested if label not in results.systems]
        if unknown:
            raise InputError(f"judge_agreement: labels of '{unknown[0]}', which is no system of these results")
        given = {(label, query): float(x) for label, own in nested.items() for query, x in own.items()}
        return {key: x for key, x in given.items() if key[0] in systems}, "given labels"
    if nested or len(systems) > 1:
        raise InputError(
            "judge_agreement: labels belong to one system's answers; name it (system=), or give labels by system"
        )
    plain = {query: float(x) for query, x in references.items() if not isinstance(x, Mapping)}
    return {(systems[0], query): x for query, x in plain.items()}, "given labels"
