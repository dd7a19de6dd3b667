"""Annotations as tools write them: what each says, and the `folder` data set that it becomes.

A tool is one module with `read(source) -> Annotations`, and one line here.
"""

from __future__ import annotations

from pathlib import Path

from keras_bisenet.data.importers import coco, cvat, labelme, labelstudio, supervisely, voc
from keras_bisenet.data.importers.annotations import Annotations
from keras_bisenet.errors import UserError

IMPORTERS = {
    "coco": coco.read,
    "labelme": labelme.read,
    "cvat": cvat.read,
    "voc": voc.read,
    "supervisely": supervisely.read,
    "labelstudio": labelstudio.read,
}


def read_annotations(tool: str, source: Path) -> Annotations:
    """What a tool wrote.

    Args:
        tool: A name in `IMPORTERS`.
        source: A folder or file, as the tool exports it.

    Raises:
        UserError: When it is none, or not of the form that the tool writes.
    """
    try:
        found = IMPORTERS[tool](source)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # A list where the tool writes a number, and the like: no reader can foresee them all.
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{source}: not as {tool} writes it ({what}): export it again") from error
    if not found.images:
        raise UserError(f"{source}: no image in it: export it with the images' names")
    return found
