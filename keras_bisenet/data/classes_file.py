"""A file that names the classes of one's own data: `classes.yaml`, `.json`, `.csv` or `.txt`.

    # classes.yaml
    classes:
      - background
      - {name: crack, id: 255, color: [255, 0, 0]}
    ignore: [7]

    # classes.csv
    name,id,r,g,b
    background,0,0,0,0
    crack,255,255,0,0

    # classes.txt: a name per line, with an id before or behind it, a colour, or neither
    background
    crack

A class without an id has its place in the file, from 0 on. The name `void`, `ignore` or
`ignored` means pixels that do not count (the ignore label); so does labelme's `__ignore__`, which
takes no place. The files that annotation tools and other programs write are read as well, whatever
the case of their names: see `FILES`. A row that can be read in two ways is refused rather than
guessed at.

Names are compared as people see them: accents in one normal form (NFC), without characters that
take no place, and with one space where there is white space.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from keras_bisenet.data.classes_content import (
    entries_of_content,
    entries_of_pbtxt,
    read_json,
    read_yaml,
)
from keras_bisenet.data.classes_entries import Colour, as_seen, check_once, class_id, colour_of
from keras_bisenet.data.classes_rows import entries_of_rows
from keras_bisenet.data.problems import Problem
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES

OWN_FILES = ("classes.yaml", "classes.yml", "classes.csv", "classes.txt", "classes.json")
FILES = (
    *OWN_FILES,
    "class_dict.csv",
    "class_dict_seg.csv",
    "label_class_dict.csv",
    "labelmap.txt",  # CVAT
    "label_colors.txt",
    "class_names.txt",  # labelme
    "labels.txt",  # labelme, PaddleSeg
    "codes.txt",  # fastai's CamVid
    "data.yaml",  # Ultralytics
    "_classes.csv",  # Roboflow
    "labels.csv",
    "labels.json",
    "id2label.json",  # Hugging Face
    "label_map.pbtxt",  # TensorFlow's Object Detection API
    "labelmap.pbtxt",
)
VOID_NAMES = ("void", "ignore", "ignored", "__ignore__", "_ignore_")
PLACELESS = "__ignore__"
"""labelme's name for what is ignored: the class behind it has the id 0."""


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
        ignored_ids: Ids that mean void (the ignore label).
        ignored_colours: Colours that mean void.
        has_ids: Whether any id is in the file, rather than being a place in it.
        shifted_by: The void name that stands before classes without ids, so that their ids may
            be one less than their places (or one more, for labelme's, which takes no place).
    """

    path: Path
    classes: tuple[DeclaredClass, ...]
    ignored_ids: tuple[int, ...]
    ignored_colours: tuple[Colour, ...]
    has_ids: bool
    shifted_by: str | None = None

    @property
    def has_colours(self) -> bool:
        return all(declared.colour is not None for declared in self.classes)

    @property
    def meaning(self) -> tuple:
        """What two files have in common that say the same."""
        return self.classes, self.ignored_ids, self.ignored_colours


def find_classes(directory: Path) -> DeclaredClasses | None:
    """What the classes file in `directory` says; None where there is none.

    One's own file goes before those that tools write.

    Raises:
        UserError: When several say different things, or one cannot be read.
    """
    there = [path for path in _entries(directory) if not path.is_dir()]
    paths = [path for name in FILES for path in there if path.name.lower() == name]
    own = [path for path in paths if path.name.lower() in OWN_FILES]
    found = [read_classes_file(path) for path in own or paths if own or not _lists_files(path)]
    for other in found[1:]:
        if other.meaning != found[0].meaning:
            raise UserError(
                f"{found[0].path}: {other.path.name} lies beside it and says something else: keep "
                "one of the two"
            )
    return found[0] if found else None


def unread_classes_files(directory: Path) -> list[Problem]:
    """A warning for each file that may name classes, by its name, and that nobody reads."""
    return [
        Problem(
            "unread-file",
            "warning",
            "this file may name the classes, and is not read",
            (path,),
            "write what it says into a classes.csv",
        )
        for path in _entries(directory)
        if path.is_file()
        and path.name.lower() not in FILES
        and path.suffix.lower()
        in (".txt", ".csv", ".yaml", ".yml", ".json", ".pbtxt", ".xml", ".names")
        and re.search("class|label|categor|palette|colou?r|[.]names$", path.name.lower())
    ]


def read_classes_file(path: Path) -> DeclaredClasses:
    """Reads a classes file.

    Raises:
        UserError: When it is no such file, says something twice, or can be read in two ways.
    """
    text = _text(path)
    ignored: list = []
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        entries, ignored = entries_of_content(path, read_yaml(path, text))
    elif suffix == ".json":
        entries, ignored = entries_of_content(path, read_json(path, text))
    elif suffix == ".pbtxt":
        entries = entries_of_pbtxt(path, text)
    else:
        entries = entries_of_rows(path, text)
    entries = [entry._replace(name=as_seen(entry.name)) for entry in entries]
    if not all(entry.name for entry in entries):
        raise UserError(f"{path}: a class without a name: name it")
    has_ids = any(entry.id is not None for entry in entries)
    classes, ignored_ids, ignored_colours, shifted_by = [], [], [], None
    place = 0
    for entry in entries:
        is_void = entry.name.lower() in VOID_NAMES
        number = place if entry.id is None else entry.id
        takes_no_place = entry.id is None and entry.name.lower() == PLACELESS
        place += not takes_no_place
        if not is_void:
            classes.append(DeclaredClass(entry.name, number, entry.colour))
            continue
        if entry.id is None and not has_ids and entry is not entries[-1]:
            shifted_by = entry.name
        ignored_ids += [] if takes_no_place else [number]
        ignored_colours += [entry.colour] if entry.colour else []
    for value in ignored:
        named = next((each for each in classes if each.name == value), None)
        if named:  # a class by its name
            classes.remove(named)
            ignored_ids.append(named.id)
            ignored_colours += [named.colour] if named.colour else []
        elif isinstance(value, int):
            ignored_ids.append(class_id(path, value))
        else:
            ignored_colours.append(colour_of(path, value))
    if not classes:
        raise UserError(f"{path}: it names no class: write a name per line")
    check_once(path, "name", [declared.name for declared in classes])
    check_once(path, "id", [*(declared.id for declared in classes), *ignored_ids])
    check_once(path, "colour", [*(d.colour for d in classes if d.colour), *ignored_colours])
    return DeclaredClasses(
        path,
        tuple(classes),
        tuple(ignored_ids),
        tuple(ignored_colours),
        has_ids,
        shifted_by,
    )


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # what Windows calls Unicode
            return data.decode("utf-16")
        if b"\0" in data:  # UTF-16 that does not say so, or no text
            raise UserError(f"{path}: not a text file in UTF-8: save it as one")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8: save it as one") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: see that it can be read") from error


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError as error:
        raise UserError(f"{directory}: {error.strerror}: see that it can be read") from error


def _lists_files(path: Path) -> bool:
    """Whether a text file lists images, or annotates them, rather than classes."""
    text = _text(path)
    if path.suffix.lower() == ".json" and re.search('"(images|annotations|shapes)"\\s*:', text):
        return True
    words = text.split()
    return any(word.lower().endswith(IMAGE_SUFFIXES) for word in words)
