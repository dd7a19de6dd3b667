"""What every data set is in memory: a label map, and splits of image and mask files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_bisenet.data.masks import read_mask
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.label_map import LabelMap, UnknownIdError
from keras_bisenet.runtime.sources import read_image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Sample:
    """One image and the mask that labels its pixels."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Args:
        name: The name it was asked for by.
        label_map: What its masks' ids mean.
        splits: Samples by split name, in a fixed order.
    """

    name: str
    label_map: LabelMap
    splits: dict[str, tuple[Sample, ...]]

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of a split.

        Raises:
            UsageError: When the data set has no such split.
        """
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise UsageError(f"{self.name} has no split {name!r}: choose one of {known}")
        return self.splits[name]

    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Reads one sample.

        Returns:
            The image, uint8 `[height, width, 3]`, and its class ids with `VOID` for what is
            ignored, uint8 `[height, width]`.

        Raises:
            UserError: When a file is damaged, sizes differ, or the mask holds an unknown id.
        """
        image, mask = read_image(sample.image), read_mask(sample.mask)
        if image.shape[:2] != mask.shape:
            raise UserError(
                f"{sample.mask}: the mask is {_size(mask)}, its image {_size(image)}: "
                "make them the same size"
            )
        try:
            return image, self.label_map.class_ids(mask)
        except UnknownIdError as error:
            names = len(self.label_map.names)
            raise UserError(
                f"{sample.mask}: the mask holds ids {_some(error.ids)}, which are none of the "
                f"{names} classes of {self.name} (ids {_some(self.label_map.file_ids)}; void "
                f"{_some(self.label_map.ignored_ids)}): relabel them, or set them to 255 for void"
            ) from error


def pair_by_stem(images: Path, masks: Path) -> tuple[Sample, ...]:
    """Pairs the images of one folder with the PNG masks of another, by file name.

    Raises:
        UserError: When a folder is missing or empty, or a file has no partner.
    """
    by_stem = {}
    for path in _files(images, IMAGE_SUFFIXES):
        if path.stem in by_stem:
            raise UserError(f"{path}: another image has this name ({by_stem[path.stem].name})")
        by_stem[path.stem] = path
    masks_by_stem = {path.stem: path for path in _files(masks, (".png",))}
    for stem, path in by_stem.items():
        if stem not in masks_by_stem:
            raise UserError(
                f"{path}: there is no mask for this image: "
                f"add {masks / (stem + '.png')} or remove the image"
            )
    for stem, path in masks_by_stem.items():
        if stem not in by_stem:
            raise UserError(
                f"{path}: there is no image for this mask: add it to {images} or remove the mask"
            )
    return tuple(Sample(by_stem[stem], masks_by_stem[stem]) for stem in sorted(by_stem))


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder: check --data-dir")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes)
    if not files:
        raise UserError(f"{folder}: no file here ends in {', '.join(suffixes)}")
    return files


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"


def _some(ids: Sequence[int]) -> str:
    shown = ", ".join(str(i) for i in ids[:8])
    return f"{shown}, ..." if len(ids) > 8 else shown
