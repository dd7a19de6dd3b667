"""Opening, reading and running .tflite files, on tiny ones whose answers are known."""

import hashlib
import importlib
import io
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, _imaging
from tflite_tiny import (
    DARK,
    NAMES,
    PALETTE,
    class_of,
    network,
    record,
    tiny_model,
    with_record,
)

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.imaging.letterbox import Fit, class_ids_from_logits
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.label_map import VOID
from keras_bisenet.lite.record import DeploymentRecord, read_record
from keras_bisenet.runtime.interpreter import RUNTIMES, open_interpreter, runtime_name
from keras_bisenet.runtime.model_info import ModelInfo
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.runtime.sources import open_source

SIZE = (32, 48)


def picture(height, width, seed=0) -> np.ndarray:
    """Blobs of colour: RGB uint8 [height, width, 3]."""
    blobs = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blobs).resize((width, height), Image.BICUBIC))


# === A real network, the same in every runtime ===

# BiSeNet V2 with alpha 0.125, trained on streets, quantized and converted by the commands.
GOLDEN = Path(__file__).parents[1] / "golden" / "bisenetv2_tiny_int8.tflite"
GOLDEN_OUTPUT = "e636de1511ce692c509f67fdcd8a519a3dcdd169cdb304cb51ee511385678dce"


def golden_output(reference: bool) -> np.ndarray:
    squares = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    segmenter = Segmenter(GOLDEN, reference=reference)
    array, _ = segmenter.prepare(squares.repeat(8, axis=0).repeat(8, axis=1))
    return segmenter.invoke(array)


def test_reference_kernels_give_the_same_bytes_in_every_runtime():
    assert hashlib.sha256(golden_output(reference=True).tobytes()).hexdigest() == GOLDEN_OUTPUT


def test_fast_kernels_differ_from_them_in_the_last_bits_alone():
    fast, reference = golden_output(reference=False), golden_output(reference=True)
    steps = np.abs(fast.astype(int) - reference)
    assert steps.max() <= 4 and steps.mean() < 0.5


# === The interpreter ===


def test_the_runtime_names_itself_and_opens_in_silence(capfd):
    distribution, version = runtime_name().split(" ")
    assert distribution in ("ai-edge-litert", "tflite-runtime")
    assert version[0].isdigit()
    interpreter = open_interpreter(tiny_model(SIZE))
    assert list(interpreter.get_input_details()[0]["shape"]) == [1, *SIZE, 3]
    assert capfd.readouterr() == ("", "")


def test_tensors_inside_the_network_can_be_kept():
    interpreter = open_interpreter(
        network(SIZE, kind="class_ids"), preserve_all_tensors=True, threads=1
    )
    image = picture(*SIZE)
    interpreter.set_tensor(0, (image ^ 0x80).view(np.int8)[None])
    interpreter.invoke()
    names = {details["name"]: details["index"] for details in interpreter.get_tensor_details()}
    logits = interpreter.get_tensor(names["logits"])[0]
    np.testing.assert_array_equal(logits[..., :3], image.astype(int) - 128)
    assert set(np.unique(logits[..., 3])) == {DARK - 128}


