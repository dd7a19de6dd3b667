"""What the page's tests need from Python: `python fixtures.py FOLDER` fills the folder.

site/           the page with the packaged model, as `keras-bisenet web` writes it
photo.jpg       a photograph of CamVid where the data set is at hand, else a generated street
photo.ids       the class ids that Python gives it, uint8 [h, w]
camera.y4m      what the browser's made-up camera shows: a walk along a generated street
fixtures.json   their sizes
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import ExifTags, Image

import keras_bisenet.web
from keras_bisenet.cli import main
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.pretrained import pretrained_model
from keras_bisenet.runtime.segmenter import Segmenter

SAMPLES = Path(keras_bisenet.web.__file__).with_name("page") / "samples"
LITERT_JS = Path(__file__).parents[1] / "node_modules" / "@litertjs"
ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "golden" / "bisenetv2_tiny_int8.tflite"
BINARY = ROOT / "tests" / "device" / "third_party" / "sigmoid.tflite"
ON_THE_WEB = ("--runtime", "https://litert.example/npm")
FRAMES, RATE, CAMERA = 30, 30, (240, 320)


def photograph() -> Image.Image:
    """One that has to be scaled for the network."""
    pictures = Path(os.environ.get("KERAS_BISENET_DATA", ""), "camvid", "test").glob("*.png")
    path = min(pictures, default=SAMPLES / "street_1.jpg")
    image = Image.fromarray(read_image(path))
    return image.resize((960, 720), Image.BICUBIC)


def y4m(image: Image.Image) -> bytes:
    """Frames of a window that moves over the image, as uncompressed video (4:2:0)."""
    height, width = CAMERA
    parts = [f"YUV4MPEG2 W{width} H{height} F{RATE}:1 Ip A1:1 C420jpeg\n".encode()]
    for frame in range(FRAMES):
        left, top = 4 * frame, 2 * frame
        window = image.crop((left, top, left + 2 * width, top + 2 * height))
        planes = window.resize((width, height)).convert("YCbCr").split()
        half = [plane.resize((width // 2, height // 2)) for plane in planes[1:]]
        parts += [b"FRAME\n", *(plane.tobytes() for plane in (planes[0], *half))]
    return b"".join(parts)


def ids_of(model: Path, image: np.ndarray) -> bytes:
    return Segmenter(model).segment(image).class_ids.tobytes()


def web(*arguments) -> None:
    command = ["web", *map(str, arguments)]
    CliRunner().invoke(main, command, catch_exceptions=False, standalone_mode=False)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    web("-o", folder / "site", "--runtime", LITERT_JS)
    web(TINY, "-o", folder / "tiny", *ON_THE_WEB)
    web(BINARY, "-o", folder / "binary", *ON_THE_WEB)
    photo = folder / "photo.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned clockwise by 90 degrees
    photograph().transpose(Image.Transpose.ROTATE_90).save(photo, quality=92, exif=exif)
    image = read_image(photo)
    (folder / "photo.ids").write_bytes(ids_of(pretrained_model(), image))
    small = read_image(ROOT / "conformance" / "images" / "c.png")
    (folder / "binary.ids").write_bytes(ids_of(BINARY, small))
    street = Image.open(SAMPLES / "street_2.jpg").resize((800, 600))
    (folder / "camera.y4m").write_bytes(y4m(street))
    described = {"photo": {"height": image.shape[0], "width": image.shape[1]}}
    (folder / "fixtures.json").write_text(json.dumps(described))
