"""From polygons, boxes and run-length encodings to pixels, as each tool draws them itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from keras_bisenet.data.importers.annotations import Draw
from keras_bisenet.errors import UserError

Points = Sequence[tuple[float, float]]


def polygon(outline: Points, holes: Sequence[Points] = ()) -> Draw:
    """A polygon as Pillow draws it, its outline included; holes are cut out with theirs."""

    def draw(pen: ImageDraw.ImageDraw) -> None:
        pen.polygon([*map(tuple, outline)], fill=1, outline=1)
        for hole in holes:
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


def coco_rle(counts, height: int, width: int) -> Draw:
    """COCO's run-length encoding: a list of counts, or its compressed string."""

    def draw(size: tuple[int, int]) -> np.ndarray:
        mask = coco_masks()
        rle = {"size": [height, width], "counts": counts}
        if isinstance(counts, list):
            rle = mask.frPyObjects(rle, height, width)
        elif isinstance(counts, str):
            rle["counts"] = counts.encode("ascii")
        return mask.decode(rle).astype(bool)

    return draw


def coco_masks():
    """pycocotools' module of masks.

    Raises:
        UserError: When it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError(
            "importing COCO's and CVAT's annotations needs pycocotools: "
            "pip install 'keras-bisenet[train]'"
        ) from error
    return mask


def _drawn(draw) -> Draw:
    def drawn(size: tuple[int, int]) -> np.ndarray:
        image = Image.new("L", size[::-1])
        draw(ImageDraw.Draw(image))
        return np.asarray(image) > 0

    return drawn
