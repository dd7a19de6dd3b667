"""Pascal VOC's layout, as CVAT, labelme2voc, Datumaro and others write it.

    SRC/JPEGImages/*, SRC/SegmentationClass/*.png, SRC/ImageSets/Segmentation/train.txt
    SRC/labelmap.txt, or labels.txt, class_names.txt    what the masks mean

VOC 2012 itself (SRC/VOCdevkit/VOC2012, or a folder of that name) has its own 21 classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from keras_bisenet.data import folder, voc2012
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.importers.annotations import AnnotatedImage, Annotations, Shape
from keras_bisenet.data.problems import Problem, print_warning
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID


def read(source: Path) -> Annotations:
    """Reads a folder.

    Raises:
        UserError: When it is not laid out so, or its masks' classes cannot be told.
    """
    is_voc2012 = source.name == "VOC2012" or any(
        (source / below / "JPEGImages").is_dir() for below in ("VOCdevkit/VOC2012", "VOC2012")
    )
    load = voc2012.load if is_voc2012 else folder.load
    inferred: list[Problem] = []

    def on_problem(problem: Problem) -> None:
        if problem.severity == "error":
            raise UserError(str(problem))
        if problem.rule == "missing-split":
            inferred.append(problem)
        else:
            print_warning(problem)

    dataset = load(source, "voc", on_problem)
    labels = dataset.label_map
    found = Annotations(
        labels=list(labels.names),
        colours=dict(zip(labels.names, labels.palette)),
        covers_all=True,
    )
    for split, samples in dataset.splits.items():
        for sample in samples:
            shapes = tuple(
                Shape(name, partial(_where, dataset, sample, number))
                for number, name in (*enumerate(labels.names), (VOID, "void"))
            )
            found.images.append(
                AnnotatedImage(
                    sample.image.name,
                    sample.image,
                    None,
                    shapes,
                    None if inferred else split,
                    said_in=sample.mask,
                )
            )
    return found


def _where(dataset: Dataset, sample: Sample, number: int, size: tuple[int, int]) -> np.ndarray:
    return dataset.read(sample)[1] == number
