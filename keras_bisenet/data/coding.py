"""How the masks of one's own data stand for classes: as ids, black and white, or colours.

Where a classes file leaves it open, the masks themselves tell.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from keras_bisenet.data.classes_file import Colour, DeclaredClasses
from keras_bisenet.data.masks import read_mask_pixels, read_palette
from keras_bisenet.data.pairing import OnProblem
from keras_bisenet.data.problems import Problem, SampleError
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import (
    VOID,
    ColourMap,
    LabelMap,
    colour_codes,
    colours_of_codes,
    pascal_palette,
)

SCANNED = 400
"""At most so many masks are read to find their classes, at even distances in the data set."""

MOST_CLASSES = 64
"""More different colours (or grey levels with no pattern) are not taken for classes."""

COLOURS_KEPT = 4096
"""So many colours are no classes, and no more of them are remembered."""

BLACK = (0, 0, 0)
BLACK_AND_WHITE = (0, 255)
BACKGROUND, FOREGROUND = "background", "foreground"


@dataclass(frozen=True)
class Coding:
    """How masks stand for classes; the fields are those of `Dataset`."""

    label_map: LabelMap
    colours: ColourMap | None = None
    soft_edges: bool = False


@dataclass(frozen=True)
class Scan:
    """What some of the masks hold.

    Args:
        masks: How many were read.
        pixels: Pixels by id, int64 `[256]`, of masks without colours.
        colours: All colours; palettes and grey levels count as colours here.
        in_colour: A mask that holds colours and has no palette; None if there is none.
        palette: The colours of ids by the first palette image, if there is one.
    """

    masks: int
    pixels: np.ndarray
    colours: frozenset[Colour]
    in_colour: Path | None
    palette: tuple[Colour, ...]

    @property
    def ids(self) -> list[int]:
        return np.flatnonzero(self.pixels).tolist()


def find_coding(
    masks: Sequence[Path],
    declared: DeclaredClasses | None,
    directory: Path,
    on_problem: OnProblem,
) -> Coding:
    """Finds how the masks are coded, and tells what was not declared.

    Args:
        masks: All mask files.
        declared: What the classes file says, if there is one.
        directory: Where a classes file belongs.
        on_problem: Told of `inferred-classes`, a warning that lists them, and of `colour-mask`
            where the classes file has no colours for masks of colours.

    Raises:
        UserError: When no mask can be read, or what they hold is no set of classes.
    """
    step = max(1, -(-len(masks) // SCANNED))
    scan = scan_masks(masks[::step])
    told = f"{scan.masks} of {len(masks)} masks" if step > 1 else _count(scan.masks, "mask")
    if declared and scan.in_colour and not declared.has_colours:
        on_problem(_colours_missing(scan, declared))
        declared = None
    if declared:
        coding, added = _declared_coding(scan, declared)
        if not added:
            if _white_is_void(coding, scan, declared):
                on_problem(_warning_of_white(declared))
            return coding
    elif scan.in_colour:
        coding = _coding_of_colours(scan, directory)
    else:
        coding = _coding_of_ids(scan, directory)
    on_problem(
        Problem(
            "inferred-classes",
            "warning",
            f"classes: {_listed(coding, scan)} (inferred from {told})",
            (declared.path if declared else directory,),
            "give ids in it" if declared else "write a classes.csv to name them",
        )
    )
    return coding


def scan_masks(masks: Sequence[Path]) -> Scan:
    """Reads masks, and leaves out what cannot be read.

    Raises:
        SampleError: When none can.
    """
    return _scan(tuple(str(path) for path in masks), tuple(_version(path) for path in masks))


@lru_cache(maxsize=4)
def _scan(paths: tuple[str, ...], versions: tuple) -> Scan:
    """One scan serves all loads of a data set in a process, while its files stay as they are."""
    masks, pixels, codes, in_colour, palette = 0, np.zeros(256, np.int64), set(), None, ()
    error = None
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for path, found in zip(paths, threads.map(_contents, map(Path, paths))):
            if isinstance(found, SampleError):
                error = error or found
                continue
            counts, own_codes, own_palette = found
            masks += 1
            codes |= own_codes if len(codes) < COLOURS_KEPT else set()
            palette = palette or own_palette
            if counts is None:
                in_colour = in_colour or Path(path)
            else:
                pixels += counts
    if not masks:
        raise error
    return Scan(masks, pixels, frozenset(colours_of_codes(codes)), in_colour, palette)


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _contents(path: Path):
    """A mask's pixels by id, None where it holds colours; its colour codes; its palette."""
    try:
        pixels = read_mask_pixels(path)
    except SampleError as error:
        return error
    if pixels.ndim == 3:
        return None, set(np.unique(colour_codes(pixels))[:COLOURS_KEPT].tolist()), ()
    counts = np.bincount(pixels.reshape(-1), minlength=256)
    palette = read_palette(path)
    greys = tuple((grey, grey, grey) for grey in range(256))
    colours = [(palette or greys)[number] for number in np.flatnonzero(counts)]
    return counts, set(colour_codes(np.array(colours, np.uint8)).tolist()), palette


