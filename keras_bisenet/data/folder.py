"""Anyone's images and masks.

One of these layouts, with images and masks of any format that Pillow reads (masks not as JPEG):

    DIR/images, DIR/masks                  divided into train and val by the images' names
    DIR/train/images, DIR/train/masks      and val, test
    DIR/images/train, DIR/masks/train      and val, test
    DIR/train, DIR/train_masks             and val, test; also images_train and masks_train
    DIR/a.jpg, DIR/a_mask.png              masks beside the images; or in DIR/train, val, test;
                                           a.jpg with a.png too, and a_sat.jpg with a_mask.png
    DIR/train.txt                          and val.txt, test.txt: lines of `image,mask` or
                                           `image mask`, or names in DIR/images and DIR/masks;
                                           also train_list.txt, ImageSets/Segmentation/train.txt
    DIR/pairs.txt                          lines of `image,mask`, divided into train and val
    FILE.txt                               the same, where --data-dir names the file itself

`classes.yaml`, `classes.csv` or `classes.txt` in DIR (or beside FILE) says what masks mean; see
`keras_bisenet.data.classes_file`, and `keras_bisenet.data.mask_encoding` for where there is none.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from keras_bisenet.data.bit_depth import find_image_range
from keras_bisenet.data.classes_file import (
    DeclaredClasses,
    find_classes,
    unread_classes_files,
)
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.layouts import (
    IMAGE_FOLDERS,
    LAYOUTS,
    MASK_FOLDERS,
    MASK_SUFFIXES,
    SPLIT_NAMES,
    find_folders,
    find_lists,
    folders_of_names,
    nested_root,
    no_file,
    refuse_annotations,
    subfolder,
    visible_files,
)
from keras_bisenet.data.mask_encoding import find_encoding
from keras_bisenet.data.name_matching import masks_beside, pair_by_name, pair_listed
from keras_bisenet.data.pairing import OnProblem
from keras_bisenet.data.problems import Problem
from keras_bisenet.data.splits import grouping, hold_out_val, split_by_group, split_train_val
from keras_bisenet.errors import UserError
from keras_bisenet.files import write_bytes
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES

HEADERS = [["filename"], ["file_name"], ["name"], ["image"], ["images"], ["image_id"], ["imageid"]]
"""What heads a list of names."""

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def load(directory: Path, name: str, on_problem: OnProblem) -> Dataset:
    """Finds images and masks below `directory`, or those that the file `directory` lists.

    Raises:
        UserError: When there are none, or their classes cannot be told.
    """
    if directory.is_file():
        if directory.suffix.lower() in ARCHIVES:
            raise UserError(f"{directory}: an archive: unpack it, and name its folder")
        listed, root = {"all": directory}, directory.parent
    else:
        root = nested_root(directory)
        listed = find_lists(root)
    if listed:
        splits = {split: _read_list(path, root, on_problem) for split, path in listed.items()}
    else:
        refuse_annotations(root)
        splits = {
            split: _pair_tree(images, masks, on_problem)
            for split, (images, masks) in find_folders(root, on_problem).items()
        }
    splits = {split: samples for split, samples in splits.items() if samples}
    if not splits:
        raise UserError(f"{directory}: no image with a mask here: lay them out as {LAYOUTS}")
    masks = [sample.mask for samples in splits.values() for sample in samples]
    images = [sample.image for samples in splits.values() for sample in samples]
    splits = _complete(splits, directory, on_problem)
    declared = _declared_classes(root)
    if not declared:
        for problem in unread_classes_files(root):
            on_problem(problem)
    encoding = find_encoding(sorted(set(masks)), declared, root, on_problem)
    return Dataset(
        name,
        encoding.label_map,
        splits,
        colours=encoding.colours,
        read_ids=encoding.read_ids,
        soft_edges=encoding.soft_edges,
        unknown_cure=f"declare them in {declared.path if declared else root / 'classes.csv'}, "
        "or relabel them",
        image_range=find_image_range(images, directory, on_problem),
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


def _declared_classes(root: Path) -> DeclaredClasses | None:
    """Some programs write the same classes file into the folder of each split, or beside the
    masks."""
    folders = [root, subfolder(root, SPLIT_NAMES["train"])]
    folders += [folder for each in folders for folder in folders_of_names(each)[::-1]]
    return next((found for each in folders if each and (found := find_classes(each))), None)


def _pair_tree(images: Path, masks: Path, on_problem: OnProblem) -> tuple[Sample, ...]:
    """Pairs images and masks below their folders, by name."""
    image_files = visible_files(images, MASK_SUFFIXES)
    mask_files = visible_files(masks, MASK_SUFFIXES)
    if images == masks:
        mask_files = masks_beside(image_files, images)
        image_files = sorted({*image_files} - {*mask_files})
    for folder, files in ((images, image_files), (masks, mask_files)):
        if not files:
            raise no_file(folder, IMAGE_SUFFIXES)
    return pair_by_name(images, image_files, masks, mask_files, on_problem)


# === Lists ===


def write_split_lists(directory: Path, split_by: str) -> dict[str, tuple[Path, int, int]]:
    """Divides a data set that has no splits by groups, into `train.txt` and `val.txt`.

    Args:
        directory: The data set.
        split_by: What the groups are; see `keras_bisenet.data.splits.grouping`.

    Returns:
        For `train` and `val`: the list, and how many groups and images it names.

    Raises:
        UserError: When it has splits, or its images cannot be divided so.
    """
    made_here = []

    def on_problem(problem: Problem) -> None:
        if problem.severity == "error":
            raise UserError(str(problem))
        made_here.extend([problem] if "no splits are given" in problem.message else [])

    dataset = load(directory, "folder", on_problem)
    if not made_here:
        raise UserError(f"{directory}: it has splits of its own: remove them first")
    root = nested_root(directory)
    samples = sorted(itertools.chain(*dataset.splits.values()), key=lambda s: s.image)
    group, written = grouping(split_by, root), {}
    for split, chosen in zip(("train", "val"), split_by_group(samples, group)):
        lines = [
            ",".join(os.path.relpath(file, root) for file in (sample.image, sample.mask))
            for sample in chosen
        ]
        odd = next((line for line in lines if line.count(",") > 1 or "\n" in line), None)
        if odd:
            raise UserError(f"{root / odd!s}: a name with a comma fits in no list: rename it")
        written[split] = root / f"{split}.txt", len({*map(group, chosen)}), len(chosen)
        write_bytes(written[split][0], os.fsencode("\n".join(lines) + "\n"))
    return written


def _read_list(path: Path, root: Path, on_problem: OnProblem) -> tuple[Sample, ...]:
    """The pairs that a list names; its paths are relative to the list."""
    rows = [
        (number, _columns(line))
        for number, line in enumerate(_lines(path), start=1)
        if line.strip() and not line.startswith("#")
    ]
    places = _headed(rows[0][1]) if rows else None
    if rows and any("encodedpixels" in column.lower() for column in rows[0][1]):
        raise UserError(f"{path}: run-length encodings, as Kaggle has them: save masks as PNG")
    if rows and len(rows) > 1 and [column.lower() for column in rows[0][1]] in HEADERS:
        rows = rows[1:]
    rows = rows[1:] if places else rows
    if rows and not places and all(len(columns) == 1 for _, columns in rows):
        return _named(path, root, [columns[0] for _, columns in rows], on_problem)
    samples = []
    for number, columns in rows:
        if len(columns) <= max(places or (1,)) or (not places and len(columns) > 2):
            raise UserError(f"{path}: line {number} is no 'image,mask': give one pair per line")
        named = [columns[place] for place in places or (0, 1)]
        sample = Sample(*(_listed_file(path, root, column) for column in named))
        _refuse_swapped(path, number, sample)
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
    return _once(samples, path, on_problem)


def _lines(path: Path) -> list[str]:
    """The lines of a list, whose names may be of bytes that are no UTF-8."""
    try:
        data = path.read_bytes()
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # what Windows calls Unicode
            return data.decode("utf-16").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no list that can be read: save it as text in UTF-8") from error
    if b"\0" in data:
        raise UserError(f"{path}: no list that can be read: save it as text in UTF-8")
    return data.decode("utf-8-sig", errors="surrogateescape").splitlines()


def _headed(columns: list[str]) -> tuple[int, int] | None:
    """Where a header puts images and masks; None where the line is no header."""
    names = [re.sub("[ _-]|(path|file|name)s?$", "", column.lower()) for column in columns]
    names = [re.sub("(path|file|name)s?$", "", name) for name in names]
    image = [i for i, name in enumerate(names) if name in IMAGE_FOLDERS]
    mask = [i for i, name in enumerate(names) if name in MASK_FOLDERS]
    return (image[0], mask[0]) if len(image) == len(mask) == 1 else None


def _refuse_swapped(path: Path, number: int, sample: Sample) -> None:
    """Refuses a pair whose folders tell that the mask comes first."""
    image, mask = (
        {part.lower() for part in file.parent.parts} for file in (sample.image, sample.mask)
    )
    image, mask = image - mask, mask - image
    if image & {*MASK_FOLDERS} and mask & {*IMAGE_FOLDERS}:
        raise UserError(
            f"{path}: line {number} has the mask first ({sample.image}): write image,mask, or a "
            "header mask,image"
        )


def _once(samples: list[Sample], path: Path, on_problem: OnProblem) -> tuple[Sample, ...]:
    """The samples without those that are listed again, which would count twice."""
    unique = tuple(dict.fromkeys(samples))
    if len(unique) < len(samples):
        on_problem(
            Problem(
                "listed-twice",
                "warning",
                f"{len(samples) - len(unique)} of its {len(samples)} pairs are listed again",
                (path,),
                "each counts once",
            )
        )
    return unique


def _listed_file(path: Path, root: Path, name: str) -> Path:
    """A file by its name in a list: relative to the list, or to the data set (as VOC's are).

    Where there is none, the name may have Windows' separators, or accents in another normal form.
    """
    names = dict.fromkeys(
        unicodedata.normalize(form, each) if form else each
        for each in (name, name.replace("\\", "/"))
        for form in ("", "NFC", "NFD")
    )
    paths = [folder / each for each in names for folder in (path.parent, root)]
    paths += [root / each.lstrip("/") for each in names]
    return next((file for file in paths if file.is_file()), paths[0])


def _columns(line: str) -> list[str]:
    """The cells of a line; an empty one counts where commas part them, as in a table."""
    mark = next((mark for mark in (",", "\t", ";", "|") if mark in line), None)
    if mark and '"' in line:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=mark))]
    if mark:
        cells = [part.strip() for part in line.split(mark)]
        return cells[:-1] if len(cells) > 2 and not cells[-1] else cells
    parts = line.split()
    if not any(Path(part).suffix.lower() in MASK_SUFFIXES for part in parts[:-1]):
        parts = [line]  # a name, perhaps with spaces
    return [part.strip() for part in parts]


def _named(path: Path, root: Path, names: Iterable[str], on_problem) -> tuple[Sample, ...]:
    """The samples of DIR/images and DIR/masks that a list of names selects."""
    images, masks = folders_of_names(root)
    if not images or not masks:
        raise UserError(
            f"{path}: one name in each line, and no folders images and masks beside it: "
            "give lines of image,mask"
        )
    stems = [_without_suffix(name) for name in names]
    if len({*stems}) < len(stems):
        _once([Sample(Path(stem), Path(stem)) for stem in stems], path, on_problem)
    files = visible_files(images, MASK_SUFFIXES), visible_files(masks, MASK_SUFFIXES)
    for folder, found in zip((images, masks), files):
        if not found:
            raise no_file(folder, IMAGE_SUFFIXES)
    return pair_listed(stems, *files, path, on_problem)


def _without_suffix(name: str) -> str:
    file = Path(name)
    return file.stem if file.suffix.lower() in IMAGE_SUFFIXES else file.name
