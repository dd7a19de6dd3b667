"""CamVid, the Cambridge-driving labelled video database, in its common 11-class release.

Brostow et al., "Semantic object classes in video: a high-definition ground truth database",
2009. The release that the segmentation literature uses (SegNet's) has 367 training, 101
validation and 233 test frames of 360x480 and merges the 32 labels into 11 classes. Its folders,
as downloaded:

    DIR/train/*.png   DIR/trainannot/*.png    images (or .jpg), and masks of ids
    DIR/val/*.png     DIR/valannot/*.png
    DIR/test/*.png    DIR/testannot/*.png

The generated streets (`keras_bisenet.data.streets`) have the same folders and classes.
"""

from __future__ import annotations

from pathlib import Path

from keras_bisenet.data.dataset import Dataset, pair_by_stem
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import LabelMap

# Names and ids of the 11-class release, in its order; 11 is void.
CAMVID = LabelMap(
    names=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    palette=(
        (128, 180, 220),
        (150, 80, 70),
        (215, 200, 150),
        (120, 75, 140),
        (235, 120, 190),
        (90, 145, 50),
        (240, 210, 40),
        (110, 110, 170),
        (30, 60, 190),
        (225, 40, 60),
        (0, 165, 160),
    ),
    ignored_ids=(11,),
)

SPLITS = ("train", "val", "test")


def load(directory: Path, name: str = "camvid") -> Dataset:
    """Finds the three splits below `directory`.

    Raises:
        UserError: When the directory is not laid out as above, or a file has no partner.
    """
    if not (directory / "train").is_dir():
        raise UserError(
            f"{directory}: no {name} data here (it has no folder 'train'): --data-dir is the "
            "folder that holds train, trainannot, val, valannot, test and testannot"
        )
    splits = {
        split: pair_by_stem(directory / split, directory / f"{split}annot") for split in SPLITS
    }
    return Dataset(name, CAMVID, splits)
