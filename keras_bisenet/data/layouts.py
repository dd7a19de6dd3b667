"""Where the images and masks of one's own data lie: folders and lists of people and tools.

What a file manager, a notebook or a network drive leaves behind (hidden folders, `@eaDir`,
`__MACOSX`) is no data; folders that are links are followed.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from keras_bisenet.data.classes_file import FILES
from keras_bisenet.data.name_matching import masks_beside
from keras_bisenet.data.pairing import OnProblem
from keras_bisenet.data.problems import Problem
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
}
IMAGE_FOLDERS = (
    *("images", "image", "imgs", "img", "jpegimages", "img_dir", "original_images", "photos"),
    *("leftimg8bit", "rgb", "frames", "inputs", "input", "x"),
)
MASK_FOLDERS = (
    *("masks", "mask", "masks_machine", "segmentationclass", "segmentationclasspng", "ann_dir"),
    *("labels", "label", "annotations", "annotation", "annots", "annot", "gt", "gtfine"),
    *("label_images_semantic", "ground_truth", "groundtruth", "segmentation", "segmentations"),
    *("targets", "target", "outputs", "output", "lbl", "y"),
)
MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
_MEANINGFUL = {*IMAGE_FOLDERS, *MASK_FOLDERS, *itertools.chain(*SPLIT_NAMES.values())}
LEFT_BEHIND = ("@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found")
LIST_FORMS = ("{}.txt", "{}_list.txt", "{}.csv", "{}.lst", "{}list.txt", "{}_files.txt")
LIST_FOLDERS = ("imagesets", "splits", "split", "lists", "list")
LAYOUTS = (
    "DIR/images and DIR/masks, DIR/train/images and DIR/train/masks, or DIR/train.txt with lines "
    "of image,mask"
)

Folders = tuple[Path, Path]


def is_left_behind(name: str) -> bool:
    """Whether a file or folder is hidden, or was made by a system rather than a person."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def visible_files(folder: Path, suffixes: tuple[str, ...] = ()) -> list[Path]:
    """The files below a folder, links to folders included, whose names end in one of `suffixes`
    (all, if there are none).

    Pipes and devices are none: to open one may wait for ever.

    Raises:
        UserError: When the folder cannot be read.
    """
    found, seen = [], set()

    def stop(error: OSError):
        raise UserError(f"{error.filename}: {error.strerror}: see that it can be read")

    for parent, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_left_behind(name))
        found += [Path(parent, name) for name in files if not is_left_behind(name)]
    found = [path for path in found if not suffixes or path.suffix.lower() in suffixes]
    return sorted(path for path in found if path.is_file() or not path.exists())


def no_file(folder: Path, suffixes: tuple[str, ...]) -> UserError:
    """The error of a folder without a file of some kinds, which says what it holds instead."""
    names = [path.suffix.lower() or path.name for path in visible_files(folder)]
    others = ", ".join(f"{count} {name}" for name, count in Counter(names).most_common(3))
    hint = next((_NO_MASKS[name] for name in names if name in _NO_MASKS), "save them as PNG")
    return UserError(
        f"{folder}: no file here ends in {', '.join(suffixes)}"
        + (f" (it holds {others}): {hint}" if others else "")
    )


_NO_MASKS = {
    ".txt": "YOLO's labels are no masks: export these from where they were made",
    ".xml": "Pascal VOC's boxes are no masks: annotate regions, or export masks",
    ".json": "annotations become masks by keras-bisenet dataset import",
}
"""What lies in folders of masks and is none -> what to do."""


def subfolder(folder: Path | None, names: Iterable[str]) -> Path | None:
    """The first of some folders that is there, whatever its case."""
    there = {path.name.lower(): path for path in _subfolders(folder)}
    return next((there[name] for name in names if name in there), None)


def _subfolders(folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}: see that it can be read") from error
    return [path for path in paths if path.is_dir() and not is_left_behind(path.name)]


def nested_root(directory: Path) -> Path:
    """The folder that holds the data, where an archive unpacked into a folder of its own name."""
    root = directory
    while True:
        folders = _subfolders(root)
        if len(folders) != 1 or folders[0].name.lower() in _MEANINGFUL or _has_data(root):
            is_data_set = len(folders) > 1 or find_lists(root) or _images_and_masks(root)
            return root if is_data_set else directory
        root = folders[0]


def _has_data(folder: Path) -> bool:
    """Whether there are lists, images or classes in a folder; a README is none."""
    if find_lists(folder):
        return True
    files = (path for path in folder.iterdir() if not is_left_behind(path.name))
    return any(
        path.name in FILES or path.suffix.lower() in MASK_SUFFIXES
        for path in files
        if path.is_file()
    )


# === Lists ===


def find_lists(root: Path) -> dict[str, Path]:
    """The lists of samples by split; the split `all` where there is one list alone."""
    segmentation = root / "ImageSets" / "Segmentation"  # Pascal VOC, CVAT
    others = [
        folder for name in LIST_FOLDERS if (folder := subfolder(root, (name,))) and folder != root
    ]
    for folder in (root, segmentation, *others):
        for form in LIST_FORMS:
            found = {
                split: folder / form.format(name)
                for split, names in SPLIT_NAMES.items()
                for name in reversed(names)
                if (folder / form.format(name)).is_file()
            }
            if found:
                return found
    for path in (
        root / "pairs.txt",
        root / "ImageSets" / "Segmentation" / "trainval.txt",
        root / "ImageSets" / "Segmentation" / "default.txt",  # CVAT, without subsets
    ):
        if path.is_file():
            return {"all": path}
    return {}


