"""Labels beside points, without overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Boxes = NDArray[np.float64]
"""Shape (n, 4): left, bottom, right, top in pixels."""

_RADII = (9, 14, 20, 28, 38, 50, 64, 80, 100)
_ANGLES = np.deg2rad([0, 180, 30, 330, 150, 210, 60, 300, 120, 240, 90, 270])
_FAR = 18
"""Pixels beyond which a label needs a line to its point."""


def place(
    axes: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str], *, size: float, obstacles: Boxes
) -> bool:
    """Write a text beside each point, where it covers neither another text nor a point.

    Parameters
    ----------
    axes : Axes
        Laid out already: its size must not change after.
    points : sequence of (x, y)
        In data coordinates.
    texts : sequence of str
    size : float
        Of the font, in points.
    obstacles : array, shape (n, 4)
        What is better not covered (intervals), in pixels.

    Returns
    -------
    bool
        False where there is no room; nothing is written then.
    """
    centres = np.asarray(axes.transData.transform(points), dtype=np.float64)
    sizes = [_extent(axes, text, size) for text in texts]
    markers = np.column_stack([centres - 6, centres + 6])
    frame = axes.get_window_extent()
    found: dict[int, tuple[Boxes, float]] = {}
    for i in _crowded_first(centres):
        taken = np.array([box for box, _ in found.values()]).reshape(-1, 4)
        candidates, radii = _candidates(centres[i], *sizes[i])
        inside = (
            (candidates[:, 0] >= frame.x0) & (candidates[:, 2] <= frame.x1)
            & (candidates[:, 1] >= frame.y0) & (candidates[:, 3] <= frame.y1)
        )  # fmt: skip
        free = inside & (_covered(candidates, taken) == 0) & (_covered(candidates, markers) == 0)
        if not free.any():
            return False
        cost = _covered(candidates, obstacles) / (sizes[i][0] * sizes[i][1]) * 200 + radii
        best = int(np.argmin(np.where(free, cost, np.inf)))
        found[i] = (candidates[best], float(radii[best]))
    for i, (box, radius) in found.items():
        _write(axes, points[i], centres[i], texts[i], box, radius, size)
    return True


def _extent(axes: Axes, text: str, size: float) -> tuple[float, float]:
    probe = axes.text(0, 0, text, fontsize=size)
    box = probe.get_window_extent()
    probe.remove()
    return box.width + 4, box.height + 2


def _crowded_first(centres: Boxes) -> list[int]:
    apart = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    return [int(i) for i in np.argsort(-np.exp(-apart / 60).sum(axis=1), kind="stable")]


def _candidates(centre: Boxes, width: float, height: float) -> tuple[Boxes, NDArray[np.float64]]:
    """Return boxes around a point, each with its nearest edge at its radius."""
    radii = np.repeat(np.array(_RADII, dtype=np.float64), len(_ANGLES))
    angles = np.tile(_ANGLES, len(_RADII))
    x = centre[0] + radii * np.cos(angles) + width * (np.cos(angles) - 1) / 2
    y = centre[1] + radii * np.sin(angles) + height * (np.sin(angles) - 1) / 2
    return np.column_stack([x, y, x + width, y + height]), radii


def _covered(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Return the area of each box that others cover."""
    if not len(others):
        return np.zeros(len(boxes))
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2).sum(axis=1), dtype=np.float64)


def _write(
    axes: Axes, point: tuple[float, float], centre: Boxes, text: str, box: Boxes, radius: float, size: float
) -> None:
    middle = (box[:2] + box[2:]) / 2
    side = "left" if box[0] > centre[0] else "right" if box[2] < centre[0] else "center"
    scale = 72 / axes.figure.dpi
    line = {"arrowstyle": "-", "linewidth": 0.6, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3} if radius > _FAR else None
    label = axes.annotate(
        text, point, xytext=tuple((middle - centre) * scale), textcoords="offset points",
        ha="center", va="center", multialignment=side, fontsize=size, arrowprops=line, annotation_clip=False,
    )  # fmt: skip
    label.set_in_layout(False)


def segment(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> list[float]:
    """Return the box in pixels around a line along an axis, given in data; open ends stop at the frame."""
    frame = axes.get_window_extent()
    (x0, y0), (x1, y1) = axes.transData.transform([start, end])
    x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    ends = [x0 if math.isfinite(x0) else frame.x0, y0, x1 if math.isfinite(x1) else frame.x1, y1]
    return [ends[0] - 1, ends[1] - 1, ends[2] + 1, ends[3] + 1]
