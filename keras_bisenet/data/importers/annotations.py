"""What all annotation tools say: images, and shapes of classes on them."""

from __future__ import annotations

import json
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_bisenet.data.layouts import MASK_SUFFIXES, SPLIT_NAMES, visible_files
from keras_bisenet.errors import UserError

FARTHEST = 1 << 20
"""Pixels from the corner that a coordinate may have; farther is no image, and takes for ever."""

VOID_LABELS = ("__ignore__", "_ignore_", "void", "ignore", "ignored")
BACKGROUND_LABELS = ("background", "_background_", "__background__", "bg")

Draw = Callable[[tuple[int, int]], np.ndarray]
"""From an image's `(height, width)` to where a shape is: bool `[height, width]`."""


@dataclass(frozen=True)
class Shape:
    """A region of one class.

    Args:
        label: The class; one of `VOID_LABELS` is void (the ignore label).
        draw: Where it is.
        layer: Shapes of a higher layer lie on top; within one, later ones do.
        is_crowd: Whether it holds many objects that nobody told apart: void, below all others.
    """

    label: str
    draw: Draw
    layer: float = 0
    is_crowd: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """An image, and the shapes on it.

    Args:
        name: Its name in the data set, perhaps with folders.
        file: Where it lies; None where the tool names an image that is not there.
        size: `(height, width)` by the tool's account; None where it does not say.
        shapes: The shapes, from the bottom.
        split: `train`, `val` or `test`; None where the tool does not divide.
        data: The encoded image, where it lies in the annotation itself.
        said_in: The file that says all this.
    """

    name: str
    file: Path | None
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    split: str | None = None
    data: bytes | None = None
    said_in: Path | None = None


@dataclass
class Annotations:
    """All that a tool wrote.

    Args:
        images: The images.
        labels: The classes in the tool's order; empty where it keeps no list.
        colours: The colours of some of them.
        skipped: How many shapes there are, by kind, that are no regions.
        order: How shapes that overlap are ordered, in words.
        covers_all: Whether every pixel has a class, so that there is no background beside them.
    """

    images: list[AnnotatedImage] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    colours: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    skipped: Counter = field(default_factory=Counter)
    order: str = "later shapes lie on top of earlier ones"
    covers_all: bool = False


def count_unannotated(found: Annotations, files: Iterable[Path]) -> None:
    """Counts images of a project that no annotation is of, so that this is told."""
    used = {image.file.resolve() for image in found.images if image.file}
    left = sum(path.resolve() not in used for path in files)
    found.skipped += Counter({"images without an annotation": left} if left else {})


def read_json(path: Path):
    """The content of a JSON file.

    Raises:
        UserError: When there is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file: export the project again") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no JSON that can be read ({error}): export it again") from error


def name_in_address(address: str) -> str:
    """The name of a file in a path or an address; Label Studio's local files have theirs in `d`."""
    parsed = urllib.parse.urlparse(address)
    local = urllib.parse.parse_qs(parsed.query).get("d")
    return urllib.parse.unquote(local[0] if local else parsed.path).rpartition("/")[2]


def split_of(name: str) -> str | None:
    """The split that the name of a file or folder speaks of."""
    words = "".join(c if c.isalpha() else " " for c in name.lower()).split()
    found = {split for split, names in SPLIT_NAMES.items() for n in names if n in words}
    return found.pop() if len(found) == 1 else None


class ImageFiles:
    """Finds images by the names that tools give them, below some folders."""

    def __init__(self, *roots: Path):
        self._roots = [root for root in roots if root.is_dir()]
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, name: str, near: Sequence[Path] = ()) -> Path | None:
        """The file of an image.

        Args:
            name: A path relative to one of the folders, or what such a path ends in.
            near: Folders to look in first.

        Raises:
            UserError: When several files might be meant.
        """
        name = name.replace("\\", "/").lstrip("/")
        for root in (*near, *self._roots):
            path = root / name
            if path.is_file():
                return path
        if self._by_name is None:
            self._by_name = {}
            for root in self._roots:
                for path in visible_files(root, MASK_SUFFIXES):
                    self._by_name.setdefault(path.name, []).append(path)
        found = self._by_name.get(name.rpartition("/")[2], [])
        ends = [path for path in found if path.as_posix().endswith(f"/{name}")] or found
        if len({path.resolve() for path in ends}) > 1:
            raise UserError(
                f"{ends[0]}: {ends[1]} has this name too, and {name!r} may mean either: keep one, "
                "or import their folders one by one"
            )
        return ends[0] if ends else None


def number(value, what: str, path: Path) -> float:
    """A finite number.

    Raises:
        UserError: When `value` is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not np.isfinite(found):
        raise UserError(f"{path}: {what} is {value!r}, no number: export it again")
    return found


def coordinate(value, path: Path) -> float:
    """A number of pixels.

    Raises:
        UserError: When `value` is none, or lies too far from any image.
    """
    found = number(value, "a coordinate", path)
    if abs(found) > FARTHEST:
        raise UserError(f"{path}: a coordinate is {value!r}, far from any image: export it again")
    return found


def points_of(values, path: Path) -> list[tuple[float, float]]:
    """Points `[[x, y], ...]`.

    Raises:
        UserError: When they are none.
    """
    try:
        return [(coordinate(x, path), coordinate(y, path)) for x, y in values]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {values!r:.60} are no points: export it again") from error
