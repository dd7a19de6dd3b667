"""Supervisely: a project of data sets, in the Supervisely format (https://docs.supervisely.com).

    SRC/meta.json                      classes, with colours
    SRC/DATASET/img/a.jpg              images
    SRC/DATASET/ann/a.jpg.json         objects: polygons with holes, bitmaps, rectangles, lines

Later objects lie on top. Data sets, or else tags of images, that are named after splits become
those.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.importers.annotations import (
    AnnotatedImage,
    Annotations,
    Draw,
    Shape,
    count_unannotated,
    points_of,
    read_json,
    split_of,
)
from keras_bisenet.data.importers.rasterize import LEAST_POINTS, bitmap, polygon, rectangle
from keras_bisenet.data.layouts import MASK_SUFFIXES, visible_files
from keras_bisenet.errors import UserError


def read(source: Path) -> Annotations:
    """Reads a project.

    Raises:
        UserError: When there is none, or it is damaged.
    """
    meta = read_json(source / "meta.json")
    found = Annotations()
    try:
        for each in meta["classes"]:
            if each["title"] in found.labels:
                raise UserError(f"{source / 'meta.json'}: two classes are called {each['title']!r}")
            found.labels.append(str(each["title"]))
            found.colours[found.labels[-1]] = tuple(bytes.fromhex(each["color"].lstrip("#")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{source / 'meta.json'}: no classes of Supervisely in it") from error
    for folder in sorted(path.parent for path in source.rglob("ann") if path.is_dir()):
        for path in sorted((folder / "ann").glob("*.json")):
            found.images.append(_image(path, folder, source, found))
        count_unannotated(found, visible_files(folder / "img", MASK_SUFFIXES))
    if not found.images:
        raise UserError(f"{source}: no folder with img and ann here: export the project again")
    return found


def _image(path: Path, folder: Path, source: Path, found: Annotations) -> AnnotatedImage:
    content, name = read_json(path), path.stem  # a.jpg of a.jpg.json
    try:
        size = int(content["size"]["height"]), int(content["size"]["width"])
        objects = content["objects"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: no annotation of Supervisely (size, objects)") from error
    shapes = []
    for each in objects:
        if each.get("classTitle") not in found.labels:
            raise UserError(f"{path}: {each.get('classTitle')!r} is no class of meta.json")
        draw = _region(each, path, found.skipped)
        if draw:
            shapes.append(Shape(each["classTitle"], draw))
        else:
            found.skipped[f"objects of the type {each.get('geometryType')}"] += 1
    tags = [split_of(str(tag.get("name"))) for tag in content.get("tags", ())]
    split = split_of(folder.name) or next((tag for tag in tags if tag), None)
    image = folder / "img" / name
    if not image.is_file():  # older projects: a.json of a.jpg
        same = [p for p in visible_files(folder / "img", MASK_SUFFIXES) if p.stem == name]
        image = same[0] if len(same) == 1 else image
    relative = (folder.relative_to(source) / name).as_posix()
    return AnnotatedImage(
        relative, image if image.is_file() else None, size, tuple(shapes), split, said_in=path
    )


def _region(each: dict, path: Path, skipped: Counter) -> Draw | None:
    kind, points = each.get("geometryType"), each.get("points") or {}
    if kind == "polygon":
        outline = points_of(points.get("exterior"), path)
        holes = [points_of(hole, path) for hole in points.get("interior") or ()]
        empty = sum(len(hole) < LEAST_POINTS for hole in holes)
        if empty:
            skipped["holes of fewer than 3 points"] += empty
        return polygon(outline, holes) if len(outline) >= LEAST_POINTS else None
    if kind == "rectangle":
        corners = points_of(points.get("exterior"), path)
        return rectangle(*corners) if len(corners) == 2 else None
    if kind == "bitmap":
        return _bitmap(each.get("bitmap") or {}, path)
    return None


def _bitmap(encoded: dict, path: Path) -> Draw:
    """A PNG, compressed and in Base64; where it has an alpha channel, that is the mask."""
    try:
        png = zlib.decompress(base64.b64decode(encoded["data"]))
        left, top = (int(value) for value in encoded["origin"])
        with Image.open(io.BytesIO(png)) as image:
            has_alpha = image.mode in ("RGBA", "LA")
            pixels = np.asarray(image.getchannel("A") if has_alpha else image) > 0
    except (KeyError, TypeError, ValueError, OSError, zlib.error) as error:
        raise UserError(f"{path}: a damaged bitmap ({error}): export it again") from error
    return bitmap(pixels if pixels.ndim == 2 else pixels.any(axis=2), left, top)
