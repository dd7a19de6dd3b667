"""The way into the network and back, against values computed by hand."""

import numpy as np
import pytest

from keras_bisenet.imaging.letterbox import Fit, class_ids_from_logits, class_ids_from_map
from keras_bisenet.label_map import VOID


@pytest.mark.parametrize(
    ("image", "network", "content"),
    [
        ((360, 480), (384, 480), (360, 480)),  # fits as it is
        ((720, 960), (384, 480), (360, 480)),  # half its size
        ((100, 100), (384, 480), (384, 384)),  # enlarged to the full height
        ((90, 120), (384, 480), (360, 480)),  # enlarged to the full width
        ((512, 1024), (512, 1024), (512, 1024)),
        ((357, 471), (384, 480), (364, 480)),  # 357 * 480 / 471 = 363.8
        ((1, 1000), (384, 480), (1, 480)),  # never less than one pixel
    ],
)
def test_fit_keeps_the_aspect_ratio(image, network, content):
    assert Fit.of(image, network) == Fit(image, network, content)


def test_place_leaves_an_image_that_fits_as_it_is_and_pads_with_black():
    image = np.random.default_rng(0).integers(1, 256, (30, 48, 3), dtype=np.uint8)
    placed = Fit.of((30, 48), (32, 48)).place(image)
    assert placed.dtype == np.uint8
    np.testing.assert_array_equal(placed[:30], image)
    assert not placed[30:].any()


def test_place_pads_on_the_right():
    placed = Fit.of((64, 32), (32, 64)).place(np.full((64, 32, 3), 200, np.uint8))
    assert (placed[:, :16] == 200).all()
    assert not placed[:, 16:].any()


def test_place_antialiases_when_it_shrinks():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    placed = Fit.of((64, 64), (16, 16)).place(stripes)
    # Point sampling would give 0 or 255.
    assert 110 < placed.min() and placed.max() < 145


def test_logits_are_interpolated_before_the_argmax():
    # Two cells at stride 2: pixel centres at 0 (clamped), 1/4, 3/4 and 1 (clamped) between them.
    logits = np.array([[[0, 2], [4, 2]]], np.int8)  # class 0: 0 1 3 4; class 1: 2 2 2 2
    fit = Fit.of((2, 4), (2, 4))
    np.testing.assert_array_equal(class_ids_from_logits(logits, fit), [[1, 1, 0, 0]] * 2)


def test_a_tie_goes_to_the_lowest_class():
    logits = np.array([[[0, 1], [4, 1]]], np.int8)  # class 0: 0 1 3 4; class 1: 1 1 1 1
    fit = Fit.of((2, 4), (2, 4))
    np.testing.assert_array_equal(class_ids_from_logits(logits, fit), [[1, 0, 0, 0]] * 2)


