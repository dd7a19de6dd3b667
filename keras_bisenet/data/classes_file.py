"""A file that names the classes of one's own data: `classes.yaml`, `classes.csv` or `classes.txt`.

    # classes.yaml
    classes:
      - background
      - {name: crack, id: 255, color: [255, 0, 0]}
    ignore: [7]

    # classes.csv
    name,id,r,g,b
    background,0,0,0,0
    crack,255,255,0,0

    # classes.txt: a name per line, with an id before it, a colour before or behind it, or neither
    background
    crack

A class without an id has its place in the file, from 0 on. The name `void`, `ignore` or `ignored`
means pixels that do not count. `class_dict.csv`, CVAT's `labelmap.txt` and Roboflow's
`_classes.csv` are read as well.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from keras_bisenet.errors import UserError

FILES = (
    "classes.yaml",
    "classes.yml",
    "classes.csv",
    "classes.txt",
    "class_dict.csv",
    "labelmap.txt",
    "_classes.csv",
)
VOID_NAMES = ("void", "ignore", "ignored")

Colour = tuple[int, int, int]


class Entry(NamedTuple):
    """A line of the file."""

    name: str
    id: int | None = None
    colour: Colour | None = None


@dataclass(frozen=True)
class DeclaredClass:
    """A class as the file has it.

    Args:
        name: Its name.
        id: What stands for it in masks of ids.
        colour: What stands for it in masks of colours, and in drawings; None where the file does
            not say.
    """

    name: str
    id: int
    colour: Colour | None = None


@dataclass(frozen=True)
class DeclaredClasses:
    """What a classes file says.

    Args:
        path: The file.
        classes: The classes, in its order.
        ignored_ids: Ids that mean void.
        ignored_colours: Colours that mean void.
        has_ids: Whether any id is in the file, rather than being a place in it.
    """

    path: Path
    classes: tuple[DeclaredClass, ...]
    ignored_ids: tuple[int, ...]
    ignored_colours: tuple[Colour, ...]
    has_ids: bool

    @property
    def has_colours(self) -> bool:
        return all(declared.colour is not None for declared in self.classes)


def find_classes_file(directory: Path) -> Path | None:
    """The classes file in `directory`, or None.

    Raises:
        UserError: When there are several.
    """
    found = [directory / name for name in FILES if (directory / name).is_file()]
    if len(found) > 1:
        raise UserError(f"{found[0]}: {found[1].name} lies beside it: keep one of the two")
    return found[0] if found else None


def read_classes_file(path: Path) -> DeclaredClasses:
    """Reads a classes file.

    Raises:
        UserError: When it is no such file, or says something twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8: save it as one") from error
    ignored: list = []
    if path.suffix in (".yaml", ".yml"):
        entries, ignored = _from_yaml(path, text)
    else:
        entries = _from_rows(path, text)
    classes, ignored_ids, ignored_colours = [], [], []
    for place, entry in enumerate(entries):
        number = place if entry.id is None else entry.id
        if entry.name.lower() in VOID_NAMES:
            ignored_ids.append(number)
            ignored_colours += [entry.colour] if entry.colour else []
        else:
            classes.append(DeclaredClass(entry.name, number, entry.colour))
    for value in ignored:
        if isinstance(value, int):
            ignored_ids.append(_id(path, value))
        else:
            ignored_colours.append(_colour(path, value))
    if not classes:
        raise UserError(f"{path}: it names no class: write a name per line")
    _check(path, "name", [declared.name for declared in classes])
    _check(path, "id", [*(declared.id for declared in classes), *ignored_ids])
    _check(path, "colour", [*(d.colour for d in classes if d.colour), *ignored_colours])
    return DeclaredClasses(
        path,
        tuple(classes),
        tuple(ignored_ids),
        tuple(ignored_colours),
        has_ids=any(entry.id is not None for entry in entries),
    )