@pytest.mark.parametrize("content", [b"", b"hello", b"a text of some length, no model"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "notes.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"notes\.tflite: not a TFLite model"):
        open_interpreter(path)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.tflite: no such file"):
        open_interpreter(tmp_path / "none.tflite")


@pytest.mark.parametrize(
    ("delegate", "cure"),
    [
        ("edgetpu", "install the Edge TPU runtime"),
        ("libnothing.so", "give edgetpu, or the path"),
        (_imaging.__file__, "is no TFLite delegate"),  # a library of another kind
    ],
)
def test_a_delegate_that_cannot_be_loaded_is_refused(delegate, cure):
    with pytest.raises(UserError, match=cure):
        open_interpreter(tiny_model(SIZE), delegate=delegate)


def test_the_environment_chooses_the_runtime(monkeypatch):
    installed = runtime_name().split(" ")[0]
    monkeypatch.setenv("KERAS_BISENET_RUNTIME", installed)
    assert runtime_name().startswith(installed)
    other = ({"ai-edge-litert", "tflite-runtime"} - {installed}).pop()
    monkeypatch.setenv("KERAS_BISENET_RUNTIME", other)
    with pytest.raises(UserError, match=f"pip install {other}"):
        runtime_name()
    monkeypatch.setenv("KERAS_BISENET_RUNTIME", "onnxruntime")
    with pytest.raises(UsageError, match="ai-edge-litert, tflite-runtime"):
        runtime_name()


# === What the file says ===


def info_of(model) -> ModelInfo:
    return Segmenter(model).info


def test_a_deployment_record_is_read(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model((32, 64), stride=8, precision="uint8"))
    assert info_of(path) == ModelInfo(
        size=(32, 64),
        input_dtype="uint8",
        input_scale=1 / 255,
        input_offset=0.0,
        input_quantization=(pytest.approx(1 / 255), 0),
        kind="logits",
        stride=8,
        output_dtype="uint8",
        names=NAMES,
        palette=PALETTE,
        record=DeploymentRecord.from_json(record((32, 64), stride=8, precision="uint8")),
    )


def test_another_programs_model_is_understood_by_its_tensors():
    info = info_of(network((32, 64), stride=4, precision="float32"))
    assert (info.kind, info.stride, info.output_dtype) == ("logits", 4, "float32")
    assert (info.input_scale, info.input_offset, info.input_quantization) == (1 / 255, 0.0, None)
    assert info.names == ("class 0", "class 1", "class 2", "class 3")
    assert len(set(info.palette)) == 4
    assert info.record is None

    ids = info_of(network((32, 64), kind="class_ids"))
    assert (ids.kind, ids.stride, ids.output_dtype) == ("class_ids", 1, "int32")
    assert len(ids.names) == len(set(ids.palette)) == VOID


def test_a_model_that_does_no_segmentation_is_refused():
    with pytest.raises(UserError, match="inputs number 1 and its outputs 2"):
        info_of(network(SIZE, kind="class_ids", both_outputs=True))
    # One value per class for the whole image: a classifier.
    with pytest.raises(UserError, match="its output, 1 x 1 x 1 x 4 int8 .* is no segmentation"):
        info_of(network((32, 32), stride=32))


def test_a_record_of_another_model_is_refused():
    for described in (
        record((64, 48)),
        record(SIZE, stride=8),
        record(SIZE, kind="class_ids"),
        {**record(SIZE), "classes": record(SIZE)["classes"][:2]},
    ):
        with pytest.raises(UserError, match="is of another model"):
            info_of(with_record(network(SIZE), described))


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 1',
        "[1, 2]",
        "{}",
        '{"format": 1}',
        '{"format": 1, "input": {"scale": "x", "offset": 0}}',
    ],
)
def test_a_damaged_record_is_told(tmp_path, text):
    path = tmp_path / "model.tflite"
    path.write_bytes(with_record(network(SIZE), text))
    with pytest.raises(UserError, match=r"model\.tflite: its metadata is damaged"):
        info_of(path)


def test_a_record_of_a_later_format_asks_for_an_update():
    with pytest.raises(UserError, match="format 2, .* update keras-bisenet"):
        read_record(with_record(network(SIZE), {**record(SIZE), "format": 2}))


def test_an_archive_that_is_cut_off_or_overwritten_is_told():
    model = tiny_model(SIZE)
    with pytest.raises(UserError, match="damaged .keras_bisenet.json is missing"):
        read_record(model[:-40])
    at = model.index(b'"generator"')
    with pytest.raises(UserError, match="metadata is damaged"):
        read_record(model[:at] + b"XXXX" + model[at + 4 :])
    assert read_record(network(SIZE)) is None


def test_a_record_that_unpacks_to_much_takes_no_memory(tmp_path):
    """Half a megabyte that claims 400: before it is read, in whatever opens a model."""
    archive = io.BytesIO(network(SIZE))
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as files:
        with files.open("keras_bisenet.json", "w") as packed:
            packed.write(b'{"format": 1, "padding": "')
            for _ in range(400):
                packed.write(b" " * (1 << 20))
            packed.write(b'"}')
    path = tmp_path / "large.tflite"
    path.write_bytes(archive.getvalue())
    assert path.stat().st_size < 1 << 19
    program = (
        "import resource, sys\n"
        "from keras_bisenet.errors import UserError\n"
        "from keras_bisenet.runtime.segmenter import Segmenter\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "Segmenter(sys.argv[1])\n"
        "before = peak()\n"
        "try: Segmenter(sys.argv[2])\n"
        "except UserError as error: print(error)\n"
        "print(peak() - before)\n"
    )
    small = tmp_path / "small.tflite"
    small.write_bytes(tiny_model(SIZE))
    command = [sys.executable, "-c", program, small, path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    error, megabytes = done.stdout.splitlines()
    assert error.startswith(f"{path}: its metadata is damaged (keras_bisenet.json is too large)")
    assert int(megabytes) < 20


@pytest.mark.parametrize("damage", [b"\xff\xff\xff\x7f", b"\x01\0\0\0"])
def test_a_damaged_file_is_refused_before_a_runtime_sees_it(damage, monkeypatch):
    """An old runtime takes a damaged file on trust, and crashes."""
    content = damage + network(SIZE)[4:]
    monkeypatch.setattr(litert_module(), "Interpreter", lambda **_: pytest.fail("it got the file"))
    with pytest.raises(UserError, match="not a TFLite model"):
        Segmenter(content)


def litert_module():
    return importlib.import_module(RUNTIMES[runtime_name().split(" ")[0]])


def test_a_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model(SIZE))
    reads = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read_bytes(self))
    segmenter = Segmenter(path)
    assert reads == [path] and segmenter.file.path == str(path)
    assert segmenter.info.record.model == "tiny"


