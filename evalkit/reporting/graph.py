"""The plan as a drawing: what is worked on, what it needs, what the store has already."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass

from evalkit.evaluate.plan import Plan
from evalkit.types import Digest, Node

_MOST = 120
"""Nodes drawn one by one; of a larger plan, those of one stage, class and state are drawn as one."""
_WIDE, _HIGH, _ACROSS, _DOWN, _EDGE = 190, 40, 70, 14, 24
_FILLS = {True: "#e6e9ed", False: "#cfe3f7"}


@dataclass(frozen=True)
class _Box:
    """A node, or several alike."""

    title: str
    note: str
    stored: bool
    rank: int


def plan_svg(plan: Plan, stored: Mapping[Digest, bool]) -> str:
    """Draw a plan as SVG: inputs left, results right; grey is in the store, blue is to be run.

    Parameters
    ----------
    plan : Plan
    stored : {recipe: whether the store has it}
        From `evalkit.evaluate.nodes.preview`.

    Returns
    -------
    str
        A document that stands alone, without scripts.
    """
    ranks: dict[Digest, int] = {}
    for recipe, node in plan.nodes.items():
        ranks[recipe] = 1 + max((ranks[parent.recipe] for parent in node.inputs), default=-1)
    boxes, owner = _boxes(plan, stored, ranks)
    edges = {
        (owner[parent.recipe], owner[recipe])
        for recipe, node in plan.nodes.items()
        for parent in node.inputs
        if owner[parent.recipe] != owner[recipe]
    }
    columns: defaultdict[int, list[str]] = defaultdict(list)
    for name, box in boxes.items():
        columns[box.rank].append(name)
    return _svg(boxes, edges, _ordered(columns, edges))


def _boxes(
    plan: Plan, stored: Mapping[Digest, bool], ranks: Mapping[Digest, int]
) -> tuple[dict[str, _Box], dict[Digest, str]]:
    grouped: dict[str, list[Node]] = defaultdict(list)
    for recipe, node in plan.nodes.items():
        alike = f"{node.stage} {type(node.op).__name__} {stored.get(recipe, True)}"
        grouped[recipe if len(plan.nodes) <= _MOST else alike].append(node)
    boxes, owner = {}, {}
    for name, nodes in grouped.items():
        first = nodes[0]
        title = str(first.op) if isinstance(first.op, str) else type(first.op).__name__
        note = _fields(first) if len(nodes) == 1 else f"{len(nodes)} nodes"
        there = stored.get(first.recipe, True)
        boxes[name] = _Box(title, note, there, max(ranks[node.recipe] for node in nodes))
        owner.update({node.recipe: name for node in nodes})
    return boxes, owner


def _fields(node: Node) -> str:
    op: object = node.op
    if isinstance(op, str) or not is_dataclass(op):
        return ""
    stated = [(f.name, getattr(op, f.name)) for f in fields(op)]
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in stated)


def _ordered(columns: Mapping[int, Sequence[str]], edges: set[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Give every box a column and a row: beside the mean row of what it needs."""
    needs = defaultdict(list)
    for before, after in sorted(edges):
        needs[after].append(before)
    places: dict[str, tuple[int, int]] = {}
    for column, rank in enumerate(sorted(columns)):
        middle = {
            name: sum(places[n][1] for n in needs[name] if n in places) / max(1, len(needs[name]))
            for name in columns[rank]
        }
        order = sorted(columns[rank], key=lambda name: middle[name])
        places.update({name: (column, row) for row, name in enumerate(order)})
    return places


def _svg(boxes: Mapping[str, _Box], edges: set[tuple[str, str]], places: Mapping[str, tuple[int, int]]) -> str:
    at = {
        name: (_EDGE + column * (_WIDE + _ACROSS), 2 * _EDGE + row * (_HIGH + _DOWN))
        for name, (column, row) in places.items()
    }
    width = max(x for x, _ in at.values()) + _WIDE + _EDGE
    height = max(y for _, y in at.values()) + _HIGH + _EDGE
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_EDGE}" y="{_EDGE}" fill="#57606a">grey: in the store; blue: to run</text>',
    ]
    for before, after in sorted(edges, key=lambda edge: (at[edge[0]], at[edge[1]])):
        (x1, y1), (x2, y2) = at[before], at[after]
        x1, y1, y2 = x1 + _WIDE, y1 + _HIGH // 2, y2 + _HIGH // 2
        bend = (x1 + x2) // 2
        parts.append(
            f'<path d="M{x1},{y1} C{bend},{y1} {bend},{y2} {x2},{y2}" fill="none" stroke="#9aa4b0" stroke-width="1"/>'
        )
    for name, box in sorted(boxes.items(), key=lambda item: at[item[0]]):
        x, y = at[name]
        fill, note = _FILLS[box.stored], box.note if len(box.note) <= 30 else box.note[:29] + "…"
        parts.append(
            f"<g><title>{html.escape(f'{box.title} {box.note}'.strip())}</title>"
            f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="6" fill="{fill}" stroke="#999"/>'
            f'<text x="{x + 10}" y="{y + (17 if note else 25)}" font-weight="600">{html.escape(box.title)}</text>'
            f'<text x="{x + 10}" y="{y + 32}" fill="#57606a" font-size="10">{html.escape(note)}</text></g>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