def _from_yaml(path: Path, text: str) -> tuple[list[Entry], list]:
    try:
        import yaml
    except ImportError as error:
        raise UserError(
            f"{path}: reading YAML needs PyYAML: pip install pyyaml, or write classes.csv"
        ) from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise UserError(f"{path}: no YAML that can be read{line}: mend it") from error
    ignored = []
    if isinstance(content, dict) and {"classes", "names"} & content.keys():
        ignored = content.get("ignore") or []
        ignored = ignored if isinstance(ignored, list) else [ignored]
        content = content.get("classes", content.get("names"))
    if isinstance(content, dict):  # id: name
        content = [
            {"id": number, **(entry if isinstance(entry, dict) else {"name": entry})}
            for number, entry in content.items()
        ]
    if not isinstance(content, list):
        raise UserError(f"{path}: no list of classes: write 'classes:' and a '- name' per line")
    return [_yaml_entry(path, entry) for entry in content], ignored


def _yaml_entry(path: Path, entry) -> Entry:
    if not isinstance(entry, dict):
        return Entry(str(entry))
    if "name" not in entry:
        raise UserError(f"{path}: a class without a name ({entry}): write 'name:' in it")
    colour = entry.get("color", entry.get("colour"))
    return Entry(
        str(entry["name"]),
        None if entry.get("id") is None else _id(path, entry["id"]),
        None if colour is None else _colour(path, colour),
    )


def _from_rows(path: Path, text: str) -> list[Entry]:
    """Rows of name, id and colour in any order, with or without a header."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return []
    header = [name.strip().lower() for name in re.split("[,;\t]", lines[0])]
    if len(header) > 1 and {"name", "class", "label"} & set(header):
        separator = next(mark for mark in ",;\t" if mark in lines[0])
        rows = csv.reader(lines[1:], delimiter=separator, skipinitialspace=True)
        return [_headed_row(path, dict(zip(header, row))) for row in rows]
    rows = [_numbers_around(line) for line in lines]
    with_ids = all(len(before) in (1, 4) for before, _, _ in rows)
    return [_plain_row(path, line, row, with_ids) for line, row in zip(lines, rows)]


def _headed_row(path: Path, row: dict[str, str]) -> Entry:
    def first(*names):
        return next((row[name].strip() for name in names if row.get(name, "").strip()), None)

    name = first("name", "class", "label")
    if name is None:
        raise UserError(f"{path}: a class without a name ({', '.join(row.values())}): name it")
    number, colour = first("id", "index", "value", "pixel value"), first("color", "colour")
    channels = [first("r", "red"), first("g", "green"), first("b", "blue")]
    if colour is None and None not in channels:
        colour = channels
    return Entry(
        name,
        None if number is None else _id(path, number),
        None if colour is None else _colour(path, colour),
    )


def _numbers_around(line: str) -> tuple[list[str], str, list[str]]:
    """The numbers at the beginning of a line, the name, and those at its end."""
    words = re.sub("[,;:\t]+", " ", line).split()
    start, end = 0, len(words)
    while start < end - 1 and words[start].isdigit():
        start += 1
    while end > start + 1 and words[end - 1].isdigit():
        end -= 1
    return words[:start], " ".join(words[start:end]), words[end:]


def _plain_row(path: Path, line: str, row, with_ids: bool) -> Entry:
    before, name, behind = row
    number = _id(path, before[0]) if with_ids else None
    colour = before[1:] if with_ids else before
    if len(colour) == 3 and not behind:
        return Entry(name, number, _colour(path, colour))
    if not colour and len(behind) == 3:
        return Entry(name, number, _colour(path, behind))
    # Numbers that are neither an id nor a colour belong to the name: "class 1".
    return Entry(" ".join([*colour, name, *behind]), number)


def _id(path: Path, value) -> int:
    if str(value).isdigit() and int(value) <= 255:
        return int(value)
    raise UserError(f"{path}: {value!r} is no id of a class: give a number from 0 to 255")


def _colour(path: Path, value: str | Sequence) -> Colour:
    if isinstance(value, str) and re.fullmatch("#?[0-9a-fA-F]{6}", value.strip()):
        return tuple(bytes.fromhex(value.strip().lstrip("#")))
    channels = re.split("[ ,]+", value.strip("()[] ")) if isinstance(value, str) else value
    if isinstance(channels, (list, tuple)) and len(channels) == 3:
        if all(str(channel).isdigit() and int(channel) <= 255 for channel in channels):
            return tuple(int(channel) for channel in channels)
    raise UserError(f"{path}: {value!r} is no colour: give red, green and blue from 0 to 255")


def _check(path: Path, what: str, values: Iterable) -> None:
    values = list(values)
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: the {what} {twice} is there twice: give each class its own")
