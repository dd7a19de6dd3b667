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

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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

# What the columns of a table, and the keys of YAML, may be called; see `_key`.
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
        entries, ignored = _from_content(path, _yaml(path, text))
    elif suffix == ".json":
        entries, ignored = _from_content(path, _json(path, text))
    elif suffix == ".pbtxt":
        entries = _from_pbtxt(path, text)
    else:
        entries = _from_rows(path, text)
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


def as_seen(name: str) -> str:
    """A name without what cannot be seen, in one normal form."""
    shown = "".join(c for c in name if unicodedata.category(c) != "Cf" and c != "\0")
    return unicodedata.normalize("NFC", " ".join(shown.split()))


# === YAML, JSON and Protocol Buffers' text ===


def _yaml(path: Path, text: str):
    """The content; a key that is there twice is an error, though YAML takes the last."""
    try:
        import yaml
    except ImportError as error:
        raise UserError(
            f"{path}: reading YAML needs PyYAML: pip install pyyaml, or write classes.csv"
        ) from error

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            _check(path, "key", keys)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise UserError(f"{path}: no YAML that can be read{line}: mend it") from error


def _json(path: Path, text: str):
    """The content; see `_yaml`."""

    def once(pairs: list[tuple]) -> dict:
        _check(path, "key", [key for key, _ in pairs])
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except ValueError as error:
        raise UserError(f"{path}: no JSON that can be read ({error}): mend it") from error


def _from_pbtxt(path: Path, text: str) -> list[Entry]:
    """`item { id: 1 name: 'road' }`, which says what a person reads as `display_name`."""
    entries = []
    text = " ".join(re.sub(r"(?m)^\s*#.*$", "", text).split())
    items = re.findall(r"\bitem ?\{([^{}]*)\}", text)
    if len(items) < len(re.findall(r"\bitem ?\{", text)):
        raise UserError(f"{path}: an item without an end: close it with a brace")
    for item in items:
        fields = dict(re.findall(r"(\w+)\s*:\s*(\"[^\"]*\"|'[^']*'|[^\s,]+)", item))
        name = fields.get("display_name", fields.get("name"))
        if name is None or "id" not in fields:
            raise UserError(f"{path}: an item without name or id ({item.strip()}): give it both")
        entries.append(Entry(name.strip("\"'"), _id(path, fields["id"])))
    return entries


def _from_content(path: Path, content) -> tuple[list[Entry], list]:
    ignored, count = [], None
    keys = ("classes", "names", "id2label", "labels")
    if isinstance(content, dict) and {*keys} & content.keys():
        ignored = content.get("ignore") or []
        ignored = ignored if isinstance(ignored, list) else [ignored]
        count = content.get("nc")
        content = next(content[key] for key in keys if key in content)
    names_first = isinstance(content, dict) and not any(str(key).isdigit() for key in content)
    if names_first and all(type(each) is int for each in content.values()):
        content = [{"id": number, "name": name} for name, number in content.items()]
    if isinstance(content, dict):  # id: name
        content = [
            {"id": number, **(entry if isinstance(entry, dict) else {"name": entry})}
            for number, entry in content.items()
        ]
    if not isinstance(content, list):
        raise UserError(
            f"{path}: no list of classes: write "
            + (
                '["name", ...]'
                if path.suffix.lower() == ".json"
                else "'classes:' and a '- name' per line"
            )
        )
    if isinstance(count, int) and count != len(content):
        raise UserError(f"{path}: nc is {count}, and there are {len(content)} names: mend one")
    return [_entry(path, entry) for entry in content], ignored


def _entry(path: Path, entry) -> Entry:
    if not isinstance(entry, dict):
        return Entry(_name(path, entry))
    values = {_key(str(key)): value for key, value in entry.items()}
    _refuse_unknown_numbers(path, values)
    name = next((values[key] for key in NAME_KEYS if key in values), None)
    if name is None:
        raise UserError(f"{path}: a class without a name ({entry}): write 'name:' in it")
    number = next((values[key] for key in ID_KEYS if values.get(key) is not None), None)
    colour = next((values[key] for key in COLOUR_KEYS if values.get(key) is not None), None)
    return Entry(
        _name(path, name),
        None if number is None else _id(path, number),
        None if colour is None else _colour(path, colour),
    )


def _name(path: Path, name) -> str:
    """The name; YAML takes `no`, `off` and `null` for something else."""
    if isinstance(name, (str, int)) and not isinstance(name, bool):
        return str(name)
    form = "JSON" if path.suffix.lower() == ".json" else "YAML"
    raise UserError(f"{path}: {form} reads a class as {name!r}: put its name in quotes")


# === Rows ===


def _from_rows(path: Path, text: str) -> list[Entry]:
    """Rows of name, id and colour in any order, with or without a header."""
    lines = [line for line in text.splitlines() if line.strip() and not _COMMENT.match(line)]
    if not lines:
        return []
    separator = next((mark for mark in ",;\t|" if mark in lines[0]), None)
    header = [_key(name) for name in lines[0].split(separator or ",")]
    if set(NAME_KEYS) & set(header):
        rows = csv.reader(
            io.StringIO("\n".join(lines[1:])), delimiter=separator or ",", skipinitialspace=True
        )
        return [_headed_row(path, header, row) for row in rows]
    return _plain_rows(path, lines)


