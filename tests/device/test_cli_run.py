"""`keras-bisenet run`, by what it writes and prints."""

import io
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tflite_tiny import NAMES, PALETTE, class_of, tiny_model

from keras_bisenet.cli import main
from keras_bisenet.imaging.drawing import overlay_with_legend
from keras_bisenet.label_map import VOID
from keras_bisenet.pretrained import pretrained_model
from keras_bisenet.runtime.segmenter import Answer, Timings
from keras_bisenet.runtime.sinks.base import Style
from keras_bisenet.runtime.sinks.pictures import open_sink
from keras_bisenet.runtime.sinks.view import Shown, View
from keras_bisenet.runtime.sources.base import Frame

SIZE = (32, 48)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model(SIZE))
    return str(path)


@pytest.fixture
def image(tmp_path):
    """Red above (3/4), blue below (1/4), of the network's own size."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:24, :, 0] = 200
    pixels[24:, :, 2] = 200
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    return str(tmp_path / "scene.png")


def run(*args):
    return CliRunner().invoke(main, ["run", *(str(arg) for arg in args)])


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def nothing_half_written(folder) -> bool:
    return not any(path.name.startswith(".") for path in folder.rglob("*"))


def test_an_image_to_a_file_in_a_new_folder(tmp_path, model, image):
    out = tmp_path / "new" / "answer.png"
    result = run(model, image, "-o", out)
    assert result.exit_code == 0, result.output
    scene = pixels(image)
    expected = overlay_with_legend(scene, class_of(scene), NAMES, PALETTE, 0.5)
    np.testing.assert_array_equal(pixels(out), expected)
    line, summary = result.output.splitlines()
    assert line.startswith("scene.png  32x48  ")
    assert line.endswith(" ms  red 75%, blue 25%")
    assert summary.startswith("1 done: mean ") and summary.endswith(f"written to {out}")
    assert [path.name for path in out.parent.iterdir()] == ["answer.png"]


def test_without_a_model_it_is_the_packaged_one(tmp_path, image):
    packaged, named = tmp_path / "packaged.png", tmp_path / "named.png"
    for arguments in ((image, "-o", packaged), (pretrained_model(), image, "-o", named)):
        result = CliRunner().invoke(main, ["run", *map(str, arguments)])
        assert result.exit_code == 0, result.output
    assert packaged.read_bytes() == named.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.tflite"], "model.tflite: a model and nothing to segment: name an image, folder,"),
        (
            ["m.tflite", "a.png", "b.png"],
            "one MODEL and one SOURCE, not 3 names: for several images, name the folder that they "
            "lie in",
        ),
    ],
)
def test_a_wrong_number_of_names(tmp_path, arguments, message):
    result = CliRunner().invoke(main, ["run", *arguments, "-o", str(tmp_path / "out.png")])
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith(f"Error: {message}")


def test_alpha_is_how_strongly_the_overlay_covers(tmp_path, model, image):
    assert run(model, image, "-o", tmp_path / "answer.png", "--alpha", 1).exit_code == 0
    picture = pixels(tmp_path / "answer.png")
    assert tuple(picture[0, 0]) == PALETTE[0] and tuple(picture[31, 0]) == PALETTE[2]


def test_a_mask_is_a_palette_png_of_class_ids(tmp_path, model, image):
    result = run(model, image, "-o", tmp_path / "mask.png", "--output", "mask")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), class_of(pixels(image)))
        assert mask.convert("RGB").getpixel((0, 31)) == PALETTE[2]


def test_void_stays_void_in_a_mask(tmp_path):
    """A palette of four entries would let Pillow pack the ids into 2 bits, and 255 into 3."""
    style = Style(NAMES, PALETTE, output="mask")
    source = SimpleNamespace(kind="image", files=[])
    ids = np.array([[0, 3, VOID]], np.uint8)
    answer = Answer(ids, Timings(0, 0, 0))
    frame = Frame("a.png", np.zeros((1, 3, 3), np.uint8), 0.0, 0.0)
    open_sink(str(tmp_path / "mask.png"), source, style).write(frame, answer)
    np.testing.assert_array_equal(pixels(tmp_path / "mask.png"), ids)
    shown = Shown(1, frame, answer)
    with Image.open(io.BytesIO(shown.mask(View(style).palette))) as mask:
        np.testing.assert_array_equal(np.asarray(mask), ids)


def test_both_beside_each_other(tmp_path, model, image):
    assert run(model, image, "-o", tmp_path / "a.jpg", "--output", "both").exit_code == 0
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.format == "JPEG"
    np.testing.assert_array_equal(pixels(tmp_path / "a_mask.png"), class_of(pixels(image)))

    assert run(model, image, "-o", tmp_path / "folder", "--output", "both").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert names == ["scene.png", "scene_mask.png"]


@pytest.mark.parametrize("size", [(20, 24), (90, 70), (33, 200)])
def test_the_answer_has_the_images_own_size(tmp_path, model, size):
    Image.new("RGB", size[::-1], (0, 200, 0)).save(tmp_path / "photo.jpg")
    result = run(model, tmp_path / "photo.jpg", "-o", tmp_path / "out/", "--output", "both")
    assert result.exit_code == 0, result.output
    assert f"photo.jpg  {size[0]}x{size[1]}  " in result.output
    mask = pixels(tmp_path / "out" / "photo_mask.png")
    assert mask.shape == size and (mask == NAMES.index("green")).all()
    shown = pixels(tmp_path / "out" / "photo.png")
    assert shown.shape[0] > size[0] and shown.shape[1] >= size[1]


def test_a_photograph_held_sideways_is_answered_upright(tmp_path, model):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 60), (200, 0, 0)).save(tmp_path / "photo.jpg", exif=exif)
    result = run(model, tmp_path / "photo.jpg", "-o", tmp_path / "mask.png", "--output", "mask")
    assert result.exit_code == 0, result.output
    assert pixels(tmp_path / "mask.png").shape == (40, 60)


def test_threads_do_not_change_the_answer(tmp_path, model, image):
    for threads in (1, 2):
        out = tmp_path / f"{threads}.png"
        result = run(model, image, "-o", out, "--output", "mask", "--threads", threads)
        assert f"{threads} thread" in result.output
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_a_folder_is_done_but_for_its_bad_images(tmp_path, model, image):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "a.jpg", "b.jpg"):
        Image.open(image).save(folder / name)
    whole = (tmp_path / "scene.png").read_bytes()
    (folder / "aa.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("four images")

    result = run(model, folder, "-o", tmp_path / "out")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["a.jpg", "b.jpg", "b.png"]
    assert lines[3].startswith("3 done: mean ")
    assert "1 other files skipped" in lines[4]
    assert lines[5].startswith("Error: 1 of 4 images could not be read: ")
    assert "aa.png: a damaged image" in lines[5] and len(lines) == 6
    # Two images of one stem keep their suffixes.
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.png", "b.jpg.png", "b.png.png"]


def test_deep_images_of_a_folder_are_scaled_alike(tmp_path, model):
    """A dark image among bright ones stays dark; alone, its own values tell what is white."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, value in (("bright", 4095), ("night", 200)):
        Image.fromarray(np.full(SIZE, value, np.uint16)).save(folder / f"{name}.png")
    Image.new("RGB", SIZE[::-1], (0, 0, 200)).save(folder / "plain.png")
    result = run(model, folder, "-o", tmp_path / "out", "--output", "mask")
    assert result.exit_code == 0, result.output
    told = [line for line in result.output.splitlines() if "for white" in line]
    assert told == [
        f"Warning: {folder}: the images' values reach 4095, so 4095 is taken for white: save them "
        "with 8 bits per channel if that is not meant"
    ]
    ids = {path.stem: np.unique(pixels(path)).tolist() for path in (tmp_path / "out").iterdir()}
    assert ids == {"bright_mask": [0], "night_mask": [3], "plain_mask": [2]}

    run(model, folder / "night.png", "-o", tmp_path / "alone.png", "--output", "mask")
    assert (pixels(tmp_path / "alone.png") == 0).all()