# === From image to class ids ===


@pytest.mark.parametrize("precision", ["int8", "uint8", "float32"])
@pytest.mark.parametrize("kind", ["logits", "class_ids"])
@pytest.mark.parametrize("make", [tiny_model, network])
def test_every_kind_of_model_gives_the_known_classes(precision, kind, make):
    image = picture(*SIZE)
    segmenter = Segmenter(make(SIZE, precision=precision, kind=kind))
    answer = segmenter.segment(image)
    assert answer.class_ids.dtype == np.uint8
    np.testing.assert_array_equal(answer.class_ids, class_of(image))
    timings = answer.timings
    assert min(timings.prepare, timings.invoke, timings.finish) > 0
    assert timings.total == pytest.approx(timings.prepare + timings.invoke + timings.finish)


@pytest.mark.parametrize("size", [(20, 24), (96, 100), (33, 200), (32, 48), (1, 1)])
def test_an_image_of_any_size_is_answered_at_its_own_size(size):
    image = picture(*size)
    fit = Fit.of(size, SIZE)
    pixels = fit.place(image)[::8, ::8].astype(int)
    logits = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), DARK)], axis=-1)
    ids = Segmenter(tiny_model(SIZE, stride=8)).segment(image).class_ids
    assert ids.shape == size
    np.testing.assert_array_equal(ids, class_ids_from_logits(logits, fit))


def test_class_ids_from_the_network_are_resized_too():
    image = np.zeros((16, 24, 3), np.uint8)
    image[:, 12:, 1] = 200
    ids = Segmenter(tiny_model(SIZE, kind="class_ids")).segment(image).class_ids
    np.testing.assert_array_equal(ids, class_of(image))


def test_ids_that_the_record_does_not_name_are_void():
    described = record(SIZE, kind="class_ids")
    described["classes"] = described["classes"][:2]
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:16, :, 1] = 200  # green above, dark (class 3) below
    ids = (
        Segmenter(with_record(network(SIZE, kind="class_ids"), described)).segment(image).class_ids
    )
    assert (ids[:16] == 1).all() and (ids[16:] == VOID).all()


@pytest.mark.parametrize("precision", ["int8", "uint8", "float32"])
def test_pixels_enter_the_network_as_they_should(precision):
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    array, fit = Segmenter(tiny_model((32, 32), precision=precision)).prepare(image)
    expected = fit.place(image).astype(np.float64)[None]
    if precision == "int8":
        expected -= 128
    elif precision == "float32":
        expected = (expected / 255).astype(np.float32)
    assert array.dtype == precision
    np.testing.assert_array_equal(array, expected)


def test_a_record_with_another_scale_goes_through_the_quantization():
    described = record(SIZE)
    described["input"].update(scale=2 / 255, offset=-1.0)  # pixels stand for [-1, 1]
    image = np.full((*SIZE, 3), 255, np.uint8)
    image[0] = 51
    array, _ = Segmenter(with_record(network(SIZE), described)).prepare(image)
    # 255 is 1.0, which is 255 - 128 in the input's quantization; 51 is -0.6, below its range.
    assert (array[0, 1:] == 127).all() and (array[0, 0] == -128).all()


def test_threads_may_share_a_segmenter():
    """Each thread gets the answer to its own image, and that answer's timings."""
    segmenter = Segmenter(tiny_model((64, 96), stride=8))
    images = [picture(40 + 3 * i, 60 + i, seed=i) for i in range(8)]
    expected = [segmenter.segment(image).class_ids for image in images]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(segmenter.segment, images * 8))
    for i, answer in enumerate(answers):
        np.testing.assert_array_equal(answer.class_ids, expected[i % 8])
    assert len({id(answer.timings) for answer in answers}) == len(answers)


def test_threads_do_not_change_the_answer():
    image = picture(100, 130)
    one, two = (
        Segmenter(tiny_model((64, 96), stride=8), threads=threads).segment(image).class_ids
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))]
)
def test_an_array_that_is_no_rgb_image_is_refused(image):
    with pytest.raises(ValueError, match="uint8"):
        Segmenter(tiny_model(SIZE)).segment(image)


