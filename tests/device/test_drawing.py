"""Pictures, by the colours at known places."""

import numpy as np
import pytest
from PIL import Image

from keras_bisenet.imaging.confusion import HEAT, confusion_matrix_picture
from keras_bisenet.imaging.drawing import (
    BACKGROUND,
    FAINT,
    VideoOverlay,
    class_shares,
    colorize,
    contact_sheet,
    legend,
    overlay,
    overlay_with_legend,
    share_text,
)
from keras_bisenet.label_map import VOID

NAMES = ("road", "sky", "car")
PALETTE = ((200, 0, 0), (0, 100, 0), (0, 0, 50))
IDS = np.array([[0, 0, 1], [2, 0, VOID]], np.uint8)


def has_colour(picture, colour) -> bool:
    return bool((picture == np.array(colour)).all(axis=-1).any())


def test_colorize_gives_each_class_its_colour_and_void_black():
    expected = [[PALETTE[0], PALETTE[0], PALETTE[1]], [PALETTE[2], PALETTE[0], (0, 0, 0)]]
    np.testing.assert_array_equal(colorize(IDS, PALETTE), expected)


def test_overlay_blends_by_alpha():
    image = np.full((2, 3, 3), 100, np.uint8)
    np.testing.assert_array_equal(overlay(image, IDS, PALETTE, 0.0), image)
    np.testing.assert_array_equal(overlay(image, IDS, PALETTE, 1.0), colorize(IDS, PALETTE))
    np.testing.assert_array_equal(overlay(image, IDS, PALETTE)[0, 0], [150, 50, 50])


def test_shares_are_those_of_the_classes_present_the_largest_first():
    assert class_shares(IDS) == [(0, 0.5), (1, 1 / 6), (2, 1 / 6), (VOID, 1 / 6)]


@pytest.mark.parametrize(
    ("class_id", "share", "text"),
    [
        (0, None, "road"),
        (0, 0.214, "road 21%"),
        (1, 0.0042, "sky 0.4%"),
        (VOID, 0.5, "void 50%"),
    ],
)
def test_share_text(class_id, share, text):
    assert share_text(class_id, share, NAMES) == text


def test_a_legend_shows_the_classes_that_it_is_given():
    strip = legend([(0, 0.7), (2, 0.3)], NAMES, PALETTE, width=480)
    assert strip.dtype == np.uint8 and strip.shape[1] == 480
    assert has_colour(strip, PALETTE[0]) and has_colour(strip, PALETTE[2])
    assert not has_colour(strip, PALETTE[1])


def test_a_legend_for_a_narrow_picture_is_as_wide_as_its_text():
    strip = legend([(0, 1.0)], ["a name of some length"], PALETTE, width=32)
    assert 100 < strip.shape[1] < 250


def test_a_legend_for_video_has_one_size_whatever_is_in_the_picture():
    many = [f"class {i}" for i in range(60)]
    colours = np.random.default_rng(0).integers(0, 256, (60, 3))
    sizes = {
        legend([(i, 1 / n) for i in range(n)], many, colours, 480, rows=3).shape for n in (1, 7, 60)
    }
    assert len(sizes) == 1


def test_an_overlay_with_its_legend_keeps_the_images_own_size():
    image = np.random.default_rng(0).integers(0, 256, (60, 200, 3), dtype=np.uint8)
    ids = np.zeros((60, 200), np.uint8)
    ids[:, 100:] = 2
    picture = overlay_with_legend(image, ids, NAMES, PALETTE)
    np.testing.assert_array_equal(picture[:60, :200], overlay(image, ids, PALETTE))
    assert has_colour(picture[60:], PALETTE[2]) and not has_colour(picture[60:], PALETTE[1])


