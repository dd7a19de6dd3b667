"""CamVid, the Cambridge-driving labelled video database, with 11 classes.

Brostow et al., "Semantic object classes in video: a high-definition ground truth database",
2009. Three layouts, as downloaded:

The 11-class release that the segmentation literature uses (SegNet's; 367 training, 101 validation
and 233 test frames of 360x480), with masks of ids:

    DIR/train/*.png   DIR/trainannot/*.png    images (or .jpg), and masks
    DIR/val/*.png     DIR/valannot/*.png
    DIR/test/*.png    DIR/testannot/*.png

The 32 labels as colours, in folders by split:

    DIR/train/*.png   DIR/train_labels/*_L.png    also val, test; class_dict.csv is not needed

and as the authors publish them (720x960), divided here as SegNet did:

    DIR/701_StillsRaw_full/*.png   DIR/LabeledApproved_full/*_L.png

The 32 labels are merged into the 11 classes. The generated streets (`keras_bisenet.data.streets`)
have the folders and classes of the 11-class release.
"""

from __future__ import annotations

from pathlib import Path

from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.pairing import OnProblem, pair_folders
from keras_bisenet.data.splits import hold_out_val
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID, ColourMap, LabelMap

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

# The labels of label_colors.txt and their colours, by the class that they are merged into, after
# SegNet (Badrinarayanan et al., arXiv:1511.00561; the same groups as in MATLAB's SegNet example).
LABELS_BY_CLASS = {
    "Sky": {"Sky": (128, 128, 128)},
    "Building": {
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Wall": (64, 192, 0),
        "Tunnel": (64, 0, 64),
        "Archway": (192, 0, 128),
    },
    "Pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "Road": {
        "Road": (128, 64, 128),
        "LaneMkgsDriv": (128, 0, 192),
        "LaneMkgsNonDriv": (192, 0, 64),
    },
    "Pavement": {
        "Sidewalk": (0, 0, 192),
        "ParkingBlock": (64, 192, 128),
        "RoadShoulder": (128, 128, 192),
    },
    "Tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "SignSymbol": {
        "SignSymbol": (192, 128, 128),
        "Misc_Text": (128, 128, 64),
        "TrafficLight": (0, 64, 64),
    },
    "Fence": {"Fence": (64, 64, 128)},
    "Car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "Pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "Bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
VOID_COLOUR = (0, 0, 0)

COLOURS = ColourMap(
    colours=(
        VOID_COLOUR,
        *(colour for labels in LABELS_BY_CLASS.values() for colour in labels.values()),
    ),
    class_ids=(
        VOID,
        *(CAMVID.names.index(name) for name, labels in LABELS_BY_CLASS.items() for _ in labels),
    ),
)

SPLITS = ("train", "val", "test")
STILLS, LABELED = "701_StillsRaw_full", "LabeledApproved_full"


def load(directory: Path, name: str, on_problem: OnProblem) -> Dataset:
    """Finds the splits below `directory`, in any of the layouts.

    Raises:
        UserError: When the directory has none of the layouts.
    """
    if (directory / STILLS).is_dir():
        samples = pair_folders(
            directory / STILLS, directory / LABELED, on_problem, mask_key=_without_l
        )
        splits = {
            split: tuple(sample for sample in samples if _segnet_split(sample) == split)
            for split in SPLITS
        }
        return _dataset(directory, name, splits, COLOURS, on_problem)
    colours = (directory / "train_labels").is_dir() or (directory / "val_labels").is_dir()
    masks = "{}_labels" if colours else "{}annot"
    splits = {
        split: pair_folders(
            directory / split,
            directory / masks.format(split),
            on_problem,
            mask_key=_without_l if colours else _stem,
        )
        for split in SPLITS
        if (directory / split).is_dir()
    }
    return _dataset(directory, name, splits, COLOURS if colours else None, on_problem)


def _dataset(directory, name, splits, colours, on_problem) -> Dataset:
    splits = {split: samples for split, samples in splits.items() if samples}
    if not splits:
        raise UserError(
            f"{directory}: no {name} data here (it has no folder 'train'): --data-dir is the "
            "folder that holds train, trainannot, val, valannot, test and testannot"
        )
    return Dataset(name, CAMVID, hold_out_val(splits, directory, on_problem), colours=colours)


def _segnet_split(sample: Sample) -> str:
    """The split that SegNet's lists (train.txt, val.txt, test.txt) put a frame in.

    They divide the four sequences in whole stretches.
    """
    sequence, _, frame = sample.image.stem.partition("_")
    number = int("".join(filter(str.isdigit, frame)) or 0)
    if sequence == "Seq05VD" or (sequence == "0001TP" and number >= 8550):
        return "test"
    if sequence == "0016E5" and 7959 <= number <= 8159:
        return "val"
    return "train"


def _stem(path: Path) -> str:
    return path.stem


def _without_l(path: Path) -> str:
    return path.stem[:-2] if path.stem.endswith("_L") else path.stem
