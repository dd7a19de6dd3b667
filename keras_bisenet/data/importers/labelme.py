"""labelme: a JSON file of shapes beside each image (https://github.com/wkentaro/labelme).

    SRC/a.jpg, SRC/a.json     in any folder below; the image may also lie in the JSON file itself
    SRC/labels.txt            the classes in order, where it is there (or classes.yaml)

Polygons, rectangles, circles and lines are drawn as labelme's own `shape_to_mask` does (by
Pillow; lines are 10 pixels wide), masks are taken as they are. Later shapes lie on top, as in
labelme's export: a hole is a shape of the background on top.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.classes_file import read_classes_file
from keras_bisenet.data.importers.annotations import (
    AnnotatedImage,
    Annotations,
    ImageFiles,
    Shape,
    count_unannotated,
    points_of,
    read_json,
    split_of,
)
from keras_bisenet.data.importers.rasterize import bitmap, ellipse, line, polygon, rectangle
from keras_bisenet.data.layouts import visible_files
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES

LINE_WIDTH = 10
LABEL_FILES = ("labels.txt", "class_names.txt", "classes.txt", "classes.yaml")


def read(source: Path) -> Annotations:
    """Reads all files below a folder.

    Raises:
        UserError: When there are none, or one is damaged.
    """
    paths = [source] if source.is_file() else sorted(source.rglob("*.json"))
    root = source if source.is_dir() else source.parent
    paths = [path for path in paths if not any(p.startswith(".") for p in path.parts)]
    images, found = ImageFiles(root), Annotations()
    for path in paths:
        content = read_json(path)
        if isinstance(content, dict) and "shapes" in content:
            found.images.append(_image(path, content, root, images, found.skipped))
    if not found.images:
        raise UserError(f"{source}: no JSON file of labelme here (with shapes and imagePath)")
    if source.is_dir():
        count_unannotated(found, visible_files(root, IMAGE_SUFFIXES))
    for name in LABEL_FILES:
        if (root / name).is_file():
            found.labels = [each.name for each in read_classes_file(root / name).classes]
            break
    return found


def _image(path: Path, content: dict, root: Path, images: ImageFiles, skipped) -> AnnotatedImage:
    name = str(content.get("imagePath") or path.with_suffix(".jpg").name).replace("\\", "/")
    suffix = Path(name).suffix or ".jpg"
    file, data = images.find(name, [path.parent]), None
    if file is None and content.get("imageData"):
        try:
            data = base64.b64decode(content["imageData"], validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise UserError(f"{path}: its imageData is damaged: add the image {name}") from error
    height, width = content.get("imageHeight"), content.get("imageWidth")
    shapes = []
    if not isinstance(content["shapes"], list):
        raise UserError(f"{path}: its shapes are no list: save it again in labelme")
    for shape in content["shapes"]:
        drawn = _shape(shape, path)
        if isinstance(drawn, Shape):
            shapes.append(drawn)
        else:
            skipped[drawn] += 1
    return AnnotatedImage(
        path.relative_to(root).with_suffix(suffix).as_posix(),
        file,
        (int(height), int(width)) if height and width else None,
        tuple(shapes),
        split_of(path.parent.name) if path.parent != root else None,
        data,
        path,
    )


def _shape(shape: dict, path: Path) -> Shape | str:
    """The region of a shape, or what kind of shape it is if that is none."""
    if not isinstance(shape, dict) or "label" not in shape:
        raise UserError(f"{path}: a shape without a label: mend it in labelme")
    kind = shape.get("shape_type") or "polygon"
    points = points_of(shape.get("points"), path)
    label = str(shape["label"])
    if kind in ("polygon", "rotation") and len(points) >= 3:  # X-AnyLabeling turns boxes
        return Shape(label, polygon(points))
    if kind == "rectangle" and len(points) == 2:
        return Shape(label, rectangle(*points))
    if kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        return Shape(label, ellipse(points[0], (radius, radius)))
    if kind in ("line", "linestrip") and len(points) >= 2:
        return Shape(label, line(points, LINE_WIDTH))
    if kind == "mask" and len(points) == 2:
        pixels = _mask(shape.get("mask"), path)
        (left, top), _ = points
        return Shape(label, bitmap(pixels, int(left), int(top)))
    return f"shapes of the type {kind}"


def _mask(encoded, path: Path) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            return np.asarray(image.convert("L")) > 0
    except (TypeError, ValueError, OSError) as error:
        raise UserError(f"{path}: a mask that is no PNG ({error}): save it again") from error
