"""COCO: a JSON file of images, annotations and categories (https://cocodataset.org/#format-data).

    SRC/annotations/instances_train2017.json   SRC/train2017/*.jpg     as COCO is downloaded
    SRC/annotations/instances_default.json     SRC/images/*            as CVAT writes it
    SRC/train/_annotations.coco.json           SRC/train/*.jpg         as Roboflow writes it
    SRC/result.json                            SRC/images/*            as Label Studio writes it
    SRC.json                                   images below its folder

Polygons of several parts and both kinds of run-length encoding are drawn by pycocotools. Where
objects overlap, smaller ones lie on top; crowds (`iscrowd`) are void, below all others.
"""

from __future__ import annotations

from pathlib import Path

from keras_bisenet.data.importers.annotations import (
    AnnotatedImage,
    Annotations,
    ImageFiles,
    Shape,
    read_json,
    split_of,
)
from keras_bisenet.data.importers.rasterize import coco_masks, coco_polygons, coco_rle
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
    names: dict[int, str] = {}
    for path in paths:
        content = _content(path)
        categories = _categories(content, path)
        for number, name in categories.items():
            if names.setdefault(number, name) != name:
                raise UserError(
                    f"{path}: category {number} is {name!r} here and {names[number]!r} in another "
                    "file: import them one by one"
                )
        split = None if len(paths) == 1 and source.is_file() else split_of(path.stem)
        split = split or (split_of(path.parent.name) if path.parent != root else None)
        found.images += _images(content, path, split, categories, images, found.skipped)
    found.labels = [names[number] for number in sorted(names)]
    return found


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
    if any("segments_info" in annotation for annotation in content["annotations"][:1]):
        raise UserError(
            f"{path}: panoptic annotations, whose masks are PNG files: take those of the instances"
        )
    return content


def _categories(content: dict, path: Path) -> dict[int, str]:
    """Names by id, without Roboflow's first one, which stands for all others."""
    try:
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        parents = {each.get("supercategory") for each in content["categories"]}
        used = {each["category_id"] for each in content["annotations"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: a category or annotation without {error}") from error
    unknown = used - names.keys()
    if unknown:
        raise UserError(f"{path}: no category has the id {min(unknown)}: export it again")
    if len(set(names.values())) < len(names):
        raise UserError(f"{path}: two categories have one name: rename one")
    if 0 in names and 0 not in used and names[0] in parents:
        del names[0]
    return names


def _images(content, path: Path, split, names, images: ImageFiles, skipped):
    shapes: dict[int, list[tuple[float, Shape]]] = {}
    for annotation in content["annotations"]:
        shape = _shape(annotation, names, path)
        if isinstance(shape, Shape):
            area = float(annotation.get("area") or 0)
            shapes.setdefault(annotation["image_id"], []).append((-area, shape))
        else:
            skipped[shape] += 1
    for image in content["images"]:
        try:
            name, number = image["file_name"], image["id"]
            size = (int(image["height"]), int(image["width"])) if image.get("height") else None
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path}: an image without a name, id or size: export it again"
            raise UserError(message) from error
        near = [path.parent, path.parent.parent / f"{path.stem.rpartition('_')[2]}"]
        ordered = sorted(shapes.pop(number, []), key=lambda pair: pair[0])
        yield AnnotatedImage(
            name, images.find(name, near), size, tuple(s for _, s in ordered), split, said_in=path
        )
    if shapes:
        raise UserError(f"{path}: annotations of image {min(shapes)}, which is not listed")


def _shape(annotation: dict, names: dict[int, str], path: Path) -> Shape | str:
    """The region of an annotation, or what it has in place of one."""
    region = annotation.get("segmentation")
    if not region:
        return "boxes"
    label = names.get(annotation["category_id"], "")
    is_crowd = bool(annotation.get("iscrowd"))
    if isinstance(region, dict):
        try:
            height, width = region["size"]
            draw = coco_rle(region["counts"], int(height), int(width))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: a run-length encoding without size or counts") from error
        return Shape(label, draw, is_crowd=is_crowd)
    parts = [part for part in region if isinstance(part, list) and len(part) >= 6]
    return Shape(label, coco_polygons(parts), is_crowd=is_crowd) if parts else "lines"
