"""From polygons, boxes and run-length encodings to pixels, as each tool draws them itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from keras_bisenet.data.importers.annotations import Draw
from keras_bisenet.errors import UserError, how_to_install

Points = Sequence[tuple[float, float]]

LEAST_POINTS = 3
"""What has fewer is no polygon: a click by mistake."""


def polygon(outline: Points, holes: Sequence[Points] = ()) -> Draw:
    """A polygon as Pillow draws it, its outline included; holes are cut out with theirs.

    The outline has 3 points at least; holes of fewer are none.
    """

    def draw(pen: ImageDraw.ImageDraw) -> None:
        pen.polygon([*map(tuple, outline)], fill=1, outline=1)
        for hole in (hole for hole in holes if len(hole) >= LEAST_POINTS):
            pen.polygon([*map(tuple, hole)], fill=0, outline=0)

    return _drawn(draw)


def rectangle(corner: tuple[float, float], opposite: tuple[float, float]) -> Draw:
    """A box between two corners, both included."""
    (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(corner, opposite))
    return _drawn(lambda pen: pen.rectangle((x0, y0, x1, y1), fill=1, outline=1))


def ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> Draw:
    """An ellipse, turned clockwise."""
    (x, y), (across, down) = centre, radii
    if degrees:
        turns = np.linspace(0, 2 * np.pi, 256, endpoint=False)
        points = np.stack([across * np.cos(turns), down * np.sin(turns)], axis=1)
        return polygon(rotated(points + centre, centre, degrees))
    box = (x - across, y - down, x + across, y + down)
    return _drawn(lambda pen: pen.ellipse(box, fill=1, outline=1))


def line(points: Points, width: int) -> Draw:
    """A line of some width."""
    return _drawn(lambda pen: pen.line([*map(tuple, points)], fill=1, width=width))


def rotated(points, centre: tuple[float, float], degrees: float) -> Points:
    """Points turned clockwise (y runs down) about a centre."""
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    turned = (np.asarray(points, float) - centre) @ matrix + centre
    return [tuple(point) for point in turned.tolist()]


def bitmap(pixels: np.ndarray, left: int, top: int) -> Draw:
    """A mask, bool `[h, w]`, whose upper left corner lies somewhere in the image, or beyond."""

    def draw(size: tuple[int, int]) -> np.ndarray:
        where = np.zeros(size, bool)
        rows, columns = (
            (max(start, 0), min(start + side, limit))
            for start, side, limit in zip((top, left), pixels.shape, size)
        )
        if rows[0] < rows[1] and columns[0] < columns[1]:
            where[slice(*rows), slice(*columns)] = pixels[
                rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left
            ]
        return where

    return draw


def coco_polygons(parts: Sequence[Sequence[float]]) -> Draw:
    """Polygons `[x0, y0, x1, y1, ...]` of one object, as pycocotools draws them together."""

    def draw(size: tuple[int, int]) -> np.ndarray:
        mask = coco_masks()
        return mask.decode(mask.merge(mask.frPyObjects([*map(list, parts)], *size))).astype(bool)

    return draw


def coco_rle(counts: Sequence[int] | str, height: int, width: int) -> Draw:
    """COCO's run-length encoding: a list of counts, or its compressed string. The counts are of
    pixels column by column, the first of those outside.

    Raises:
        ValueError: When the counts are not those of so many pixels.
    """
    counts = coco_counts(counts) if isinstance(counts, str) else counts
    if any(type(count) is not int or count < 0 for count in counts):
        raise ValueError("counts that are no numbers of pixels")
    if sum(counts) != height * width:
        raise ValueError(f"counts of {sum(counts)} pixels for {height}x{width}")

    def draw(size: tuple[int, int]) -> np.ndarray:
        if (height, width) != tuple(size):
            return np.broadcast_to(False, (height, width))  # of another image; perhaps huge
        values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return values.reshape(width, height).T

    return draw


def coco_counts(text: str) -> list[int]:
    """The counts in pycocotools' compressed string.

    Each character holds 5 bits, the lowest first, a sixth that says whether more follow, and 48 to
    be readable; numbers are signed, and from the fourth on the difference to the last but one.

    Raises:
        ValueError: When it is none, or ends too early.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"a character {character!r} in the counts")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("counts that end too early")
    return counts


def coco_masks():
    """pycocotools' module of masks.

    Raises:
        UserError: When it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError(
            f"importing COCO's and CVAT's annotations needs pycocotools: {how_to_install('train')}"
        ) from error
    return mask


def _drawn(draw) -> Draw:
    def drawn(size: tuple[int, int]) -> np.ndarray:
        image = Image.new("L", size[::-1])
        draw(ImageDraw.Draw(image))
        return np.asarray(image) > 0

    return drawn
