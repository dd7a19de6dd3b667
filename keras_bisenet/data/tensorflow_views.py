"""Random views of an image and its mask, in TensorFlow, each a function of a seed.

The mask undergoes the geometry of its image and no change of colour; where there is no image,
pixels are black and the mask is void.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from keras_bisenet.data.augmentation import SOFT_STRIDE, Augmentation
from keras_bisenet.label_map import VOID


def random_view(image, mask, size: tuple[int, int], seed, augmentation: Augmentation, shares=None):
    """Scales, crops, mirrors and colours at random.

    Args:
        image: uint8 `[height, width, 3]`.
        mask: uint8 `[height, width]`.
        size: `(height, width)` of the view.
        seed: int32 `[2]`; equal seeds give equal views.
        augmentation: What may change, and how far.
        shares: Soft labels, uint8 `[h, w, N]` at any resolution, in parts of any whole; or None.

    Returns:
        A float32 image in [0, 1] `[*size, 3]` and an int32 mask `size`; with `shares` also
        float32 shares that sum to 1 where there are any, `[*(size / SOFT_STRIDE), N]`.
    """
    scale_seed, row_seed, column_seed, flip_seed, jitter_seed = tf.unstack(tf.random.split(seed, 5))
    scale = tf.random.stateless_uniform([], scale_seed, *augmentation.scale)
    stretch = _random_stretch(augmentation.stretch, tf.random.fold_in(scale_seed, 1))
    rows = _random_span(tf.shape(image)[0], size[0], scale / stretch, row_seed)
    columns = _random_span(tf.shape(image)[1], size[1], scale * stretch, column_seed)

    shape = tf.shape(image)
    mask = mask[..., None]
    image, mask = (_window(x, rows, columns) for x in (image, mask))
    image = tf.image.resize(image, (rows.length, columns.length), "bilinear") / 255.0
    mask = tf.image.resize(mask, (rows.length, columns.length), "nearest")
    image = _tint(image, augmentation.tint, tf.random.fold_in(jitter_seed, 1))
    image = _jitter(image, augmentation.jitter, jitter_seed)
    image = _place(image, rows, columns, size, 0.0)
    mask = _place(tf.cast(mask, tf.int32), rows, columns, size, VOID)
    parts = [image, mask[..., 0]]
    if shares is not None:
        parts.append(_soft_view(shares, shape, size, rows, columns))
    if augmentation.flip:
        mirrored = tf.random.stateless_uniform([], flip_seed) < 0.5
        parts = [tf.where(mirrored, tf.reverse(x, axis=[1]), x) for x in parts]
    return tuple(parts)


def _soft_view(shares, image_shape, size: tuple[int, int], rows: _Span, columns: _Span):
    """The part of an image's soft labels that a view shows, interpolated in both directions."""
    shares = tf.cast(shares, tf.float32)
    by_row = _interpolation(rows, image_shape[0], tf.shape(shares)[0], size[0])
    by_column = _interpolation(columns, image_shape[1], tf.shape(shares)[1], size[1])
    shares = tf.tensordot(by_row, shares, 1)  # rows of the view, columns of the source, N
    shares = tf.transpose(tf.tensordot(by_column, shares, [[1], [1]]), [1, 0, 2])
    return tf.math.divide_no_nan(shares, tf.reduce_sum(shares, axis=-1, keepdims=True))


