"""A run as it goes on: how much is done, how long it will take, and the best systems so far with their intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.datasets import Dataset
from evalkit.evaluate.calling.spending import Spending
from evalkit.evaluate.costs import plan_blocks
from evalkit.evaluate.nodes import Context, Finished, Outcome, Result
from evalkit.evaluate.plan import Plan
from evalkit.evaluate.score import Scorer
from evalkit.progress import in_notebook, progress, shown
from evalkit.types import Digest, Node, Store
from evalkit.variants import Variant

if TYPE_CHECKING:
    from evalkit.evaluate.experiment import Experiment

Show = Callable[[list[str]], None]
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
    spending: Spending | None = None,
) -> Iterator[tuple[Context, Finished]]:
    """Yield a run's context and whom to tell of finished nodes; where nobody looks, nothing is shown or scored."""
    unscored = experiment.metrics[0].needs in ("judge", "latency")  # known when all systems are done
    alone = not shown() or len(variants) < 2 or experiment.race is not None or unscored
    with (_bar if alone or in_notebook() else _live)(plan_blocks(plan, given)) as (bar, show):
        context = Context(store, lambda node: bar.update(1), spending=spending or Spending())
        if alone:
            yield context, lambda node, outcome: None
            return
        table = _Table(experiment, plan, data, dict(given), context)

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
def _bar(total: int) -> Iterator[tuple[Any, Show]]:
    """A bar, and lines below it that change in their place: for a notebook's cell, or for nobody."""
    with progress("evaluate", total=total) as bar:
        if not (shown() and in_notebook()):
            yield bar, lambda lines: None
            return
        from IPython.display import display

        handle: Any = display({"text/plain": ""}, raw=True, display_id=True)
        yield bar, lambda lines: handle.update({"text/plain": "\n".join(lines)}, raw=True)
        handle.update({"text/plain": ""}, raw=True)


@contextmanager
def _live(total: int) -> Iterator[tuple[Any, Show]]:
    """The same for a terminal; all of it disappears at the end."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text
    from tqdm import tqdm

    console, below = Console(stderr=True), list[str]()
    bar = tqdm(total=total, desc="evaluate", file=StringIO(), ncols=min(console.width, 100))

    def picture() -> Text:
        return Text("\n".join([str(bar), *below]), no_wrap=True, overflow="ellipsis")

    def show(lines: list[str]) -> None:
        below[:] = lines

    with bar, Live(get_renderable=picture, console=console, transient=True, refresh_per_second=2):
        yield bar, show
