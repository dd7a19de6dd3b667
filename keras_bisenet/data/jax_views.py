"""Random views of an image and its labels, in JAX, of one shape each: what `tensorflow_views`
makes, for a data set that stays on an accelerator.

A program there has no shapes that depend on numbers. To resize is therefore to multiply by a matrix
with two numbers in each row, those of bilinear interpolation, which is what an accelerator is best
at; and an image is the upper left part of an array as large as the largest.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from keras_bisenet.data.augmentation import SOFT_STRIDE, Augmentation
from keras_bisenet.label_map import VOID

LUMA = (0.2989, 0.587, 0.114)
"""Of red, green and blue, as TensorFlow makes grey."""


class Source(NamedTuple):
    """An image with its labels, or, with one more dimension in front, a number of them.

    Attributes:
        image: uint8 `[H, W, 3]`.
        mask: uint8 `[H, W]`.
        shares: Soft labels, uint8 `[h, w, N]`, in parts of any whole; or None.
        size: int32 `[2]`: how much of `H` and `W` the image takes.
        soft_size: int32 `[2]`: how much of `h` and `w` the soft labels take; None without them.
    """

    image: jax.Array
    mask: jax.Array
    shares: jax.Array | None
    size: jax.Array
    soft_size: jax.Array | None


class Span(NamedTuple):
    """Along one axis: pixels `start` to `start + taken` of the source fill `length` pixels of the
    view, from `place` on."""

    start: jax.Array
    taken: jax.Array
    length: jax.Array
    place: jax.Array


def random_view(source: Source, size: tuple[int, int], key, augmentation: Augmentation):
    """Scales, crops, mirrors and colours at random.

    Args:
        source: An image with its labels.
        size: `(height, width)` of the view.
        key: JAX' random key; equal keys give equal views.
        augmentation: What may change, and how far.

    Returns:
        A float32 image in [0, 1] `[*size, 3]`, an int32 mask `size`, and, where the source has soft
        labels, float32 shares that sum to 1 where there are any, `[*(size / SOFT_STRIDE), N]`.
    """
    scale_key, stretch_key, row_key, column_key, flip_key, colour_key = jax.random.split(key, 6)
    low, high = augmentation.scale
    scale = jax.random.uniform(scale_key, (), minval=low, maxval=high)
    exponent = jax.random.uniform(stretch_key, (), minval=-0.5, maxval=0.5)
    stretch = (1 + augmentation.stretch) ** exponent
    spans = (
        random_span(source.size[0], size[0], scale / stretch, row_key),
        random_span(source.size[1], size[1], scale * stretch, column_key),
    )
    shown = _shown(spans[0], size[0])[:, None] & _shown(spans[1], size[1])[None, :]
    image = _coloured(resized_image(source.image, spans, size), shown, colour_key, augmentation)
    parts = [image, resized_mask(source.mask, spans, shown)]
    if source.shares is not None:
        parts.append(soft_view(source, spans, size))
    if augmentation.flip:
        mirrored = jax.random.bernoulli(flip_key)
        parts = [jnp.where(mirrored, part[:, ::-1], part) for part in parts]
    return tuple(parts)


def mixed_views(view, other, key):
    """Puts a random rectangle of one view into another: see `tensorflow_views.mixed_views`."""
    height, width = view[0].shape[:2]
    area, shape, top, left = jax.random.uniform(key, (4,))
    # From as high as the share of the area to as high as the view, evenly in the logarithm.
    rows = (area / 2) ** shape
    columns = (area / 2) / rows
    inside = _inside(height, rows, top)[:, None] & _inside(width, columns, left)[None, :]
    middle = SOFT_STRIDE // 2
    soft_inside = inside[middle::SOFT_STRIDE, middle::SOFT_STRIDE, None]
    masks = (inside[..., None], inside, soft_inside)
    return tuple(jnp.where(m, theirs, ours) for m, ours, theirs in zip(masks, view, other))


def _inside(length: int, share, place):
    """Which of `length` pixels lie in a piece of that share; place 0 is at the start, 1 the end."""
    size = jnp.round(length * share)
    start = jnp.round(place * (length - size))
    pixels = jnp.arange(length)
    return (pixels >= start) & (pixels < start + size)


def random_span(source, view: int, scale, key) -> Span:
    """A random window of `source` pixels that, magnified by `scale`, fills `view` pixels, or all
    of them at a random place where they do not."""
    start_key, place_key = jax.random.split(key)
    wanted = jnp.round(view / scale).astype(jnp.int32)
    taken = jnp.minimum(wanted, source)
    scaled = jnp.round(source * scale).astype(jnp.int32)
    length = jnp.where(wanted <= source, view, jnp.clip(scaled, 1, view))
    start = jax.random.randint(start_key, (), 0, source - taken + 1)
    place = jax.random.randint(place_key, (), 0, view - length + 1)
    return Span(start, taken, length, place)


def resized_image(image, spans: tuple[Span, Span], size: tuple[int, int]):
    """The part that a view shows, in [0, 1], bilinear; black around it."""
    matrices = [
        _interpolation(
            _in_source(span, view), _shown(span, view), span.start, span.start + span.taken, side
        )
        for span, view, side in zip(spans, size, image.shape)
    ]
    return _multiplied(*matrices, image.astype(jnp.float32) / 255.0)


def resized_mask(mask, spans: tuple[Span, Span], shown):
    """The part that a view shows, nearest neighbour, int32; void around it."""
    rows, columns = (_nearest(span, view) for span, view in zip(spans, shown.shape))
    return jnp.where(shown, mask[rows][:, columns].astype(jnp.int32), VOID)


def _nearest(span: Span, view: int):
    """The pixel of the source in which the centre of each of the view's pixels lies."""
    twice = 2 * (jnp.arange(view) - span.place) + 1
    offset = twice * span.taken // (2 * span.length)
    return span.start + jnp.clip(offset, 0, span.taken - 1)


