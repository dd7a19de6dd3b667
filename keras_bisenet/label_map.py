"""The label map: what the numbers in a mask mean.

One object serves training, evaluation, the `.tflite` file's metadata and drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

VOID = 255
"""The id of pixels that no loss and no metric counts, wherever a mask is in memory."""


class UnknownIdError(ValueError):
    """A mask holds ids that its label map does not declare; `ids` lists them."""

    def __init__(self, ids: Sequence[int]):
        self.ids = [int(i) for i in ids]
        super().__init__(f"unknown ids {self.ids}")


@dataclass(frozen=True)
class LabelMap:
    """Class names and colours, and how a mask file's ids become class ids.

    Args:
        names: One name per class; the position is the class id, 0 to `len(names) - 1`.
        palette: One RGB colour (0 to 255) per class.
        file_ids: The id that stands for each class in mask files. Defaults to the class id.
        ignored_ids: The ids in mask files that mean void. 255 always does.

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
        freeze(self, "ignored_ids", tuple(dict.fromkeys((*self.ignored_ids, VOID))))
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
