"""Anyone's images and masks.

One of these layouts, with images and masks of any format that Pillow reads (masks not as JPEG):

    DIR/images, DIR/masks                  divided into train and val by the images' names
    DIR/train/images, DIR/train/masks      and val, test
    DIR/images/train, DIR/masks/train      and val, test
    DIR/a.jpg, DIR/a_mask.png              masks beside the images; or in DIR/train, val, test
    DIR/train.txt                          and val.txt, test.txt: lines of `image,mask` or
                                           `image mask`, or names in DIR/images and DIR/masks
    DIR/pairs.txt                          lines of `image,mask`, divided into train and val
    FILE.txt                               the same, where --data-dir names the file itself

`classes.yaml`, `classes.csv` or `classes.txt` in DIR (or beside FILE) says what masks mean; see
`keras_bisenet.data.classes_file`, and `keras_bisenet.data.coding` for where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from keras_bisenet.data.classes_file import find_classes_file, read_classes_file
from keras_bisenet.data.coding import find_coding
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.pairing import OnProblem, pair_files, pair_stems
from keras_bisenet.data.problems import Problem
from keras_bisenet.data.splits import hold_out_val, split_train_val
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annotation",
    "gt",
    "segmentationclass",
)
MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
MASK_ENDINGS = (
    *IMAGE_SUFFIXES,  # photo.jpg.png
    *("_mask", "-mask", ".mask", "_masks", "_label", "-label", "_labels", "_gt", "-gt", ".gt"),
    *("_seg", "-seg", ".seg", "_segmentation", "_annotation", "_L"),
)
LAYOUTS = (
    "DIR/images and DIR/masks, DIR/train/images and DIR/train/masks, or DIR/train.txt with lines "
    "of image,mask"
)


def load(directory: Path, name: str, on_problem: OnProblem) -> Dataset:
    """Finds images and masks below `directory`, or those that the file `directory` lists.

    Raises:
        UserError: When there are none, or their classes cannot be told.
    """
    if directory.is_file():
        listed, root = {"all": directory}, directory.parent
    else:
        listed, root = _lists(directory), directory
    if listed:
        splits = {split: _read_list(path, root, on_problem) for split, path in listed.items()}
    else:
        splits = {
            split: _pair_tree(images, masks, on_problem)
            for split, (images, masks) in _folders(root, on_problem).items()
        }
    splits = {split: samples for split, samples in splits.items() if samples}
    if not splits:
        raise UserError(f"{directory}: no image with a mask here: lay them out as {LAYOUTS}")
    masks = [sample.mask for samples in splits.values() for sample in samples]
    splits = _complete(splits, directory, on_problem)
    classes_file = find_classes_file(root) or _classes_file_of_split(root)
    declared = read_classes_file(classes_file) if classes_file else None
    coding = find_coding(sorted(set(masks)), declared, root, on_problem)
    return Dataset(
        name,
        coding.label_map,
        splits,
        colours=coding.colours,
        soft_edges=coding.soft_edges,
        unknown_cure=f"declare them in {classes_file or root / 'classes.csv'}, or relabel them",
    )


def _complete(splits, directory: Path, on_problem: OnProblem) -> dict[str, tuple[Sample, ...]]:
    """The splits, made where there are none."""
    if "all" not in splits:
        return hold_out_val(splits, directory, on_problem)
    train, val = split_train_val(splits["all"])
    on_problem(
        Problem(
            "missing-split",
            "warning",
            f"no splits are given: {len(train)} of the images are for training and {len(val)} for "
            "validation, by their names",
            (directory,),
            "put them into the folders train and val to divide them otherwise",
        )
    )
    return {split: samples for split, samples in (("train", train), ("val", val)) if samples}


def _classes_file_of_split(root: Path) -> Path | None:
    """Some programs write the same file into the folder of each split."""
    folder = _subfolder(root, SPLIT_NAMES["train"])
    return find_classes_file(folder) if folder else None


# === Folders ===


def _folders(root: Path, on_problem: OnProblem) -> dict[str, tuple[Path, Path]]:
    """The folders of images and masks by split; the split `all` where they are not divided."""
    parts = {split: _subfolder(root, names) for split, names in SPLIT_NAMES.items()}
    pairs = {split: _images_and_masks(part) for split, part in parts.items() if part}
    found = {split: pair for split, pair in pairs.items() if pair}
    if not found:
        undivided = _images_and_masks(root)
        if not undivided:
            raise UserError(
                f"{root}: no folders of images and masks here: lay them out as {LAYOUTS}"
            )
        images, masks = undivided
        if images == masks:
            return {"all": undivided}
        parts = {split: _subfolder(images, names) for split, names in SPLIT_NAMES.items()}
        pairs = {
            split: (part, _subfolder(masks, SPLIT_NAMES[split]))
            for split, part in parts.items()
            if part
        }
        found = {split: pair for split, pair in pairs.items() if all(pair)}
        if not found:
            return {"all": undivided}
    for split in [split for split in pairs if split not in found]:
        on_problem(
            Problem(
                "missing-split",
                "warning",
                f"there are no masks for these images, so there is no split {split}",
                (parts[split],),
                "add the masks to have it",
            )
        )
    return found


def _images_and_masks(folder: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in a folder; twice itself where it holds both."""
    images, masks = _subfolder(folder, IMAGE_FOLDERS), _subfolder(folder, MASK_FOLDERS)
    if images and masks:
        return images, masks
    return (folder, folder) if folder.is_dir() and _masks_beside(folder, folder.iterdir()) else None


