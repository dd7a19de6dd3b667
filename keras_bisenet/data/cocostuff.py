"""COCO-Stuff: the images of COCO with 80 things and 91 kinds of stuff, 171 classes in all.

Caesar et al., arXiv:1612.03716. Names and ids are those of labels.txt in
https://github.com/nightrome/cocostuff. COCO-Stuff 164k, as its README unpacks train2017.zip and
val2017.zip (of COCO) and stuffthingmaps_trainval2017.zip:

    DIR/images/train2017/*.jpg        118287 images; val2017, 5000
    DIR/annotations/train2017/*.png   ids 0 to 181, which are labels.txt's less 1; 255 is void

`annotations` may also be named `stuffthingmaps`, and train2017 and val2017 of the images may lie
in DIR itself. Masks of ids 0 to 170 without gaps, which other programs write as
*_labelTrainIds.png, are preferred where they are.

COCO-Stuff 10k, as cocostuff-10k-v1.1.zip unpacks, whose test split serves as validation:

    DIR/images/*.jpg                    10000 images
    DIR/annotations/*.mat               `S`: the ids of labels.txt; 0 is void
    DIR/imageLists/train.txt, test.txt  9000 and 1000 names

Reading .mat files takes SciPy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.masks import read_mask
from keras_bisenet.data.pairing import OnProblem, pair_files, pair_stems
from keras_bisenet.data.problems import Problem, SampleError
from keras_bisenet.data.splits import hold_out_val
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import LabelMap, pascal_palette

# labels.txt from id 1 on.
LABELS = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
street sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
zebra, giraffe, hat, backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis,
snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket,
bottle, plate, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, mirror, dining
table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave,
oven, toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush, hair brush, banner, blanket, branch, bridge, building-other, bush, cabinet, cage,
cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard,
curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile,
floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other, hill,
house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement,
pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof,
rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw,
structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete,
wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind,
window-other, wood
"""

