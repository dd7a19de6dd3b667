"""Tiny data sets laid out as the real ones are when they have been downloaded and unpacked.

Each function writes one below a directory. Every mask has a row for each of some ids, from the
top; images are noise.
"""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image

SIZE = (32, 48)


def write_image(path, seed=0, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def striped(values, size=SIZE):
    """Stripes of ids `[height, width]`, or of colours `[height, width, 3]`."""
    values = np.array(values, np.uint8)
    rows = values[np.arange(size[0]) * len(values) // size[0]]
    return np.repeat(rows[:, None], size[1], axis=1)


def write_mask(path, values, size=SIZE, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(striped(values, size))
    if palette:
        mask.putpalette([channel for colour in palette for channel in colour])
    mask.save(path)


def write_pairs(images, masks, names, values, *, endings=(".jpg", ".png"), palette=None):
    for name in names:
        seed = zlib.crc32(f"{images.name}/{name}".encode())  # no two images are the same
        write_image(images / f"{name}{endings[0]}", seed)
        write_mask(masks / f"{name}{endings[1]}", values, palette=palette)


def cityscapes(directory, train_ids=False, splits=("train", "val", "test"), inside=""):
    """`inside` is the folder that each zip file unpacks into, where there is one."""
    cities = {"train": ("aachen", "ulm"), "val": ("lindau",), "test": ("berlin",)}
    left, fine = directory, directory
    if inside:
        left = directory / f"leftImg8bit_{inside}"
        fine = directory / f"gtFine_{inside}"
    for split in splits:
        for city in cities[split]:
            images = left / "leftImg8bit" / split / city
            masks = fine / "gtFine" / split / city
            names = [f"{city}_{number:06d}_000019" for number in range(2)]
            # Ego vehicle, road, sky, car, bicycle; the masks of `test` are dummies.
            label_ids = (1, 7, 23, 26, 33) if split != "test" else (0, 1, 3)
            write_pairs(
                images,
                masks,
                names,
                label_ids,
                endings=("_leftImg8bit.png", "_gtFine_labelIds.png"),
            )
            for name in names:
                if train_ids and split != "test":
                    write_mask(masks / f"{name}_gtFine_labelTrainIds.png", (255, 0, 10, 13, 18))
                write_mask(masks / f"{name}_gtFine_instanceIds.png", label_ids)
                Image.fromarray(striped([(128, 64, 128, 255)])).save(
                    masks / f"{name}_gtFine_color.png"
                )
                (masks / f"{name}_gtFine_polygons.json").write_text("{}")


def camvid(directory):
    for split, names in (("train", "abcd"), ("val", "ef"), ("test", "g")):
        frames = [f"0001TP_00669{ord(name) - 97}" for name in names]
        write_pairs(
            directory / split,
            directory / f"{split}annot",
            frames,
            (0, 3, 8, 10, 11),
            endings=(".png", ".png"),
        )


# Sky, LaneMkgsDriv, SUVPickupTruck, MotorcycleScooter, Void.
CAMVID_COLOURS = ((128, 128, 128), (128, 0, 192), (64, 128, 192), (192, 0, 192), (0, 0, 0))


def camvid_stills(directory):
    frames = [
        "0001TP_006690",
        "0001TP_008550",
        "0006R0_f00930",
        "0016E5_07957",
        "0016E5_07959",
        "0016E5_08159",
        "0016E5_08190",
        "Seq05VD_f00000",
    ]
    write_pairs(
        directory / "701_StillsRaw_full",
        directory / "LabeledApproved_full",
        frames,
        CAMVID_COLOURS,
        endings=(".png", "_L.png"),
    )
    (directory / "label_colors.txt").write_text("64 128 64\tAnimal\n192 0 128\t\tArchway\n")


def camvid_by_split(directory):
    for split, names in (("train", "abcd"), ("val", "ef"), ("test", "g")):
        write_pairs(
            directory / split,
            directory / f"{split}_labels",
            [f"0001TP_{name}" for name in names],
            CAMVID_COLOURS,
            endings=(".png", "_L.png"),
        )
    (directory / "class_dict.csv").write_text("name,r,g,b\nAnimal,64,128,64\n")


def cocostuff(directory, values=(0, 10, 12, 181, 255), mask_ending=".png"):
    for split, count in (("train2017", 4), ("val2017", 2)):
        write_pairs(
            directory / "images" / split,
            directory / "annotations" / split,
            [f"{number:012d}" for number in range(count)],
            values,
            endings=(".jpg", mask_ending),
        )


def cocostuff10k(directory):
    """With the .mat files that the archive has."""
    from scipy.io import savemat

    names = [f"COCO_train2014_{number:012d}" for number in range(6)]
    for seed, name in enumerate(names):
        write_image(directory / "images" / f"{name}.jpg", seed)
        (directory / "annotations").mkdir(exist_ok=True)
        savemat(
            directory / "annotations" / f"{name}.mat",
            {"S": striped((0, 1, 13, 182)), "captions": ["a street"]},
        )
    (directory / "imageLists").mkdir()
    for file, listed in (("all", names), ("train", names[:4]), ("test", names[4:])):
        (directory / "imageLists" / f"{file}.txt").write_text("\n".join(listed) + "\n")


def ade20k(directory):
    root = directory / "ADEChallengeData2016"
    for split, short, count in (("training", "train", 4), ("validation", "val", 2)):
        write_pairs(
            root / "images" / split,
            root / "annotations" / split,
            [f"ADE_{short}_{number:08d}" for number in range(1, count + 1)],
            (0, 1, 3, 150),
        )
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n")


def voc2012(directory, augmented=False):
    root = directory / "VOCdevkit" / "VOC2012"
    palette = [(0, 0, 0), (128, 0, 0), (0, 128, 0)] + [(0, 0, 0)] * 252 + [(224, 224, 192)]
    names = [f"2007_{number:06d}" for number in range(6)]
    write_pairs(
        root / "JPEGImages", root / "SegmentationClass", names, (0, 1, 20, 255), palette=palette
    )
    write_image(root / "JPEGImages" / "2008_000001.jpg", 9)  # has boxes alone
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:4]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[4:]) + "\n")
    (lists / "trainval.txt").write_text("\n".join(names) + "\n")
    if augmented:
        write_mask(root / "SegmentationClassAug" / "2008_000001.png", (0, 15))
        for name in names:
            write_mask(root / "SegmentationClassAug" / f"{name}.png", (0, 1, 20, 255))
        (lists / "trainaug.txt").write_text("\n".join([*names[:4], "2008_000001"]) + "\n")


def folder(directory):
    """Photographs with black and white masks of another size."""
    for number in range(8):
        write_image(directory / "images" / f"photo {number}.jpg", number)
        write_mask(directory / "masks" / f"photo {number}.png", (0, 255), size=(16, 24))


# Name of the data set and what writes it, for tests that take each of them.
LAYOUTS = {
    "cityscapes": ("cityscapes", cityscapes),
    "camvid": ("camvid", camvid),
    "camvid of 32 labels": ("camvid", camvid_stills),
    "cocostuff": ("cocostuff", cocostuff),
    "cocostuff10k": ("cocostuff10k", cocostuff10k),
    "ade20k": ("ade20k", ade20k),
    "voc2012": ("voc2012", voc2012),
    "folder": ("folder", folder),
}
