"""Classes as rows of text: a table with a header, or lines of name, id and colour in any order."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from keras_bisenet.data.classes_entries import (
    CHANNEL_KEYS,
    COLOUR_KEYS,
    ID_KEYS,
    NAME_KEYS,
    Entry,
    class_id,
    colour_of,
    column_key,
    refuse_unknown_numbers,
)
from keras_bisenet.errors import UserError


def entries_of_rows(path: Path, text: str) -> list[Entry]:
    """Rows of name, id and colour in any order, with or without a header."""
    lines = [line for line in text.splitlines() if line.strip() and not _COMMENT.match(line)]
    if not lines:
        return []
    separator = next((mark for mark in ",;\t|" if mark in lines[0]), None)
    header = [column_key(name) for name in lines[0].split(separator or ",")]
    if set(NAME_KEYS) & set(header):
        rows = csv.reader(
            io.StringIO("\n".join(lines[1:])), delimiter=separator or ",", skipinitialspace=True
        )
        return [_headed_row(path, header, row) for row in rows]
    return _plain_rows(path, lines)


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
        refuse_unknown_numbers(path, row)
    channels = [first(*keys) for keys in CHANNEL_KEYS]
    if colour is None and None not in channels:
        colour = channels
    return Entry(
        name,
        None if number is None else class_id(path, number),
        None if colour is None else colour_of(path, colour),
    )


def _one_line(cells: list[str]) -> str:
    return " ".join(", ".join(cells).split())


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
            class_id(path, number(row)) if number else None,
            colour_of(path, colour(row)) if colour else None,
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
