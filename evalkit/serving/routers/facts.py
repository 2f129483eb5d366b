"""Simple facts of an answer, by which a wrong one can be told: its form, and whether its sums hold."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_SUM = re.compile(r"(\d[\d.,+\-*/() ]{2,200})=\s*(-?\d[\d,]*(?:\.\d+)?)")
_STEP = re.compile(r"\d\)?\s*[+\-*/]\s*\(?\d")
_SIGNS = str.maketrans(
    {"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "\N{MINUS SIGN}": "-", "$": None, "€": None, "£": None}
)
_DONE = ".!?)]\"'%$*"
_CLOSE = 0.005
"""Relative error that rounding to two or three digits makes."""

_OPERATORS: Mapping[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip

FACTS = (
    "words of the question", "words", "lines", "numbers", "words of the last line", "decimal point in the last line",
    "breaks off", "share of the question's numbers", "sums that do not hold",
)  # fmt: skip
"""What `facts` returns, in order; counts are logarithms of one more."""


def facts(question: str, answer: str) -> list[float]:
    """Return simple facts of an answer, none of which needs a model.

    Returns
    -------
    list of float
        As `FACTS` names them.
    """
    text = answer.strip()
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    asked, said = set(_NUMBER.findall(question)), _NUMBER.findall(text)
    _, false = sums(text)
    return [
        math.log1p(len(question.split())),
        math.log1p(len(text.split())),
        math.log1p(len(lines)),
        math.log1p(len(said)),
        math.log1p(len(last.split())),
        float(re.search(r"\d\.\d", last) is not None),
        float(not text or not (text[-1].isalnum() or text[-1] in _DONE)),
        len(asked & set(said)) / len(asked) if asked else 1.0,
        math.log1p(false),
    ]


def sums(text: str) -> tuple[int, int]:
    """Return how many calculations a text states, such as ``3 * (4 + 1) = 15``, and how many of them are false."""
    stated = false = 0
    for left, right in _SUM.findall(text.translate(_SIGNS)):
        value = _value(left.strip(" ,.")) if _STEP.search(left) else None
        if value is not None:
            stated += 1
            said = float(right.replace(",", ""))
            false += abs(value - said) > _CLOSE * max(1.0, abs(value))
    return stated, false


def _value(text: str) -> float | None:
    """Work out sums, differences, products and quotients of numbers; None for anything else."""
    try:
        return _of(ast.parse(text.replace(",", ""), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _of(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_of(node.left), _of(node.right))
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_of(node.operand)
    raise ValueError
