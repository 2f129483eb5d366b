"""How much of a ranking fits into a limit, and in which order it stands in the prompt."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal

Keep = Literal["start", "end"]
Order = Literal["best first", "best last", "edges", "document"]


def whole(sizes: Sequence[int], limit: int, skip: bool) -> list[int]:
    """Return the places of those that fit together, taken in the given order.

    Parameters
    ----------
    sizes : sequence of int
    limit : int
        Of the sum of what is taken.
    skip : bool
        Go past what does not fit, to what is smaller; else stop there.
    """
    taken, room = [], limit
    for place, size in enumerate(sizes):
        if size <= room:
            taken.append(place)
            room -= size
        elif not skip:
            break
    return taken


def cut(text: str, keep: Keep, fits: Callable[[str], bool]) -> str:
    """Return the longest start or end of a text that fits, cut between words; empty where not even one word does.

    Parameters
    ----------
    text : str
    keep : "start" or "end"
    fits : function
        Of a piece; what holds of a piece holds of every shorter one.
    """
    words = [match.span() for match in re.finditer(r"\S+", text)]

    def piece(n: int) -> str:
        return text[words[0][0] : words[n - 1][1]] if keep == "start" else text[words[-n][0] : words[-1][1]]

    n = bisect_left(range(1, len(words) + 1), True, key=lambda n: not fits(piece(n)))
    return piece(n) if n else ""


def arranged(items: Sequence[int], owners: Sequence[str], order: Order) -> list[int]:
    """Return chunks, given best first, in the order in which the prompt shows them.

    Parameters
    ----------
    items : sequence of int
        Positions in `Chunks`, where a document's stand in the order of its text.
    owners : sequence of str
        The chunks' documents.
    order : {"best first", "best last", "edges", "document"}
        As in `Budget`.
    """
    if order == "best last":
        return list(items[::-1])
    if order == "edges":
        return [*items[::2], *items[1::2][::-1]]
    if order == "document":
        return [item for _, item in sorted(zip(map(owners.index, owners), items, strict=True))]
    return list(items)
