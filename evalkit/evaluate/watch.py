"""A run as it goes on: how much is done, how long it will take, and the best systems so far with their intervals."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.datasets import Dataset
from evalkit.evaluate.costs import plan_blocks
from evalkit.evaluate.nodes import Context, Finished, Outcome, Result
from evalkit.evaluate.plan import Plan
from evalkit.evaluate.score import Scorer
from evalkit.progress import in_notebook, progress, shown
from evalkit.types import Digest, Node, Store
from evalkit.variants import Variant

if TYPE_CHECKING:
    from evalkit.evaluate.experiment import Experiment

_LINES = 10
_PAUSE = 2.0
"""Seconds between two looks: scoring must not keep the work waiting."""


@contextmanager
def watch(
    experiment: Experiment,
    variants: Mapping[str, Variant],
    plan: Plan,
    data: Dataset,
    given: Mapping[Digest, Result],
    store: Store,
) -> Iterator[tuple[Context, Finished]]:
    """Yield a run's context and whom to tell of finished nodes; where nobody looks, nothing is shown or scored."""
    with progress("evaluate", total=plan_blocks(plan, given)) as bar:
        context = Context(store, lambda node: bar.update(1))
        if not shown() or len(variants) < 2 or experiment.race is not None:
            yield context, lambda node, outcome: None
            return
        table = _Table(experiment, plan, data, dict(given), context)
        with _display(bar) as show:

            def finished(node: Node, outcome: Outcome) -> None:
                if isinstance(outcome, Result) and table.add(node, outcome):
                    show(table.lines())

            yield context, finished


@dataclass
class _Table:
    """The first metric of every system that is done."""

    experiment: Experiment
    plan: Plan
    data: Dataset
    done: dict[Digest, Result]
    context: Context
    means: dict[str, tuple[float, float]] = field(default_factory=dict)
    looked: float = field(default_factory=time.monotonic)

    def add(self, node: Node, result: Result) -> bool:
        """Take note of a result; True where it is time to show something new."""
        self.done[node.recipe] = result
        if time.monotonic() - self.looked < _PAUSE:
            return False
        scorer = Scorer(self.data, self.done, self.context)
        before, metric = len(self.means), self.experiment.metrics[0]
        for label, ends in self.plan.wanted.items():
            if label not in self.means and all(recipe in self.done for recipe in ends.values()):
                values = next(iter(scorer.score(ends, [metric]))).values
                half = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.inf
                self.means[label] = float(np.mean(values)), half
        self.looked = time.monotonic()
        return len(self.means) > before

    def lines(self) -> list[str]:
        """The best systems so far, one a line."""
        metric = self.experiment.metrics[0]
        sign = -1 if metric.higher_is_better else 1
        best = sorted(self.means.items(), key=lambda item: sign * item[1][0])
        head = f"{metric}: {len(self.means)} of {len(self.plan.wanted)} systems done (partial)"
        return [head, *(f"  {mean:.3f} ± {half:.3f}  {label}" for label, (mean, half) in best[:_LINES])]


@contextmanager
def _display(bar: Any) -> Iterator[Any]:
    """Yield a function that shows lines in the place of those before: below the bar, or in the notebook's cell."""
    if in_notebook():
        from IPython.display import display

        handle = display({"text/plain": ""}, raw=True, display_id=True)
        yield lambda lines: handle.update({"text/plain": "\n".join(lines)}, raw=True)
        handle.update({"text/plain": ""}, raw=True)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(Text(), console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield lambda lines: live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