def test_a_contact_sheet_places_pictures_in_rows_and_columns():
    red, green = (np.full((40, 60, 3), colour, np.uint8) for colour in PALETTE[:2])
    sheet = contact_sheet([[red, green], [green, red]], ["truth", "answer"])
    rows = [np.flatnonzero((sheet == np.array(PALETTE[0])).all(-1).any(axis)) for axis in (1, 0)]
    assert len(rows[0]) == 80 and len(rows[1]) == 120
    top, left = rows[0][0], rows[1][0]
    assert tuple(sheet[top, left]) == PALETTE[0]
    assert tuple(sheet[top, rows[1][60]]) == PALETTE[1]
    assert tuple(sheet[rows[0][40], left]) == PALETTE[1]

    with_legend = contact_sheet([[red]], ["truth"], NAMES, PALETTE)
    assert has_colour(with_legend, PALETTE[2])


def test_a_contact_sheet_without_titles_has_no_room_for_them():
    red = np.full((40, 60, 3), PALETTE[0], np.uint8)
    sheet = contact_sheet([[red, red]], ["", ""])
    rows = np.flatnonzero((sheet == np.array(PALETTE[0])).all(-1).any(axis=1))
    assert rows[0] == 8 and sheet.shape[0] == 40 + 2 * 8


def test_a_contact_sheet_shrinks_wide_pictures():
    wide = np.full((100, 2000, 3), PALETTE[0], np.uint8)
    sheet = contact_sheet([[wide]], ["image"], cell_width=200)
    shown = (sheet == np.array(PALETTE[0])).all(axis=-1)
    assert shown.any(axis=0).sum() == 200 and shown.any(axis=1).sum() == 10


def test_the_confusion_matrix_is_normalised_by_rows():
    matrix = np.array([[10, 0, 0], [300, 100, 0], [0, 0, 0]], np.int64)
    picture = np.asarray(confusion_matrix_picture(matrix, NAMES))
    side, margin = 56, 14
    top, left = (length - margin - 3 * side for length in picture.shape[:2])
    # The corner of each cell, away from its number.
    cells = picture[top + 3 :: side, left + 3 :: side][:3, :3]
    assert tuple(cells[0, 0]) == HEAT[-1]
    assert tuple(cells[0, 1]) == HEAT[0] == BACKGROUND
    assert tuple(cells[1, 0]) == HEAT[3]  # 75%
    assert tuple(cells[1, 1]) == HEAT[1]  # 25%
    assert {tuple(cell) for cell in cells[2]} == {FAINT}


def test_pictures_of_many_classes_can_be_made():
    names = [f"class {i}" for i in range(171)]
    palette = np.random.default_rng(0).integers(0, 256, (171, 3))
    matrix = np.eye(171, dtype=np.int64)
    assert confusion_matrix_picture(matrix, names).size[0] > 171 * 16
    ids = np.random.default_rng(0).integers(0, 171, (100, 120)).astype(np.uint8)
    image = np.zeros((100, 120, 3), np.uint8)
    assert overlay_with_legend(image, ids, names, palette).shape[0] > 100


# === Videos ===


def swatches(picture, palette, height) -> dict[int, tuple[int, int]]:
    """Class id -> where the top left pixel of its colour is in the legend below the image."""
    found = {}
    for i, colour in enumerate(palette):
        rows, columns = np.nonzero((picture[height:] == colour).all(axis=-1))
        if len(rows):
            found[i] = (int(rows.min()), int(columns.min()))
    return found


VIDEO_NAMES = ("sky", "road", "tree", "car", "sign")
VIDEO_PALETTE = ((10, 20, 230), (230, 20, 30), (20, 230, 10), (220, 210, 20), (200, 10, 210))


def video_ids(*shares):
    """A mask of 100 x 400 whose class i has `shares[i]` percent."""
    return (
        np.repeat(np.arange(len(shares)), np.array(shares) * 4)
        .astype(np.uint8)[None]
        .repeat(100, axis=0)
    )