def _key(name: str) -> str:
    """A column's name without what people write differently: `Class_Name`, `class name`."""
    return re.sub("[ _-]+", " ", name.strip().strip("\"'").lower())


def _headed_row(path: Path, header: list[str], cells: list[str]) -> Entry:
    if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
        raise UserError(
            f"{path}: more columns than the header names ({_one_line(cells)}): put a name with a "
            "comma in quotes"
        )
    row = {key: cell.strip() for key, cell in zip(header, cells)}

    def first(*names):
        return next((row[name] for name in names if row.get(name)), None)

    name = first(*NAME_KEYS)
    if name is None:
        raise UserError(f"{path}: a class without a name ({_one_line(cells)}): name it")
    number, colour = first(*ID_KEYS), first(*COLOUR_KEYS)
    if number is None:
        _refuse_unknown_numbers(path, row)
    channels = [first(*keys) for keys in CHANNEL_KEYS]
    if colour is None and None not in channels:
        colour = channels
    return Entry(
        name,
        None if number is None else _id(path, number),
        None if colour is None else _colour(path, colour),
    )


def _one_line(cells: list[str]) -> str:
    return " ".join(", ".join(cells).split())


def _refuse_unknown_numbers(path: Path, values: dict) -> None:
    """A number under a name that is not known may be an id, without which names would shift."""
    for key, value in values.items():
        if key not in KNOWN_KEYS and re.fullmatch(r"\s*\d+\s*", str(value)):
            raise UserError(f"{path}: what {key!r} means is not known: call it id, r, g or b")


_COMMENT = re.compile(r"\s*(//|#(?![0-9a-fA-F]{6}\b)|sep=.\s*$)")  # no colour; Excel's first line


class _Row(NamedTuple):
    """A line's words: the numbers at its beginning, the name, and the numbers at its end."""

    line: str
    before: list[str]
    name: str
    behind: list[str]


def _plain_rows(path: Path, lines: list[str]) -> list[Entry]:
    """Rows without a header, of which all must have one form."""
    rows = [_row(line) for line in lines]
    forms = Counter((len(row.before), len(row.behind)) for row in rows)
    if forms.keys() == {(0, 1)} and len({row.name for row in rows}) < len(rows):
        return [Entry(f"{row.name} {row.behind[0]}") for row in rows]  # class 1, class 2, ...
    form, rarest = forms.most_common()[0][0], forms.most_common()[-1][0]
    numbers = [row for row in rows if row.name.isdigit()]  # how many there are, or an id alone
    if len(forms) > 1 or form not in _FORMS or 0 < len(numbers) < len(rows):
        odd = next(row for row in rows if (len(row.before), len(row.behind)) == rarest)
        odd = odd if len(forms) > 1 or not numbers else numbers[0]
        raise UserError(
            f"{path}: {odd.line.strip()!r} can be read in several ways: write a header, such as "
            "name,id,r,g,b, and what stands below it"
        )
    number, colour = _FORMS[form]
    return [
        Entry(
            row.name,
            _id(path, number(row)) if number else None,
            _colour(path, colour(row)) if colour else None,
        )
        for row in rows
    ]


# Numbers before and behind the name -> where the id is, and where the colour.
_FORMS = {
    (0, 0): (None, None),
    (1, 0): (lambda row: row.before[0], None),
    (0, 1): (lambda row: row.behind[0], None),
    (3, 0): (None, lambda row: row.before),
    (0, 3): (None, lambda row: row.behind),
    (1, 3): (lambda row: row.before[0], lambda row: row.behind),
    (3, 1): (lambda row: row.behind[0], lambda row: row.before),
    (4, 0): (lambda row: row.before[0], lambda row: row.before[1:]),
}


def _row(line: str) -> _Row:
    if "::" in line:  # CVAT: label:color_rgb:parts:actions
        name, colour = line.split(":")[:2]
        return _Row(line, [], name.strip(), colour.replace(",", " ").split())
    line_said = re.sub(r"\s#\s.*", "", line)
    # #ff0000; cat (1), cat [1]; 1. cat, 1) cat
    line_said = re.sub("#([0-9a-fA-F]{6})\\b", _channels, line_said)
    line_said = re.sub(r"[(\[]\s*(\d+)\s*[)\]]", r" \1 ", line_said)
    line_said = re.sub(r"^\s*(\d+)[.)]\s", r"\1 ", line_said)
    words = re.sub("[,;:=|\t]+", " ", line_said).split()
    start, end = 0, len(words)
    while start < end - 1 and words[start].isdigit():
        start += 1
    while end > start + 1 and words[end - 1].isdigit():
        end -= 1
    name = " ".join(words[start:end]).strip("\"'")
    return _Row(line, words[:start], name, words[end:])


def _channels(found: re.Match) -> str:
    return " {} {} {} ".format(*bytes.fromhex(found[1]))


def _id(path: Path, value) -> int:
    whole = str(value).removesuffix(".0")  # as pandas writes a column with gaps
    if whole.isdigit() and int(whole) <= 255:
        return int(whole)
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
