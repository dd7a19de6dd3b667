"""Writing annotations as a data set of the kind `folder`: images, palette masks, classes.yaml."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from keras_bisenet.data.classes_entries import as_seen
from keras_bisenet.data.importers.annotations import (
    BACKGROUND_LABELS,
    VOID_LABELS,
    AnnotatedImage,
    Annotations,
    Shape,
)
from keras_bisenet.data.problems import Problem, print_warning
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import replacing, write_text
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES, exif_orientation, read_image
from keras_bisenet.label_map import VOID, LabelMap, pascal_palette

LEAST = 4
"""Where no shape of a whole project covers more pixels, they are no regions."""

TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright whose EXIF orientation swaps its sides."""


@dataclass(frozen=True)
class Imported:
    """What was written.

    Args:
        label_map: The classes.
        splits: How many images each split has; empty where the tool does not divide.
        missing: How many images were left out, since their files are not there.
    """

    label_map: LabelMap
    splits: Counter
    missing: int


def label_map_of(annotations: Annotations, unlabelled_is_void: bool = False) -> LabelMap:
    """The classes: the background first, then the tool's in its order, or else by name.

    There is a background where pixels may lie below no shape and are not void then.

    Raises:
        UserError: When there are none, or too many.
    """
    used = {shape.label for image in annotations.images for shape in image.shapes}
    labels = annotations.labels + sorted(used - {*annotations.labels})
    labels = [label for label in labels if label.lower() not in VOID_LABELS]
    background = next((each for each in labels if each.lower() in BACKGROUND_LABELS), "background")
    names = labels
    if not annotations.covers_all and (background in labels or not unlabelled_is_void):
        names = [background, *(label for label in labels if label != background)]
    if not 2 <= len(names) <= VOID:
        raise UserError(
            f"{len(names)} classes ({', '.join(names[:4])}): 2 to {VOID} can be told apart: "
            "annotate more than one, or leave unlabelled pixels to the background"
        )
    spare = [c for c in pascal_palette(256) if c not in annotations.colours.values()]
    palette = [annotations.colours.get(name) for name in names]
    if len({c for c in palette if c}) < sum(c is not None for c in palette):
        palette, spare = [None] * len(names), list(pascal_palette(256))  # a colour is there twice
    if palette[0] is None and (0, 0, 0) in spare:
        palette[0] = (0, 0, 0)
        spare.remove((0, 0, 0))
    return LabelMap(names, [colour or spare.pop(0) for colour in palette])


def write_folder(
    annotations: Annotations,
    directory: Path,
    *,
    link: bool = False,
    skip_missing: bool = False,
    unlabelled_is_void: bool = False,
    classes: LabelMap | None = None,
    classes_in: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Writes images and masks, all of them or nothing.

    Args:
        annotations: What a tool wrote.
        directory: Folder to make.
        link: Links to the images rather than copies of them.
        skip_missing: Leaves out images whose files are not there.
        unlabelled_is_void: Pixels below no shape are void rather than background.
        classes: The classes and ids of a data set that the masks are to go with. Defaults to
            those of the annotations, numbered from 0.
        classes_in: Where `classes` were read, for messages.
        progress: Called with 1 after each image.

    Raises:
        UsageError: When something is at `directory` already.
        UserError: When an image is missing, damaged, or of another size than the tool says, or
            `classes` has not all that is annotated.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory}: something is here already: choose another folder")
    annotations = _as_seen(annotations)
    labels = classes or label_map_of(annotations, unlabelled_is_void)
    bottom = VOID if unlabelled_is_void else 0
    if classes:
        bottom = _bottom_of(classes, annotations, unlabelled_is_void, classes_in)
    images = [image for image in annotations.images if image.file or image.data]
    missing = len(annotations.images) - len(images)
    if missing and not (skip_missing and images):
        first = next(i for i in annotations.images if not (i.file or i.data))
        raise UserError(
            f"{first.said_in}: {missing} of {len(annotations.images)} images are not here, such as "
            f"{first.name}: put them beside it, or leave them out with --skip-missing"
        )
    places = _places(images)
    largest = [0]
    with replacing(directory) as temporary:
        temporary.mkdir()

        def write(item: tuple[AnnotatedImage, PurePosixPath]) -> None:
            largest.append(_write_pair(*item, temporary, labels, link, bottom))

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(write, zip(images, places)):
                if progress:
                    progress(1)
        if max(largest) <= LEAST:
            raise UserError(
                f"{images[0].said_in}: {_none_drawn(annotations, max(largest))}: annotate regions, "
                "in pixels (not in shares of the sides)"
            )
        write_text(temporary / "classes.yaml", classes_yaml(labels))
        if directory.exists():
            directory.rmdir()
    return Imported(labels, _splits(images), missing)