# Things that COCO has an id for and no masks of.
UNUSED = """
street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door, blender, hair brush
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(","))


# Name by id in labels.txt.
USED = {
    number: label
    for number, label in enumerate(_names(LABELS), start=1)
    if label not in _names(UNUSED)
}
USED_IDS, NAMES = tuple(USED), tuple(USED.values())
PALETTE = pascal_palette(len(NAMES) + 1)[1:]

# Ids as in labels.txt, in the 10k masks; less 1, in the 164k pixel maps; without gaps.
LABELS_TXT_MAP = LabelMap(NAMES, PALETTE, file_ids=USED_IDS, ignored_ids=(0,))
PIXEL_MAPS_MAP = LabelMap(NAMES, PALETTE, file_ids=tuple(number - 1 for number in USED_IDS))
TRAIN_IDS_MAP = LabelMap(NAMES, PALETTE)

TRAIN_IDS_ENDING = "_labelTrainIds"


def load(directory: Path, name: str, on_problem: OnProblem) -> Dataset:
    """Finds COCO-Stuff 164k below `directory`.

    Raises:
        UserError: When the directory is not laid out as above.
    """
    folders = {"train": "train2017", "val": "val2017"}
    images = _first_with(folders.values(), directory / "images", directory)
    masks = _first_with(
        folders.values(), directory / "annotations", directory / "stuffthingmaps", directory
    )
    if images is None or masks is None or images == masks:
        raise UserError(
            f"{directory}: no {name} data here (no folders images/train2017 and "
            "annotations/train2017): --data-dir is the folder that holds images and annotations"
        )
    files = {
        split: (_files(images / folder, ".jpg"), _files(masks / folder, ".png"))
        for split, folder in folders.items()
        if (images / folder).is_dir() or (masks / folder).is_dir()
    }
    without_gaps = _have_train_ids([path for _, paths in files.values() for path in paths])
    splits = {
        split: _pair(paths, truth, masks / folders[split], without_gaps, on_problem)
        for split, (paths, truth) in files.items()
    }
    labels = TRAIN_IDS_MAP if without_gaps else PIXEL_MAPS_MAP
    return _dataset(directory, name, labels, splits, on_problem)


def load_10k(directory: Path, name: str, on_problem: OnProblem) -> Dataset:
    """Finds COCO-Stuff 10k below `directory`; its test split serves as validation.

    Raises:
        UserError: When the directory is not laid out as above, or SciPy is needed and missing.
    """
    root = next((p for p in (directory / "dataset", directory) if (p / "images").is_dir()), None)
    lists = next((p for p in (root or directory).glob("image*Lists")), directory / "imageLists")
    names = {split: lists / f"{file}.txt" for split, file in (("train", "train"), ("val", "test"))}
    if root is None or not any(path.is_file() for path in names.values()):
        raise UserError(
            f"{directory}: no {name} data here (no folders images, annotations and imageLists): "
            "--data-dir is the folder that cocostuff-10k-v1.1.zip was unpacked into"
        )
    images = _files(root / "images", ".jpg")
    pixel_maps = _files(root / "annotations", ".png")
    without_gaps = _have_train_ids(pixel_maps)
    masks = pixel_maps if without_gaps else _files(root / "annotations", ".mat")
    if not without_gaps:
        _scipy_io()
    splits = {
        split: pair_stems(
            path.read_text(encoding="utf-8").split(), images, masks, path, on_problem, _mask_key
        )
        for split, path in names.items()
        if path.is_file()
    }
    if without_gaps:
        return _dataset(directory, name, TRAIN_IDS_MAP, splits, on_problem)
    return _dataset(directory, name, LABELS_TXT_MAP, splits, on_problem, read_mat)


def read_mat(path: Path) -> np.ndarray:
    """The label map `S` of a COCO-Stuff 10k file: uint8 `[height, width]`, ids of labels.txt.

    Raises:
        SampleError: `unreadable-mask`.
    """
    try:
        ids = np.asarray(_scipy_io().loadmat(str(path), variable_names=["S"])["S"])
    except FileNotFoundError:
        message, cure = "there is no such mask", "add it, or remove its image"
    # SciPy's reader of damaged files raises whatever it stumbles over.
    except Exception as error:  # noqa: BLE001
        message, cure = f"a damaged mask ({error or type(error).__name__})", "copy it again"
    else:
        if ids.ndim == 2 and ids.min(initial=0) >= 0 and ids.max(initial=0) <= 255:
            return ids.astype(np.uint8)
        message, cure = "no label map of COCO-Stuff 10k", "copy it again"
    raise SampleError(Problem("unreadable-mask", "error", message, (path,), cure))


def _dataset(directory, name, labels, splits, on_problem, read_ids=read_mask) -> Dataset:
    splits = {split: samples for split, samples in splits.items() if samples}
    if not splits:
        raise UserError(f"{directory}: no image here has a mask: unpack images and annotations")
    return Dataset(name, labels, hold_out_val(splits, directory, on_problem), read_ids=read_ids)


def _pair(images, masks, folder: Path, without_gaps: bool, on_problem) -> tuple:
    if without_gaps:
        masks = [path for path in masks if path.stem.endswith(TRAIN_IDS_ENDING)]
    ending = TRAIN_IDS_ENDING if without_gaps else ""
    return pair_files(
        images,
        masks,
        on_problem,
        mask_key=_mask_key,
        missing=lambda path: folder / f"{path.stem}{ending}.png",
    )


def _have_train_ids(masks: list[Path]) -> bool:
    return any(path.stem.endswith(TRAIN_IDS_ENDING) for path in masks)


def _mask_key(path: Path) -> str:
    return path.stem.removesuffix(TRAIN_IDS_ENDING)


def _first_with(folders, *roots: Path) -> Path | None:
    """The first root that has one of the folders."""
    folders = tuple(folders)
    return next((root for root in roots if any((root / f).is_dir() for f in folders)), None)


def _files(folder: Path, suffix: str) -> list[Path]:
    """The files below a folder that end so, hidden ones left out."""
    return [path for path in sorted(folder.rglob(f"*{suffix}")) if not path.name.startswith(".")]


def _scipy_io():
    try:
        import scipy.io
    except ImportError as error:
        raise UserError("COCO-Stuff 10k's .mat files need SciPy: pip install scipy") from error
    return scipy.io
