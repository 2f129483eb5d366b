"""Prices as data with dates and sources: a call is priced as of the day on which it was made."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

from evalkit.calls import Call, TokenUsage
from evalkit.errors import InputError, InputErrors, nearest
from evalkit.paths import find

_MILLION = 1e6
_BATCH = 0.5
"""What a batch costs of the standard price (Anthropic, Message Batches)."""


@dataclass(frozen=True)
class Price:
    """What a model costs, in US dollars per million tokens.

    Parameters
    ----------
    model : str
    since : str
        ISO date from which it holds, until the same model's next price.
    input, output : float
    write_5m, write_1h, read : float or None
        Of the prompt cache; None: as input, for a model whose provider has no cache.
    minimum : int
        Smallest prefix in tokens that is cached.
    above : int
        It holds for whole prompts of more tokens than this, cached ones included.
    source : str
        Where it was read.
    """

    model: str
    since: str
    input: float
    output: float
    write_5m: float | None = None
    write_1h: float | None = None
    read: float | None = None
    minimum: int = 0
    above: int = 0
    source: str = ""

    def dollars(self, usage: TokenUsage) -> float:
        """Return what tokens cost at this price."""
        dearer = (self.write_5m, self.write_1h, self.read)
        write_5m, write_1h, read = (self.input if price is None else price for price in dearer)
        parts = (
            usage.input * self.input, usage.cache_write_5m * write_5m, usage.cache_write_1h * write_1h,
            usage.cache_read * read, usage.output * self.output,
        )  # fmt: skip
        return math.fsum(parts) / _MILLION


@dataclass(frozen=True)
class Prices:
    """A price list.

    Parameters
    ----------
    rows : tuple of Price
        Where two state a price for one model, day and band, the later row counts: an override goes behind.

    Raises
    ------
    InputErrors
        For every model and day whose prices hold for long prompts only.
    """

    rows: tuple[Price, ...]

    def __post_init__(self) -> None:
        lowest: dict[tuple[str, str], int] = {}
        for row in self.rows:
            key = (row.model, row.since)
            lowest[key] = min(row.above, lowest.get(key, row.above))
        if gaps := [(key, above) for key, above in lowest.items() if above]:
            raise InputErrors(
                [
                    f"prices: {model} since {since}: none for up to {above} tokens; add a row without 'above'"
                    for (model, since), above in gaps
                ]
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Prices:
        """Return evalkit's list and behind it that of a file: `path`, else what ``EVALKIT_PRICES`` names.

        Raises
        ------
        InputErrors
            For every row that is none, with the file and the row's number.
        """
        path = path or os.environ.get("EVALKIT_PRICES") or None
        try:
            own = _read(str(path), find(path).stat().st_mtime_ns) if path else ()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
        return cls((*_own(), *own))

    def of(self, model: str, day: str = "", prompt: int = 0) -> Price:
        """Return a model's price on a day for a prompt of so many tokens.

        Parameters
        ----------
        model : str
            As listed, or with a date behind (``claude-opus-4-5-20251101``).
        day : str
            ISO date; empty: the newest price. Before a model's first price, that one holds.
        prompt : int

        Raises
        ------
        InputError
            If the list has no such model.
        """
        rows = self._rows(model)
        days = {row.since for row in rows}
        newest = max((since for since in days if not day or since <= day), default=min(days))
        bands = [row for row in rows if row.since == newest and row.above < max(prompt, 1)]
        top = max(row.above for row in bands)
        return [row for row in bands if row.above == top][-1]

    def knows(self, model: str) -> bool:
        """Whether the list has a model."""
        return bool(self._found(model))

    def dollars(self, call: Call) -> float:
        """Return what a call cost, the tries included that were given up: for those it is a lower bound."""
        tries = [call.usage, *(attempt.usage for attempt in call.attempts)]
        used = [usage for usage in tries if usage != TokenUsage()]
        factor = _BATCH if call.service == "batch" else 1.0
        return factor * math.fsum(self.of(call.model, call.day, usage.prompt).dollars(usage) for usage in used)

    def at_most(self, model: str, prompt: int, output: int, *, tries: int = 1, batch: bool = False) -> float:
        """Return the most that a call can cost on any listed day, its tries included.

        Parameters
        ----------
        model : str
        prompt, output : int
            Most tokens of the prompt and of the answer.
        tries : int
        batch : bool
        """
        dearest = 0.0
        for row in self._rows(model):
            if row.above < max(prompt, 1):
                entered = max(row.input, row.write_5m or 0.0, row.write_1h or 0.0, row.read or 0.0)
                dearest = max(dearest, (prompt * entered + output * row.output) / _MILLION)
        return dearest * tries * (_BATCH if batch else 1.0)

    def _rows(self, model: str) -> Sequence[Price]:
        rows = self._found(model)
        if not rows:
            known = sorted({row.model for row in self.rows})
            raise InputError(
                f"no price for model '{model}'{nearest(model, known)}; "
                "add it to a file and name that in EVALKIT_PRICES"
            )
        return rows

    def _found(self, model: str) -> list[Price]:
        exact = [row for row in self.rows if row.model == model]
        head, _, tail = model.rpartition("-")
        if not exact and len(tail) == 8 and tail.isdecimal():
            return [row for row in self.rows if row.model == head]
        return exact


@lru_cache(1)
def _own() -> tuple[Price, ...]:
    return _parse("evalkit's price list", files("evalkit.llm").joinpath("prices.yaml").read_text(encoding="utf-8"))


@lru_cache(8)
def _read(path: str, changed: int) -> tuple[Price, ...]:
    return _parse(path, find(path).read_text(encoding="utf-8"))


def _parse(name: str, text: str) -> tuple[Price, ...]:
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # the latter for a day such as 2026-02-31
        raise InputError(f"{name}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(data, list):
        raise InputError(f"{name}: a list of prices is needed, each with model, since, input and output")
    faults = [f"{name}: row {i}: {fault}" for i, row in enumerate(data, 1) if (fault := _fault(row))]
    if faults:
        raise InputErrors(faults)
    return tuple(Price(**{**row, "since": str(row["since"])}) for row in data)


def _fault(row: Any) -> str | None:
    """Say what is wrong with one row."""
    names = {field.name for field in fields(Price)}
    if not isinstance(row, dict):
        return "a mapping is needed"
    if unknown := sorted(set(map(str, row)) - names):
        return f"no field '{unknown[0]}'{nearest(unknown[0], names)}"
    if missing := [name for name in ("model", "since", "input", "output") if name not in row]:
        return f"needs the field '{missing[0]}'"
    if not isinstance(row["model"], str) or not isinstance(row.get("source", ""), str):
        return "model and source are texts"
    if not isinstance(row["since"], date) or isinstance(row["since"], datetime):
        return f"since is '{row['since']}'; a date such as 2026-11-01 is needed"
    for name in names - {"model", "since", "source"}:
        value = row.get(name, 0)
        if value is None and name in ("write_5m", "write_1h", "read"):
            continue
        whole = name in ("minimum", "above")
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or not 0 <= value < math.inf
        ):
            return f"{name} is {value!r}; a {'whole ' if whole else ''}number of at least 0 is needed"
    return None
