"""What became of a certification: the certificate, the tables it rests on, and all of it on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit import fingerprint
from evalkit.paths import resolve, results_dir
from evalkit.serving.thresholds import sweeps_saved
from evalkit.serving.thresholds.certificates import Certificate, certify
from evalkit.serving.thresholds.confusions import confusions, worst_entries
from evalkit.serving.thresholds.splits import Split
from evalkit.serving.thresholds.swept import ThresholdSweep
from evalkit.serving.thresholds.tables import table
from evalkit.store.folders import MANIFEST, FolderKind

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
"""Version of the layout; a folder of another one is not read."""
_KIND = "evalkit certification"
_TABLES = ("settings.csv", "designs.csv", "kinds.csv", "confusions.csv", "entries.csv")
PLOTS = "plots"
CERTIFICATIONS = FolderKind(
    "a certification's results",
    (*_TABLES, sweeps_saved.REQUESTS, sweeps_saved.DECISIONS, PLOTS),
    frozenset({_KIND}),
    "certification",
)
"""A folder of a certification's results."""
_WORKED_OUT = (_KIND, "certified", "verdict", "sweeps", "digest")
"""Keys of a manifest on disk that follow from the rest."""


@dataclass(frozen=True, eq=False)
class Certified:
    """What became of a certification. As text: the verdict, and what it rests on.

    Parameters
    ----------
    certificate : Certificate
        With the sweeps that it was made from.
    manifest : mapping
        Spec, what was asked of `certify`, data, versions, machine, when and how long; how many calls got no answer.
    """

    certificate: Certificate
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The certification's name."""
        return str(self.manifest["spec"]["name"])

    @property
    def sweeps(self) -> Mapping[str, ThresholdSweep]:
        """Every embedder's decisions by its label; the label is empty where there is one only."""
        return self.certificate.sweeps

    def __repr__(self) -> str:
        from evalkit.evaluate.show import text
        from evalkit.serving.thresholds.telling import grids

        return "\n\n".join([str(self.certificate), *(text(grid) for grid in grids(self))])

    def _repr_html_(self) -> str:
        import html

        from evalkit.evaluate.show import table_html
        from evalkit.serving.thresholds.telling import grids

        return f"<p>{html.escape(str(self.certificate))}</p>" + "".join(table_html(grid) for grid in grids(self))

    @cached_property
    def settings(self) -> pd.DataFrame:
        """Every setting on dev and on test: ``embedder``, ``part``, and the columns of `table`, kinds apart.

        Intervals are two-sided, of 95 % for each number by itself. Whoever picks a setting by its numbers on test has
        no test left; pick by those on dev, or take the certificate's.
        """
        import pandas as pd

        split = {"dev": self.certificate.dev, "test": self.certificate.test}
        parts = [
            table(sweep, where, kinds=True).assign(embedder=label, part=part)
            for label, sweep in self.sweeps.items()
            for part, where in split.items()
        ]
        whole = pd.concat(parts, ignore_index=True)
        return whole[["embedder", "part", *whole.columns.drop(["embedder", "part"])]]

    @property
    def kinds(self) -> pd.DataFrame:
        """What the certificate's setting did on test, by kind of request; see `Certificate.kinds`."""
        return self.certificate.kinds

    @cached_property
    def confusions(self) -> pd.DataFrame:
        """Pairs of intents that the certificate's setting confused on test; see `confusions`."""
        return confusions(*self._design, self.certificate.test)

    @cached_property
    def entries(self) -> pd.DataFrame:
        """Entries that the certificate's setting gave wrongly on test; see `worst_entries`."""
        return worst_entries(*self._design, self.certificate.test)

    @property
    def _design(self) -> tuple[ThresholdSweep, int]:
        design = self.certificate.design
        return self.sweeps[design.sweep], design.position

    @cached_property
    def digest(self) -> str:
        """Hash of the spec, of every decision with what it saved, and of the verdict."""
        split = Split(self.certificate.dev, self.certificate.test)
        return fingerprint.digest([
            self.manifest["spec"], self.manifest["data"]["digest"], sweeps_saved.described(self.sweeps),
            sweeps_saved.digest_of(self.sweeps, split), str(self.certificate),
        ])  # fmt: skip

    def save(self, folder: str | os.PathLike[str] | None = None, *, plots: Mapping[str, bytes] | None = None) -> Path:
        """Write everything, whole or not at all.

        CSV files hold the tables: every setting's numbers; designs and what became of each; and of the certificate's
        design the kinds of requests, the confusions, and the entries that were wrong. Parquet files hold what `load`
        reads: requests and decisions.

        Parameters
        ----------
        folder : path, optional
            Default: ``results/<name>``. What an earlier certification left there is replaced.
        plots : {file name: content}, optional

        Raises
        ------
        InputError
            If it holds other things, or cannot be written; or if a sweep has precomputed entries, or sweeps differ in
            their calls.
        """
        target = (resolve(folder) if folder is not None else results_dir() / self.name).resolve()
        CERTIFICATIONS.replace(target, lambda part: self._write(part, plots or {}))
        return target

    def _write(self, folder: Path, plots: Mapping[str, bytes]) -> None:
        made = self.certificate
        tables = (self.settings, made.table(), self.kinds, self.confusions, self.entries)
        for name, rows in zip(_TABLES, tables, strict=True):
            rows.to_csv(folder / name, index=False)
        sweeps_saved.write(self.sweeps, Split(made.dev, made.test), folder)
        if plots:
            (folder / PLOTS).mkdir()
        for name, content in plots.items():
            (folder / PLOTS / name).write_bytes(content)
        told = {
            _KIND: FORMAT, **self.manifest, "certified": made.certified, "verdict": str(made),
            "sweeps": sweeps_saved.described(self.sweeps), "digest": self.digest,
        }  # fmt: skip
        text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Certified:
        """Read what `save` wrote. The certificate is made again from the decisions, and must be the same.

        Raises
        ------
        InputError
            If the folder holds none, one of another format, or one that is damaged.
        """

        def read(place: Path, said: dict[str, Any]) -> Certified:
            sweeps, split = sweeps_saved.read(said["sweeps"], place)
            made = certify(sweeps, dev=split.dev, test=split.test, **said["asked"])
            return cls(made, {key: value for key, value in said.items() if key not in _WORKED_OUT})

        return CERTIFICATIONS.load(folder, _KIND, FORMAT, read)
