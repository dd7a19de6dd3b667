"""The encoding of masks: how those of one's own data stand for classes, as ids, black and white,
or colours.

Where a classes file leaves it open, the masks themselves tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_bisenet.data.classes_entries import Colour
from keras_bisenet.data.classes_file import DeclaredClasses
from keras_bisenet.data.mask_scan import MANY, Scan, scan_masks
from keras_bisenet.data.masks import (
    read_mask,
)
from keras_bisenet.data.pairing import OnProblem
from keras_bisenet.data.problems import Problem, SampleError
from keras_bisenet.errors import UserError, listed
from keras_bisenet.label_map import (
    VOID,
    ColourMap,
    LabelMap,
    pascal_palette,
)

SCANNED = 400
"""At most so many masks are read to find their classes, at even distances in the data set."""

MOST_CLASSES = 64
"""More different colours (or grey levels with no pattern) are not taken for classes."""

BLACK = (0, 0, 0)
VOC_BORDER = (224, 224, 192)
"""What Pascal VOC's palette shows 255 in: void, along the borders of objects."""
BLACK_AND_WHITE = (0, 255)
BACKGROUND, FOREGROUND = "background", "foreground"


@dataclass(frozen=True)
class MaskEncoding:
    """How masks stand for classes; the fields are those of `Dataset`."""

    label_map: LabelMap
    colours: ColourMap | None = None
    soft_edges: bool = False
    read_ids: Callable[[Path], np.ndarray] = read_mask


