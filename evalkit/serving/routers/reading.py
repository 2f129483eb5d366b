"""Reading recorded responses: a CSV file in the form of RouteLLM's evaluation."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from evalkit.calls import TokenUsage
from evalkit.errors import InputError, InputErrors
from evalkit.llm.pricing import Prices
from evalkit.llm.tokens import estimate_tokens
from evalkit.paths import find
from evalkit.serving.routers.outcomes import RecordedOutcomes

Tokens = Callable[[str, str], int]
T = TypeVar("T", bound=RecordedOutcomes)

_RESPONSE = "_response"
_VALUES = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}


def read(
    kind: type[T],
    path: str | os.PathLike[str],
    *,
    day: str = "",
    prices: Prices | None = None,
    shared_tokens: int = 0,
    tokens: Tokens | None = None,
) -> T:
    """Read the answers of two or more models to the same prompts.

    Parameters
    ----------
    kind : type of RecordedOutcomes
    path : path
        A CSV file with a column ``prompt`` and, for each model, ``<model>``, whether it was right (True, False, 1 or
        0), and ``<model>_response``, what it answered.
    day : str
        ISO date as of which models are priced; empty: the newest prices.
    prices : Prices, optional
        Default: the project's list.
    shared_tokens : int
        Tokens before every prompt that the file does not hold: instructions, worked examples.
    tokens : function (text, model) -> int, optional
        Default: `estimate_tokens`, which counts for a model it does not know as for a new Claude; that is too much
        for most others, by about the same factor for all of them.

    Raises
    ------
    InputErrors
        For every line that is wrong, with the file and the line's number.
    """
    listed, count = prices if prices is not None else Prices.load(), tokens if tokens is not None else estimate_tokens
    place = find(path)
    rows = _rows(str(path), place)
    try:
        _, header = next(rows)
    except StopIteration:
        raise InputError(
            f"{path}: is empty; a header with prompt, <model> and <model>{_RESPONSE} is needed"
        ) from None
    models = [name for name in header if f"{name}{_RESPONSE}" in header]
    faults = [f"{path}:1: {fault}" for fault in _header_faults(header, models)]
    faults += [f"{path}:1: no price for '{model}' (EVALKIT_PRICES)" for model in models if not listed.knows(model)]
    if faults:
        raise InputErrors(faults)
    prompts, answers, quality = [], [], []
    for line, row in rows:
        found = dict(zip(header, row, strict=False))
        wrong = _faults(header, row, models, found)
        faults += [f"{path}:{line}: {fault}" for fault in wrong]
        if not wrong:
            prompts.append(found["prompt"])
            answers.append([found[f"{model}{_RESPONSE}"] for model in models])
            quality.append([_VALUES[found[model].strip().lower()] for model in models])
    if not prompts and not faults:
        faults.append(f"{path}: holds no prompt")
    if faults:
        raise InputErrors(faults)
    at = [listed.of(model, day) for model in models]

    def usd(text: str, row: list[str]) -> list[float]:
        asked = [shared_tokens + count(text, model) for model in models]
        return [
            price.dollars(TokenUsage(entered, output=count(answer, model)))
            for price, entered, answer, model in zip(at, asked, row, models, strict=True)
        ]

    costs = np.array([usd(text, row) for text, row in zip(prompts, answers, strict=True)])
    told = "; ".join(f"{p.model}: ${p.input:g} and ${p.output:g} a million tokens since {p.since}" for p in at)
    shared = f", {shared_tokens} shared tokens before each prompt" if shared_tokens else ""
    return kind.ordered(
        place.stem, models, prompts, answers, np.array(quality), costs,
        origin="modelled", told=f"tokens estimated{shared}; {told}",
    )  # fmt: skip


def _rows(name: str, place: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows and the number of the line on which each begins."""
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            begins = 1
            for row in reader:
                if row:
                    yield begins, row
                begins = reader.line_num + 1
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot be read as UTF-8 ({type(error).__name__})") from None
    except csv.Error as error:
        raise InputError(f"{name}:{begins}: not CSV ({error})") from None


def _header_faults(header: list[str], models: list[str]) -> Iterator[str]:
    if "prompt" not in header:
        yield "no column 'prompt'"
    if len(models) < 2:
        yield f"columns of {len(models)} models; two need <model> and <model>{_RESPONSE}"
    for name in sorted({name for name in header if header.count(name) > 1}):
        yield f"two columns are named '{name}'"


def _faults(header: list[str], row: list[str], models: list[str], found: dict[str, str]) -> Iterator[str] | list[str]:
    if len(row) != len(header):
        return [f"{len(row)} fields; the header has {len(header)}"]
    faults = ["the prompt is empty"] if not found["prompt"].strip() else []
    return faults + [
        f"{model} is {found[model]!r}; whether it was right is True or False"
        for model in models
        if found[model].strip().lower() not in _VALUES
    ]
