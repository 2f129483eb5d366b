"""The text form of metrics: ``nDCG(gain="exp")@10`` to a value and back."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from evalkit.metrics.base import Metric, MetricError

__all__ = ["describe", "parse"]


def parse(text: Any) -> Metric:
    """Read a metric from its name.

    Parameters
    ----------
    text : str or Metric
        ``Name``, ``Name@k``, ``Name(field=value)`` or ``Name(field=value)@k``; the name in any case. A
        metric is returned as it is.

    Raises
    ------
    MetricError
        If the text does not follow the grammar, or the metric or a field is unknown (the nearest name is
        offered), or a value is out of range.

    Examples
    --------
    >>> str(parse("ndcg@10")), parse("P95(stage='embed')").slug
    ('nDCG@10', 'p95_embed')
    """
    if isinstance(text, Metric):
        return text
    if not isinstance(text, str):
        shown = f"the class {text.__name__}; add ()" if isinstance(text, type) else repr(text)
        raise MetricError(f"a metric or its name is needed, not {shown}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise _unreadable(text) from error
    arguments: dict[str, object] = {}
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.MatMult):
        arguments["cutoff"] = _value(tree.right, text)
        tree = tree.left
    keywords: list[ast.keyword] = []
    if isinstance(tree, ast.Call):
        if tree.args:
            raise MetricError(f"metric {text!r}: write arguments as name=value")
        keywords = tree.keywords
        tree = tree.func
    if not isinstance(tree, ast.Name):
        raise _unreadable(text)
    cls = _named(tree.id)
    known = [field.name for field in fields(cls)]
    for keyword in keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise MetricError(f"metric {text!r}: {keyword.arg or '**'} is given twice or without a name")
        arguments[keyword.arg] = _value(keyword.value, text)
    for key in arguments:
        if key not in known:
            takes = f"its fields are {', '.join(known)}" if known else "it takes no arguments"
            raise MetricError(f"metric {text!r}: {cls.__name__} has no {key!r}{_nearest(key, known)}; {takes}")
    try:
        return cls(**arguments)
    except TypeError as error:
        raise MetricError(f"metric {text!r}: {error}") from error


def describe(metric: str | Metric) -> str:
    """Return the definition of a metric, printable: formula, source, denominator and awkward cases.

    Raises
    ------
    MetricError
        As for `parse`.
    """
    value = parse(metric)
    direction = "higher is better" if value.higher_is_better else "lower is better"
    unit = f" {value.unit}" if value.unit else ""
    low, high = value.range
    head = f"{value}: {low:g} to {high:g}{unit}, {direction}, from {value.needs}"
    return f"{head}\n{value.definition}"


def concrete(base: type[Metric] = Metric) -> Iterator[type[Metric]]:
    """Yield every metric class that can be made, those of other packages included."""
    for cls in base.__subclasses__():
        if not inspect.isabstract(cls) and not cls.__name__.startswith("_"):
            yield cls
        yield from concrete(cls)


def _named(name: str) -> type[Metric]:
    """Return the metric class of this name in any case; of two with one name, the later defined."""
    classes = {cls.__name__.lower(): cls for cls in concrete()}
    if name.lower() not in classes:
        names = [cls.__name__ for cls in classes.values()]
        raise MetricError(f"unknown metric {name!r}{_nearest(name, names)}")
    return classes[name.lower()]


def _nearest(name: str, names: list[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f", did you mean {by_lower[close[0]]!r}?" if close else ""


def _value(node: ast.expr, text: str) -> object:
    try:
        value: object = ast.literal_eval(node)
    except ValueError as error:
        raise MetricError(f"metric {text!r}: {ast.unparse(node)!r} is not a plain value") from error
    return value


def _unreadable(text: str) -> MetricError:
    return MetricError(f'metric {text!r} cannot be read; write it as nDCG@10 or nDCG(gain="exp")@10')