def folders_of_names(root: Path) -> tuple[Path | None, Path | None]:
    """The folders that the names in lists stand for."""
    return subfolder(root, IMAGE_FOLDERS), _mask_folder(root)


# === Folders ===


def find_folders(root: Path, on_problem: OnProblem) -> dict[str, Folders]:
    """The folders of images and masks by split; the split `all` where they are not divided.

    Raises:
        UserError: When there are none.
    """
    parts = {split: subfolder(root, names) for split, names in SPLIT_NAMES.items()}
    pairs = {split: _images_and_masks(part) for split, part in parts.items() if part}
    found = {split: pair for split, pair in pairs.items() if pair}
    if not found:
        named = _folders_named_after_splits(root)
        if named:
            return named
        undivided = _images_and_masks(root)
        if not undivided:
            raise UserError(
                f"{root}: no folders of images and masks here: lay them out as {LAYOUTS}"
            )
        images, masks = undivided
        if images == masks:
            return {"all": undivided}
        parts = {split: subfolder(images, names) for split, names in SPLIT_NAMES.items()}
        pairs = {
            split: (part, subfolder(masks, SPLIT_NAMES[split]))
            for split, part in parts.items()
            if part
        }
        found = {split: pair for split, pair in pairs.items() if all(pair)}
        if not found:
            return {"all": undivided}
    else:
        _warn_of_others(root, parts, on_problem)
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


def _warn_of_others(root: Path, parts: dict, on_problem: OnProblem) -> None:
    """Names folders beside the splits that hold images and masks, and are read as none."""
    for folder in _subfolders(root):
        if folder not in parts.values() and all(folders_of_names(folder)):
            on_problem(
                Problem(
                    "unread-folder",
                    "warning",
                    "this folder holds images and masks, and is read as no split",
                    (folder,),
                    "rename it train, val or test if it is one",
                )
            )


def _images_and_masks(folder: Path) -> Folders | None:
    """The folders of images and of masks in a folder; twice itself where it holds both."""
    images, masks = folders_of_names(folder)
    if images and masks:
        return images, masks
    files = [path for path in visible_files(folder, MASK_SUFFIXES) if path.parent == folder]
    return (folder, folder) if masks_beside(files, folder) else None


def _mask_folder(folder: Path) -> Path | None:
    """The folder of masks: the first that holds some, for tools write other things beside them."""
    there = {path.name.lower(): path for path in _subfolders(folder)}
    named = [there[name] for name in MASK_FOLDERS if name in there]
    return next((p for p in named if visible_files(p, MASK_SUFFIXES)), named[0] if named else None)


def _folders_named_after_splits(root: Path) -> dict[str, Folders]:
    """`train` with `train_labels`, `images_train` with `masks_train`, and the like."""
    found: dict[str, dict[bool, list[Path]]] = {}
    for path in _subfolders(root):
        split, kind = _split_and_kind(path.name.lower())
        if split and (not kind or kind in IMAGE_FOLDERS):
            found.setdefault(split, {}).setdefault(False, []).append(path)
        elif split and kind in MASK_FOLDERS:
            found.setdefault(split, {}).setdefault(True, []).append(path)
    pairs = {}
    for split in SPLIT_NAMES:
        images, masks = (found.get(split, {}).get(is_mask, []) for is_mask in (False, True))
        if len(images) == len(masks) == 1:
            pairs[split] = images[0], masks[0]
    return pairs


def _split_and_kind(name: str) -> tuple[str | None, str]:
    """The split that a folder's name begins or ends with, and what is left of the name."""
    words = {word: split for split, words in SPLIT_NAMES.items() for word in words}
    for word in sorted(words, key=len, reverse=True):
        match = re.fullmatch(rf"{word}[_\-. ]?(.*)|(.*)[_\-. ]{word}", name)
        if match:
            kind = (match[1] or match[2] or "").replace("prepped", "").strip("_-. ")
            return words[word], kind
    return None, ""


# === What no folder of masks is ===


def refuse_annotations(root: Path) -> None:
    """Names the tool where a folder holds its annotations rather than masks.

    Raises:
        UserError: When it does.
    """
    tool = _annotation_tool(root)
    if tool:
        what, name = tool
        raise UserError(
            f"{root}: {what}, and no masks: make them with keras-bisenet dataset import --from "
            f"{name} {root} -o NEW"
        )


def _annotation_tool(root: Path) -> tuple[str, str] | None:
    masks = _mask_folder(root)
    if masks and any(
        re.fullmatch(r"task-\d+-annotation-.*-tag-.*", path.stem)
        for path in visible_files(masks, MASK_SUFFIXES)[:1]
    ):
        return "a mask for each label and task, as Label Studio exports them", "labelstudio"
    if masks and visible_files(masks, MASK_SUFFIXES):
        return None
    folders = [root, *_subfolders(root)]
    for path in [file for folder in folders for file in sorted(folder.glob("*.json"))[:2]]:
        try:
            content = json.loads(path.read_text(encoding="utf-8")[: 1 << 26])
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
            return f"annotations of COCO ({path.name})", "coco"
        if isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys():
            return "polygons of labelme", "labelme"
        if isinstance(content, dict) and {"classes", "tags"} <= content.keys():
            return "a project of Supervisely", "supervisely"
        if isinstance(content, list) and content and "annotations" in content[0]:
            return f"tasks of Label Studio ({path.name})", "labelstudio"
    if (root / "annotations.xml").is_file():
        return "annotations of CVAT (annotations.xml)", "cvat"
    return None
