"""CVAT for images 1.1: `annotations.xml` (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat).

    SRC/annotations.xml   SRC/images/*    (or SRC/images/SUBSET/*)

Polygons are drawn by pycocotools, which CVAT's own exports of masks use; masks are CVAT's
run-length encoding. Shapes are ordered by `z_order`, then as they come. Subsets that are named
after splits become those.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from keras_bisenet.data.importers.annotations import (
    FARTHEST,
    AnnotatedImage,
    Annotations,
    Draw,
    ImageFiles,
    Shape,
    coordinate,
    number,
    split_of,
)
from keras_bisenet.data.importers.rasterize import (
    bitmap,
    coco_masks,
    coco_polygons,
    ellipse,
    rotated,
)
from keras_bisenet.errors import UserError


def read(source: Path) -> Annotations:
    """Reads the file, or that of a folder.

    Raises:
        UserError: When there is none, it is damaged, or it is CVAT for video.
    """
    coco_masks()
    path = source if source.is_file() else source / "annotations.xml"
    root = _parsed(path)
    if root.find("track") is not None:
        raise UserError(f"{path}: CVAT for video: export it as 'CVAT for images 1.1'")
    images = ImageFiles(path.parent / "images", path.parent)
    found = Annotations(order="shapes of a higher z_order lie on top, else later ones")
    for label in root.iter("label"):
        name = label.findtext("name")
        if name and name not in found.labels:
            found.labels.append(name)
            colour = (label.findtext("color") or "").lstrip("#")
            if len(colour) == 6:
                found.colours[name] = tuple(bytes.fromhex(colour))
    for image in root.iter("image"):
        found.images.append(_image(image, images, path, found.skipped))
    if not found.images:
        raise UserError(f"{path}: no image in it: export it as 'CVAT for images 1.1'")
    return found


def _parsed(path: Path) -> ElementTree.Element:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}: export the task as 'CVAT for images 1.1', with images"
        ) from error
    if b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
        raise UserError(f"{path}: XML with a document type, which CVAT writes none of")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: no XML that can be read ({error}): export it again") from error
    if root.tag != "annotations":
        raise UserError(
            f"{path}: no annotations of CVAT (<{root.tag}>): export it as 'CVAT for images'"
        )
    return root


def _image(image, images: ImageFiles, path: Path, skipped) -> AnnotatedImage:
    name, subset = image.get("name", ""), image.get("subset")
    near = [path.parent / "images" / subset] if subset else []
    size = tuple(int(number(image.get(key), key, path)) for key in ("height", "width"))
    shapes = []
    for element in image:
        draw = _region(element, path)
        if draw:
            layer = number(element.get("z_order", 0), "z_order", path)
            shapes.append(Shape(element.get("label", ""), draw, layer))
        elif element.tag != "tag":
            skipped[f"{element.tag}s"] += 1
    ordered = tuple(sorted(shapes, key=lambda shape: shape.layer))
    split = split_of(subset) if subset else None
    return AnnotatedImage(name, images.find(name, near), size, ordered, split, said_in=path)


def _region(element, path: Path) -> Draw | None:
    def value(key: str) -> float:
        return coordinate(element.get(key), path)

    turned = number(element.get("rotation", 0), "rotation", path)
    if element.tag == "polygon":
        points = [pair.split(",") for pair in element.get("points", "").split(";")]
        values = [coordinate(x, path) for pair in points for x in pair]
        return coco_polygons([values]) if len(values) >= 6 else None
    if element.tag == "box":
        left, top, right, bottom = (value(key) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        centre = ((left + right) / 2, (top + bottom) / 2)
        return coco_polygons([[x for point in rotated(corners, centre, turned) for x in point]])
    if element.tag == "ellipse":
        return ellipse((value("cx"), value("cy")), (value("rx"), value("ry")), turned)
    if element.tag == "mask":
        return _mask(element, path)
    return None


def _mask(element, path: Path) -> Draw:
    """Counts of pixels row by row, the first of those outside."""
    left, top, width, height = (
        int(number(element.get(key), key, path)) for key in ("left", "top", "width", "height")
    )
    counts = [int(number(n, "a count", path)) for n in element.get("rle", "").split(",")]
    if sum(counts) != width * height or min(counts) < 0 or max(width, height) > FARTHEST:
        raise UserError(
            f"{path}: a mask of {width}x{height} pixels whose counts are {sum(counts)}: export it "
            "again"
        )
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return bitmap(values.reshape(height, width), left, top)
