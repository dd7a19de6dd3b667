"""Finding which image and which mask belong together."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from keras_bisenet.data.dataset import Sample
from keras_bisenet.data.problems import Problem
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES

OnProblem = Callable[[Problem], None]


def pair_folders(
    images: Path,
    masks: Path,
    on_problem: OnProblem,
    image_key: Callable[[Path], str] = lambda path: path.stem,
    mask_key: Callable[[Path], str] = lambda path: path.stem,
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
) -> tuple[Sample, ...]:
    """Pairs the images of one folder with the masks of another, by name.

    Args:
        images: Folder of images.
        masks: Folder of masks.
        on_problem: Told of files without a partner and of names that occur twice; both are left
            out if it returns.
        image_key: From an image's path to what it has in common with its mask.
        mask_key: From a mask's path to the same.
        suffixes: What masks' names may end in.

    Raises:
        UserError: When a folder is missing or has no such file.
    """
    return pair_files(
        _files(images, IMAGE_SUFFIXES), _files(masks, suffixes), on_problem, image_key, mask_key,
        missing=lambda path: masks / (image_key(path) + ".png"),
    )  # fmt: skip


def pair_files(
    images: Iterable[Path],
    masks: Iterable[Path],
    on_problem: OnProblem,
    image_key: Callable[[Path], str] = lambda path: path.stem,
    mask_key: Callable[[Path], str] = lambda path: path.stem,
    missing: Callable[[Path], Path | str] = lambda path: "it",
) -> tuple[Sample, ...]:
    """Pairs files by key, in the order of the keys; see `pair_folders`."""
    images_by_key = _by_key(images, image_key, "image", on_problem)
    masks_by_key = _by_key(masks, mask_key, "mask", on_problem)
    for key in sorted(images_by_key.keys() - masks_by_key.keys()):
        path = images_by_key[key]
        on_problem(
            Problem(
                "missing-mask",
                "error",
                "there is no mask for this image",
                (path,),
                f"add {missing(path)} or remove the image",
            )
        )
    folders = sorted({path.parent for path in images_by_key.values()})
    for key in sorted(masks_by_key.keys() - images_by_key.keys()):
        on_problem(
            Problem(
                "missing-image",
                "error",
                "there is no image for this mask",
                (masks_by_key[key],),
                f"add it to {folders[0] if folders else 'the images'} or remove the mask",
            )
        )
    keys = sorted(images_by_key.keys() & masks_by_key.keys())
    return tuple(Sample(images_by_key[key], masks_by_key[key]) for key in keys)


def pair_stems(
    stems: Iterable[str],
    images: Path | Iterable[Path],
    masks: Path | Iterable[Path],
    listed_in: Path,
    on_problem: OnProblem,
    mask_key: Callable[[Path], str] = lambda path: path.stem,
) -> tuple[Sample, ...]:
    """Pairs the files that a list names, in the order of their names.

    Args:
        stems: The names, without suffix.
        images: Image files, or a folder of them; those that are not listed are left alone.
        masks: Mask files, or a folder of them.
        listed_in: The list.
        on_problem: Told of names without a file; they are left out if it returns.
        mask_key: From a mask's path to the name in the list.
    """
    if isinstance(images, Path):
        images = _files(images, IMAGE_SUFFIXES)
    if isinstance(masks, Path):
        masks = _files(masks, IMAGE_SUFFIXES)
    # Accents in one normal form: macOS writes them in another than lists have.
    images = {_nfc(path.stem): path for path in images}
    masks = {_nfc(mask_key(path)): path for path in masks}
    samples = []
    for stem in sorted({_nfc(stem) for stem in stems}):
        if stem in images and stem in masks:
            samples.append(Sample(images[stem], masks[stem]))
            continue
        what, partner = ("mask", images.get(stem)) if stem in images else ("image", masks.get(stem))
        on_problem(
            Problem(
                f"missing-{what}",
                "error",
                f"there is no {what} named {stem}",
                (listed_in,) if partner is None else (listed_in, partner),
                "unpack the data set again, or take the name out of the list",
            )
        )
    return tuple(samples)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _by_key(paths: Iterable[Path], key, what: str, on_problem: OnProblem) -> dict[str, Path]:
    """The files by key, the first of each."""
    found: dict[str, Path] = {}
    for path in sorted(paths):
        first = found.setdefault(key(path), path)
        if first is not path:
            on_problem(
                Problem(
                    "duplicate-name",
                    "error",
                    f"another {what} has this name ({first.name})",
                    (path, first),
                    "rename or remove one of the two",
                )
            )
    return found


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder: check --data-dir")
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    if not files:
        raise UserError(f"{folder}: no file here ends in {', '.join(suffixes)}")
    return files
