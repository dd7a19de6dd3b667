"""The label map: what the numbers in a mask mean.

One object serves training, evaluation, the `.tflite` file's metadata and drawing. Pixels that do
not count are void; others call that the ignore label, or the ignore index (255 here as there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

VOID = 255
"""The ignore index: the id, in memory, of pixels that no loss and no metric counts."""


class UnknownIdError(ValueError):
    """A mask holds ids that its label map does not declare; `ids` lists them."""

    def __init__(self, ids: Sequence[int]):
        self.ids = [int(i) for i in ids]
        super().__init__(f"unknown ids {self.ids}")


class UnknownColourError(ValueError):
    """A mask holds colours that its colour map does not declare; `colours` lists them, the most
    frequent first."""

    def __init__(self, colours: Sequence[tuple[int, int, int]]):
        self.colours = [tuple(int(v) for v in colour) for colour in colours]
        super().__init__(f"unknown colours {self.colours}")


@dataclass(frozen=True)
class LabelMap:
    """Class names and colours, and how a mask file's ids become class ids.

    Args:
        names: One name per class; the position is the class id, 0 to `len(names) - 1`.
        palette: One RGB colour (0 to 255) per class.
        file_ids: The id that stands for each class in mask files. Defaults to the class id.
        ignored_ids: The ids in mask files that mean void. 255 always does, unless it is the
            file id of a class.

    Raises:
        ValueError: When names and palette differ in length, a name repeats, or an id is used
            twice or lies outside 0 to 255.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    file_ids: tuple[int, ...] = ()
    ignored_ids: tuple[int, ...] = (VOID,)
    _table: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        freeze = object.__setattr__
        freeze(self, "names", tuple(self.names))
        freeze(self, "palette", tuple(tuple(int(v) for v in colour) for colour in self.palette))
        freeze(self, "file_ids", tuple(self.file_ids) or tuple(range(len(self.names))))
        void = () if VOID in self.file_ids else (VOID,)
        ignored = (i for i in self.ignored_ids if i != VOID)
        freeze(self, "ignored_ids", tuple(dict.fromkeys((*ignored, *void))))
        if not 1 <= len(self.names) <= VOID:
            raise ValueError(f"a label map has 1 to {VOID} classes, not {len(self.names)}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"class names repeat: {self.names}")
        if len(self.palette) != len(self.names) or len(self.file_ids) != len(self.names):
            raise ValueError(
                f"{len(self.names)} names, {len(self.palette)} colours and "
                f"{len(self.file_ids)} ids: a label map has one of each per class"
            )
        ids = (*self.file_ids, *self.ignored_ids)
        if len(set(ids)) != len(ids) or not all(0 <= i <= 255 for i in ids):
            raise ValueError(f"mask ids must differ and lie in 0 to 255: {ids}")
        # -1 marks the ids that nobody declared.
        table = np.full(256, -1, np.int16)
        table[list(self.file_ids)] = np.arange(len(self.names))
        table[list(self.ignored_ids)] = VOID
        freeze(self, "_table", table)

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def to_json(self) -> dict:
        """The map as `from_json` takes it."""
        return {
            "names": list(self.names),
            "palette": [list(colour) for colour in self.palette],
            "file_ids": list(self.file_ids),
            "ignored_ids": list(self.ignored_ids),
        }

    @classmethod
    def from_json(cls, value: dict) -> LabelMap:
        """The map that `to_json` wrote."""
        return cls(**{key: tuple(items) for key, items in value.items()})

    def class_ids(self, mask: np.ndarray) -> np.ndarray:
        """Maps a mask file's ids to class ids, with `VOID` for what is ignored.

        Args:
            mask: uint8 array of file ids, any shape.

        Returns:
            uint8 array of the same shape.

        Raises:
            UnknownIdError: When the mask holds an id that the map does not declare.
        """
        mapped = self._table[mask]
        if mapped.min(initial=0) < 0:
            raise UnknownIdError(np.unique(mask[mapped < 0]).tolist())
        return mapped.astype(np.uint8)


@dataclass(frozen=True)
class ColourMap:
    """How the colours of a mask file become class ids.

    Args:
        colours: RGB colours, 0 to 255.
        class_ids: The class id of each, `VOID` for those that are ignored. Several colours may
            mean one class.

    Raises:
        ValueError: When a colour repeats, or colours and class ids differ in number.
    """

    colours: tuple[tuple[int, int, int], ...]
    class_ids: tuple[int, ...]

    def __post_init__(self):
        freeze = object.__setattr__
        freeze(self, "colours", tuple(tuple(int(v) for v in colour) for colour in self.colours))
        freeze(self, "class_ids", tuple(self.class_ids))
        if len(self.colours) != len(self.class_ids):
            raise ValueError(f"{len(self.colours)} colours, {len(self.class_ids)} class ids")
        if len(set(self.colours)) != len(self.colours):
            raise ValueError(f"mask colours repeat: {self.colours}")

    def to_class_ids(self, mask: np.ndarray) -> np.ndarray:
        """Maps colours to class ids.

        Args:
            mask: uint8 `[height, width, 3]`.

        Returns:
            uint8 `[height, width]`.

        Raises:
            UnknownColourError: When the mask holds a colour that the map does not declare.
        """
        codes = colour_codes(mask)
        known = colour_codes(np.array(self.colours, np.uint8))
        order = np.argsort(known)
        places = np.minimum(np.searchsorted(known[order], codes), len(known) - 1)
        unknown = known[order][places] != codes
        if unknown.any():
            found, counts = np.unique(codes[unknown], return_counts=True)
            found = found[np.argsort(-counts, kind="stable")]
            raise UnknownColourError(colours_of_codes(found))
        return np.array(self.class_ids, np.uint8)[order][places]


def colour_codes(colours: np.ndarray) -> np.ndarray:
    """RGB colours, uint8 `[..., 3]`, as a number each, `0xRRGGBB`: int32 `[...]`."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def colours_of_codes(codes: Sequence[int]) -> list[tuple[int, int, int]]:
    """The colours that `colour_codes` made numbers of."""
    return [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]


def pascal_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first colours of Pascal VOC's development kit: black, dark red, dark green, ...

    The three lowest bits of an index are the highest of red, green and blue, the next three the
    second highest, and so on.
    """
    palette = []
    for index in range(count):
        colour = [0, 0, 0]
        for bit in range(24):
            colour[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
        palette.append(tuple(colour))
    return tuple(palette)