def _interpolation(span: _Span, image_side, source_side, view_side: int):
    """How much each cell of a source counts in each cell of a view along one axis:
    `[view_side / SOFT_STRIDE, source_side]`; nothing where the view shows no image."""
    centres = (tf.range(view_side // SOFT_STRIDE, dtype=tf.float32) + 0.5) * SOFT_STRIDE
    place, length = tf.cast(span.place, tf.float32), tf.cast(span.length, tf.float32)
    start, stop = tf.cast(span.start, tf.float32), tf.cast(span.stop, tf.float32)
    in_image = start + (centres - place) * (stop - start) / length
    count = tf.cast(source_side, tf.float32)
    in_source = in_image * count / tf.cast(image_side, tf.float32) - 0.5
    in_source = tf.clip_by_value(in_source, 0.0, count - 1.0)
    weights = tf.nn.relu(1.0 - tf.abs(in_source[:, None] - tf.range(count)[None, :]))
    is_shown = (centres >= place) & (centres < place + length)
    return weights * tf.cast(is_shown, tf.float32)[:, None]


def mixed_views(view, other, seed):
    """Puts a random rectangle of one view into another: CutMix (Yun et al., arXiv:1905.04899).

    For segmentation the mask is cut as the image is, and there is no label to mix (French et al.,
    arXiv:1906.01916). What surrounds a thing then says less about what it is, which helps where a
    data set shows few places.

    Args:
        view: An image `[height, width, 3]`, its mask `[height, width]`, and its soft labels if it
            has any.
        other: The same, of another sample.
        seed: int32 `[2]`.

    Returns:
        The view, of which a rectangle of any proportions and up to half of the area shows the
        same place of the other.
    """
    height, width = view[0].shape[:2]
    area, shape, top, left = tf.unstack(tf.random.stateless_uniform([4], seed))
    # From as high as the share of the area to as high as the view, evenly in the logarithm.
    rows = (area / 2) ** shape
    columns = (area / 2) / rows
    inside = _inside(height, rows, top)[:, None] & _inside(width, columns, left)[None, :]
    middle = SOFT_STRIDE // 2
    soft_inside = inside[middle::SOFT_STRIDE, middle::SOFT_STRIDE, None]
    masks = (inside[..., None], inside, soft_inside)
    return tuple(tf.where(m, theirs, ours) for m, ours, theirs in zip(masks, view, other))


def _inside(length: int, share, place):
    """Which of `length` pixels lie in a piece of that share; place 0 is at the start, 1 the end."""
    size = tf.round(length * share)
    start = tf.round(place * (length - size))
    pixels = tf.range(length, dtype=tf.float32)
    return (pixels >= start) & (pixels < start + size)


@dataclass(frozen=True)
class _Span:
    """Along one axis: pixels `start` to `stop` of the source fill `length` pixels of the view,
    from `place` on."""

    start: tf.Tensor
    stop: tf.Tensor
    length: tf.Tensor
    place: tf.Tensor


def _random_span(source, view: int, scale, seed) -> _Span:
    start_seed, place_seed = tf.unstack(tf.random.split(seed, 2))
    wanted = tf.cast(tf.round(view / scale), tf.int32)
    taken = tf.minimum(wanted, source)
    scaled = tf.cast(tf.round(tf.cast(source, tf.float32) * scale), tf.int32)
    length = tf.where(wanted <= source, view, tf.clip_by_value(scaled, 1, view))
    start = tf.random.stateless_uniform([], start_seed, 0, source - taken + 1, tf.int32)
    place = tf.random.stateless_uniform([], place_seed, 0, view - length + 1, tf.int32)
    return _Span(start, start + taken, length, place)


def _window(x, rows: _Span, columns: _Span):
    return x[rows.start : rows.stop, columns.start : columns.stop]


def _place(x, rows: _Span, columns: _Span, size, value):
    around = [
        [rows.place, size[0] - rows.place - rows.length],
        [columns.place, size[1] - columns.place - columns.length],
        [0, 0],
    ]
    return tf.ensure_shape(tf.pad(x, around, constant_values=value), (*size, x.shape[-1]))


def _random_stretch(strength: float, seed):
    """By what to magnify the width; the height is magnified by its inverse."""
    exponent = tf.random.stateless_uniform([], seed, -0.5, 0.5)
    return (1 + strength) ** exponent


def _tint(image, strength: float, seed):
    gains = tf.random.stateless_uniform([3], seed, 1 - strength, 1 + strength)
    return tf.clip_by_value(image * gains, 0.0, 1.0)


def _jitter(image, strength: float, seed):
    brightness, contrast, saturation = tf.unstack(
        tf.random.stateless_uniform([3], seed, 1 - strength, 1 + strength)
    )
    image = image * brightness
    mean = tf.reduce_mean(tf.image.rgb_to_grayscale(image))
    image = (image - mean) * contrast + mean
    grey = tf.image.rgb_to_grayscale(image)
    image = (image - grey) * saturation + grey
    return tf.clip_by_value(image, 0.0, 1.0)
