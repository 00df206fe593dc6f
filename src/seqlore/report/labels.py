"""Labels of a scatter plot that neither overlap one another nor hide a point.

A greedy search in a fixed order: each label takes the nearest free place around its point. Unlike the usual
force-directed adjustment this is deterministic, and a label for which there is no free place is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, bottom, right, top

#: Where to try, nearest first: right and left of the point, then above, below and between.
ANGLES = (0, 180, 90, 270, 45, 135, 315, 225)
RADII = (7, 12, 18, 26, 36, 48, 62, 80, 100)


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share any area."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def place(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], area: Box, marker: float = 4.0
) -> list[Box | None]:
    """A box for each label, inside ``area``, free of the other boxes and of all points; None where nothing is free.

    Args:
        points: (x, y) of each point. sizes: (width, height) of each label. marker: half the width of a point.
    """
    dots = [(x - marker, y - marker, x + marker, y + marker) for x, y in points]
    placed: list[Box | None] = [None] * len(points)

    def crowd(i: int) -> int:
        return sum(math.dist(points[i], p) < RADII[-1] for p in points)

    # The loneliest go last: they find a place anyway.
    for i in sorted(range(len(points)), key=lambda i: (-crowd(i), i)):
        taken = dots + [b for b in placed if b is not None]
        for box in _around(points[i], sizes[i]):
            inside = box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]
            if inside and not any(overlap(box, other) for other in taken):
                placed[i] = box
                break
    return placed


def _around(point: tuple[float, float], size: tuple[float, float]) -> list[Box]:
    """Candidate boxes, nearest first; the side of the box that faces the point touches the circle."""
    boxes = []
    for radius in RADII:
        for angle in ANGLES:
            x = point[0] + radius * math.cos(math.radians(angle))
            y = point[1] + radius * math.sin(math.radians(angle))
            left = x - size[0] * (1 - round(math.cos(math.radians(angle)), 6)) / 2
            bottom = y - size[1] * (1 - round(math.sin(math.radians(angle)), 6)) / 2
            boxes.append((left, bottom, left + size[0], bottom + size[1]))
    return boxes
