"""Data and their random views for `pytorch_fit.py`, on the device: as `data/jax_views.py` of the
package makes them, a batch at a time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

VOID = 255
SOFT_STRIDE = 4
"""A pixel of soft labels stands for so many of a view, up and across."""

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LUMA = torch.tensor((0.2989, 0.587, 0.114), device=DEVICE).view(1, 3, 1, 1)
THREADS = 16


class Images:
    """Images with their labels, each in room for the largest: uint8 tensors `[n, ...]`."""

    def __init__(self, images, masks=None, shares=None):
        self.image, self.size = on_device(images)
        self.mask = on_device(masks, VOID)[0] if masks else None
        self.shares, self.shares_size = on_device(shares) if shares else (None, None)

    def __len__(self):
        return len(self.image)


def on_device(arrays, fill=0):
    """Arrays of several heights and widths as one tensor, and their heights and widths."""
    sizes = np.array([array.shape[:2] for array in arrays])
    stacked = np.full((len(arrays), *sizes.max(0), *arrays[0].shape[2:]), fill, np.uint8)
    for place, array in zip(stacked, arrays):
        place[: array.shape[0], : array.shape[1]] = array
    return torch.from_numpy(stacked).to(DEVICE), torch.from_numpy(sizes).to(DEVICE)


def read_camvid(folder: Path, splits, hold_out: str | None) -> tuple[Images, Images | None]:
    """The images of some splits, and those of them whose names begin with `hold_out`, apart."""
    paths = [path for split in splits for path in sorted((folder / split).iterdir())]
    held_out = [path for path in paths if hold_out and path.name.startswith(hold_out)]
    kept = [path for path in paths if path not in held_out]
    return _read_labelled(kept), _read_labelled(held_out) if held_out else None


def _read_labelled(paths) -> Images:
    with ThreadPoolExecutor(THREADS) as threads:
        return Images(list(threads.map(_read_image, paths)), list(threads.map(_read_mask, paths)))


def read_streets(folder: Path) -> Images:
    """Images without masks, and their soft labels (docs/training.md)."""
    soft = {path.stem: path for path in (folder / "soft").glob("*.npz")}
    paths = [path for path in sorted((folder / "images").iterdir()) if path.stem in soft]
    with ThreadPoolExecutor(THREADS) as threads:
        images = list(threads.map(_read_image, paths))
        shares = list(threads.map(lambda path: np.load(soft[path.stem])["p"], paths))
    return Images(images, shares=shares)


def _read_image(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _read_mask(path: Path) -> np.ndarray:
    mask = np.array(
        Image.open(path.parent.with_name(f"{path.parent.name}annot") / f"{path.stem}.png")
    )
    mask[mask >= 11] = VOID
    return mask


# === Random views ===


def views(images: Images, index, size, settings: dict, scale, random):
    """Random views of some images, `[n, 3, h, w]`, with their class ids, `[n, h, w]`, and shares,
    `[n, N, h / SOFT_STRIDE, w / SOFT_STRIDE]`."""
    count, height_and_width = len(index), images.size[index]
    magnified = _uniform(count, *scale, random)
    stretch = (1 + settings["stretch"]) ** _uniform(count, -0.5, 0.5, random)
    rows = _spans(height_and_width[:, 0], size[0], magnified / stretch, random)
    columns = _spans(height_and_width[:, 1], size[1], magnified * stretch, random)
    inside = _grid_and(rows, columns, size, 1)
    places = [_places(span, side, 1) for span, side in ((rows, size[0]), (columns, size[1]))]
    image = _coloured(
        _sampled(images.image[index], *places, "bilinear") / 255, inside, settings, random
    )
    if images.mask is None:
        class_ids = torch.full((count, *size), VOID, device=DEVICE)
    else:
        class_ids = _sampled(images.mask[index][..., None], *places, "nearest")[:, 0].long()
        class_ids = torch.where(inside[:, 0], class_ids, VOID)
    num_classes = len(settings["class_weights"])
    shares = torch.zeros((count, num_classes, *(s // SOFT_STRIDE for s in size)), device=DEVICE)
    if images.shares is not None:
        ratio = images.shares_size[index] / height_and_width
        places = [
            _places(span, side, SOFT_STRIDE) * ratio[:, axis : axis + 1]
            for axis, (span, side) in enumerate(((rows, size[0]), (columns, size[1])))
        ]
        shares = _sampled(images.shares[index], *places, "bilinear")
        shares = shares * _grid_and(rows, columns, size, SOFT_STRIDE)
        total = shares.sum(1, keepdim=True)
        shares = torch.where(total > 0, shares / total.clamp(min=1e-6), 0.0)
    mirrored = torch.rand(count, device=DEVICE, generator=random) < 0.5
    return tuple(
        torch.where(mirrored.view(-1, *[1] * (part.ndim - 1)), part.flip(-1), part)
        for part in (image, class_ids, shares)
    )


def _uniform(count, low, high, random):
    return low + (high - low) * torch.rand(count, device=DEVICE, generator=random)


def _spans(source, view: int, scale, random):
    """Start and number of pixels in the source, place and length in the view."""
    source = source.float()
    wanted = torch.round(view / scale)
    taken = torch.minimum(wanted, source)
    scaled = torch.round(source * scale).clamp(1, view)
    length = torch.where(wanted <= source, torch.full_like(source, float(view)), scaled)
    start, place = torch.rand((2, len(source)), device=DEVICE, generator=random)
    start = torch.floor(start * (source - taken + 1))
    place = torch.floor(place * (view - length + 1))
    return start, taken, place, length


def _centres(view: int, stride: int):
    return ((torch.arange(view // stride, device=DEVICE) + 0.5) * stride)[None]


def _inside(span, view: int, stride: int):
    _, _, place, length = span
    centres = _centres(view, stride)
    return (centres >= place[:, None]) & (centres < (place + length)[:, None])


def _grid_and(rows, columns, size, stride):
    """Where a view shows its image: `[n, 1, h, w]`."""
    rows, columns = _inside(rows, size[0], stride), _inside(columns, size[1], stride)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _places(span, view: int, stride: int):
    """Where the source has what a view's cells show, in its pixels, no further than its window."""
    start, taken, place, length = (part[:, None] for part in span)
    places = start + (_centres(view, stride) - place) * (taken / length)
    return torch.minimum(torch.maximum(places, start + 0.5), start + taken - 0.5)