def test_a_class_that_wins_in_no_cell_can_win_between_cells():
    logits = np.array([[[10, 0, 7], [0, 10, 7]]], np.int8)
    fit = Fit.of((4, 8), (4, 8))
    # At x = 3 and 4 classes 0 and 1 are at 6.25 and 3.75, class 2 at 7.
    np.testing.assert_array_equal(class_ids_from_logits(logits, fit)[0], [0, 0, 0, 2, 2, 1, 1, 1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("never", [-np.inf, np.finfo(np.float32).min])
def test_a_class_that_never_is_wins_nowhere(never):
    logits = np.random.default_rng(0).normal(size=(6, 8, 4)).astype(np.float32)
    fit = Fit.of((48, 64), (48, 64))
    expected = class_ids_from_logits(logits[..., 1:], fit) + 1
    logits[..., 0] = never
    np.testing.assert_array_equal(class_ids_from_logits(logits, fit), expected)
    logits[..., 3] = np.inf
    assert (class_ids_from_logits(logits, fit) == 3).all()


@pytest.mark.filterwarnings("error")
def test_what_is_no_number_is_void():
    logits = np.random.default_rng(0).normal(size=(6, 8, 4)).astype(np.float32)
    fit = Fit.of((48, 64), (48, 64))
    whole = class_ids_from_logits(logits, fit)
    logits[:, 4:, 2] = np.nan
    ids = class_ids_from_logits(logits, fit)
    assert (ids[:, 32:] == VOID).all()
    np.testing.assert_array_equal(ids[:, :28], whole[:, :28])
    assert (class_ids_from_logits(np.full((6, 8, 4), np.nan, np.float32), fit) == VOID).all()


def _reference(logits, fit):
    """Pixel by pixel: the formula of a bilinear resize with half-pixel centres."""
    height, width = fit.image_size
    rows, cols, _ = logits.shape
    ids = np.empty((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            at_y = (y + 0.5) * fit.content_size[0] / height * rows / fit.network_size[0] - 0.5
            at_x = (x + 0.5) * fit.content_size[1] / width * cols / fit.network_size[1] - 0.5
            at_y, at_x = min(max(at_y, 0), rows - 1), min(max(at_x, 0), cols - 1)
            top, left = int(at_y), int(at_x)
            down, across = at_y - top, at_x - left
            bottom, right = min(top + 1, rows - 1), min(left + 1, cols - 1)
            corners = logits[[top, top, bottom, bottom], [left, right, left, right]]
            weights = [(1 - down) * (1 - across), (1 - down) * across]
            weights += [down * (1 - across), down * across]
            ids[y, x] = np.argmax(weights @ corners.astype(np.float64))
    return ids


@pytest.mark.parametrize(
    ("image", "network", "cells", "classes"),
    [
        ((60, 80), (64, 80), (8, 10), 11),  # padded below, not scaled
        ((64, 96), (64, 96), (16, 24), 4),  # nothing to fit
        ((30, 64), (64, 96), (8, 12), 5),  # enlarged
        ((100, 90), (32, 64), (4, 8), 19),  # shrunk, another aspect ratio
        ((7, 5), (64, 96), (8, 12), 3),  # smaller than the output
        ((33, 20), (64, 32), (64, 32), 6),  # an output at the network's own size
        ((40, 40), (32, 32), (4, 4), 171),
        ((6, 760), (32, 304), (32, 304), 3),  # cells of two pixels and of three
    ],
)
def test_class_ids_equal_those_of_the_formula(image, network, cells, classes):
    logits = np.random.default_rng(1).normal(size=(*cells, classes)).astype(np.float32)
    fit = Fit.of(image, network)
    ids = class_ids_from_logits(logits, fit)
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, _reference(logits, fit))


def _dense(logits, fit):
    """The rule in float32, at every pixel and for every class: nothing is left out."""
    taps = []
    for axis, length in enumerate(fit.image_size):
        cells = logits.shape[axis]
        scale = fit.content_size[axis] * cells / (fit.network_size[axis] * length)
        at = np.clip((np.arange(length) + 0.5) * scale - 0.5, 0, cells - 1)
        low = at.astype(int)
        taps.append((low, np.minimum(low + 1, cells - 1), (at - low).astype(np.float32)))
    (top, bottom, down), (left, right, across) = taps
    values = logits.astype(np.float32)
    lines = values[top] + (values[bottom] - values[top]) * down[:, None, None]
    before, behind = lines[:, left], lines[:, right]
    return (before + (behind - before) * across[:, None]).argmax(axis=-1).astype(np.uint8)


@pytest.mark.parametrize("kind", ["int8", "uint8", "float32", "ties", "thirds", "one sided"])
def test_what_is_left_out_changes_no_byte(kind):
    """Of any size, odd ones, and any number of classes, also where many are equal."""
    rng = np.random.default_rng(7)
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(1, 130, 2))
        network = tuple(int(side) * 8 for side in rng.integers(1, 10, 2))
        cells = tuple(side // int(rng.choice([1, 2, 4, 8])) for side in network)
        classes = int(rng.choice([1, 2, 3, 11, 40, 255]) if max(cells) < 20 else 5)
        values = 40 * rng.normal(size=(*cells, classes))
        if kind == "ties":  # whole cells, and the means of cells, are equal
            values = (values.round() % 3).astype(np.int8)
        elif kind == "thirds":  # equal but for rounding
            values = (values.round() % 4 / 3).astype(np.float32)
        elif kind == "one sided":  # classes that lie between two others
            values = np.sort(values, axis=-1).astype(np.float32)
            values[::2] = values[::2, :, ::-1]
        else:
            low, high = (0, 255) if kind == "uint8" else (-128, 127)
            values = values.clip(low, high).astype(kind)
        fit = Fit.of((height, width), network)
        ids = class_ids_from_logits(values, fit)
        assert ids.dtype == np.uint8 and ids.flags.c_contiguous
        np.testing.assert_array_equal(ids, _dense(values, fit), str((fit, cells, classes)))


def test_logits_that_are_no_numbers_are_no_error():
    """A broken float network: it answers void where it has no answer, and goes on."""
    logits = np.random.default_rng(0).normal(size=(6, 8, 4)).astype(np.float32)
    logits[2, 3], logits[4, :, 1] = np.nan, np.nan
    ids = class_ids_from_logits(logits, Fit.of((45, 63), (48, 64)))
    assert ids.shape == (45, 63) and {*np.unique(ids).tolist()} == {0, 1, 2, 3, VOID}


def test_quantized_logits_need_no_dequantization():
    logits = np.random.default_rng(2).integers(-128, 128, (8, 8, 7)).astype(np.int8)
    fit = Fit.of((60, 64), (64, 64))
    real = (logits.astype(np.float64) + 12) * 0.25  # exact in binary
    np.testing.assert_array_equal(
        class_ids_from_logits(logits, fit), class_ids_from_logits(real, fit)
    )


def test_logits_at_the_images_size_are_only_cropped():
    logits = np.random.default_rng(3).integers(0, 256, (32, 48, 5)).astype(np.uint8)
    ids = class_ids_from_logits(logits, Fit.of((30, 48), (32, 48)))
    np.testing.assert_array_equal(ids, logits[:30].argmax(-1))


def test_a_map_is_cropped_and_resized_to_the_nearest():
    ids = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(class_ids_from_map(ids, Fit.of((3, 4), (4, 4))), ids[:3])
    enlarged = class_ids_from_map(ids, Fit.of((8, 8), (4, 4)))
    assert enlarged.dtype == np.uint8
    np.testing.assert_array_equal(enlarged, ids.repeat(2, axis=0).repeat(2, axis=1))
    # 4 rows hold the image's 2: rows 1 and 3 have the pixels' centres; so for the columns.
    np.testing.assert_array_equal(
        class_ids_from_map(ids, Fit.of((2, 2), (4, 4))), [[5, 7], [13, 15]]
    )
    # An output at stride 2.
    coarse = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(
        class_ids_from_map(coarse, Fit.of((3, 4), (4, 4))),
        [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]],
    )


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_meant_wins_nothing_and_moves_nothing(dtype):
    logits = (100 * np.random.default_rng(0).normal(size=(12, 16, 5))).astype(dtype)
    logits[..., 0] = -np.inf
    fit = Fit.of((96, 128), (96, 128))
    ids = class_ids_from_logits(logits, fit)
    np.testing.assert_array_equal(ids, class_ids_from_logits(logits[..., 1:], fit) + 1)