def _bottom_of(
    classes: LabelMap, annotations: Annotations, is_void: bool, classes_in: Path | None
) -> int:
    """The class of pixels below no shape: the background, if the classes have one, else void.

    Raises:
        UserError: When a shape is of none of the classes, or void needs an id and has none.
    """
    has_void = False
    for image in annotations.images:
        for shape in image.shapes:
            is_ignored = shape.label.lower() in VOID_LABELS
            has_void |= is_ignored or shape.is_crowd
            if shape.label not in classes.names and not is_ignored:
                raise UserError(
                    f"{image.said_in}: {shape.label!r} is none of the classes of {classes_in} "
                    f"({', '.join(classes.names[:4])}, ...): rename it, or add it to them"
                )
    backgrounds = [i for i, n in enumerate(classes.names) if n.lower() in BACKGROUND_LABELS]
    bottom = backgrounds[0] if backgrounds and not is_void else VOID
    needs_void = has_void or (bottom == VOID and not annotations.covers_all)
    if needs_void and not classes.ignored_ids:
        raise UserError(f"{classes_in}: there is no id for void: declare one (void,254)")
    return bottom


def _none_drawn(annotations: Annotations, largest: int) -> str:
    skipped = ", ".join(f"{count} {what}" for what, count in annotations.skipped.items())
    if largest:
        return f"no shape on any image covers more than {largest} pixels"
    return "no shape on any image is a region" + (f" ({skipped})" if skipped else "")


def _as_seen(annotations: Annotations) -> Annotations:
    """The annotations with labels as people see them: without spaces around them, accents in one
    form. What differs by case alone is warned of."""

    def seen(shape: Shape, said_in: Path | None) -> Shape:
        label = as_seen(shape.label)
        if not label:
            raise UserError(f"{said_in}: a shape without a label: give it one")
        return dataclasses.replace(shape, label=label)

    found = dataclasses.replace(
        annotations,
        labels=list(dict.fromkeys(as_seen(label) for label in annotations.labels)),
        colours={as_seen(label): colour for label, colour in annotations.colours.items()},
        images=[
            dataclasses.replace(
                image, shapes=tuple(seen(shape, image.said_in) for shape in image.shapes)
            )
            for image in annotations.images
        ],
    )
    used = {shape.label for image in found.images for shape in image.shapes} | {*found.labels}
    alike = Counter(label.casefold() for label in used)
    twice = sorted(label for label in used if alike[label.casefold()] > 1)
    if twice:
        print_warning(
            Problem(
                "similar-names",
                "warning",
                f"labels that differ by case alone are classes of their own: {', '.join(twice)}",
                tuple(image.said_in for image in found.images[:1] if image.said_in),
                "rename them if one class is meant",
            )
        )
    return found


def classes_yaml(labels: LabelMap) -> str:
    """The text of a `classes.yaml`."""
    lines = ["classes:"]
    for number, name, colour in zip(labels.file_ids, labels.names, labels.palette):
        lines.append(f"  - {{name: {json.dumps(name)}, id: {number}, color: {list(colour)}}}")
    others = [number for number in labels.ignored_ids if number != VOID]
    lines += [f"ignore: {others}"] if others else []
    return "\n".join(lines) + "\n"


def class_ids(
    image: AnnotatedImage, size: tuple[int, int], labels: LabelMap, bottom: int
) -> tuple[np.ndarray, int]:
    """The mask of an image, uint8 `[height, width]`, and the pixels of its largest shape.

    Raises:
        UserError: When a shape is of another size.
    """
    mask, largest = np.full(size, bottom, np.uint8), 0
    for shape in (*_crowds(image, True), *_crowds(image, False)):
        where = shape.draw(size)
        largest = max(largest, np.count_nonzero(where))
        if where.shape != tuple(size):
            raise UserError(
                f"{image.said_in}: a shape on {image.name} is of {where.shape[0]}x{where.shape[1]} "
                f"pixels, and the image has {size[0]}x{size[1]}: export it again"
            )
        is_void = shape.is_crowd or shape.label.lower() in VOID_LABELS
        mask[where] = VOID if is_void else labels.names.index(shape.label)
    return mask, largest


