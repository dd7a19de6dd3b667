"""COCO: a JSON file of images, annotations and categories (https://cocodataset.org/#format-data).

    SRC/annotations/instances_train2017.json   SRC/train2017/*.jpg     as COCO is downloaded
    SRC/annotations/instances_default.json     SRC/images/*            as CVAT writes it
    SRC/train/_annotations.coco.json           SRC/train/*.jpg         as Roboflow writes it
    SRC/result.json                            SRC/images/*            as Label Studio writes it
    SRC.json                                   images below its folder
    SRC/annotations/panoptic_val2017.json      panoptic annotations: see `panoptic`

Polygons of several parts are drawn by pycocotools; both kinds of run-length encoding are read.
Where objects overlap, smaller ones lie on top (by their `area`, or what they cover where that is
missing); crowds (`iscrowd`) are void, below all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_bisenet.data.importers.annotations import (
    AnnotatedImage,
    Annotations,
    Draw,
    ImageFiles,
    Shape,
    coordinate,
    name_in_address,
    number,
    points_of,
    read_json,
    split_of,
)
from keras_bisenet.data.importers.panoptic import images_of, is_panoptic
from keras_bisenet.data.importers.rasterize import (
    coco_counts,
    coco_masks,
    coco_polygons,
    coco_rle,
)
from keras_bisenet.errors import UserError


def read(source: Path) -> Annotations:
    """Reads one file, or all below a folder.

    Raises:
        UserError: When there are none, or they are damaged or of another kind.
    """
    coco_masks()
    root = source if source.is_dir() else source.parent
    paths = [source] if source.is_file() else _files(source)
    images = ImageFiles(root)
    found = Annotations(order="smaller objects lie on top of larger ones, and crowds are void")
    names: dict[str, str] = {}
    kinds = set()
    for path in paths:
        content = _content(path)
        _refuse_shares(content, path)
        kinds.add(is_panoptic(content))
        categories = _categories(content, path)
        for key, name in categories.items():
            if names.setdefault(key, name) != name:
                raise UserError(
                    f"{path}: category {key} is {name!r} here and {names[key]!r} in another "
                    "file: import them one by one"
                )
        split = None if len(paths) == 1 and source.is_file() else split_of(path.stem)
        split = split or (split_of(path.parent.name) if path.parent != root else None)
        if is_panoptic(content):
            found.images += images_of(content, path, split, categories, images)
        else:
            found.images += _images(content, path, split, categories, images, found.skipped)
    if len(kinds) > 1:
        raise UserError(f"{root}: panoptic annotations beside others: import one of the files")
    found.covers_all = True in kinds
    found.labels = [names[each] for each in sorted(names, key=_by_number)]
    return found


def _by_number(text: str) -> tuple:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)


def _files(folder: Path) -> list[Path]:
    paths = [p for p in sorted(folder.rglob("*.json")) if not p.name.startswith(".")]
    known = [p for p in paths if {"images", "annotations", "categories"} <= _keys(p)]
    # COCO's own folder has captions and keypoints of the same images beside the instances.
    named = [path for path in known if path.name.startswith("instances")]
    if not known:
        raise UserError(f"{folder}: no JSON file with images, annotations and categories here")
    return named or known


def _keys(path: Path) -> set[str]:
    content = read_json(path)
    return set(content) if isinstance(content, dict) else set()


def _content(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
        raise UserError(f"{path}: no annotations of COCO (images, annotations, categories)")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content[key], list):
            raise UserError(f"{path}: {key} is no list: export it again")
    return content


def _refuse_shares(content: dict, path: Path) -> None:
    """Refuses polygons in shares of the image's sides, which COCO has none of: all would lie in
    its first pixel."""
    polygons = [
        annotation["segmentation"]
        for annotation in content["annotations"]
        if isinstance(annotation.get("segmentation"), list) and annotation["segmentation"]
    ]
    for polygon in polygons:
        if any(not (np.isreal(x) and 0 <= x <= 1) for part in polygon for x in np.ravel(part)):
            return
    if polygons:
        raise UserError(
            f"{path}: all coordinates lie between 0 and 1, and COCO's are pixels: multiply them by "
            "the images' sides"
        )


def _categories(content: dict, path: Path) -> dict[str, str]:
    """Names by id, without Roboflow's first one, which stands for all others."""
    try:
        names = {str(each["id"]): str(each["name"]) for each in content["categories"]}
        parents = {each.get("supercategory") for each in content["categories"]}
        used = {
            str(each["category_id"])
            for annotation in content["annotations"]
            for each in annotation.get("segments_info", [annotation])
        }
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: a category or annotation without {error}") from error
    if len(names) < len(content["categories"]):
        raise UserError(f"{path}: two categories have one id: give each its own")
    unknown = used - names.keys()
    if unknown:
        raise UserError(f"{path}: no category has the id {min(unknown)}: export it again")
    if len(set(names.values())) < len(names):
        raise UserError(f"{path}: two categories have one name: rename one")
    if "0" in names and "0" not in used and names["0"] in parents:
        del names["0"]
    return names


