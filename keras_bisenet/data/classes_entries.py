"""What a classes file says of each class, whatever its form, and what its words may be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_bisenet.errors import UserError

# What the columns of a table, and the keys of YAML, may be called; see `column_key`.
NAME_KEYS = (
    *("name", "class", "label", "class name", "label name", "category", "category name", "title"),
    *("names", "classes", "labels", "class names", "label names", "categories"),
    *("klasse", "klassen", "clase", "clases", "classe", "classi", "nom", "nome", "nombre"),
    *("bezeichnung", "kategorie", "categoria", "categorie", "класс", "类别", "类名", "名称"),
)
ID_KEYS = (
    *("id", "index", "value", "pixel value", "class id", "label id", "category id", "number"),
    *("classid", "labelid", "idx", "class index", "label index", "class value", "label value"),
)
COLOUR_KEYS = ("color", "colour", "rgb", "hex", "color rgb", "rgb color", "hex color")
CHANNEL_KEYS = (("r", "red"), ("g", "green"), ("b", "blue"))
KNOWN_KEYS = {
    *NAME_KEYS,
    *ID_KEYS,
    *COLOUR_KEYS,
    *(key for keys in CHANNEL_KEYS for key in keys),
    *("a", "alpha"),
}

Colour = tuple[int, int, int]


class Entry(NamedTuple):
    """A line of the file."""

    name: str
    id: int | None = None
    colour: Colour | None = None


def as_seen(name: str) -> str:
    """A name without what cannot be seen, in one normal form."""
    shown = "".join(c for c in name if unicodedata.category(c) != "Cf" and c != "\0")
    return unicodedata.normalize("NFC", " ".join(shown.split()))


def column_key(name: str) -> str:
    """A column's name without what people write differently: `Class_Name`, `class name`."""
    return re.sub("[ _-]+", " ", name.strip().strip("\"'").lower())


def refuse_unknown_numbers(path: Path, values: dict) -> None:
    """A number under a name that is not known may be an id, without which names would shift."""
    for key, value in values.items():
        if key not in KNOWN_KEYS and re.fullmatch(r"\s*\d+\s*", str(value)):
            raise UserError(f"{path}: what {key!r} means is not known: call it id, r, g or b")


def class_id(path: Path, value) -> int:
    """An id, 0 to 255.

    Raises:
        UserError: When `value` is none.
    """
    whole = str(value).removesuffix(".0")  # as pandas writes a column with gaps
    if whole.isdigit() and int(whole) <= 255:
        return int(whole)
    raise UserError(f"{path}: {value!r} is no id of a class: give a number from 0 to 255")


def colour_of(path: Path, value: str | Sequence) -> Colour:
    """A colour: `#ff0000`, `255 0 0`, `(255, 0, 0)`, or three numbers.

    Raises:
        UserError: When `value` is none.
    """
    if isinstance(value, str) and re.fullmatch("#?[0-9a-fA-F]{6}", value.strip()):
        return tuple(bytes.fromhex(value.strip().lstrip("#")))
    channels = re.split("[ ,]+", value.strip("()[] ")) if isinstance(value, str) else value
    if isinstance(channels, (list, tuple)) and len(channels) == 3:
        if all(str(channel).isdigit() and int(channel) <= 255 for channel in channels):
            return tuple(int(channel) for channel in channels)
    raise UserError(f"{path}: {value!r} is no colour: give red, green and blue from 0 to 255")


def check_once(path: Path, what: str, values: Iterable) -> None:
    """Refuses what a file says twice.

    Raises:
        UserError: When one of `values` is there twice.
    """
    values = list(values)
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: the {what} {twice} is there twice: give each class its own")
