"""COCO's panoptic annotations: a JSON file, and a PNG for each image whose colours are numbers of
segments (https://cocodataset.org/#format-data, 4. Panoptic Segmentation).

    SRC/annotations/panoptic_val2017.json   SRC/annotations/panoptic_val2017/*.png

A colour stands for red + 256 * green + 256 * 256 * blue. What is in no segment is void, and so are
crowds. Each pixel has one class: there is no background beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from keras_bisenet.data.importers.annotations import AnnotatedImage, ImageFiles, Shape
from keras_bisenet.data.masks import read_colours
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import colour_codes


def is_panoptic(content: dict) -> bool:
    return any("segments_info" in annotation for annotation in content["annotations"][:1])


def images_of(
    content: dict, path: Path, split: str | None, names: dict[str, str], images: ImageFiles
) -> Iterator[AnnotatedImage]:
    """The images of a file, with a shape for each segment.

    Raises:
        UserError: When a file is not there, or an annotation is damaged.
    """
    folders = (path.parent / path.stem, path.parent)
    annotations = {str(each["image_id"]): each for each in content["annotations"]}
    if len(annotations) < len(content["annotations"]):
        raise UserError(f"{path}: two annotations are of one image: export it again")
    for image in content["images"]:
        annotation = annotations.pop(str(image["id"]), None)
        if annotation is None:
            continue
        name, masks = str(image["file_name"]), [f / annotation["file_name"] for f in folders]
        mask = next((file for file in masks if file.is_file()), None)
        if mask is None:
            raise UserError(f"{masks[0]}: there is no such file, which {path.name} names: add it")
        near = [path.parent, path.parent.parent / path.stem.rpartition("_")[2]]
        size = (int(image["height"]), int(image["width"])) if image.get("height") else None
        shapes = [Shape("void", lambda size, mask=mask: np.ones(_numbers(mask).shape, bool))]
        for segment in annotation["segments_info"]:
            shapes.append(_shape(segment, mask, names))
        yield AnnotatedImage(name, images.find(name, near), size, tuple(shapes), split, None, mask)
    if annotations:
        raise UserError(f"{path}: annotations of image {min(annotations)}, which is not listed")


def _shape(segment: dict, mask: Path, names: dict[str, str]) -> Shape:
    number = int(segment["id"])
    label = "void" if segment.get("iscrowd") else names[str(segment["category_id"])]
    return Shape(label, lambda size: _numbers(mask) == number)


@lru_cache(maxsize=8)
def _numbers(mask: Path) -> np.ndarray:
    """The numbers of segments: int32 `[height, width]`. An image's shapes all ask for them."""
    return colour_codes(read_colours(mask)[..., ::-1])
