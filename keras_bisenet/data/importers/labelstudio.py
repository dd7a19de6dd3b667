"""Label Studio: its JSON export (https://labelstud.io/guide/task_format, "Label Studio JSON").

    SRC/project-1-at-....json      tasks: polygons, brushes, rectangles, ellipses in per cent
    SRC/images/*                   the images, or those of `local-files`

Brushes are Label Studio's own run-length encoding of RGBA values. Later regions lie on top; of a
task with several annotations the last one that was not cancelled counts.
"""

from __future__ import annotations

from pathlib import Path

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
)
from keras_bisenet.data.importers.rasterize import LEAST_POINTS, ellipse, polygon, rotated
from keras_bisenet.data.layouts import MASK_SUFFIXES
from keras_bisenet.errors import UserError

KINDS = ("polygon", "brush", "rectangle", "ellipse")


def read(source: Path) -> Annotations:
    """Reads a file, or that of a folder.

    Raises:
        UserError: When there is none, or it is damaged or JSON-MIN.
    """
    path = _file(source)
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UserError(f"{path}: no list of tasks: export the project as JSON")
    if any("annotations" not in task for task in tasks):
        raise UserError(
            f"{path}: tasks without annotations (JSON-MIN?): export the project as JSON"
        )
    images, found = ImageFiles(path.parent), Annotations()
    for task in tasks:
        image = _image(task, path, images, found.skipped)
        if image:
            found.images.append(image)
        else:
            found.skipped["tasks that nobody finished"] += 1
    if not found.images:
        raise UserError(f"{path}: no task in it is annotated")
    return found


def _file(source: Path) -> Path:
    if source.is_file():
        return source
    paths = sorted(source.glob("*.json"))
    if len(paths) == 1:
        return paths[0]
    raise UserError(
        f"{source}: {len(paths)} JSON files here: export the project as JSON (its masks alone do "
        "not say of which image they are), and name that file"
    )


def _image(task: dict, path: Path, images: ImageFiles, skipped) -> AnnotatedImage | None:
    done = [a for a in task["annotations"] if not a.get("was_cancelled")]
    if not done:
        return None
    name = _name_in(task.get("data") or {})
    # An upload has eight digits and a dash before its name, which an export may leave out.
    shorter = name.partition("-")[2] or name
    file = images.find(name) or images.find(shorter)
    results = done[-1].get("result") or []
    sizes = {(r.get("original_height"), r.get("original_width")) for r in results} - {(None, None)}
    if len(sizes) > 1:
        raise UserError(f"{path}: task {task.get('id')} has images of several sizes")
    size = sizes.pop() if sizes else None
    shapes = []
    for result, labels in _with_labels(results):
        kind = str(result.get("type", "")).removesuffix("labels")
        if not labels or kind not in KINDS:
            if kind not in ("labels", "choices", "textarea", ""):
                skipped[f"regions of the type {result.get('type')}"] += 1
            continue
        if len(labels) > 1:
            skipped["labels of regions that have several, but the first of each"] += 1
        if result.get("image_rotation"):
            raise UserError(f"{path}: task {task.get('id')} was turned: turn its image instead")
        draw = _region(kind, result["value"], size, path)
        if draw:
            shapes.append(Shape(labels[0], draw))
        else:
            skipped["polygons of fewer than 3 points"] += 1
    return AnnotatedImage(name, file, size, tuple(shapes), said_in=path)


def _name_in(data: dict) -> str:
    """The name of the image among a task's data, which may have texts too."""
    names = [name_in_address(value) for value in data.values() if isinstance(value, str)]
    pictures = [name for name in names if name.lower().endswith(MASK_SUFFIXES)]
    return next(iter((*pictures, *names)), "")


def _with_labels(results: list[dict]):
    """Regions with their labels, which may be in a result of their own with the same id."""
    labels = {
        result.get("id"): labels
        for result in results
        if (labels := _labels(result)) and result.get("id")
    }
    for result in results:
        yield result, _labels(result) or labels.get(result.get("id"), [])


def _labels(result: dict) -> list[str]:
    value = result.get("value") or {}
    found = next((v for k, v in value.items() if k.endswith("labels")), [])
    return [str(label) for label in found]


def _region(kind: str, value: dict, size: tuple[int, int] | None, path: Path) -> Draw | None:
    if not size:
        raise UserError(f"{path}: a region without original_width and original_height")
    height, width = size

    def percent(key: str, side: int) -> float:
        return coordinate(value.get(key, 0), path) / 100 * side

    if kind == "brush":
        return _brush(value, size, path)
    if kind == "polygon":
        points = points_of(value.get("points"), path)
        if len(points) < LEAST_POINTS:
            return None
        return polygon([(x / 100 * width, y / 100 * height) for x, y in points])
    x, y = percent("x", width), percent("y", height)
    turned = number(value.get("rotation", 0), "rotation", path)
    if kind == "ellipse":
        radii = percent("radiusX", width), percent("radiusY", height)
        return ellipse((x, y), radii, turned)
    right, bottom = x + percent("width", width), y + percent("height", height)
    corners = [(x, y), (right, y), (right, bottom), (x, bottom)]
    return polygon(rotated(corners, (x, y), turned))  # about its upper left corner


def _brush(value: dict, size: tuple[int, int], path: Path) -> Draw:
    if value.get("format") != "rle":
        raise UserError(f"{path}: a brush of the format {value.get('format')!r}, not rle")

    def draw(_: tuple[int, int]) -> np.ndarray:
        try:
            values = decode_rle(bytes(value["rle"]), size[0] * size[1] * 4)
            return values.reshape(*size, 4)[..., 3] > 0
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(f"{path}: a brush whose rle is damaged ({error})") from error

    return draw


def decode_rle(data: bytes, expected: int) -> np.ndarray:
    """Values that `@thi.ng/rle-pack` packed, which Label Studio's brushes are.

    32 bits: the number of values; 5: their width less 1; 4 times 4: the widths of four kinds of
    lengths, less 1. Then runs: a bit, whether the values are all the same; 2: the kind of length;
    the length less 1; the value, or the values.

    Returns:
        uint8 `[expected]`.

    Raises:
        ValueError: When the data end too early, or say another number.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    place = 0

    def take(width: int) -> int:
        nonlocal place
        chunk = bits[place : place + width]
        if len(chunk) < width:
            raise ValueError("it ends too early")
        place += width
        return int("".join(map(str, chunk.tolist())), 2)

    count, width = take(32), take(5) + 1
    if count != expected:
        raise ValueError(f"{count} values for {expected}")
    lengths = [take(4) + 1 for _ in range(4)]
    values, done = np.zeros(count, np.uint8), 0
    weights = 1 << np.arange(width)[::-1]
    while done < count:
        same = take(1)
        end = min(done + 1 + take(lengths[take(2)]), count)
        if same:
            values[done:end] = take(width)
        else:
            chunk = bits[place : place + (end - done) * width]
            values[done:end] = chunk.reshape(end - done, width) @ weights
            place += len(chunk)
        done = end
    return values