def _sampled(array, rows, columns, mode: str):
    height, width = array.shape[1:3]
    shape = (len(array), rows.shape[1], columns.shape[1])
    y, x = 2 * rows / height - 1, 2 * columns / width - 1
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], -1)
    array = array.permute(0, 3, 1, 2).float()
    return F.grid_sample(array, grid, mode=mode, padding_mode="border", align_corners=False)


def _coloured(image, inside, settings: dict, random):
    count, tint, jitter = len(image), settings["tint"], settings["jitter"]
    image = (image * _uniform((count, 3, 1, 1), 1 - tint, 1 + tint, random)).clamp(0, 1)
    brightness, contrast, saturation = (
        _uniform((count, 1, 1, 1), 1 - jitter, 1 + jitter, random) for _ in range(3)
    )
    image = image * brightness
    shown = inside.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (_grey(image) * inside).sum((2, 3), keepdim=True) / shown
    image = (image - mean) * contrast + mean
    grey = _grey(image)
    return ((image - grey) * saturation + grey).clamp(0, 1) * inside


def _grey(image):
    return (image * LUMA).sum(1, keepdim=True)


def mixed(batch, share: float, random):
    """CutMix: a rectangle of some views shows the batch's view before."""
    count, _, height, width = batch[0].shape
    area, shape, top, left = torch.rand((4, count), device=DEVICE, generator=random)
    rows = (area / 2) ** shape
    cut = _piece(height, rows, top)[:, :, None] & _piece(width, area / 2 / rows, left)[:, None, :]
    cut &= (torch.rand(count, device=DEVICE, generator=random) < share)[:, None, None]
    middle = SOFT_STRIDE // 2
    masks = (cut[:, None], cut, cut[:, None, middle::SOFT_STRIDE, middle::SOFT_STRIDE])
    return tuple(torch.where(m, part.roll(1, 0), part) for m, part in zip(masks, batch))


def _piece(length: int, share, place):
    size = torch.round(length * share)
    start = torch.round(place * (length - size))[:, None]
    pixels = torch.arange(length, device=DEVICE)[None]
    return (pixels >= start) & (pixels < start + size[:, None])