def _crowds(image: AnnotatedImage, crowd: bool):
    return [shape for shape in image.shapes if shape.is_crowd == crowd]


def _splits(images: Sequence[AnnotatedImage]) -> Counter:
    """How many images each split has; empty where they are not divided.

    Raises:
        UserError: When some images have no split.
    """
    splits = Counter(image.split for image in images)
    if None in splits and len(splits) > 1:
        first = next(image for image in images if image.split is None)
        raise UserError(
            f"{first.said_in}: {splits[None]} images are in no split, such as {first.name}, and "
            "others are: put them into train, val or test too"
        )
    return Counter() if len(splits) == 1 and "train" not in splits else splits


def _places(images: Sequence[AnnotatedImage]) -> list[PurePosixPath]:
    """Where each image goes, below `images`.

    Raises:
        UserError: When two would go to one place.
    """
    splits = _splits(images)
    seen: dict[str, AnnotatedImage] = {}
    places = []
    for image in images:
        parts = PurePosixPath(image.name.replace("\\", "/")).parts
        place = PurePosixPath(*(part for part in parts if part not in ("..", "/")))
        if place.suffix.lower() not in IMAGE_SUFFIXES:
            place = place.with_name(place.name + (image.file.suffix if image.file else ".jpg"))
        place = PurePosixPath(image.split if splits else "all") / place
        other = seen.setdefault(place.with_suffix("").as_posix().lower(), image)
        if other is not image:
            raise UserError(
                f"{image.said_in}: {image.name} and {other.name} would have one mask: rename one"
            )
        places.append(place)
    return places


def _write_pair(image, place: PurePosixPath, root: Path, labels, link: bool, bottom: int) -> int:
    """Writes an image and its mask; the pixels of its largest shape."""
    split, *rest = place.parts
    folder = root if split == "all" else root / split
    target = folder.joinpath("images", *rest)
    target.parent.mkdir(parents=True, exist_ok=True)
    if image.data:
        target.write_bytes(image.data)
    elif link:
        target.symlink_to(image.file.resolve())
    else:
        shutil.copyfile(image.file, target)
    mask, largest = _upright_mask(image, target, labels, bottom)
    drawn = mask_picture(mask, labels)
    path = folder.joinpath("masks", *rest).with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.save(path)
    return largest


def mask_picture(class_ids: np.ndarray, labels: LabelMap) -> Image.Image:
    """A palette image of the ids that mask files have for classes, from uint8 `[height, width]`."""
    ids = np.full(256, (*labels.ignored_ids, VOID)[0], np.uint8)
    ids[: labels.num_classes] = labels.file_ids
    drawn = Image.fromarray(ids[class_ids])
    drawn.putpalette(_palette(labels))
    return drawn


def _upright_mask(
    image: AnnotatedImage, file: Path, labels: LabelMap, bottom: int
) -> tuple[np.ndarray, int]:
    """The mask as the image is seen, also where the tool did not turn it as its EXIF data ask, and
    the pixels of its largest shape.

    Raises:
        UserError: When the tool says another size.
    """
    upright = read_image(file, white=65535).shape[:2]  # its values do not matter here
    size = image.size or upright
    turn = None if tuple(size) == upright else TURNS.get(exif_orientation(file))
    if tuple(size) != (upright if turn is None else upright[::-1]):
        raise UserError(
            f"{image.said_in}: {image.name} was annotated at {size[0]}x{size[1]}, and the image "
            f"has {upright[0]}x{upright[1]}: take the image that was annotated"
        )
    mask, largest = class_ids(image, size, labels, bottom)
    return (mask if turn is None else np.asarray(Image.fromarray(mask).transpose(turn))), largest


def _palette(labels: LabelMap) -> list[int]:
    colours = [(0, 0, 0)] * VOID + [(224, 224, 192)]
    for number, colour in zip(labels.file_ids, labels.palette):
        colours[number] = colour
    return [channel for colour in colours for channel in colour]