def _subfolder(folder: Path | None, names: Iterable[str]) -> Path | None:
    """The first of some folders that is there, whatever its case."""
    if folder is None or not folder.is_dir():
        return None
    there = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


def _pair_tree(images: Path, masks: Path, on_problem: OnProblem) -> tuple[Sample, ...]:
    """Pairs images and masks of one place below their folders, by name.

    A mask may have one of `MASK_ENDINGS` behind the image's name.
    """
    image_files, mask_files = _files(images), _files(masks)
    if images == masks:
        mask_files = _masks_beside(images, image_files)
        image_files = sorted({*image_files} - {*mask_files})
    for folder, files in ((images, image_files), (masks, mask_files)):
        if not files:
            raise UserError(f"{folder}: no file here ends in {', '.join(IMAGE_SUFFIXES)}")
    keys = {_key(path, images) for path in image_files}
    return pair_files(
        image_files,
        mask_files,
        on_problem,
        image_key=lambda path: _key(path, images),
        mask_key=lambda path: _without_ending(_key(path, masks), keys),
        missing=lambda path: masks / f"{_key(path, images)}.png",
    )


def _masks_beside(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Those of some files whose names are another's with an ending for masks."""
    keys = {p: _key(p, folder) for p in files if p.suffix.lower() in MASK_SUFFIXES}
    known = set(keys.values())
    return [path for path, key in keys.items() if _stripped(key, known)]


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in MASK_SUFFIXES and not path.name.startswith(".")
    ]


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def _without_ending(key: str, image_keys: set[str]) -> str:
    """What a mask has in common with its image."""
    return key if key in image_keys else _stripped(key, image_keys) or key


def _stripped(key: str, image_keys: set[str]) -> str | None:
    """The image's key that a mask's key is with an ending."""
    for ending in MASK_ENDINGS:
        if key.lower().endswith(ending.lower()) and key[: -len(ending)] in image_keys:
            return key[: -len(ending)]
    return None


# === Lists ===


def _lists(directory: Path) -> dict[str, Path]:
    found = {
        split: directory / f"{name}.txt"
        for split, names in SPLIT_NAMES.items()
        for name in reversed(names)
        if (directory / f"{name}.txt").is_file()
    }
    if not found and (directory / "pairs.txt").is_file():
        return {"all": directory / "pairs.txt"}
    return found


def _read_list(path: Path, root: Path, on_problem: OnProblem) -> tuple[Sample, ...]:
    """The pairs that a list names; its paths are relative to the list."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no list that can be read: save it as text in UTF-8") from error
    rows = [
        (number, _columns(line))
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("#")
    ]
    if rows and all(len(columns) == 1 for _, columns in rows):
        return _named(path, root, [columns[0] for _, columns in rows], on_problem)
    samples = []
    for number, columns in rows:
        if len(columns) != 2:
            raise UserError(f"{path}: line {number} is no 'image,mask': give one pair per line")
        if number == rows[0][0] and columns[0].lower() in ("image", "img", "images"):
            continue  # a header
        sample = Sample(*(path.parent / column for column in columns))
        missing = next((file for file in (sample.image, sample.mask) if not file.is_file()), None)
        if missing is None:
            samples.append(sample)
        else:
            what = "image" if missing == sample.image else "mask"
            on_problem(
                Problem(
                    f"missing-{what}",
                    "error",
                    f"there is no such {what}, which line {number} of {path.name} names",
                    (missing,),
                    "add it, or remove the line",
                )
            )
    return tuple(samples)


def _columns(line: str) -> list[str]:
    parts = next((line.split(mark) for mark in ",\t" if mark in line), None)
    if parts is None:
        parts = line.split()
        if not any(Path(part).suffix.lower() in MASK_SUFFIXES for part in parts[:-1]):
            parts = [line]  # a name, perhaps with spaces
    return [part.strip() for part in parts if part.strip()]


def _named(path: Path, root: Path, names: list[str], on_problem) -> tuple[Sample, ...]:
    """The samples of DIR/images and DIR/masks that a list of names selects."""
    images, masks = _subfolder(root, IMAGE_FOLDERS), _subfolder(root, MASK_FOLDERS)
    if not images or not masks:
        raise UserError(
            f"{path}: one name in each line, and no folders images and masks beside it: "
            "give lines of image,mask"
        )
    stems = [_without_suffix(name) for name in names]
    mask_key = _mask_stem({*stems})
    return pair_stems(stems, _files(images), _files(masks), path, on_problem, mask_key)


def _without_suffix(name: str) -> str:
    file = Path(name)
    return file.stem if file.suffix.lower() in IMAGE_SUFFIXES else file.name


def _mask_stem(stems: set[str]):
    return lambda path: _without_ending(path.stem, stems)
