"""CamVid's layout, and one line with file and cure for everything that can be wrong with it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.camvid import CAMVID
from keras_bisenet.data.check import check_samples
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.label_map import VOID, LabelMap, UnknownIdError

SIZE = (24, 32)


def write_image(path, size=SIZE, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def write_mask(path, ids=None, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.resize(np.arange(12, dtype=np.uint8), size) if ids is None else ids
    Image.fromarray(mask).save(path)
    return mask


@pytest.fixture
def data(tmp_path):
    """Two images in every split: `a.png` and `b.jpg`."""
    for split in ("train", "val", "test"):
        for name in ("a.png", "b.jpg"):
            write_image(tmp_path / split / name)
            write_mask((tmp_path / f"{split}annot" / name).with_suffix(".png"))
    return tmp_path


def error_of(function, *arguments, kind=UserError) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(data, number=0):
    dataset = load_dataset("camvid", data)
    return dataset.read(dataset.split("train")[number])


# === Label map ===


def test_camvid_has_11_classes_and_void():
    assert CAMVID.num_classes == 11
    assert CAMVID.names[:4] == ("Sky", "Building", "Pole", "Road")
    np.testing.assert_array_equal(
        CAMVID.class_ids(np.array([0, 10, 11, 255], np.uint8)), [0, 10, VOID, VOID]
    )
    assert len(set(CAMVID.palette)) == 11


def test_a_label_map_translates_the_ids_of_files():
    labels = LabelMap(("road", "sky"), ((1, 2, 3), (4, 5, 6)), file_ids=(7, 3), ignored_ids=(0,))
    np.testing.assert_array_equal(
        labels.class_ids(np.array([[7, 3], [0, 255]], np.uint8)), [[0, 1], [VOID, VOID]]
    )
    with pytest.raises(UnknownIdError) as caught:
        labels.class_ids(np.array([7, 1, 9, 1], np.uint8))
    assert caught.value.ids == [1, 9]


def test_a_label_map_survives_json():
    written = json.loads(json.dumps(CAMVID.to_json()))
    assert LabelMap.from_json(written) == CAMVID


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("a", "a"), ((0, 0, 0), (1, 1, 1))), "class names repeat"),
        ((("a", "b"), ((0, 0, 0),)), "2 names, 1 colours and 2 ids"),
        ((("a",), ((0, 0, 0),), (255,)), "mask ids must differ"),
        ((("a",), ((0, 0, 0),), (300,)), "lie in 0 to 255"),
        (((), ()), "1 to 255 classes, not 0"),
    ],
)
def test_a_label_map_that_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelMap(*arguments)


# === Layout ===


def test_images_are_paired_with_masks_whatever_their_format(data):
    dataset = load_dataset("camvid", data)
    assert list(dataset.splits) == ["train", "val", "test"]
    names = [(s.image.name, s.mask.name) for s in dataset.split("train")]
    assert names == [("a.png", "a.png"), ("b.jpg", "b.png")]
    image, ids = dataset.read(dataset.split("train")[0])
    assert image.dtype == ids.dtype == np.uint8 and image.shape == (*SIZE, 3)
    np.testing.assert_array_equal(image, write_image(data / "again.png"))
    assert ids.shape == SIZE
    assert ids[0, :12].tolist() == [*range(11), VOID]


def test_order_does_not_depend_on_the_file_system(data):
    for name in ("0.png", "c.jpeg", "B2.PNG"):
        write_image(data / "val" / name)
        write_mask((data / "valannot" / name).with_suffix(".png"))
    stems = [sample.image.stem for sample in load_dataset("camvid", data).split("val")]
    assert stems == sorted(stems) == ["0", "B2", "a", "b", "c"]


def test_other_files_are_left_alone(data):
    (data / "train" / "notes.txt").write_text("rainy")
    assert len(load_dataset("camvid", data).split("train")) == 2


def test_grey_images_become_rgb_and_palette_masks_give_their_indices(data):
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(data / "train" / "a.png")
    mask = Image.fromarray(np.full(SIZE, 3, np.uint8))
    mask.putpalette([200, 10, 10] * 256)
    mask.save(data / "trainannot" / "a.png")
    image, ids = read(data)
    assert image.shape == (*SIZE, 3) and (image == 77).all()
    assert (ids == 3).all()


def test_camvid_itself(camvid):
    dataset = load_dataset("camvid", camvid)
    assert {name: len(samples) for name, samples in dataset.splits.items()} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    report = check_samples(dataset, dataset.split("val"))
    assert report.errors == []
    assert report.sizes == {(360, 480): 101}
    assert report.shares.sum() == pytest.approx(1)
    assert report.shares[3] > 0.2  # road


# === What can be wrong ===


def test_no_data_at_the_path(tmp_path):
    assert error_of(load_dataset, "camvid", tmp_path / "nowhere") == (
        f"{tmp_path / 'nowhere'}: no camvid data here (it has no folder 'train'): --data-dir is "
        "the folder that holds train, trainannot, val, valannot, test and testannot"
    )


def test_an_unknown_data_set(tmp_path):
    message = error_of(load_dataset, "kitti", tmp_path, kind=UsageError)
    assert message == "no data set is named 'kitti': choose one of camvid, streets"


def test_an_unknown_split(data):
    message = error_of(load_dataset("camvid", data).split, "dev", kind=UsageError)
    assert message == "camvid has no split 'dev': choose one of train, val, test"


def test_a_missing_folder(data):
    for path in (data / "valannot").iterdir():
        path.unlink()
    folder = data / "valannot"
    assert error_of(load_dataset, "camvid", data) == f"{folder}: no file here ends in .png"
    folder.rmdir()
    assert error_of(load_dataset, "camvid", data) == (
        f"{folder}: there is no such folder: check --data-dir"
    )


def test_an_image_without_a_mask(data):
    (data / "trainannot" / "b.png").unlink()
    assert error_of(load_dataset, "camvid", data) == (
        f"{data / 'train' / 'b.jpg'}: there is no mask for this image: "
        f"add {data / 'trainannot' / 'b.png'} or remove the image"
    )


def test_a_mask_without_an_image(data):
    (data / "test" / "a.png").unlink()
    assert error_of(load_dataset, "camvid", data) == (
        f"{data / 'testannot' / 'a.png'}: there is no image for this mask: "
        f"add it to {data / 'test'} or remove the mask"
    )


def test_two_images_of_one_name(data):
    write_image(data / "train" / "b.png")
    assert error_of(load_dataset, "camvid", data) == (
        f"{data / 'train' / 'b.png'}: another image has this name (b.jpg)"
    )


def test_a_mask_with_unknown_ids(data):
    path = data / "trainannot" / "a.png"
    write_mask(path, np.resize(np.array([0, 12, 200], np.uint8), SIZE))
    assert error_of(read, data) == (
        f"{path}: the mask holds ids 12, 200, which are none of the 11 classes of camvid "
        "(ids 0, 1, 2, 3, 4, 5, 6, 7, ...; void 11, 255): relabel them, or set them to 255 for void"
    )


def test_a_mask_of_another_size(data):
    path = data / "trainannot" / "a.png"
    write_mask(path, size=(24, 30))
    assert error_of(read, data) == (
        f"{path}: the mask is 24x30, its image 24x32: make them the same size"
    )


@pytest.mark.parametrize("share", [0.5, 0.75])
@pytest.mark.parametrize(("folder", "what"), [("train", "image"), ("trainannot", "mask")])
def test_a_truncated_png(data, folder, what, share):
    path = data / folder / "a.png"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    message = error_of(read, data)
    assert message.startswith(f"{path}: a damaged {what} (")
    assert message.endswith("): copy it again")


def test_a_truncated_jpeg(data):
    path = data / "train" / "b.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    message = error_of(read, data, 1)
    assert message.startswith(f"{path}: a damaged image (") and "copy it again" in message


def test_a_file_that_is_no_image(data):
    path = data / "train" / "a.png"
    path.write_text("<html>not found</html>")
    known = "png, jpg, jpeg, bmp, webp, tif, tiff"
    assert error_of(read, data) == f"{path}: no image in a format known here ({known})"


def test_a_mask_of_colours(data):
    path = data / "trainannot" / "a.png"
    write_image(path)
    assert error_of(read, data) == (
        f"{path}: a mask has one 8-bit channel of class ids, this file is 24x32x3 uint8: "
        "save ids, not colours"
    )


def test_a_mask_of_16_bits(data):
    path = data / "trainannot" / "a.png"
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(path)
    assert "this file is 24x32" in error_of(read, data)


# === dataset check ===


def check(data, *options):
    arguments = ["dataset", "check", "--dataset", "camvid", "--data-dir", data, *options]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_good_data_set(data):
    result = check(data, "--json", data / "report.json")
    assert result.exit_code == 0, result.output
    assert "train: 2 good pairs, 24x32 (2)" in result.output
    report = json.loads((data / "report.json").read_text())
    assert report["val"]["pairs"] == 2 and report["val"]["errors"] == []
    assert report["val"]["shares"]["Sky"] == pytest.approx(1 / 12)
    assert report["val"]["shares"]["void"] == pytest.approx(1 / 12)
    assert sum(report["val"]["shares"].values()) == pytest.approx(1)


def test_every_bad_file_is_named(data):
    write_mask(data / "trainannot" / "a.png", size=(8, 8))
    (data / "val" / "b.jpg").write_bytes(b"")
    result = check(data)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in errors] == [
        str(data / "trainannot" / "a.png"),
        str(data / "val" / "b.jpg"),
    ]
    assert lines[-1] == f"Error: {data}: 2 bad pairs, listed above"
    assert "train: 1 good pairs" in result.output
