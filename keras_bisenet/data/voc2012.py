"""Pascal VOC 2012, segmentation: 20 classes and background.

Everingham et al., http://host.robots.ox.ac.uk/pascal/VOC/voc2012/; names and colours are those of
its development kit (VOClabelcolormap). As VOCtrainval_11-May-2012.tar unpacks:

    DIR/VOCdevkit/VOC2012/JPEGImages/*.jpg
    DIR/VOCdevkit/VOC2012/SegmentationClass/*.png             palette images; 255 is void
    DIR/VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt    1464 names; val.txt, 1449

DIR may also be VOCdevkit or VOC2012. Where SegmentationClassAug and ImageSets/Segmentation/
trainaug.txt lie there too (the masks that SBD adds, Hariharan et al., ICCV 2011), the training
split is trainaug's 10582 images.
"""

from __future__ import annotations

from pathlib import Path

from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.pairing import OnProblem, pair_stems
from keras_bisenet.data.splits import hold_out_val
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import LabelMap, pascal_palette

NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

VOC2012 = LabelMap(names=NAMES, palette=pascal_palette(len(NAMES)))


def load(directory: Path, name: str, on_problem: OnProblem) -> Dataset:
    """Finds the splits below `directory`.

    Raises:
        UserError: When the directory is not laid out as above.
    """
    roots = [directory / "VOCdevkit" / "VOC2012", directory / "VOC2012", directory]
    root = next((path for path in roots if (path / "JPEGImages").is_dir()), None)
    if root is None:
        raise UserError(
            f"{directory}: no {name} data here (no folder JPEGImages): --data-dir is the folder "
            "that holds VOCdevkit, or VOC2012"
        )
    lists = root / "ImageSets" / "Segmentation"
    splits = {}
    for split in ("train", "val"):
        masks, names = root / "SegmentationClass", lists / f"{split}.txt"
        augmented = root / "SegmentationClassAug", lists / "trainaug.txt"
        if split == "train" and augmented[0].is_dir() and augmented[1].is_file():
            masks, names = augmented
        if names.is_file():
            stems = names.read_text(encoding="utf-8").split()
            splits[split] = pair_stems(stems, root / "JPEGImages", masks, names, on_problem)
    if not any(splits.values()):
        raise UserError(f"{lists}: no train.txt or val.txt that names images: unpack it again")
    return Dataset(name, VOC2012, hold_out_val(splits, directory, on_problem))