# === Where images come from ===


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff"])
def test_image_formats(tmp_path, suffix):
    image = np.full((24, 32, 3), (200, 100, 50), np.uint8)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(image).save(path)
    frame = next(iter(open_source(str(path))))
    assert frame.name == path.name
    assert frame.image.dtype == np.uint8 and frame.image.shape == (24, 32, 3)
    np.testing.assert_allclose(frame.image.astype(int), image, atol=4)


@pytest.mark.parametrize(
    ("mode", "colour", "shown"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("P", 1, (10, 20, 30)),
        ("LA", (90, 0), (90, 90, 90)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
        ("I;16", 90 * 256, (90, 90, 90)),
    ],
)
@pytest.mark.filterwarnings("error")
def test_every_mode_becomes_rgb(tmp_path, mode, colour, shown):
    image = Image.new(mode, (4, 3), colour)
    if mode == "P":
        image.putpalette([0, 0, 0, 10, 20, 30])
        image.info["transparency"] = b"\x00\x80"
    image.save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), np.full((3, 4, 3), shown))


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "image.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif")[0, 0], (255, 0, 0))


def test_exif_orientation_is_respected(tmp_path):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = (220, 0, 0)
    # A camera held on its side stores the picture turned, and says so: 6 is "turn clockwise".
    stored = Image.fromarray(np.rot90(upright))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "turned.jpg")
    assert image.shape == upright.shape
    np.testing.assert_allclose(image[8, 4], (220, 0, 0), atol=12)
    np.testing.assert_allclose(image[8, 28], (0, 0, 0), atol=12)


def test_answers_that_are_no_numbers_are_told_once(caplog):
    segmenter = Segmenter(tiny_model((32, 48), precision="float32"))
    fit = Fit.of((32, 48), (32, 48))
    raw = np.zeros((32, 48, 4), np.float32)
    segmenter.finish(raw, fit)
    assert not caplog.records
    raw[:] = np.nan
    for _ in range(2):
        assert (segmenter.finish(raw, fit) == VOID).all()
    (record,) = caplog.records
    assert "values that are no numbers (nan), which become void" in record.getMessage()


def truncated(path, image):
    Image.fromarray(image).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    truncated(path, noise)
    with pytest.raises(UserError, match=rf"cut\.{suffix}: a damaged image"):
        list(open_source(str(path)))


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "image.png"
    path.write_text("no image")
    with pytest.raises(UserError, match=r"image\.png: no image in a format known here"):
        read_image(path)


def test_a_folder_gives_its_images_in_order_and_goes_on_after_a_bad_one(tmp_path):
    for name in ("b.png", "a.jpg", "c.png"):
        Image.fromarray(picture(20, 30)).save(tmp_path / name)
    truncated(tmp_path / "ab.png", picture(64, 64))
    (tmp_path / "notes.txt").write_text("two of them")
    (tmp_path / ".hidden.png").write_text("")
    (tmp_path / "more").mkdir()
    Image.fromarray(picture(20, 30)).save(tmp_path / "more" / "d.png")
    frames = open_source(str(tmp_path))
    assert (frames.kind, frames.length, len(frames.notes)) == ("folder", 4, 1)
    assert "1 other files skipped" in frames.notes[0]
    assert [frame.name for frame in frames] == ["a.jpg", "b.png", "c.png"]
    assert len(frames.failures) == 1 and "ab.png: a damaged image" in frames.failures[0]


def test_sources_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: there is no such image, folder, video or camera"):
        open_source("nowhere")
    with pytest.raises(UserError, match="no image in this folder"):
        open_source(str(tmp_path))


def test_video_without_opencv_names_the_extra(tmp_path, monkeypatch):
    for module in ("av", "cv2"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "drive.mp4").write_bytes(b"")
    for source in (str(tmp_path / "drive.mp4"), "0", "/dev/video0"):
        with pytest.raises(UserError, match=r"pip install '\.\[video\]'"):
            open_source(source)


def test_video_frames(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12.5, (64, 48))
    for blue in (0, 120, 240):
        writer.write(np.full((48, 64, 3), (blue, 0, 200), np.uint8))  # OpenCV's order: BGR
    writer.release()
    video = open_source(str(path))
    assert (video.fps, video.length, video.live) == (12.5, 3, False)
    frames = list(video)
    assert [frame.name for frame in frames] == ["frame_000001", "frame_000002", "frame_000003"]
    np.testing.assert_allclose(frames[2].image[20, 20], (200, 0, 240), atol=6)

    path.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"drive\.avi: this video cannot be read"):
        open_source(str(path))