def test_folders_in_a_folder_are_left_out_and_it_is_said(tmp_path, model, image):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for folder in ("monday", "friday", "sunday", "tuesday", ".cache"):
        (photos / folder).mkdir(parents=True)
        shutil.copy(image, photos / folder / "b.png")
    empty = run(model, photos, "-o", out)
    assert empty.exit_code == 1 and not out.exists()
    line = "name one of the folders in it, friday, monday, sunday and 1 more"
    assert empty.output.startswith(f"Error: {photos}: no image in this folder (")
    assert empty.output.endswith(f"): {line}\n") and empty.output.count("\n") == 1

    shutil.copy(image, photos / "a.png")
    result = run(model, photos, "-o", out)
    assert result.exit_code == 0 and "other files" not in result.output
    assert result.output.splitlines()[0] == (
        f"Warning: {photos}: left out the 4 folders in it, friday, monday, sunday and 1 more: "
        "name one for its images"
    )
    assert [path.name for path in out.iterdir()] == ["a.png"]
    shutil.rmtree(photos / ".cache")
    for folder in ("friday", "sunday", "tuesday"):
        shutil.rmtree(photos / folder)
    assert "left out the 1 folder in it, monday: name" in run(model, photos, "-o", out).output
    shutil.rmtree(photos / "monday")
    assert "left out" not in run(model, photos, "-o", out).output


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("scene.png", "this would overwrite an image"),
        (".", "this would overwrite an image"),
        ("answer.gif", "an image goes to an image file"),
        ("answer.mp4", "an image goes to an image file"),
        ("model.tflite", "an image goes to an image file"),
        ("taken", "a file of this name is in the way"),
    ],
)
def test_a_wrong_out_is_bad_usage(tmp_path, model, image, monkeypatch, out, message):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "scene.png").read_bytes()
    result = run(model, image, "-o", out)
    assert result.exit_code == 2
    assert message in result.output and result.output.count("\n") == 1
    assert (tmp_path / "scene.png").read_bytes() == before


