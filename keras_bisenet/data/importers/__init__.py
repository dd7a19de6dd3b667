"""Annotations as tools write them: what each says, and the `folder` data set that it becomes.

A tool is one module with `read(source) -> Annotations`, and one line here.
"""

from __future__ import annotations

from keras_bisenet.data.importers import coco, cvat, labelme, labelstudio, supervisely, voc

IMPORTERS = {
    "coco": coco.read,
    "labelme": labelme.read,
    "cvat": cvat.read,
    "voc": voc.read,
    "supervisely": supervisely.read,
    "labelstudio": labelstudio.read,
}
