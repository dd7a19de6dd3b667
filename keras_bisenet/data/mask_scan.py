"""What masks hold, before anybody says what it means: ids, colours, palettes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_bisenet.data.classes_entries import Colour
from keras_bisenet.data.masks import (
    alpha_and_colour,
    grey_step,
    palette_problem,
    read_alpha,
    read_mask,
    read_mask_pixels,
    read_palette,
)
from keras_bisenet.data.problems import Problem, SampleError
from keras_bisenet.label_map import VOID, colour_codes, colours_of_codes

COLOURS_KEPT = 4096
"""So many colours are no classes, and no more of them are remembered."""

MANY = 9
"""So many ids in one mask are worth a look whether they lie along edges alone."""


@dataclass(frozen=True)
class Scan:
    """What some of the masks hold.

    Args:
        masks: How many were read.
        pixels: Pixels by id, int64 `[256]`, of masks without colours.
        colours: All colours; palettes and grey levels count as colours here.
        in_colour: A mask that holds colours and has no palette; None if there is none.
        palette: The colour that palette images show each id in, None where none has it; empty
            where there is no palette image.
        palette_differs: What is wrong where palette images show an id in several colours.
        in_alpha: Whether the masks have their shape in the alpha channel.
        solid: Pixels by id that lie in a square of 2x2 of their like, int64 `[256]`.
        white_apart: Masks of 0 and 255 alone, and of 0 and 1 alone, where there are both and none
            holds 1 and 255; else None.
    """

    masks: int
    pixels: np.ndarray
    colours: frozenset[Colour]
    in_colour: Path | None
    palette: tuple[Colour | None, ...]
    palette_differs: Problem | None = None
    in_alpha: bool = False
    solid: np.ndarray | None = None
    white_apart: tuple[Path, Path] | None = None

    @property
    def ids(self) -> list[int]:
        return np.flatnonzero(self.pixels).tolist()

    @property
    def read_ids(self) -> Callable[[Path], np.ndarray]:
        """What reads such masks of ids."""
        if self.in_alpha:
            return read_alpha
        return partial(read_mask, palette=self.palette) if self.palette else read_mask


def scan_masks(masks: Sequence[Path]) -> Scan:
    """Reads masks, and leaves out what cannot be read.

    Raises:
        SampleError: When none can.
    """
    return _scan(tuple(str(path) for path in masks), tuple(_version(path) for path in masks))


@lru_cache(maxsize=4)
def _scan(paths: tuple[str, ...], versions: tuple) -> Scan:
    """One scan serves all loads of a data set in a process, while its files stay as they are."""
    read, error = [], None
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for path, found in zip(paths, threads.map(_contents, map(Path, paths))):
            if isinstance(found, SampleError):
                error = error or found
            else:
                read.append((Path(path), found))
    in_alpha = [found.alpha for _, found in read if found.alpha is not None]
    refused = next((found.error for _, found in read if found.error), None)
    one_colour = len({found.colour for _, found in read}) == 1
    if refused and one_colour and len(in_alpha) == len(read):
        pixels = sum(in_alpha, np.zeros(256, np.int64))
        return Scan(len(read), pixels, frozenset(), None, (), in_alpha=True)
    if refused:
        raise refused
    if not read:
        raise error
    pixels, solid = np.zeros(256, np.int64), np.zeros(256, np.int64)
    codes, in_colour = set(), None
    palette: dict[int, tuple[Colour, Path]] = {}
    differs = None
    for path, found in read:
        codes |= found.codes if len(codes) < COLOURS_KEPT else set()
        if found.pixels is None:
            in_colour = in_colour or path
            continue
        pixels += found.pixels
        solid += found.solid
        for number, colour in found.palette.items():
            other, where = palette.setdefault(number, (colour, path))
            if other != colour and number != VOID and differs is None:
                differs = palette_problem(path, number, colour, other, where.name)
    colours = [palette.get(number, (None, None))[0] for number in range(256)] if palette else ()
    return Scan(
        len(read),
        pixels,
        frozenset(colours_of_codes(codes)),
        in_colour,
        tuple(colours),
        differs,
        solid=solid,
        white_apart=_white_apart(read),
    )


def _white_apart(read: Sequence[tuple[Path, _Contents]]) -> tuple[Path, Path] | None:
    """See `Scan.white_apart`."""
    white = one = None
    for path, found in read:
        held = () if found.pixels is None else tuple(np.flatnonzero(found.pixels))
        if held == (0, VOID):
            white = white or path
        elif held in ((1,), (0, 1)):
            one = one or path
        elif held not in ((), (0,), (VOID,)):
            return None
    return (white, one) if white and one else None


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


class _Contents(NamedTuple):
    """What a mask holds.

    Attributes:
        pixels: Pixels by id; None where it holds colours.
        solid: See `Scan`.
        codes: Its colours' codes.
        palette: The colours of its ids, by a palette of its own.
        alpha: Pixels by value of the alpha channel, where all pixels have one colour.
        colour: That colour.
        error: Why it can be read by its alpha channel alone.
    """

    pixels: np.ndarray | None
    solid: np.ndarray | None
    codes: set[int]
    palette: dict[int, Colour]
    alpha: np.ndarray | None = None
    colour: Colour | None = None
    error: SampleError | None = None


def _contents(path: Path) -> _Contents | SampleError:
    try:
        in_alpha = alpha_and_colour(path)
        alpha, colour = in_alpha or (None, None)
        if in_alpha:
            alpha = np.bincount(alpha.reshape(-1), minlength=256)
        pixels = read_mask_pixels(path)
    except SampleError as error:
        if error.problem.rule == "transparent-mask":
            return _Contents(None, None, set(), {}, alpha, colour, error)
        return error
    if pixels.ndim == 3:
        codes = set(np.unique(colour_codes(pixels))[:COLOURS_KEPT].tolist())
        return _Contents(None, None, codes, {}, alpha, colour)
    counts = np.bincount(pixels.reshape(-1), minlength=256)
    palette = read_palette(path)
    step = 1 if palette or counts[16:].any() else grey_step(path)
    greys = tuple((grey, grey, grey) for grey in range(0, 256, step))
    colours = {number: (palette or greys)[number] for number in np.flatnonzero(counts).tolist()}
    codes = set(colour_codes(np.array([*colours.values()], np.uint8)).tolist())
    return _Contents(
        counts, _solid(pixels, counts), codes, colours if palette else {}, alpha, colour
    )


def _solid(pixels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pixels by id that are the upper left one of a square of 2x2 of their like."""
    if np.count_nonzero(counts) < MANY:
        return counts
    corner = pixels[:-1, :-1]
    like = (corner == pixels[1:, :-1]) & (corner == pixels[:-1, 1:]) & (corner == pixels[1:, 1:])
    return np.bincount(corner[like], minlength=256)