def test_masks_want_png_and_folders_want_folders(tmp_path, model, image):
    result = run(model, image, "-o", tmp_path / "mask.jpg", "--output", "mask")
    assert result.exit_code == 2 and ".png file only" in result.output
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.open(image).save(folder / "a.png")
    result = run(model, folder, "-o", tmp_path / "answer.png")
    assert result.exit_code == 2 and "a folder's pictures go to a folder" in result.output
    result = run(model, folder, "-o", folder)
    assert result.exit_code == 2 and "this would overwrite an image" in result.output
    # a.png's mask would be the overlay of a_mask.png.
    Image.open(image).save(folder / "a_mask.png")
    result = run(model, folder, "-o", tmp_path / "out", "--output", "both")
    assert (
        result.exit_code == 2
        and "a_mask.png: this would overwrite a picture of a.png by" in result.output
    )
    assert "one of a_mask.png: rename one of these" in result.output


def test_failures_are_one_line_and_leave_nothing(tmp_path, model, image):
    (tmp_path / "text.tflite").write_text("no model at all")
    (tmp_path / "half.tflite").write_bytes(tiny_model(SIZE)[:700])
    out = tmp_path / "out" / "answer.png"
    for args, message in (
        ([tmp_path / "text.tflite", image], "text.tflite: not a TFLite model"),
        ([tmp_path / "half.tflite", image], "half.tflite: not a TFLite model"),
        ([tmp_path / "none.tflite", image], "none.tflite: no such file"),
        ([model, tmp_path / "none.png"], "none.png: there is no such image"),
        ([model, image, "--delegate", "edgetpu"], "install the Edge TPU runtime"),
        ([model, image, "--delegate", "libnothing.so"], "libnothing.so: cannot load"),
    ):
        result = run(*args, "-o", out)
        assert result.exit_code == 1, result.output
        assert message in result.output and result.output.count("\n") == 1
    assert not out.parent.exists()
    assert run(model, image).exit_code == 2  # no OUT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_file(tmp_path, model, number):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "one.bmp")
    for i in range(800):  # more than are done before the signal comes, whoever is busy
        os.link(tmp_path / "one.bmp", folder / f"{i:03d}.bmp")
    out = tmp_path / "out"
    process = start(model, folder, "-o", out)
    assert process.stdout.readline().startswith("000.bmp")
    process.send_signal(number)
    *lines, last = process.communicate(timeout=60)[0].splitlines()
    written = list(out.iterdir())
    assert 0 < len(written) < 800 and nothing_half_written(out)
    assert lines[-1].startswith(f"{len(written)} done: mean ")
    assert last == f"Error: stopped after {len(written)} of 800: what was written is whole"
    assert process.returncode == 1
    assert all(pixels(path).shape[1] == 400 for path in written)


def start(*args) -> subprocess.Popen:
    """The command in a process of its own, which Ctrl-C reaches even where the tests' does not."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from keras_bisenet.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program, "run", *(str(arg) for arg in args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
