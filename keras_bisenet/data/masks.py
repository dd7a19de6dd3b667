"""Reading mask files: ids or colours, as they are in the file.

A mask may be grey, of a palette, of colours, or have its shape in the alpha channel alone.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from keras_bisenet.data.problems import Problem, SampleError
from keras_bisenet.imaging.reading import DECODER_ERRORS, pictures_in, raw_mode
from keras_bisenet.label_map import VOID, colour_codes, colours_of_codes

Colour = tuple[int, int, int]


def read_mask(path, palette: Sequence[Colour | None] = ()) -> np.ndarray:
    """Reads a mask of ids.

    A palette image gives its indices, a grey one of 1, 2 or 4 bits its numbers up to 1, 3 or 15,
    one of 16 bits its values if they fit into 8, one whose colour channels are all equal that
    channel.

    Args:
        path: The file.
        palette: The colour of each id in the other masks, None for one that they do not have. A
            palette image that shows an id in another colour numbers its colours otherwise.

    Returns:
        uint8 `[height, width]`.

    Raises:
        SampleError: `unreadable-mask`, `jpeg-mask`, `transparent-mask`, `unknown-ids` for ids
            above 255, `palette-differs`, or `colour-mask` when the file holds colours.
    """
    path = Path(path)
    pixels = read_mask_pixels(path)
    if palette and pixels.ndim == 2:
        own = read_palette(path)
        for number in np.flatnonzero(np.bincount(pixels.reshape(-1))) if own else ():
            if number != VOID and palette[number] not in (None, own[number]):
                raise SampleError(palette_problem(path, number, own[number], palette[number]))
    if pixels.ndim == 3:
        found = frequent_colours(pixels)
        shown = ", ".join(str(colour) for colour in found[:3])
        raise SampleError(
            Problem(
                "colour-mask",
                "error",
                f"the mask holds colours, such as {shown}, where class ids are expected",
                (path,),
                "save ids in one 8-bit channel, or train on it with --dataset folder and a "
                "classes file that has the colours",
            ),
            found,
        )
    return pixels


def read_alpha(path) -> np.ndarray:
    """The alpha channel of a mask that has its shape there, as uint8 `[height, width]`.

    Raises:
        SampleError: `unreadable-mask`, `jpeg-mask`, or `transparent-mask` where it has none.
    """
    with _opened(Path(path)) as image:
        if not _has_alpha(image):
            raise SampleError(
                Problem(
                    "transparent-mask",
                    "error",
                    "the mask has no alpha channel, and other masks have their shape there",
                    (Path(path),),
                    "save all masks in one form",
                )
            )
        return np.array(image.getchannel("A"))


def read_colours(path) -> np.ndarray:
    """Reads a mask of colours, as uint8 `[height, width, 3]`; grey and palette images too.

    Raises:
        SampleError: `unreadable-mask`, `jpeg-mask`.
    """
    pixels = read_mask_pixels(Path(path), expand_palette=True)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def read_mask_pixels(path: Path, expand_palette: bool = False) -> np.ndarray:
    """A mask file's pixels, upright, without transparency.

    Args:
        path: The file.
        expand_palette: Whether a palette image gives its colours rather than its indices.

    Returns:
        uint8 `[height, width]`, or `[height, width, 3]` where the channels differ.

    Raises:
        SampleError: As `read_mask`.
    """
    with _opened(path) as image:
        if image.mode == "P" and not expand_palette:
            return np.array(image)
        if STEP in image.info and not expand_palette:
            return np.array(image) // image.info[STEP]
        if image.mode == "1" and expand_palette:
            image = image.convert("L")  # white is white, not 1
        if _has_alpha(image):
            _refuse_hidden(path, image)
        if image.mode not in ("1", "L", "RGB") and not image.mode.startswith(("I", "F")):
            image = image.convert("L" if image.mode == "LA" else "RGB")
        pixels = np.array(image)
    if pixels.ndim == 3:
        grey = pixels[..., 0]
        same = (grey == pixels[..., 1]).all() and (grey == pixels[..., 2]).all()
        return np.ascontiguousarray(grey) if same else pixels
    return _eight_bits(path, pixels)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The mask as an image that is upright and decoded.

    Raises:
        SampleError: `unreadable-mask`, `jpeg-mask`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of odd metadata
            with Image.open(path) as opened:
                _refuse_lossy(path, opened)
                _refuse_pages(path, opened)
                _refuse_deep_colours(path, opened)
                step = _grey_step(opened)
                image = ImageOps.exif_transpose(opened)
                image.load()
                image.info.update({STEP: step} if step > 1 else {})
    except FileNotFoundError:
        raise _unreadable(path, "there is no such mask", "add it, or remove its image") from None
    except Image.UnidentifiedImageError:
        if not path.stat().st_size:
            raise _unreadable(path, "an empty file (0 bytes)", "copy it again") from None
        raise _unreadable(path, "no image in a format known here", "save it as PNG") from None
    except Image.DecompressionBombError:
        raise _unreadable(path, "too large a mask", "scale it and its image down first") from None
    except (PermissionError, IsADirectoryError) as error:
        raise _unreadable(path, error.strerror, "name a mask that can be read") from error
    except DECODER_ERRORS as error:
        raise _unreadable(path, f"a damaged mask ({error})", "copy it again") from error
    yield image


STEP = "grey_step"


def _grey_step(image: Image.Image) -> int:
    """What Pillow multiplies the numbers of a grey image of 2 or 4 bits by, so that the last is
    white; 1 for all others."""
    return {"L;2": 85, "L;4": 17}.get(raw_mode(image) or "", 1)


def grey_step(path: Path) -> int:
    """By how much grey levels of a mask differ whose ids differ by 1: 85 and 17 in files of 2 and
    4 bits, else 1."""
    with Image.open(path) as image:
        return _grey_step(image)


def _refuse_pages(path: Path, image: Image.Image) -> None:
    """Refuses a file of several masks, of which nobody says which one is meant."""
    count = pictures_in(image)
    if count > 1:
        raise _unreadable(path, f"a file of {count} pictures", "save the mask as a file of its own")


def _refuse_deep_colours(path: Path, image: Image.Image) -> None:
    """Refuses several channels of 16 bits, of which Pillow keeps the upper 8: ids are below."""
    if image.mode in ("RGB", "RGBA", "LA") and ";16" in str(raw_mode(image)):
        cure = "save it with 8 bits per channel, or ids in one channel"
        raise _unreadable(path, "a mask of several channels of 16 bits", cure)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA", "La", "RGBa")


def alpha_and_colour(path: Path) -> tuple[np.ndarray, Colour] | None:
    """A mask's alpha channel, and its colour if it has one alone; None for all other masks.

    Raises:
        SampleError: `unreadable-mask`, `jpeg-mask`.
    """
    with _opened(path) as image:
        if not _has_alpha(image):
            return None
        colours = image.convert("RGB").getcolors(1)
        return (np.array(image.getchannel("A")), colours[0][1]) if colours else None


def _refuse_hidden(path: Path, image: Image.Image) -> None:
    """Refuses a mask that would be something else with its transparency.

    Transparent pixels of one colour, on which other colours lie, are a background.
    """
    alpha = np.array(image.getchannel("A"))
    if alpha.min() == 255:
        return
    colours = np.array(image.convert("RGB"))
    varies = (colours != colours[0, 0]).any()
    hidden = colour_codes(colours[alpha == 0])
    if (varies or alpha.min() == alpha.max()) and (hidden == hidden[:1]).all():
        return
    message = "the mask has parts that are transparent, with all kinds of colours below them"
    if not varies:
        message = "the mask has one colour alone, and its shape in the alpha channel"
    raise SampleError(
        Problem(
            "transparent-mask",
            "error",
            message,
            (path,),
            "save the masks without transparency, each class in a colour or with an id",
        )
    )


def read_palette(path: Path) -> tuple[tuple[int, int, int], ...]:
    """The 256 colours that the ids of a palette image are shown in (two for one of 1 bit).

    Empty for a file without a palette.
    """
    with Image.open(path) as image:
        if image.mode == "1":
            return (0, 0, 0), (255, 255, 255)
        if image.mode != "P":
            return ()
        values = image.getpalette("RGB")
    values += [0] * (768 - len(values))
    return tuple(zip(values[0::3], values[1::3], values[2::3]))


def frequent_colours(pixels: np.ndarray) -> list[tuple[int, int, int]]:
    """The colours of `[height, width, 3]`, the most frequent first."""
    codes, counts = np.unique(colour_codes(pixels), return_counts=True)
    return colours_of_codes(codes[np.argsort(-counts, kind="stable")])


def _refuse_lossy(path: Path, image: Image.Image) -> None:
    kind = image.format
    if kind == "WEBP":
        with open(path, "rb") as file:
            lossy = file.read(16)[12:] == b"VP8 "
        kind = "lossy WebP" if lossy else None
    if kind in ("JPEG", "MPO", "lossy WebP"):
        kind = "JPEG" if kind == "MPO" else kind
        raise SampleError(
            Problem(
                "jpeg-mask",
                "error",
                f"the mask was saved as {kind}, which changes ids and colours along edges",
                (path,),
                "export the masks as PNG from where they were made",
            )
        )


def palette_problem(path: Path, number: int, own: Colour, other: Colour, elsewhere="") -> Problem:
    """A palette image that shows an id in another colour than other masks do."""
    return Problem(
        "palette-differs",
        "error",
        f"the mask's palette shows the id {number} in the colour {own}, and {other} is its colour "
        f"in {elsewhere or 'other masks'}: the ids of one may mean other classes than those of "
        "the other",
        (path,),
        "give each class its colour in a classes.csv, so that masks are read by colour, or save "
        "all masks with one palette",
    )


def _eight_bits(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Ids of any type of number as uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    if pixels.max(initial=0) > 255 and not (pixels % 257).any():
        pixels = pixels // 257  # 8 bits that a program stretched to 16
    wrong = (pixels < 0) | (pixels > 255) | (pixels % 1 != 0)
    if wrong.any():
        found = np.unique(pixels[wrong]).tolist()
        shown = ", ".join(f"{value:g}" for value in found[:4])
        raise SampleError(
            Problem(
                "unknown-ids",
                "error",
                f"the mask holds values that are no ids of 8 bits, such as {shown}",
                (path,),
                "relabel it with ids from 0 to 254, and 255 for void",
            ),
            found,
        )
    return pixels.astype(np.uint8)


def _unreadable(path: Path, message: str, cure: str) -> SampleError:
    return SampleError(Problem("unreadable-mask", "error", message, (path,), cure))
