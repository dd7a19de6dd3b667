"""Images of more than 8 bits per channel: scaled by what the file says, or by what it holds."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from keras_bisenet.errors import UserError
from keras_bisenet.imaging import reading
from keras_bisenet.imaging.bit_depth import ImageRange, range_of_images
from keras_bisenet.imaging.reading import read_image

RAMP = np.linspace(0, 1, 6 * 8).reshape(6, 8)


def write_png(path, pixels):
    """uint16 `[height, width, 3]`, which Pillow cannot write."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


def write_tiff(path, pixels, order="<"):
    """uint16 `[height, width, 3]`, uncompressed."""
    height, width = pixels.shape[:2]
    data = pixels.astype(f"{order}u2").tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, 16), (259, 3, 1), (262, 3, 2)]
    tags += [(273, 4, 8), (277, 3, 3), (278, 4, height), (279, 4, len(data))]
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data))
    bits = 8 + len(data) + 2 + 12 * len(tags) + 4  # three numbers do not fit into the tag
    entries = b""
    for tag, kind, value in tags:
        count, value = (3, bits) if tag == 258 else (1, value)
        form = "I" if kind == 4 or tag == 258 else "H2x"
        entries += struct.pack(f"{order}HHI{form}", tag, kind, count, value)
    folder = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    path.write_bytes(start + data + folder + struct.pack(f"{order}3H", 16, 16, 16))


def coloured(white):
    return np.round(np.stack([RAMP, RAMP[::-1], 1 - RAMP], axis=-1) * white).astype(np.uint16)


@pytest.mark.parametrize("white", [255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("form", ["png", "little.tif", "big.tif"])
def test_colours_of_16_bits(tmp_path, white, form):
    path = tmp_path / f"a.{form}"
    if form == "png":
        write_png(path, coloured(white))
    else:
        write_tiff(path, coloured(white), "<" if form == "little.tif" else ">")
    expected = coloured(white) * (255 / white)
    assert np.abs(read_image(path) - expected).max() <= 0.5


@pytest.mark.parametrize("white", [1.0, 255.0, 1023, 4095, 65535])
def test_grey_of_16_bits_and_of_floating_point(tmp_path, white):
    values = RAMP * white
    values = values.astype(np.float32) if isinstance(white, float) else values.astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    assert image.shape == (6, 8, 3)
    assert np.abs(image - values[..., None] * (255 / white)).max() <= 0.51


def test_what_the_file_says_is_white(tmp_path):
    tags = ImageFileDirectory_v2()
    tags[281] = 4095  # MaxSampleValue
    Image.fromarray((RAMP * 900).astype(np.uint16)).save(tmp_path / "a.tif", tiffinfo=tags)
    assert read_image(tmp_path / "a.tif").max() == round(900 * 255 / 4095)
    assert read_image(tmp_path / "a.tif", white=65535).max() == round(900 * 255 / 65535)


def test_a_guessed_white_is_told_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(reading, "_told", set())
    for white in (4095, 4095, 65535, 255):
        Image.fromarray((RAMP * white).astype(np.uint16)).save(tmp_path / "a.tif")
        read_image(tmp_path / "a.tif")
    read_image(tmp_path / "a.tif", white=16383)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"{tmp_path / 'a.tif'}: its values reach 4095, so 4095 is taken for white"
    )


def test_images_that_belong_together_have_one_range(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, largest in zip(paths, (300, 3000, 70)):
        Image.fromarray((RAMP * largest).astype(np.uint16)).save(path)
    assert range_of_images(paths) == ImageRange(3000, 4095)
    assert range_of_images(paths[:1]) == ImageRange(300, 1023)
    paths[1].write_bytes(b"no image")
    assert range_of_images(paths) == ImageRange(300, 1023)
    Image.fromarray((RAMP * 7).astype(np.float32)).save(tmp_path / "none.tif")
    assert range_of_images([tmp_path / "none.tif"]) is None


def test_images_of_8_bits_are_not_decoded_for_their_range(tmp_path):
    paths = [tmp_path / f"a.{suffix}" for suffix in ("png", "jpg", "tif", "webp")]
    for path in paths:
        Image.fromarray(coloured(255).astype(np.uint8)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("PIL.Image.Image.load", None)
        patch.setattr("PIL.ImageFile.ImageFile.load", None)
        assert range_of_images(paths) is None
    Image.fromarray((RAMP * 300).astype(np.uint16)).save(paths[0])
    assert range_of_images(paths) == ImageRange(300, 1023)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP * 7, "values up to 7, and what is white cannot be told: save it with 8 bits"),
        (RAMP * 2 - 1, "values down to -1: save it with 8 bits per channel"),
        (np.where(RAMP > 0.5, np.nan, RAMP), "values that are no numbers: save it with 8 bits"),
    ],
)
def test_values_that_are_no_images(tmp_path, values, message):
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / "a.tif")
    assert str(caught.value).startswith(f"{tmp_path / 'a.tif'}: {message}")


def test_an_empty_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a.png: an empty file \(0 bytes\): copy it again"):
        read_image(tmp_path / "a.png")


# === Files of several pictures ===


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_a_file_of_several_pictures_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    pages = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (9, 99, 199)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"{path}: a file of 3 pictures (pages, or an animation): save each as a file of its own"
    )


@pytest.mark.parametrize(("name", "form"), [("a.tif", "TIFF"), ("a.jpg", "MPO")])
def test_a_preview_beside_the_picture_is_none(tmp_path, name, form):
    """Phones write photographs of two pictures (MPO), and other programs small previews."""
    side = 4 if form == "TIFF" else 8
    pages = [Image.fromarray(np.full((s, s, 3), v, np.uint8)) for s, v in ((8, 40), (side, 200))]
    pages[0].save(tmp_path / name, form, save_all=True, append_images=pages[1:])
    assert (read_image(tmp_path / name) == 40).all()


def test_what_follows_a_picture_and_is_none(tmp_path):
    """A TIFF that says where its next page is, where there is none."""
    path = tmp_path / "a.tif"
    Image.new("L", (8, 8), 70).save(path)
    data = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from("<H", data, 8)
    struct.pack_into("<I", data, 10 + 12 * entries, len(data))
    path.write_bytes(bytes(data) + bytes(6))
    assert (read_image(path) == 70).all()
