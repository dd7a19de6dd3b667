"""Classes in YAML, in JSON, and in Protocol Buffers' text format."""

from __future__ import annotations

import json
import re
from pathlib import Path

from keras_bisenet.data.classes_entries import (
    COLOUR_KEYS,
    ID_KEYS,
    NAME_KEYS,
    Entry,
    check_once,
    class_id,
    colour_of,
    column_key,
    refuse_unknown_numbers,
)
from keras_bisenet.errors import UserError


def read_yaml(path: Path, text: str):
    """The content; a key that is there twice is an error, though YAML takes the last.

    Raises:
        UserError: When it is no YAML, or PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise UserError(
            f"{path}: reading YAML needs PyYAML: pip install pyyaml, or write classes.csv"
        ) from error

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            check_once(path, "key", keys)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise UserError(f"{path}: no YAML that can be read{line}: mend it") from error


def read_json(path: Path, text: str):
    """The content; see `read_yaml`.

    Raises:
        UserError: When it is no JSON.
    """

    def once(pairs: list[tuple]) -> dict:
        check_once(path, "key", [key for key, _ in pairs])
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except ValueError as error:
        raise UserError(f"{path}: no JSON that can be read ({error}): mend it") from error


def entries_of_pbtxt(path: Path, text: str) -> list[Entry]:
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
        entries.append(Entry(name.strip("\"'"), class_id(path, fields["id"])))
    return entries


def entries_of_content(path: Path, content) -> tuple[list[Entry], list]:
    """The classes of YAML or JSON: a list of names or of mappings, or a mapping from id to name or
    from name to id; and what is ignored.

    Raises:
        UserError: When it is none of these.
    """
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
    values = {column_key(str(key)): value for key, value in entry.items()}
    refuse_unknown_numbers(path, values)
    name = next((values[key] for key in NAME_KEYS if key in values), None)
    if name is None:
        raise UserError(f"{path}: a class without a name ({entry}): write 'name:' in it")
    number = next((values[key] for key in ID_KEYS if values.get(key) is not None), None)
    colour = next((values[key] for key in COLOUR_KEYS if values.get(key) is not None), None)
    return Entry(
        _name(path, name),
        None if number is None else class_id(path, number),
        None if colour is None else colour_of(path, colour),
    )


def _name(path: Path, name) -> str:
    """The name; YAML takes `no`, `off` and `null` for something else."""
    if isinstance(name, (str, int)) and not isinstance(name, bool):
        return str(name)
    form = "JSON" if path.suffix.lower() == ".json" else "YAML"
    raise UserError(f"{path}: {form} reads a class as {name!r}: put its name in quotes")