def _images(content, path: Path, split, names, images: ImageFiles, skipped):
    shapes: dict[str, list[tuple[float, Shape]]] = {}
    for annotation in content["annotations"]:
        region = _region(annotation.get("segmentation"), path)
        if isinstance(region, Region):
            area = number(annotation.get("area") or region.area, "an area", path)
            shape = Shape(
                names.get(str(annotation["category_id"]), ""),
                region.draw,
                is_crowd=bool(annotation.get("iscrowd")),
            )
            shapes.setdefault(str(annotation["image_id"]), []).append((-area, shape))
        else:
            skipped[region] += 1
    seen: dict[str, str] = {}
    for image in content["images"]:
        try:
            name, key = str(image["file_name"]), str(image["id"])
            name = name_in_address(name) if "://" in name else name
            size = (int(image["height"]), int(image["width"])) if image.get("height") else None
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path}: an image without a name, id or size: export it again"
            raise UserError(message) from error
        if key in seen:
            raise UserError(
                f"{path}: the images {seen[key]} and {name} have one id ({key}): export it again"
            )
        seen[key] = name
        near = [path.parent, path.parent.parent / f"{path.stem.rpartition('_')[2]}"]
        ordered = sorted(shapes.pop(key, []), key=lambda pair: pair[0])
        yield AnnotatedImage(
            name, images.find(name, near), size, tuple(s for _, s in ordered), split, said_in=path
        )
    if shapes:
        raise UserError(f"{path}: annotations of image {min(shapes)}, which is not listed")


class Region(NamedTuple):
    """Where an object is, and its pixels, about."""

    draw: Draw
    area: float


def _region(encoded, path: Path) -> Region | str:
    """The region of an annotation, or what it has in place of one."""
    if not encoded:
        return "boxes"
    if isinstance(encoded, dict):
        try:
            height, width = map(int, encoded["size"])
            counts = encoded["counts"]
            counts = coco_counts(counts) if isinstance(counts, str) else counts
            return Region(coco_rle(counts, height, width), sum(counts[1::2]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: a run-length encoding that is damaged ({error}): export it again"
            ) from error
    if not isinstance(encoded[0], list):
        encoded = [encoded]  # one part, of a program that forgot the list around it
    parts = [_part(part, path) for part in encoded]
    parts = [part for part in parts if len(part) >= 6]
    return Region(coco_polygons(parts), sum(map(_area, parts))) if parts else "lines"


def _part(values, path: Path) -> list[float]:
    """`[x0, y0, x1, y1, ...]`, also of `[[x0, y0], ...]`."""
    if all(isinstance(value, list) for value in values):
        values = [each for point in points_of(values, path) for each in point]
    if len(values) % 2:
        raise UserError(f"{path}: a polygon of {len(values)} numbers, x without y: export it again")
    return [coordinate(value, path) for value in values]


def _area(part: Sequence[float]) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = np.array(part[0::2]), np.array(part[1::2])
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
