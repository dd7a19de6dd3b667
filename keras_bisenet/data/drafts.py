"""A model's answers as drafts for a person who labels: masks or polygons, the least certain first.

What an image would teach a model is guessed by the model's uncertainty (uncertainty sampling, as
active learning has it): the mean entropy of its pixels' class probabilities.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.bit_depth import find_image_range
from keras_bisenet.data.contours import Region, regions, simplified
from keras_bisenet.data.importers.annotations import BACKGROUND_LABELS
from keras_bisenet.data.importers.writing import classes_yaml, mask_picture
from keras_bisenet.data.problems import print_warning
from keras_bisenet.errors import UsageError
from keras_bisenet.files import replacing, write_csv, write_json, write_text
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.label_map import VOID, LabelMap

Probabilities = Callable[[np.ndarray], np.ndarray]
"""From an image, uint8 `[height, width, 3]`, to class probabilities `[height, width, classes]`."""


@dataclass(frozen=True)
class Draft:
    """What a model says of an image that nobody labelled.

    Args:
        image: The image's file.
        png: Its class ids as a PNG file: thousands of them fit into memory.
        confidence: The mean probability of the pixels' classes.
        uncertainty: The mean entropy of the pixels' probabilities, 0 (certain) to 1 (all classes
            are as likely).
    """

    image: Path
    png: bytes
    confidence: float
    uncertainty: float

    @property
    def class_ids(self) -> np.ndarray:
        """uint8 `[height, width]`, with `VOID` where the model is too unsure."""
        with Image.open(io.BytesIO(self.png)) as image:
            return np.array(image)


@dataclass(frozen=True)
class Style:
    """How drafts are written.

    Args:
        form: `png`, `labelme` or `coco`.
        tolerance: Pixels that polygons may be off by.
        min_area: Pixels of the smallest region that gets a polygon.
        unsure_below: Pixels whose class is less probable become void.
    """

    form: str = "png"
    tolerance: float = 1.5
    min_area: int = 32
    unsure_below: float = 0.0


def write_drafts(
    directory: Path,
    final_directory: Path,
    images: Sequence[Path],
    probabilities: Probabilities,
    labels: LabelMap,
    style: Style,
    count: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Draft]:
    """Drafts labels for images, and ranks them.

    Args:
        directory: An empty folder.
        final_directory: What that folder will be called, for paths between files.
        images: The images.
        probabilities: The model.
        labels: Its classes.
        style: How the drafts are written.
        count: Writes so many alone, the least certain. Defaults to all.
        progress: Called with 1 after each image.

    Returns:
        The drafts that were written, the least certain first.

    Raises:
        UsageError: When masks are to have void, and the classes leave no id for it.
        UserError: When an image cannot be read.
    """
    if style.form == "png" and style.unsure_below and not labels.ignored_ids:
        raise UsageError(
            "--unsure-below: the model's data set has no id for void: choose --format labelme, or "
            "leave it out"
        )
    # As in a data set: a dark image among bright ones stays dark.
    white = find_image_range(images, images[0].parent, print_warning) if images else None
    drafts = []
    for image in images:
        drafts.append(draft_of(image, probabilities, style.unsure_below, white))
        if progress:
            progress(1)
    ranked = write_ranking(directory / "drafts.csv", drafts)[:count]
    write_text(directory / "classes.yaml", classes_yaml(labels))
    if style.form == "coco":
        annotations = coco_annotations(ranked, labels, style.tolerance, style.min_area)
        write_json(directory / "annotations.json", annotations)
    for draft in ranked:
        if style.form == "png":
            write_mask(directory, draft, labels)
        elif style.form == "labelme":
            write_labelme(directory, final_directory, draft, labels, style)
    return ranked


def draft_of(
    image: Path,
    probabilities: Probabilities,
    unsure_below: float = 0.0,
    white: float | None = None,
) -> Draft:
    """Segments an image.

    Args:
        image: Its file.
        probabilities: The model.
        unsure_below: Pixels whose class is less probable become void.
        white: What is white in images of more than 8 bits, as `read_image` takes it.

    Raises:
        UserError: When the image cannot be read.
    """
    found = probabilities(read_image(image, white))
    best = found.max(axis=-1)
    class_ids = found.argmax(axis=-1).astype(np.uint8)
    class_ids[best < unsure_below] = VOID
    png = io.BytesIO()
    Image.fromarray(class_ids).save(png, "PNG")
    return Draft(image, png.getvalue(), float(best.mean()), float(entropy(found).mean()))


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """The entropy of probabilities `[..., classes]`, divided by the largest that there can be."""
    logarithms = np.log(np.maximum(probabilities, 1e-12))
    return -(probabilities * logarithms).sum(axis=-1) / np.log(probabilities.shape[-1])


def write_ranking(path: Path, drafts: Sequence[Draft]) -> list[Draft]:
    """Writes `drafts.csv`, the least certain first; returns the drafts in that order."""
    ranked = sorted(drafts, key=lambda draft: (-draft.uncertainty, draft.image))
    rows = [
        {
            "rank": rank,
            "image": os.fsencode(draft.image).decode("utf-8", "backslashreplace"),
            "uncertainty": f"{draft.uncertainty:.4f}",
            "confidence": f"{draft.confidence:.4f}",
        }
        for rank, draft in enumerate(ranked, start=1)
    ]
    write_csv(path, rows)
    return ranked


def write_mask(directory: Path, draft: Draft, labels: LabelMap) -> None:
    """Writes `masks/NAME.png`, a palette image of the ids that `classes.yaml` declares."""
    image = mask_picture(draft.class_ids, labels)
    with replacing(directory / "masks" / f"{draft.image.stem}.png") as path:
        image.save(path)


def write_labelme(
    directory: Path, final_directory: Path, draft: Draft, labels: LabelMap, style: Style
) -> None:
    """Writes `NAME.json`, which labelme opens; it finds the image from `final_directory`."""
    height, width = draft.class_ids.shape
    shapes = [
        {
            "label": _label(region, labels),
            "points": points.tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for region in drawn_regions(draft, labels, style.min_area)
        if len(points := simplified(region.centres, style.tolerance)) > 2
    ]
    write_json(
        directory / f"{draft.image.stem}.json",
        {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": os.path.relpath(draft.image, final_directory),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        },
    )


def coco_annotations(
    drafts: Sequence[Draft], labels: LabelMap, tolerance: float, min_area: int
) -> dict:
    """All drafts as COCO's JSON, for tools that import it: CVAT, Label Studio, Roboflow."""
    annotations = []
    for number, draft in enumerate(drafts, start=1):
        for region in drawn_regions(draft, labels, min_area):
            points = simplified(region.corners, tolerance)
            low, high = points.min(axis=0), points.max(axis=0)
            if region.class_id == VOID or len(points) < 3:
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": region.class_id + 1,
                    "segmentation": [points.reshape(-1).tolist()],
                    "area": region.area,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "iscrowd": 0,
                }
            )
    return {
        "images": [
            {
                "id": number,
                "file_name": draft.image.name,
                "height": draft.class_ids.shape[0],
                "width": draft.class_ids.shape[1],
            }
            for number, draft in enumerate(drafts, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(labels.names)],
    }


def drawn_regions(draft: Draft, labels: LabelMap, min_area: int) -> list[Region]:
    """The regions to draw, the largest first; the background's where it lies in another alone."""
    background = labels.names[0].lower() in BACKGROUND_LABELS
    return [
        region
        for region in regions(draft.class_ids, min_area)
        if not (background and region.class_id == 0 and region.touches_border)
    ]


def _label(region: Region, labels: LabelMap) -> str:
    return "__ignore__" if region.class_id == VOID else labels.names[region.class_id]
