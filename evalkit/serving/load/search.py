"""One seed's search for the highest rate: a grid of rates, doubling steps, bisection, and checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.datasets.arrivals import poisson
from evalkit.errors import InputError
from evalkit.serving.arrivals import Arrival
from evalkit.serving.load.bottleneck import Spent
from evalkit.serving.load.traffics import once_more
from evalkit.serving.results.outcomes import Replay

_FAR_BELOW, _BELOW, _ABOVE = 0.25, 0.7, 1.1
"""Parts of a seed's rate at which it is run again: below it the targets must be met, above it they must not."""


def grid_of(low: float, high: float, tolerance: float) -> list[float]:
    """Return rates from the lowest to the highest, each at most `tolerance` above the one before."""
    steps = max(1, math.ceil(math.log(high / low) / math.log1p(tolerance)))
    return [low * (high / low) ** (i / steps) for i in range(steps)] + [high]


def pattern_of(asked: Sequence[Arrival], n: int, arrivals: str, seed: int) -> list[Arrival]:
    """Return `n` requests from a place of the seed's own, arriving at a mean rate of 1 a second."""
    first = Random(f"{seed} first").randrange(len(asked))  # noqa: S311
    order = [(first + i) % len(asked) for i in range(n)]
    if arrivals == "poisson":
        times: Array = poisson(n, 1.0, seed=seed)
    elif arrivals == "recorded":
        at = np.array([arrival.at for arrival in asked])
        span = at[-1] - at[0]
        if not span > 0:
            raise InputError("highest_rate: recorded requests all come at one time; give arrivals='poisson'")
        mean = span / (len(at) - 1)
        gaps = np.diff(at, prepend=at[0] - mean) / mean
        times = np.cumsum(gaps[order])
    else:
        raise InputError(f"highest_rate: arrivals is {arrivals!r}; it is 'poisson' or 'recorded'")
    rounds = [(first + i) // len(asked) for i in range(n)]
    rows = zip(order, times, rounds, strict=True)
    return [replace(once_more(asked[i], again), at=float(time)) for i, time, again in rows]


class Found(NamedTuple):
    """What one seed found: places on the grid (-1: below it), and times far below and just above."""

    held: int
    failed: int
    missed: tuple[str, ...]
    below: Spent | None
    above: Spent | None
    notes: tuple[str, ...]


Run = Callable[[float], tuple[tuple[str, ...], Replay]]


def search(run: Run, grid: Sequence[float], before: Sequence[Found]) -> Found:
    """Search one seed's rates, beginning where the seed before it ended."""
    last, known, notes = len(grid) - 1, dict[int, tuple[str, ...]](), list[str]()

    def holds(i: int) -> bool:
        if i not in known:
            known[i] = run(grid[i])[0]
        return not known[i]

    near = [seed.held for seed in before if 0 <= seed.held < last]
    held, failed = _edge(holds, last, near[-1], 1) if near else _edge(holds, last, last // 2, max(1, last // 4))
    if held < 0:  # perhaps it holds further up all the same
        again = next((i for i in range(last, 0, -max(1, last // 8)) if holds(i)), None)
        if again is None:
            return Found(-1, 0, known[0], None, None, ())
        held, failed = _edge(holds, last, again, 1)
    if not holds(0):
        notes.append(f"{', '.join(known[0])}: missed at {grid[0]:.4g}/s and met at {grid[held]:.4g}/s")
    if held == last:
        return Found(last, last + 1, (), None, None, tuple(notes))
    rate = grid[held]
    low, low_run = run(rate * _FAR_BELOW)
    over = max(rate * _ABOVE, grid[failed])
    high, high_run = run(over)
    middle, _ = run(rate * _BELOW)
    for part, missed in ((_FAR_BELOW, low), (_BELOW, middle)):
        if missed:
            notes.append(f"{', '.join(missed)}: missed at {part * rate:.4g}/s and met at {rate:.4g}/s")
    if not high:
        notes.append(f"targets are missed at {grid[failed]:.4g}/s and met at {over:.4g}/s")
    return Found(held, failed, known[failed], Spent.of(low_run), Spent.of(high_run), tuple(notes))


def _edge(holds: Callable[[int], bool], last: int, start: int, step: int) -> tuple[int, int]:
    """Return neighbours, one that holds and the next that does not: doubling steps from `start`, then bisection."""
    at, up = start, holds(start)
    while True:
        if at == (last if up else 0):
            return (last, last + 1) if up else (-1, 0)
        beyond = min(at + step, last) if up else max(at - step, 0)
        if holds(beyond) != up:
            break
        at, step = beyond, 2 * step
    low, high = min(at, beyond), max(at, beyond)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high