def soft_view(source: Source, spans: tuple[Span, Span], size: tuple[int, int]):
    """The soft labels of the part that a view shows, interpolated; 0 around it."""
    matrices = []
    for axis, (span, view) in enumerate(zip(spans, size)):
        cells = source.soft_size[axis]
        places = (_in_source(span, view, SOFT_STRIDE) + 0.5) * cells / source.size[axis] - 0.5
        shown = _shown(span, view, SOFT_STRIDE)
        matrices.append(_interpolation(places, shown, 0, cells, source.shares.shape[axis]))
    shares = _multiplied(*matrices, source.shares.astype(jnp.float32))
    total = shares.sum(axis=-1, keepdims=True)
    return jnp.where(total > 0, shares / jnp.where(total > 0, total, 1.0), 0.0)


def _centres(view: int, stride: int = 1):
    """Where the centres of a view's cells are, in its pixels."""
    return (jnp.arange(view // stride) + 0.5) * stride


def _shown(span: Span, view: int, stride: int = 1):
    """Which cells of a view show the image."""
    centres = _centres(view, stride)
    return (centres >= span.place) & (centres < span.place + span.length)


def _in_source(span: Span, view: int, stride: int = 1):
    """Where the source has what the cells of a view show: 0 is the centre of its first pixel."""
    offsets = _centres(view, stride) - span.place
    return span.start + offsets * span.taken / span.length - 0.5


def _interpolation(places, shown, first, end, count: int):
    """How much each of `count` pixels counts at each of some places: `[places, count]`. Pixels
    before `first` and from `end` on are not looked at."""
    places = jnp.clip(places, first, end - 1)
    weights = jax.nn.relu(1.0 - jnp.abs(places[:, None] - jnp.arange(count)[None, :]))
    return weights * shown[:, None]


def _multiplied(by_row, by_column, image):
    # Exact: accelerators multiply matrices in fewer bits unless told otherwise.
    exact = jax.lax.Precision.HIGHEST
    image = jnp.einsum("hH,HWc->hWc", by_row, image, precision=exact)
    return jnp.einsum("wW,hWc->hwc", by_column, image, precision=exact)


def _coloured(image, shown, key, augmentation: Augmentation):
    """With another white balance, brightness, contrast and saturation; black stays around it."""
    tint_key, jitter_key = jax.random.split(key)
    tint, jitter = augmentation.tint, augmentation.jitter
    gains = jax.random.uniform(tint_key, (3,), minval=1 - tint, maxval=1 + tint)
    brightness, contrast, saturation = jax.random.uniform(
        jitter_key, (3,), minval=1 - jitter, maxval=1 + jitter
    )
    shown = shown[..., None].astype(jnp.float32)
    image = jnp.clip(image * gains, 0.0, 1.0) * brightness
    mean = jnp.sum(_grey(image) * shown) / jnp.maximum(jnp.sum(shown), 1.0)
    image = (image - mean) * contrast + mean
    grey = _grey(image)
    return jnp.clip((image - grey) * saturation + grey, 0.0, 1.0) * shown


def _grey(image):
    return jnp.sum(image * jnp.array(LUMA), axis=-1, keepdims=True)
