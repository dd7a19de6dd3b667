"""Fonts for class names in any script.

Pillow's own font has the letters of English alone. Where names need more, a font of the system is
taken that has them all; where there is none, names are written with the letters that there are
(é as e), and that is said once.
"""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import ImageFont

from keras_bisenet.console import log

FOLDERS = (
    "~/.local/share/fonts",
    "~/.fonts",
    "/usr/local/share/fonts",
    "/usr/share/fonts",
    "/system/fonts",
    "~/Library/Fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
PREFERRED = (
    *("notosans-", "dejavusans.", "notosanscjk", "notosanssc", "sourcehansans", "liberationsans-"),
    *("arialunicode", "arial unicode", "pingfang", "hiragino", "msyh", "wqy", "droidsansfallback"),
    *("freesans.", "arial.", "roboto-regular", "nanum", "unifont"),
)
"""What the names of fonts begin with that are tried first, of those without serifs."""

MOST_FONTS = 400
UNKNOWN = "\U0010ffff"  # no character: every font draws its box for it


def lettering(names: Sequence[str], size: int) -> tuple[tuple[str, ...], Any]:
    """Names as they can be drawn, and the font that has all their letters.

    Args:
        names: The names of classes.
        size: Of the letters, in pixels.
    """
    path = _font_for(tuple(names))
    return tuple(_drawable(name, path) for name in names), font_of_size(size, path)


@functools.lru_cache(maxsize=256)
def font_of_size(size: int, path: str | None = None) -> Any:
    """Pillow's own font, or that of a file."""
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size=size)


@functools.lru_cache(maxsize=64)
def _font_for(names: tuple[str, ...]) -> str | None:
    """The first font that has all letters of some names, or else most of the names."""
    if all(_has_all(None, name) for name in names):
        return None
    best, most = None, sum(_has_all(None, name) for name in names)
    for path in _system_fonts():
        found = sum(_has_all(path, name) for name in names)
        if found > most:
            best, most = path, found
        if most == len(names):
            break
    return best


@functools.lru_cache(maxsize=1024)
def _drawable(name: str, path: str | None) -> str:
    """The name, or one with letters that the font has."""
    if _has_all(path, name):
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip()
    shown = plain or name.encode("ascii", "backslashreplace").decode()
    log.warning(
        "%s: no font of this system has its letters, and pictures show %s: install one, such as "
        "Noto Sans",
        name,
        shown,
    )
    return shown


def _has_all(path: str | None, text: str) -> bool:
    return all(_has(path, character) for character in set(text) if not character.isascii())


@functools.lru_cache(maxsize=65536)
def _has(path: str | None, character: str) -> bool:
    """Whether a font draws a character otherwise than one that nobody has."""
    if unicodedata.combining(character) or character.isspace():
        return True
    try:
        font = font_of_size(24, path)
        drawn, unknown = (font.getmask(each) for each in (character, UNKNOWN))
    except (OSError, ValueError):  # a damaged font
        return False
    return (drawn.size, bytes(drawn)) != (unknown.size, bytes(unknown)) and bool(drawn.getbbox())


@functools.lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    found = []
    for folder in FOLDERS:
        if folder.startswith("C:") and sys.platform != "win32":
            continue
        for parent, _, files in os.walk(os.path.expanduser(folder)):
            found += [Path(parent, name) for name in files]
    fonts = [path for path in found if path.suffix.lower() in (".ttf", ".otf", ".ttc")]
    return tuple(str(path) for path in sorted(fonts, key=_preference)[:MOST_FONTS])


def _preference(path: Path) -> tuple:
    name = path.name.lower()
    rank = next((i for i, known in enumerate(PREFERRED) if name.startswith(known)), len(PREFERRED))
    is_plain = not any(word in name for word in ("bold", "italic", "oblique", "light", "mono"))
    return not is_plain, rank, name