def find_encoding(
    masks: Sequence[Path],
    declared: DeclaredClasses | None,
    directory: Path,
    on_problem: OnProblem,
) -> MaskEncoding:
    """Finds how the masks are encoded, and tells what was not declared.

    Args:
        masks: All mask files.
        declared: What the classes file says, if there is one.
        directory: Where a classes file belongs.
        on_problem: Told of `inferred-classes`, a warning that lists them, and of what the classes
            file and the masks do not agree on: `colour-mask`, `palette-differs`, `one-class`.

    Raises:
        UserError: When no mask can be read, or what they hold is no set of classes.
    """
    step = max(1, -(-len(masks) // SCANNED))
    scan = scan_masks(masks[::step])
    told = f"{scan.masks} of {len(masks)} masks" if step > 1 else _count(scan.masks, "mask")
    disagreement = declared and _disagreement(scan, declared)
    if disagreement:
        on_problem(disagreement)
        declared = None
    if scan.white_apart and not (declared and _says_what_white_is(declared)):
        on_problem(_white_twice(scan, declared.path if declared else directory))
    if declared:
        encoding, added = _declared_encoding(scan, declared)
        if encoding.label_map.num_classes < 2:
            on_problem(_one_class(encoding, scan, declared))
        if encoding.colours and VOC_BORDER in {*encoding.colours.colours} - {
            *encoding.label_map.palette,
            *declared.ignored_colours,
        }:
            on_problem(_border_is_void(declared.path))
        if not added:
            if encoding.label_map.num_classes > 1 and _white_is_void(encoding, scan, declared):
                on_problem(_white_lost(declared))
            return encoding
    elif scan.in_colour or _is_by_colour(scan):
        encoding = _encoding_of_colours(scan, directory, on_problem)
    else:
        encoding = _encoding_of_ids(scan, directory)
    on_problem(
        Problem(
            "inferred-classes",
            "warning",
            f"classes: {_listed(encoding, scan)} (inferred from {told})",
            (declared.path if declared else directory,),
            "give ids in it" if declared else "write a classes.csv to name them",
        )
    )
    return encoding


def _disagreement(scan: Scan, declared: DeclaredClasses) -> Problem | None:
    """What keeps masks from being read as the classes file says."""
    known = {*(each.colour for each in declared.classes), *declared.ignored_colours}
    if scan.in_colour and not declared.has_colours:
        return _colours_missing(scan, declared)
    if scan.colours <= known and declared.has_colours:
        return None
    if scan.palette_differs:
        return scan.palette_differs
    ids = {each.colour: each.id for each in declared.classes if each.colour}
    for number, colour in enumerate(scan.palette):
        if ids.get(colour, number) != number and not scan.in_colour:
            name = next(each.name for each in declared.classes if each.colour == colour)
            return Problem(
                "palette-differs",
                "error",
                f"the masks' palette shows the id {number} in the colour {colour}, which "
                f"{declared.path.name} gives to {name} (id {ids[colour]})",
                (declared.path,),
                "give each class the id, or all colours, that the masks have",
            )
    return None


# === With a classes file ===


def _declared_encoding(scan: Scan, declared: DeclaredClasses) -> tuple[MaskEncoding, bool]:
    """The encoding that a classes file describes, and whether something was added to it."""
    classes = declared.classes
    generated = pascal_palette(len(classes) + 1)[1:]
    names = tuple(each.name for each in classes)
    palette = tuple(each.colour or spare for each, spare in zip(classes, generated))
    try:
        if declared.has_colours:
            unknown = scan.colours - {*palette, *declared.ignored_colours}
            if len(classes) == 1 and unknown == {BLACK}:
                return _colour_encoding((BACKGROUND, *names), (BLACK, *palette), declared), True
            if scan.in_colour or not unknown:
                border = unknown == {VOC_BORDER}
                return _colour_encoding(names, palette, declared, border), False
        _refuse_two_readings(scan, declared)
        ids, added = _declared_ids(scan, declared)
        if len(ids) > len(names):
            names, palette = (BACKGROUND, *names), (BLACK, *palette)
        labels = LabelMap(names, palette, ids, declared.ignored_ids)
    except ValueError as error:
        raise UserError(f"{declared.path}: {error}: mend it") from error
    soft = ids == BLACK_AND_WHITE and _has_soft_edges(scan)
    return MaskEncoding(labels, soft_edges=soft, read_ids=scan.read_ids), added


def _refuse_two_readings(scan: Scan, declared: DeclaredClasses) -> None:
    """Refuses a void name before classes without ids, unless the masks' ids tell its place.

    `void, a, b` may be the ids 0, 1 and 2, or void may be 255 and a and b 0 and 1.
    """
    if declared.shifted_by is None:
        return
    last = max(*(each.id for each in declared.classes), *declared.ignored_ids, -1)
    found = set(scan.ids) - {VOID}
    is_told = last in found if declared.ignored_ids else True  # labelme's name takes no place
    if not is_told or max(found, default=0) > last:
        raise UserError(
            f"{declared.path}: {declared.shifted_by!r} stands before classes without ids, and the "
            f"masks' ids, {listed(sorted(found))}, do not tell whether it takes one: give each "
            "class its id"
        )


def _one_class(encoding: MaskEncoding, scan: Scan, declared: DeclaredClasses) -> Problem:
    held = "colours" if encoding.colours else f"{listed(scan.ids)}"
    return Problem(
        "one-class",
        "error",
        f"there is one class alone, {encoding.label_map.names[0]}, and the masks hold {held}"
        f"{' (255 is void)' if VOID in scan.ids and not encoding.colours else ''}: a model "
        "tells two classes apart, or more",
        (declared.path,),
        "declare the others there, such as the background, with the id or colour that each has "
        "in the masks",
    )


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
    if _lacks_background(declared, ids, found):
        return (0, *ids), True
    if len(ids) == 2 and not declared.has_ids and found == set(BLACK_AND_WHITE):
        return BLACK_AND_WHITE, True
    return ids, False


def _lacks_background(declared: DeclaredClasses, ids: tuple[int, ...], found: set[int]) -> bool:
    """Whether ids go from 1 on and the masks have 0 beside them, as label maps of detectors do.

    The last id has to be in the masks: ids 0 to N - 1 under N names are off by one.
    """
    names = {each.name.lower() for each in declared.classes}
    return (
        declared.has_ids
        and min(ids) == 1
        and max(ids) in found
        and found - {*ids, VOID} == {0}
        and BACKGROUND not in names
    )


def _colour_encoding(
    names, palette, declared: DeclaredClasses, border: bool = False
) -> MaskEncoding:
    void = (*declared.ignored_colours, *[VOC_BORDER] * border)
    class_ids = (*range(len(names)), *[VOID] * len(void))
    return MaskEncoding(LabelMap(names, palette), ColourMap((*palette, *void), class_ids))


def _white_is_void(encoding: MaskEncoding, scan: Scan, declared: DeclaredClasses) -> bool:
    """Whether black and white masks lose their white to void, which nobody asked for."""
    return (
        not encoding.colours
        and scan.ids == [0, VOID]
        and VOID not in encoding.label_map.file_ids
        and not _says_what_white_is(declared)
    )


def _says_what_white_is(declared: DeclaredClasses) -> bool:
    return VOID in (*declared.ignored_ids, *(each.id for each in declared.classes))


def _border_is_void(path: Path) -> Problem:
    return Problem(
        "void-border",
        "warning",
        f"the colour {VOC_BORDER}, which Pascal VOC's masks have along borders, is void",
        (path,),
        "declare it there if it is a class",
    )


def _white_twice(scan: Scan, path: Path) -> Problem:
    return Problem(
        "white-differs",
        "error",
        "some masks hold 0 and 255 alone, others 0 and 1 alone, so that white may be the class or "
        "void",
        (*scan.white_apart, path),
        "save all masks in one form, or declare what 255 is in a classes.csv (void,255 if it is)",
    )


def _white_lost(declared: DeclaredClasses) -> Problem:
    return Problem(
        "white-is-void",
        "error",
        "the masks hold 0 and 255 alone, and 255 is void, so that only one class is left",
        (declared.path,),
        "give the class that is white the id 255, or ignore 255 there if that is meant",
    )


def _colours_missing(scan: Scan, declared: DeclaredClasses) -> Problem:
    if _is_red(scan):
        return Problem(
            "colour-mask",
            "error",
            "the masks hold ids in the red channel alone, as CARLA's do",
            (scan.in_colour,),
            "save that channel as a grey mask",
        )
    shown = listed(sorted(scan.colours), 6)
    return Problem(
        "colour-mask",
        "error",
        f"the masks hold colours, and {declared.path.name} does not say which mean which class",
        (scan.in_colour, declared.path),
        f"give each class its colour there; the masks have {shown}",
    )


# === Without one ===


def _encoding_of_colours(scan: Scan, directory: Path, on_problem: OnProblem) -> MaskEncoding:
    colours = tuple(sorted(scan.colours))
    cure = f"write a classes.csv in {directory} with the colour of each class"
    if len(colours) < 2:
        raise UserError(f"{scan.in_colour}: the masks hold one colour alone, {colours[0]}: {cure}")
    if len(colours) > MOST_CLASSES:
        raise UserError(
            f"{scan.in_colour}: the masks hold {len(colours)} colours or more, which are no "
            f"classes: save masks as PNG, without soft edges, or {cure}"
        )
    if _is_red(scan):
        raise UserError(
            f"{scan.in_colour}: the masks hold ids in the red channel alone, as CARLA's do: save "
            "that channel as a grey mask"
        )
    near = _nearly_equal(colours)
    if near:
        raise UserError(
            f"{scan.in_colour or directory}: the masks hold colours that are nearly equal, such "
            f"as {near[0]} and {near[1]}, as after a JPEG or a smooth resize: export them again "
            f"as PNG, or {cure}"
        )
    void: tuple[Colour, ...] = ()
    if VOC_BORDER in colours and {*colours} - {VOC_BORDER} <= {*pascal_palette(VOID)}:
        on_problem(_border_is_void(directory))
        void = (VOC_BORDER,)
        colours = tuple(colour for colour in colours if colour != VOC_BORDER)
    names = tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours)
    if len(colours) == 2 and colours[0] == BLACK:
        names = BACKGROUND, FOREGROUND
    class_ids = (*range(len(colours)), *[VOID] * len(void))
    return MaskEncoding(LabelMap(names, colours), ColourMap((*colours, *void), class_ids))


def _is_red(scan: Scan) -> bool:
    """Whether colours are ids: red alone, from 0 on with few gaps."""
    reds = [red for red, green, blue in scan.colours if green == blue == 0]
    return len(reds) == len(scan.colours) and _dense(reds)


def _nearly_equal(colours: Sequence[Colour]) -> tuple[Colour, Colour] | None:
    """Two colours that differ by 1 or 2 in their channels, if there are such."""
    values = np.array(colours, int)
    distance = np.abs(values[:, None] - values[None]).max(axis=2)
    pairs = np.argwhere((distance > 0) & (distance <= 2))
    return (colours[pairs[0][0]], colours[pairs[0][1]]) if len(pairs) else None


def _is_by_colour(scan: Scan) -> bool:
    """Whether palette images number the same few colours differently.

    Raises:
        UserError: When they show ids in several colours, and it is not that.
    """
    if scan.palette_differs and len(scan.colours) > len(scan.ids):
        raise SampleError(scan.palette_differs)
    return scan.palette_differs is not None


def _encoding_of_ids(scan: Scan, directory: Path) -> MaskEncoding:
    if _has_soft_edges(scan):
        return MaskEncoding(
            _label_map(BLACK_AND_WHITE, ()), soft_edges=True, read_ids=scan.read_ids
        )
    ids = tuple(number for number in scan.ids if number != VOID)
    cure = f"write a classes.csv in {directory} with the name and id of each class"
    if scan.ids == [VOID]:
        raise UserError(
            f"{directory}: the masks hold 255 alone, which is void: nothing in them is labelled. "
            f"If white is a class, {cure}"
        )
    if VOID in scan.ids:
        if ids == (0,):
            return MaskEncoding(_label_map(BLACK_AND_WHITE, ()), read_ids=scan.read_ids)
        if not _dense(ids):
            raise UserError(
                f"{directory}: the masks hold the grey levels {listed(scan.ids)}: which are "
                f"classes, and whether 255 is void, cannot be told: {cure}"
            )
    if len(ids) < 2:
        raise UserError(
            f"{directory}: the masks hold no two classes, only {listed(scan.ids)}"
            f"{' (255 is void)' if VOID in scan.ids else ''}: {cure}"
        )
    if _is_smeared(scan):
        raise UserError(
            f"{directory}: the masks hold {len(ids)} different grey levels, most of them along "
            "edges alone, as after a JPEG or a smooth resize: export them again as PNG, and resize "
            f"masks with nearest neighbour alone; if they are classes, {cure}"
        )
    if len(ids) > MOST_CLASSES and not _dense(ids):
        raise UserError(
            f"{directory}: the masks hold {len(ids)} different grey levels, which are no ids of "
            f"classes: save masks of ids, or {cure}"
        )
    return MaskEncoding(_label_map(ids, scan.palette), read_ids=scan.read_ids)


def _label_map(ids: tuple[int, ...], palette: Sequence[Colour]) -> LabelMap:
    names = tuple(f"class {number}" for number in ids)
    if len(ids) == 2 and ids[0] == 0:
        names = BACKGROUND, FOREGROUND
    colours = tuple(palette[number] for number in ids) if palette else ()
    if len(set(colours)) < len(ids) or None in colours:
        colours = pascal_palette(len(ids))
    return LabelMap(names, colours, ids)


def _dense(ids: Sequence[int]) -> bool:
    """Whether numbers look like ids of classes, which go on from 0 with few gaps."""
    return max(ids) < 4 * len(ids) + 8


def _is_smeared(scan: Scan) -> bool:
    """Whether most of many ids have hardly a square of 2x2 pixels, as regions of classes do."""
    ids = np.flatnonzero(scan.pixels)
    thin = scan.solid[ids] < 0.3 * scan.pixels[ids]
    return len(ids) >= MANY and np.count_nonzero(thin) > len(ids) / 2


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


def _listed(encoding: MaskEncoding, scan: Scan) -> str:
    labels = encoding.label_map
    if encoding.colours:
        keys = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in labels.palette]
    else:
        keys = [str(number) for number in labels.file_ids]
    shown = [name if name == key else f"{key} {name}" for key, name in zip(keys, labels.names)]
    has_void = not encoding.colours and VOID in scan.ids and VOID not in labels.file_ids
    return listed(shown, 12) + ("; 255 is void" if has_void else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
