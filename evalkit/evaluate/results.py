"""Results: one tidy table per query, one per system; every number with its uncertainty and its origin."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import InputError, nearest
from evalkit.metrics import Judged, Metric, MetricError, parse
from evalkit.paths import find, resolve, results_dir, store_dir
from evalkit.store.folders import MANIFEST, FolderKind
from evalkit.variants import Variant

if TYPE_CHECKING:
    import pandas as pd
    from ragas import EvaluationDataset

    from evalkit.datasets import Dataset
    from evalkit.metrics.statistics import Comparison
    from evalkit.types import Store

SUMMARY_COLUMNS = ("variant", "fingerprint", "metric", "value", "low", "high", "n", "unit", "origin")
"""What else may lie in a folder of results, and goes with them when they are replaced."""


_FILES = ("summary.csv", "summary.parquet", "per_query.parquet")
RESULTS = FolderKind("results", (*_FILES, "report.html", "plots"), frozenset({"spec", "systems", "base"}))
"""A folder of a run's results."""


@dataclass(frozen=True, eq=False)
class Results:
    """What an experiment measured.

    Parameters
    ----------
    summary : DataFrame
        Columns ``variant, fingerprint, metric, value, low, high, n, unit, origin``: the mean (or, for latency, the
        named statistic) with its 95 % interval, and what it is a mean of.
    per_query : DataFrame
        Columns ``variant, query, metric, value``; latencies are metrics named ``ms`` and ``ms[stage]``.
    systems : {label: fingerprint}
    base : str
        Label of the base.
    manifest : mapping
        Spec, data digest, versions, machine, plan, control.
    variants : {label: Variant}
        The systems themselves; empty for results read from disk.
    """

    summary: pd.DataFrame
    per_query: pd.DataFrame
    systems: Mapping[str, str]
    base: str
    manifest: Mapping[str, Any]
    variants: Mapping[str, Variant] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return str(self.manifest["spec"]["name"])

    @cached_property
    def digest(self) -> str:
        """Hash of spec, data and every number."""
        numbers = self.summary.to_csv(index=False, float_format="%.17g")
        text = json.dumps([self.manifest["spec"], self.manifest["data"]["digest"], numbers], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order they were asked for."""
        return list(dict.fromkeys(self.summary["metric"]))

    def table(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """Return one row a system and one column a metric, the means alone."""
        wanted = [self.metric(m) for m in metrics] if metrics is not None else self.metrics
        wide = self.summary.pivot_table(index="variant", columns="metric", values="value", sort=False, dropna=False)
        return wide.reindex(index=list(self.systems), columns=wanted)

    def compare(
        self,
        baseline: Variant | str | None = None,
        metrics: Sequence[str] | None = None,
        *,
        margin: float | None = None,
    ) -> Comparisons:
        """Compare every system with one, query by query.

        Parameters
        ----------
        baseline : Variant or label, optional
            Default: the base.
        metrics : sequence of str, optional
            Default: all that were measured per query, but for single stages' latencies and the share judged.
        margin : float, optional
            Differences smaller than this count as none ("equivalent").

        Returns
        -------
        Comparisons
            Paired differences with intervals, p-values of Fisher's randomisation test corrected by Holm over the
            systems, those that a race stopped among them, and a verdict.

        Raises
        ------
        InputError
            If the baseline is not among the systems or a metric was not measured.
        """
        from evalkit.metrics.statistics import compare

        label = self.label(baseline)
        known = list(dict.fromkeys(self.per_query["metric"]))
        if metrics is None:  # neither single stages nor the share judged are what systems are chosen by
            wanted = [m for m in known if "[" not in m and not m.startswith(Judged.__name__)]
        else:
            wanted = [self.metric(m, known) for m in ([metrics] if isinstance(metrics, str) else metrics)]
        found: dict[str, Mapping[str, Comparison]] = {}
        for metric in wanted:
            rows = self.per_query[self.per_query["metric"] == metric]
            wide = rows.pivot_table(index="query", columns="variant", values="value", observed=True)
            measured = [name for name in self.systems if name in wide.columns]  # not every answer is streamed
            wide = wide[measured].dropna()  # a judge may have failed on a query of one
            if wide.empty or label not in measured:
                continue
            others = {name: wide[name].to_numpy() for name in measured if name != label}
            if others:
                found[metric] = compare(
                    wide[label].to_numpy(),
                    others,
                    seed=int(self.manifest["spec"].get("seed", 0)),
                    higher_is_better=better_when_higher(metric),
                    margin=margin,
                    dropped=len(self.manifest.get("stopped", {})),
                )
        return Comparisons(label, found)

    def to_ragas(self, system: Variant | str | None, data: Dataset, store: Store | None = None) -> EvaluationDataset:
        """Return what one system found and answered as samples for ragas, sorted by the queries' ids.

        ``retrieved_contexts`` are the passages of the prompt, ``response`` is the answer; both are read back from the
        store, and nothing is run. The rest is as `Dataset.to_ragas` says.

        Parameters
        ----------
        system : Variant or label
            None: the base.
        data : Dataset
            The one that was run on.
        store : Store, optional
            Default: the project's.

        Returns
        -------
        ragas.EvaluationDataset

        Raises
        ------
        InputError
            If the data is not what was run on, the results were read from disk, or the store has not all answers.
        """
        from evalkit.datasets.ragas import to_ragas
        from evalkit.evaluate.answered import answered
        from evalkit.store import DiskStore

        label = self.label(system)
        if data.digest != self.manifest["data"]["digest"]:
            raise InputError(f"to_ragas: data set {data.name} is not what these results were measured on")
        if not self.variants:
            raise InputError("to_ragas: results read from disk do not hold their systems; run the experiment again")
        seed = int(self.manifest["spec"].get("seed", 0))
        found = answered(self.variants, label, data, seed, store if store is not None else DiskStore(store_dir()))
        return to_ragas(data, found.passages, found.answers)

    def save(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Write the results, whole or not at all.

        Parameters
        ----------
        folder : path, optional
            Default: ``results/<name>``. An earlier run's results there are replaced; a folder that holds other
            things is refused.

        Returns
        -------
        Path
            The folder.
        """
        target = (resolve(folder) if folder is not None else results_dir() / self.name).resolve()
        RESULTS.replace(target, self._write)
        return target

    def _write(self, folder: Path) -> None:
        self.summary.to_csv(folder / "summary.csv", index=False)
        self.summary.to_parquet(folder / "summary.parquet", index=False)
        self.per_query.to_parquet(folder / "per_query.parquet", index=False)
        (folder / "manifest.json").write_text(json.dumps(self._manifest(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Results:
        """Read results from disk.

        Raises
        ------
        InputError
            If the folder does not hold results.
        """
        import pandas as pd

        place = find(folder)
        missing = [name for name in (*_FILES, MANIFEST) if not (place / name).is_file()]
        if missing:
            raise InputError(f"{folder}: no results here ({missing[0]} is missing); give a folder that a run wrote")
        try:
            manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
            return cls(
                pd.read_parquet(place / "summary.parquet"),
                pd.read_parquet(place / "per_query.parquet"),
                manifest["systems"],
                manifest["base"],
                manifest,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: these results cannot be read ({type(error).__name__}: {error})") from None

    def _manifest(self) -> dict[str, Any]:
        return {**self.manifest, "systems": dict(self.systems), "base": self.base}

    def label(self, baseline: Variant | str | None = None) -> str:
        """Return the label of a system, given as a label or as a variant; of the base where nothing is given.

        Raises
        ------
        InputError
            If it is not among the systems.
        """
        if baseline is None:
            return self.base
        if isinstance(baseline, str):
            if baseline == "base":
                return self.base
            if baseline not in self.systems:
                raise InputError(f"no system '{baseline}' in these results{nearest(baseline, self.systems)}")
            return baseline
        if not isinstance(baseline, Variant):
            raise InputError(f"a system's label or a Variant is needed, not {baseline!r}")
        found = [n for n, fingerprint in self.systems.items() if fingerprint == baseline.fingerprint]
        if not found:
            raise InputError(f"that variant was not run; systems: {', '.join(self.systems)}")
        return found[0]

    def metric(self, name: str, known: Sequence[str] | None = None) -> str:
        """Return a metric's name as the tables write it, whatever the case it is asked for in.

        Raises
        ------
        InputError
            If it was not measured.
        """
        names = list(known) if known is not None else self.metrics
        for candidate in names:
            if candidate.casefold() == name.casefold():
                return candidate
        raise InputError(f"metric '{name}' was not measured{nearest(name, names)}")

    def __repr__(self) -> str:
        from evalkit.evaluate.show import results_text

        return results_text(self)

    def _repr_html_(self) -> str:
        from evalkit.evaluate.show import results_html

        return results_html(self)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Every system against one baseline.

    Parameters
    ----------
    baseline : str
    by_metric : {metric: {label: Comparison}}
    """

    baseline: str
    by_metric: Mapping[str, Mapping[str, Comparison]]

    @property
    def frame(self) -> pd.DataFrame:
        """One row a metric and system."""
        import pandas as pd

        rows = [
            {
                "metric": metric, "variant": label, "baseline": c.baseline, "value": c.other,
                "difference": c.difference, "low": c.low, "high": c.high, "p": c.p, "p_corrected": c.p_adjusted,
                "n": c.n, "verdict": c.verdict, "more_queries": c.more_queries,
            }
            for metric, found in self.by_metric.items()
            for label, c in found.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        from evalkit.evaluate.show import comparisons_text

        return comparisons_text(self)

    def _repr_html_(self) -> str:
        from evalkit.evaluate.show import comparisons_html

        return comparisons_html(self)


def better_when_higher(metric: str) -> bool:
    """Whether more of a metric is better: a metric says so itself, and milliseconds and tokens are costs."""
    try:
        parsed: Metric = parse(metric)
    except MetricError:
        return False
    return parsed.higher_is_better
