"""Cityscapes, with the 19 classes of its benchmark.

Cordts et al., arXiv:1604.01685. Ids, names and colours are those of `labels.py` in
https://github.com/mcordts/cityscapesScripts. As leftImg8bit_trainvaltest.zip and
gtFine_trainvaltest.zip unpack:

    DIR/leftImg8bit/train/CITY/*_leftImg8bit.png
    DIR/gtFine/train/CITY/*_gtFine_labelIds.png         and val, test
    DIR/gtFine/train/CITY/*_gtFine_labelTrainIds.png    where csCreateTrainIdLabelImgs has run

or each of the two folders below one that is named after its zip file. Masks of train ids are read
where every image has one, else those of label ids. The masks of `test` are dummies, all void: the
split is there only if its masks have classes.
"""

from __future__ import annotations

from pathlib import Path

from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.masks import read_mask
from keras_bisenet.data.pairing import OnProblem, pair_files
from keras_bisenet.data.problems import SampleError
from keras_bisenet.data.splits import hold_out_val
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID, LabelMap, UnknownIdError

# Label id, name and colour; the position is the train id.
CLASSES = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
LABEL_IDS = tuple(label_id for label_id, _, _ in CLASSES)
NUM_LABEL_IDS = 34  # 0 to 33; the licence plate's id, -1, is in no mask

TRAIN_IDS_MAP = LabelMap(
    names=tuple(name for _, name, _ in CLASSES),
    palette=tuple(colour for _, _, colour in CLASSES),
)
LABEL_IDS_MAP = LabelMap(
    names=TRAIN_IDS_MAP.names,
    palette=TRAIN_IDS_MAP.palette,
    file_ids=LABEL_IDS,
    ignored_ids=tuple(i for i in range(NUM_LABEL_IDS) if i not in LABEL_IDS),
)

SPLITS = ("train", "val", "test")
IMAGE_ENDING = "_leftImg8bit.png"
TRAIN_IDS_ENDING = "_gtFine_labelTrainIds.png"
LABEL_IDS_ENDING = "_gtFine_labelIds.png"


def load(directory: Path, name: str, on_problem: OnProblem) -> Dataset:
    """Finds the splits below `directory`.

    Raises:
        UserError: When the directory is not laid out as above.
    """
    images, masks = (_find(directory, part) for part in ("leftImg8bit", "gtFine"))
    ending = _mask_ending(images, masks)
    splits = {}
    for split in SPLITS:
        files = _cities(images, split, IMAGE_ENDING)
        truth = _cities(masks, split, ending)
        if split == "test" and _all_void(truth, ending):
            continue
        if files or truth:
            splits[split] = _pair(split, files, truth, masks, ending, on_problem)
    splits = {split: samples for split, samples in splits.items() if samples}
    if not splits:
        raise UserError(
            f"{images}: no pair of {IMAGE_ENDING[1:]} and {LABEL_IDS_ENDING[1:]} in train/CITY "
            "or val/CITY: unpack both leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip"
        )
    labels = TRAIN_IDS_MAP if ending == TRAIN_IDS_ENDING else LABEL_IDS_MAP
    return Dataset(name, labels, hold_out_val(splits, directory, on_problem))


def _find(directory: Path, part: str) -> Path:
    """`DIR/part`, or `DIR/*/part`."""
    candidates = [directory / part, *sorted(directory.glob(f"*/{part}"))]
    for path in candidates:
        if any((path / split).is_dir() for split in SPLITS):
            return path
    raise UserError(
        f"{directory}: no cityscapes data here (no folder {part}/train or {part}/val): --data-dir "
        "is the folder that holds leftImg8bit and gtFine"
    )


def _cities(root: Path, split: str, ending: str) -> list[Path]:
    # The files of a macOS archive that start with "._" are no images.
    return [p for p in sorted((root / split).glob(f"*/*{ending}")) if not p.name.startswith(".")]


def _mask_ending(images: Path, masks: Path) -> str:
    """Train ids if every training and validation image has them, else label ids."""
    for split in SPLITS[:2]:
        has = {_key(path, TRAIN_IDS_ENDING) for path in _cities(masks, split, TRAIN_IDS_ENDING)}
        files = _cities(images, split, IMAGE_ENDING)
        if any(_key(path, IMAGE_ENDING) not in has for path in files):
            return LABEL_IDS_ENDING
    return TRAIN_IDS_ENDING


def _pair(split, images, masks, masks_root, ending, on_problem) -> tuple[Sample, ...]:
    return pair_files(
        images,
        masks,
        on_problem,
        image_key=lambda path: _key(path, IMAGE_ENDING),
        mask_key=lambda path: _key(path, ending),
        missing=lambda path: masks_root / split / (_key(path, IMAGE_ENDING) + ending),
    )


def _key(path: Path, ending: str) -> str:
    """`CITY/CITY_000000_000019`."""
    return f"{path.parent.name}/{path.name[: -len(ending)]}"


def _all_void(masks: list[Path], ending: str) -> bool:
    """Whether the first mask has no class; a bad one counts as one with classes."""
    labels = TRAIN_IDS_MAP if ending == TRAIN_IDS_ENDING else LABEL_IDS_MAP
    try:
        return not masks or bool((labels.class_ids(read_mask(masks[0])) == VOID).all())
    except (SampleError, UnknownIdError):
        return False