def test_a_videos_legend_keeps_its_places():
    """The first wave sorted it anew by share: it changed in 55 of 60 frames."""
    overlay_of = VideoOverlay((100, 400), VIDEO_NAMES, VIDEO_PALETTE, 0.3)
    image = np.zeros((100, 400, 3), np.uint8)
    places: dict[int, set] = {}
    for i in range(60):
        road = 20 + i % 30  # the largest share changes hands again and again
        ids = video_ids(50 - i % 30, road, 20, 10, 0) if i % 7 else video_ids(40, 40, 0, 10, 10)
        picture = overlay_of.draw(image, ids)
        assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
        for class_id, place in swatches(picture, VIDEO_PALETTE, 100).items():
            places.setdefault(class_id, set()).add(place)
    assert {len(of_class) for of_class in places.values()} == {1}
    assert sorted(places) == [0, 1, 2, 3, 4] and len(set.union(*places.values())) == 5


def test_a_videos_shares_can_be_read():
    """They stay for a fifth of a second, but not where a video begins again."""
    overlay_of = VideoOverlay((100, 400), VIDEO_NAMES, VIDEO_PALETTE, 0.3)
    image = np.zeros((100, 400, 3), np.uint8)
    legends = []
    for i, time in enumerate((0.0, 0.04, 0.16, 0.2, 0.36, 0.44, 0.0, 0.1)):
        legends.append(overlay_of.draw(image, video_ids(50 - i, 50 + i), time)[100:].copy())
    changed = [i for i in range(1, 8) if (legends[i] != legends[i - 1]).any()]
    assert changed == [3, 5, 6]


def test_a_full_legend_gives_a_place_that_is_free_for_longest():
    names = [f"a name of some length {i}" for i in range(5)]
    overlay_of = VideoOverlay((100, 400), names, VIDEO_PALETTE, 0.3, rows=2)
    image = np.zeros((100, 400, 3), np.uint8)
    overlay_of.draw(image, video_ids(50, 50, 0, 0, 0))
    two = swatches(overlay_of.draw(image, video_ids(50, 50)), VIDEO_PALETTE, 100)
    assert sorted(two) == [0, 1]
    found = swatches(overlay_of.draw(image, video_ids(0, 50, 0, 50, 0)), VIDEO_PALETTE, 100)
    places = len(overlay_of._places)
    assert found[1] == two[1] and 3 in found and (0 in found) is False
    every = swatches(overlay_of.draw(image, video_ids(20, 20, 20, 20, 20)), VIDEO_PALETTE, 100)
    assert len(every) == min(places, 5) and every[1] == two[1] and every[3] == found[3]


def test_a_videos_overlay_is_the_images_own():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    ids = rng.integers(0, 5, (60, 90), dtype=np.uint8)
    picture = VideoOverlay((60, 90), VIDEO_NAMES, VIDEO_PALETTE, 0.4).draw(image, ids)
    np.testing.assert_array_equal(picture[:60, :90], overlay(image, ids, VIDEO_PALETTE, 0.4))


def test_the_fast_overlay_has_the_plain_ones_bytes():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    ids = rng.choice(np.uint8([0, 1, 2, 3, 4, VOID]), (40, 50))
    plain = Image.blend(Image.fromarray(image), Image.fromarray(colorize(ids, VIDEO_PALETTE)), 0.35)
    np.testing.assert_array_equal(overlay(image, ids, VIDEO_PALETTE, 0.35), np.asarray(plain))


def test_a_videos_legend_has_room_for_every_class_of_camvid():
    """At 480 pixels, where a row holds three."""
    from keras_bisenet.lite.record import read_record
    from keras_bisenet.pretrained import pretrained_model

    classes = read_record(pretrained_model()).label_map
    overlay_of = VideoOverlay((360, 480), classes.names, classes.palette)
    ids = np.arange(len(classes.names), dtype=np.uint8).repeat(4).reshape(1, -1).repeat(4, axis=0)
    entries = overlay_of.draw_legend(ids)
    assert sorted(entry.class_id for entry in entries if entry.text) == list(range(11))
