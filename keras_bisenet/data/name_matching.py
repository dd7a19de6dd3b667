"""Which image and which mask of one's own data belong together, by their names.

A mask has its image's name, perhaps with an ending (`_mask`); so may the image (`_sat`). Where
that leaves them apart, names are compared without regard to case, to folders, to zeros before
numbers, and at last to what all images' names and all masks' names begin or end with. The first
comparison that pairs the most is taken, and said if it is not the first; one in which two files
have one name does not count.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from keras_bisenet.data.dataset import Sample
from keras_bisenet.data.pairing import OnProblem, pair_files, pair_stems
from keras_bisenet.data.problems import Problem
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES

MASK_ENDINGS = (
    *IMAGE_SUFFIXES,  # photo.jpg.png
    *("_mask", "-mask", ".mask", "_masks", "_label", "-label", "_labels", "_gt", "-gt", ".gt"),
    *("_seg", "-seg", ".seg", "_segmentation", "_annotation", "_L", "_lab"),
    *("_gtFine_labelIds", "_gtFine_labelTrainIds", "_labelIds", "_labelTrainIds"),
)
ANY_ENDINGS = (*MASK_ENDINGS, "_gtFine_color", "_gtFine_instanceIds", "_color", "_instanceIds")
"""What else lies beside masks."""

IMAGE_ENDINGS = ("_sat", "_leftImg8bit", "_image", "_img", "_rgb")


def pair_by_name(
    images: Path,
    image_files: Sequence[Path],
    masks: Path,
    mask_files: Sequence[Path],
    on_problem: OnProblem,
) -> tuple[Sample, ...]:
    """Pairs the files below two folders.

    Raises:
        UserError: When no image has a mask.
    """
    _refuse_kinds(image_files, images, mask_files, masks)
    keys = {_key(path, images) for path in image_files}
    strict = Comparison(
        "",
        lambda path: _key(path, images),
        lambda path: _without_ending(_key(path, masks), keys),
    )
    comparisons = [
        strict,
        *_tolerant(images, masks),
        _without_common_parts(image_files, mask_files),
    ]
    best = max(comparisons, key=lambda each: each.pairs(image_files, mask_files, each is strict))
    if not best.pairs(image_files, mask_files, best is strict):
        raise UserError(
            f"{images}: the names of images and masks do not pair: the first image is "
            f"{image_files[0].relative_to(images)}, the first mask "
            f"{mask_files[0].relative_to(masks)} (in {masks}): give each mask its image's name"
        )
    samples = pair_files(
        image_files,
        mask_files,
        on_problem,
        image_key=best.image_key,
        mask_key=best.mask_key,
        missing=lambda path: masks / f"{_key(path, images)}.png",
    )
    if best.said and samples:
        first = samples[0]
        on_problem(
            Problem(
                "names-differ",
                "warning",
                f"images and masks are paired {best.said}: {first.image.relative_to(images)} with "
                f"{first.mask.relative_to(masks)}, and so on",
                (images,),
                "give each mask its image's name if that is not meant",
            )
        )
    return samples


def _refuse_kinds(image_files, images: Path, mask_files, masks: Path) -> None:
    """Names the endings where each image has masks of several kinds.

    Raises:
        UserError: When that is so.
    """
    kinds: dict[str, set[str]] = {}
    for path in mask_files:
        key = _key(path, masks)
        short = _strip(key, ANY_ENDINGS) or key
        kinds.setdefault(short, set()).add(key[len(short) :])
    keys = {_strip(key, IMAGE_ENDINGS) or key for key in (_key(p, images) for p in image_files)}
    found = sorted({ending for key in keys & kinds.keys() for ending in kinds[key]})
    if all(len(kinds.get(key, ())) > 1 for key in keys):
        raise UserError(
            f"{masks}: there are several masks for each image, whose names end in "
            f"{', '.join(found)}: keep those of one kind (of Cityscapes itself, take --dataset "
            "cityscapes)"
        )


def pair_listed(
    stems: Sequence[str],
    images: Iterable[Path],
    masks: Iterable[Path],
    listed_in: Path,
    on_problem: OnProblem,
) -> tuple[Sample, ...]:
    """Pairs the files that a list names, whose masks' names may have an ending."""
    known = {*map(_nfc, stems)}
    mask_key = lambda path: _without_ending(_nfc(path.stem), known)  # noqa: E731
    return pair_stems(stems, images, masks, listed_in, on_problem, mask_key)


def masks_beside(files: Iterable[Path], folder: Path) -> list[Path]:
    """Those of some files in one folder that are masks: others' names with an ending, or `.png`
    files of which each has a photograph of its name."""
    files = list(files)
    keys = {path: _key(path, folder) for path in files}
    known = {*keys.values()} | {
        stripped for key in keys.values() if (stripped := _strip(key, IMAGE_ENDINGS))
    }
    found = [path for path, key in keys.items() if _stripped(key, known)]
    if found:
        return found
    photographs = {key for path, key in keys.items() if path.suffix.lower() in (".jpg", ".jpeg")}
    pngs = [path for path in files if path.suffix.lower() == ".png"]
    return pngs if pngs and all(keys[path] in photographs for path in pngs) else []


