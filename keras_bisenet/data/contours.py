"""From masks to polygons: contour tracing and simplification, without OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Directed edges along pixels' borders with the region on the right: right, down, left, up.
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


@dataclass(frozen=True)
class Region:
    """A connected region of one class, by its outer contour alone.

    Args:
        class_id: Its class.
        corners: float64 `[n, 2]`, x and y of its corners, along the pixels' borders: a single
            pixel has the corners (0, 0), (1, 0), (1, 1), (0, 1).
        centres: float64 `[n, 2]`, those corners moved inwards to the centres of the pixels there,
            by number: (0, 0) four times. A polygon that is drawn with its outline (as Pillow and
            labelme do) covers the region with them.
        area: Pixels within the contour, its holes included.
        touches_border: Whether it reaches the image's border.
    """

    class_id: int
    corners: np.ndarray
    centres: np.ndarray
    area: float
    touches_border: bool


def regions(class_ids: np.ndarray, min_area: int = 1) -> list[Region]:
    """The 4-connected regions of a mask, the largest first.

    Where each is painted in this order, over those before it, the mask comes out: a region lies in
    a hole of a larger one, or beside it.

    Args:
        class_ids: uint8 `[height, width]`.
        min_area: Regions of fewer pixels are left out.
    """
    found = []
    for class_id in np.unique(class_ids).tolist():
        for corners, steps in _loops(class_ids == class_id):
            area = _signed_area(corners)
            if area >= max(min_area, 1):  # that of a hole is negative
                found.append(_region(class_id, corners, steps, area, class_ids.shape))
    return sorted(found, key=lambda region: -region.area)


def simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    """A closed polygon with fewer points, none of the others further from it than `tolerance`.

    Douglas and Peucker, "Algorithms for the reduction of the number of points required to
    represent a digitized line", 1973.

    Args:
        points: float64 `[n, 2]`.
        tolerance: In pixels; 0 drops what lies on straight lines alone.
    """
    if len(points) < 4:
        return points
    # The two halves between the first point and the one that is furthest from it.
    furthest = int(np.argmax(np.hypot(*(points - points[0]).T)))
    closed = np.concatenate([points, points[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, furthest, len(points)]] = True
    spans = [(0, furthest), (furthest, len(points))]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        distances = _distances(closed[start + 1 : end], closed[start], closed[end])
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = start + 1 + worst
            kept[middle] = True
            spans += [(start, middle), (middle, end)]
    return closed[:-1][kept[:-1]]


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How far points are from the line through two others."""
    direction = end - start
    length = np.hypot(*direction)
    offsets = points - start
    if not length:
        return np.hypot(*offsets.T)
    return np.abs(offsets[:, 0] * direction[1] - offsets[:, 1] * direction[0]) / length


def _loops(region: np.ndarray):
    """The contours of a region, `[n, 2]` corners and the numbers of the steps that leave them."""
    padded = np.pad(region, 1)
    inside = padded[1:-1, 1:-1]
    outside = (  # of the pixel above, right, below, left
        ~padded[:-2, 1:-1],
        ~padded[1:-1, 2:],
        ~padded[2:, 1:-1],
        ~padded[1:-1, :-2],
    )
    # The corner that the edge on each side of a pixel starts from, clockwise.
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))
    leaving: dict[tuple[int, int], list[int]] = {}
    for step, (beyond, (x, y)) in enumerate(zip(outside, starts)):
        for row, column in np.argwhere(inside & beyond).tolist():
            leaving.setdefault((column + x, row + y), []).append(step)
    while leaving:
        corner = start = next(iter(leaving))
        corners, steps, last = [], [], None
        while True:
            choices = leaving[corner]
            # Where two pixels touch at a corner, turning right stays with the one of them.
            step = choices[0] if last is None else _rightmost(choices, last)
            choices.remove(step)
            if not choices:
                del leaving[corner]
            if step != last:
                corners.append(corner)
                steps.append(step)
            corner, last = (corner[0] + _STEPS[step][0], corner[1] + _STEPS[step][1]), step
            # Another loop may leave the corner that this one began at.
            others = leaving.get(corner, [])
            if corner == start and _rightmost([*others, steps[0]], step) == steps[0]:
                break
        if len(steps) > 1 and steps[0] == last:  # the loop began amid an edge
            corners, steps = corners[1:], steps[1:]
        yield np.array(corners, float), steps


def _rightmost(choices: list[int], last: int) -> int:
    """The step that turns right most: right, straight on, left."""
    return min(choices, key=lambda step: (last + 1 - step) % 4)


def _signed_area(corners: np.ndarray) -> float:
    x, y = corners.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _region(class_id: int, corners: np.ndarray, steps: list[int], area: float, shape) -> Region:
    # The region is on the right of each edge: below one that runs to the right.
    inwards = _STEPS[(np.array(steps) + 1) % 4]
    centres = corners + (inwards + np.roll(inwards, 1, axis=0)) / 2 - 0.5
    limits = np.array(shape[::-1])
    touches = bool((corners.min(axis=0) == 0).any() or (corners.max(axis=0) == limits).any())
    return Region(class_id, corners, centres, area, touches)
