"""Class names in any script: drawn, or written with the letters that there are."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import ImageFont

from keras_bisenet.imaging import fonts
from keras_bisenet.imaging.confusion import confusion_matrix_picture
from keras_bisenet.imaging.drawing import VideoOverlay, legend
from keras_bisenet.imaging.fonts import lettering

PALETTE = ((0, 0, 0), (200, 0, 0), (0, 200, 0))
FRENCH = ("fond", "végétation", "chaussée")
RUSSIAN = ("фон", "растительность", "дорога")
CHINESE = ("背景", "植物", "车道")


@pytest.fixture
def without_system_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "FOLDERS", ())
    for cached in (fonts._font_for, fonts._drawable, fonts._system_fonts):
        cached.cache_clear()
    yield
    for cached in (fonts._font_for, fonts._drawable, fonts._system_fonts):
        cached.cache_clear()


def ink(font, text):
    mask = font.getmask(text)
    return mask.size, bytes(mask)


def test_english_names_have_pillows_own_font():
    names, font = lettering(("road", "sky"), 15)
    assert names == ("road", "sky")
    assert font.getname() == ImageFont.load_default(size=15).getname()


@pytest.mark.parametrize("names", [FRENCH, RUSSIAN, CHINESE, ("Ελλάδα", "größe")])
def test_no_letter_is_the_box_for_unknown_ones(names):
    """Whichever fonts a system has: what it lacks is written with other letters."""
    shown, font = lettering(names, 24)
    box = ink(font, fonts.UNKNOWN)
    for name in shown:
        assert all(ink(font, character) != box for character in name if character != " ")


def test_a_system_font_has_what_pillows_lacks():
    if not fonts._system_fonts():
        pytest.skip("this system has no fonts")
    shown, font = lettering(RUSSIAN, 24)
    if font.getname() == ImageFont.load_default(size=24).getname():
        pytest.skip("no font of this system has Cyrillic letters")
    assert shown == RUSSIAN
    assert len({ink(font, name) for name in RUSSIAN}) == 3


def test_without_fonts_accents_are_left_out_and_that_is_said_once(without_system_fonts, caplog):
    with caplog.at_level(logging.WARNING, "keras_bisenet"):
        shown, _ = lettering(("fōnd", "chausseė", "ok"), 15)
        lettering(("fōnd", "chausseė", "ok"), 18)
    assert shown[2] == "ok" and all(name.isascii() or name in ("fōnd",) for name in shown)
    assert len(caplog.records) == sum(a != b for a, b in zip(shown, ("fōnd", "chausseė", "ok")))


def test_without_fonts_other_scripts_are_numbers(without_system_fonts):
    shown, _ = lettering(CHINESE, 15)
    assert shown == ("\\u80cc\\u666f", "\\u690d\\u7269", "\\u8f66\\u9053")


@pytest.mark.parametrize("names", [FRENCH, RUSSIAN, CHINESE])
def test_pictures_with_such_names(names):
    strip = legend([(i, 0.3) for i in range(3)], names, PALETTE, 400)
    boxes = legend([(i, 0.3) for i in range(3)], [fonts.UNKNOWN * 5] * 3, PALETTE, 400)
    assert strip.shape[2] == 3 and strip.tobytes() != boxes.tobytes()
    overlay = VideoOverlay((60, 80), names, PALETTE)
    assert overlay.draw(np.zeros((60, 80, 3), np.uint8), np.eye(60, 80, dtype=np.uint8)).any()
    assert confusion_matrix_picture(np.eye(3, dtype=int), names).size[0] > 100