def without_masks(images: Iterable[Path], masks: Iterable[Path]) -> list[Path]:
    """The images that no mask belongs to by its name, whatever the folders.

    A mask belongs to the image whose name it has, perhaps with an ending; where there is none, to
    that whose name is the same without regard to case and to the image's ending.
    """
    images = list(images)
    keys = {_nfc(path.stem) for path in images}
    alike = {(_strip(key, IMAGE_ENDINGS) or key).casefold(): key for key in keys}
    done = set()
    for path in masks:
        mask = _nfc(path.stem)
        key = _without_ending(mask, keys)
        done.add(key if key in keys else alike.get((_strip(mask, MASK_ENDINGS) or mask).casefold()))
    return [path for path in images if _nfc(path.stem) not in done]


class Comparison:
    """A way to compare names.

    Args:
        said: How the user is told of it; empty where that is not needed.
        image_key: From an image to what it has in common with its mask.
        mask_key: From a mask to the same.
    """

    def __init__(self, said: str, image_key: Callable[[Path], str], mask_key=None):
        self.said = said
        self.image_key = image_key
        self.mask_key = mask_key or image_key

    def pairs(self, images: Sequence[Path], masks: Sequence[Path], repeats: bool = False) -> int:
        """How many images it gives a mask; 0 where names repeat, unless that is allowed."""
        image_keys = [self.image_key(path) for path in images]
        mask_keys = [self.mask_key(path) for path in masks]
        unique = len(set(image_keys)) == len(images) and len(set(mask_keys)) == len(masks)
        return len({*image_keys} & {*mask_keys}) if unique or repeats else 0


def _tolerant(images: Path, masks: Path) -> list[Comparison]:
    def image_name(path: Path) -> str:
        key = _key(path, images)
        return _strip(key, IMAGE_ENDINGS) or key

    def mask_name(path: Path) -> str:
        key = _key(path, masks)
        return _strip(key, MASK_ENDINGS) or key

    def compared(said: str, change: Callable[[str], str]) -> Comparison:
        return Comparison(
            said, lambda path: change(image_name(path)), lambda path: change(mask_name(path))
        )

    return [
        compared("", lambda key: key),
        compared("without regard to case", str.casefold),
        compared("without regard to folders", lambda key: key.rpartition("/")[2].casefold()),
        compared(
            "without regard to zeros before numbers",
            lambda key: re.sub(r"0*(\d+)", r"\1", key.rpartition("/")[2].casefold()),
        ),
    ]


def _without_common_parts(images: Sequence[Path], masks: Sequence[Path]) -> Comparison:
    """Compares what is left of names without their beginnings and ends that all have."""
    image_part, mask_part = _own_part(images), _own_part(masks)
    image_keys, mask_keys = {*map(image_part, images)}, {*map(mask_part, masks)}
    if len(images) < 2 or image_keys != mask_keys or "" in image_keys:
        return Comparison("", lambda path: f"image {path}", lambda path: f"mask {path}")
    return Comparison("by the parts of their names that differ", image_part, mask_part)


def _own_part(paths: Sequence[Path]) -> Callable[[Path], str]:
    stems = [path.stem for path in paths]
    # Not within a number: img10 and img11 differ by 10 and 11.
    begins = re.sub(r"\d+$", "", os.path.commonprefix(stems))
    ends = re.sub(r"\d+$", "", os.path.commonprefix([stem[len(begins) :][::-1] for stem in stems]))
    return lambda path: path.stem[len(begins) : len(path.stem) - len(ends)]


def _key(path: Path, root: Path) -> str:
    return _nfc(path.relative_to(root).with_suffix("").as_posix())


def _nfc(name: str) -> str:
    """Accents in one normal form: macOS writes them in another than most."""
    return unicodedata.normalize("NFC", name)


def _without_ending(key: str, image_keys: set[str]) -> str:
    """What a mask has in common with its image."""
    return key if key in image_keys else _stripped(key, image_keys) or key


def _stripped(key: str, image_keys: set[str]) -> str | None:
    """The image's key that a mask's key is with an ending."""
    for ending in MASK_ENDINGS:
        if key.lower().endswith(ending.lower()) and key[: -len(ending)] in image_keys:
            return key[: -len(ending)]
    return None


def _strip(key: str, endings: Sequence[str]) -> str | None:
    """A key without the longest of some endings; None where it has none of them."""
    found = [e for e in endings if key.lower().endswith(e.lower()) and len(key) > len(e)]
    return key[: -len(max(found, key=len))] if found else None