# === With a classes file ===


def _declared_coding(scan: Scan, declared: DeclaredClasses) -> tuple[Coding, bool]:
    """The coding that a classes file describes, and whether something was added to it."""
    classes = declared.classes
    generated = pascal_palette(len(classes) + 1)[1:]
    names = tuple(each.name for each in classes)
    palette = tuple(each.colour or spare for each, spare in zip(classes, generated))
    try:
        if declared.has_colours:
            known = {*palette, *declared.ignored_colours}
            unknown = scan.colours - known
            if len(classes) == 1 and unknown == {BLACK}:
                return _colour_coding((BACKGROUND, *names), (BLACK, *palette), declared), True
            if scan.in_colour or not unknown:
                return _colour_coding(names, palette, declared), False
        ids, added = _declared_ids(scan, declared)
        if len(ids) > len(names):
            names, palette = (BACKGROUND, *names), (BLACK, *palette)
        labels = LabelMap(names, palette, ids, declared.ignored_ids)
    except ValueError as error:
        raise UserError(f"{declared.path}: {error}: mend it") from error
    return Coding(labels, soft_edges=ids == BLACK_AND_WHITE and _has_soft_edges(scan)), added


def _declared_ids(scan: Scan, declared: DeclaredClasses) -> tuple[tuple[int, ...], bool]:
    """The ids of the classes, that of a background before them where one has to be added."""
    ids = tuple(each.id for each in declared.classes)
    found = set(scan.ids) - set(declared.ignored_ids)
    if _has_soft_edges(scan) and VOID not in declared.ignored_ids:
        found = set(BLACK_AND_WHITE)
    if len(ids) == 1 and 0 in found:
        others = sorted(found - {0})
        if not declared.has_ids and len(others) == 1:
            return (0, others[0]), True
        if declared.has_ids and ids != (0,):
            return (0, *ids), True
    if len(ids) == 2 and not declared.has_ids and found == set(BLACK_AND_WHITE):
        return BLACK_AND_WHITE, True
    return ids, False


def _colour_coding(names, palette, declared: DeclaredClasses) -> Coding:
    void = declared.ignored_colours
    class_ids = (*range(len(names)), *[VOID] * len(void))
    return Coding(LabelMap(names, palette), ColourMap((*palette, *void), class_ids))


def _white_is_void(coding: Coding, scan: Scan, declared: DeclaredClasses) -> bool:
    """Whether black and white masks lose their white to void, which nobody asked for."""
    declares = {*declared.ignored_ids, *coding.label_map.file_ids}
    return not coding.colours and scan.ids == [0, VOID] and VOID not in declares


def _warning_of_white(declared: DeclaredClasses) -> Problem:
    return Problem(
        "white-is-void",
        "warning",
        "the masks hold 0 and 255 alone, and 255 is void, so that only one class is left",
        (declared.path,),
        "give the class that is white the id 255, or ignore 255 there if that is meant",
    )


