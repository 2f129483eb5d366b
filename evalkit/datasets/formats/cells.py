"""Lists in the cells of a table: as JSON, or as Python writes them."""

from __future__ import annotations

import ast
import io
import json
import tokenize
import warnings
from itertools import pairwise
from typing import Any

from evalkit.datasets.rows import Faults


def parsed(cell: str) -> Any:
    """Read a cell as JSON or as a Python literal; nothing in it is run.

    Raises
    ------
    ValueError
        If it is neither, or a list without commas: as NumPy prints one, which Python would read as one text.
    """
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass  # then it has to be a Python literal
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash that begins no escape
            value = ast.literal_eval(cell.strip())
        kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(cell.strip()).readline)]
    except (ValueError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError):
        raise ValueError("neither JSON nor a Python literal") from None
    kinds = [kind for kind in kinds if kind not in (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT)]
    if any(a == b == tokenize.STRING for a, b in pairwise(kinds)):
        raise ValueError("a list without commas; write it as JSON")
    return value


def texts(where: str, column: str, value: Any, faults: Faults) -> list[str]:
    """Check a list of texts, which may be written in a cell; one text alone is a list of one."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            value = [value]
        else:
            try:
                value = parsed(value)
            except ValueError as error:
                faults.add(where, f"{column}: {error}")
                return []
    if not isinstance(value, list | tuple):
        faults.add(where, f"{column}: a list of texts is needed, not {type(value).__name__}")
        return []
    for number, text in enumerate(value, start=1):
        if not isinstance(text, str) or not text.strip():
            faults.add(where, f"{column}: item {number} is {'empty' if isinstance(text, str) else 'not a text'}")
            return []
    return list(value)