def _colours_missing(scan: Scan, declared: DeclaredClasses) -> Problem:
    shown = ", ".join(str(colour) for colour in sorted(scan.colours)[:6])
    return Problem(
        "colour-mask",
        "error",
        f"the masks hold colours, and {declared.path.name} does not say which mean which class",
        (scan.in_colour, declared.path),
        f"give each class its colour there; the masks have {shown}",
    )


# === Without one ===


def _coding_of_colours(scan: Scan, directory: Path) -> Coding:
    colours = tuple(sorted(scan.colours))
    cure = f"write a classes.csv in {directory} with the colour of each class"
    if len(colours) < 2:
        raise UserError(f"{scan.in_colour}: the masks hold one colour alone, {colours[0]}: {cure}")
    if len(colours) > MOST_CLASSES:
        raise UserError(
            f"{scan.in_colour}: the masks hold {len(colours)} colours or more, which are no "
            f"classes: save masks as PNG, without soft edges, or {cure}"
        )
    names = tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours)
    if len(colours) == 2 and colours[0] == BLACK:
        names = BACKGROUND, FOREGROUND
    return Coding(LabelMap(names, colours), ColourMap(colours, tuple(range(len(colours)))))


def _coding_of_ids(scan: Scan, directory: Path) -> Coding:
    if _has_soft_edges(scan):
        return Coding(_label_map(BLACK_AND_WHITE, ()), soft_edges=True)
    ids = tuple(number for number in scan.ids if number != VOID)
    cure = f"write a classes.csv in {directory} with the name and id of each class"
    if VOID in scan.ids:
        if ids == (0,):
            return Coding(_label_map(BLACK_AND_WHITE, ()))
        if not _dense(ids):
            raise UserError(
                f"{directory}: the masks hold the grey levels {_some(scan.ids)}: which are "
                f"classes, and whether 255 is void, cannot be told: {cure}"
            )
    if len(ids) < 2:
        raise UserError(
            f"{directory}: the masks hold no two classes, only {_some(scan.ids)}"
            f"{' (255 is void)' if VOID in scan.ids else ''}: {cure}"
        )
    if len(ids) > MOST_CLASSES and not _dense(ids):
        raise UserError(
            f"{directory}: the masks hold {len(ids)} different grey levels, which are no ids of "
            f"classes: save masks of ids, or {cure}"
        )
    return Coding(_label_map(ids, scan.palette))


def _label_map(ids: tuple[int, ...], palette: Sequence[Colour]) -> LabelMap:
    names = tuple(f"class {number}" for number in ids)
    if len(ids) == 2 and ids[0] == 0:
        names = BACKGROUND, FOREGROUND
    colours = tuple(palette[number] for number in ids) if palette else ()
    if len(set(colours)) < len(ids):
        colours = pascal_palette(len(ids))
    return LabelMap(names, colours, ids)


def _dense(ids: Sequence[int]) -> bool:
    """Whether numbers look like ids of classes, which go on from 0 with few gaps."""
    return max(ids) < 4 * len(ids) + 8


def _has_soft_edges(scan: Scan) -> bool:
    """Whether the masks are black and white, with greys of all kinds along the edges."""
    between = [number for number in scan.ids if 0 < number < 255]
    extremes = scan.pixels[0] + scan.pixels[255]
    return (
        min(scan.pixels[0], scan.pixels[255]) > 0
        and len(between) >= 8
        and max(between) >= 192
        and extremes >= 0.9 * scan.pixels.sum()
    )


def _listed(coding: Coding, scan: Scan) -> str:
    labels = coding.label_map
    if coding.colours:
        keys = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in labels.palette]
    else:
        keys = [str(number) for number in labels.file_ids]
    listed = [name if name == key else f"{key} {name}" for key, name in zip(keys, labels.names)]
    has_void = not coding.colours and VOID in scan.ids and VOID not in labels.file_ids
    return _some(listed, 12) + ("; 255 is void" if has_void else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _some(values: Sequence, limit: int = 8) -> str:
    shown = ", ".join(str(value) for value in values[:limit])
    return f"{shown}, ..." if len(values) > limit else shown
