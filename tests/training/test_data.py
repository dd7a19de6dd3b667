"""CamVid's layout, and one line with file and cure for everything that can be wrong with it."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_bisenet.data import DATASETS, load_dataset
from keras_bisenet.data.camvid import CAMVID
from keras_bisenet.data.masks import read_mask
from keras_bisenet.data.problems import SampleError
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.label_map import (
    VOID,
    ColourMap,
    LabelMap,
    UnknownColourError,
    UnknownIdError,
    pascal_palette,
)

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


def sample_error(data) -> SampleError:
    with pytest.raises(SampleError) as caught:
        read(data)
    return caught.value


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


def test_255_is_void_unless_it_is_a_class():
    labels = LabelMap(("off", "on"), ((0, 0, 0), (255, 255, 255)), file_ids=(0, 255))
    np.testing.assert_array_equal(labels.class_ids(np.array([0, 255], np.uint8)), [0, 1])
    assert labels.ignored_ids == ()
    assert LabelMap(("a",), ((0, 0, 0),), ignored_ids=()).ignored_ids == (VOID,)


def test_a_colour_map_translates_colours():
    colours = ColourMap(((0, 0, 0), (255, 0, 1), (10, 20, 30)), (VOID, 0, 1))
    mask = np.array([[(255, 0, 1), (10, 20, 30)], [(0, 0, 0), (255, 0, 1)]], np.uint8)
    np.testing.assert_array_equal(colours.to_class_ids(mask), [[0, 1], [VOID, 0]])
    mask[0, 0], mask[1] = (255, 0, 2), (1, 0, 0)
    with pytest.raises(UnknownColourError) as caught:
        colours.to_class_ids(mask)
    assert caught.value.colours == [(1, 0, 0), (255, 0, 2)]  # the most frequent first
    with pytest.raises(ValueError, match="colours repeat"):
        ColourMap(((0, 0, 0), (0, 0, 0)), (0, 1))


def test_the_palette_of_pascal_voc():
    assert pascal_palette(5) == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128))
    assert pascal_palette(256)[255] == (224, 224, 192) and pascal_palette(16)[15] == (192, 128, 128)


def test_a_label_map_survives_json():
    written = json.loads(json.dumps(CAMVID.to_json()))
    assert LabelMap.from_json(written) == CAMVID


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("a", "a"), ((0, 0, 0), (1, 1, 1))), "class names repeat"),
        ((("a", "b"), ((0, 0, 0),)), "2 names, 1 colours and 2 ids"),
        ((("a", "b"), ((0, 0, 0), (1, 1, 1)), (7, 7)), "mask ids must differ"),
        ((("a",), ((0, 0, 0),), (7,), (7,)), "mask ids must differ"),
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
    problems = []
    dataset = load_dataset("camvid", camvid, problems.append)
    assert {name: len(samples) for name, samples in dataset.splits.items()} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    pairs = [dataset.read_pair(sample) for sample in dataset.split("val")[::10]]
    assert {pair.image.shape for pair in pairs} == {(360, 480, 3)}
    assert [pair.warnings for pair in pairs] == [()] * 11
    assert np.mean([pair.class_ids == 3 for pair in pairs]) > 0.2  # road
    assert problems == []


# === What can be wrong ===


def test_no_data_at_the_path(tmp_path):
    assert error_of(load_dataset, "camvid", tmp_path / "nowhere") == (
        f"{tmp_path / 'nowhere'}: no such folder: check --data-dir"
    )
    assert error_of(load_dataset, "camvid", tmp_path) == (
        f"{tmp_path}: no camvid data here (it has no folder 'train'): --data-dir is the folder "
        "that holds train, trainannot, val, valannot, test and testannot"
    )


def test_an_unknown_data_set(tmp_path):
    message = error_of(load_dataset, "kitti", tmp_path, kind=UsageError)
    assert message == "no data set is named 'kitti': choose one of " + ", ".join(DATASETS)


def test_an_unknown_split(data):
    message = error_of(load_dataset("camvid", data).split, "dev", kind=UsageError)
    assert message == "camvid has no split 'dev': choose one of train, val, test"


def test_a_missing_folder(data):
    for path in (data / "valannot").iterdir():
        path.unlink()
    folder = data / "valannot"
    assert error_of(load_dataset, "camvid", data) == (
        f"{folder}: no file here ends in .png, .jpg, .jpeg, .bmp, .webp, .tif, .tiff"
    )
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
        f"{data / 'train' / 'b.png'}, {data / 'train' / 'b.jpg'}: another image has this name "
        "(b.jpg): rename or remove one of the two"
    )


def test_a_caller_who_collects_problems_gets_all_of_them_and_the_rest_of_the_data(data):
    (data / "trainannot" / "b.png").unlink()
    (data / "test" / "a.png").unlink()
    write_image(data / "val" / "b.png")
    problems = []
    dataset = load_dataset("camvid", data, problems.append)
    found = [(p.rule, p.severity, p.files[0]) for p in problems]
    assert found == [
        ("missing-mask", "error", data / "train" / "b.jpg"),
        ("duplicate-name", "error", data / "val" / "b.png"),
        ("missing-image", "error", data / "testannot" / "a.png"),
    ]
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {
        "train": 1,
        "val": 2,
        "test": 1,
    }


def test_a_mask_with_unknown_ids(data):
    path = data / "trainannot" / "a.png"
    write_mask(path, np.resize(np.array([0, 12, 200], np.uint8), SIZE))
    assert error_of(read, data) == (
        f"{path}: the mask holds ids 12, 200, which are none of the 11 classes of camvid "
        "(ids 0, 1, 2, 3, 4, 5, 6, 7 and 3 more; void 11, 255): relabel them, or set them to void"
    )
    error = sample_error(data)
    assert error.problem.rule == "unknown-ids" and error.found == (12, 200)


def test_a_mask_of_another_size_and_aspect(data):
    path = data / "trainannot" / "a.png"
    write_mask(path, size=(24, 30))
    assert error_of(read, data) == (
        f"{path}: the mask is 24x30, its image 24x32: make them the same size"
    )
    assert sample_error(data).problem.rule == "size-mismatch"


def test_a_mask_that_lies_on_its_side(data):
    """As where it was drawn on a photograph whose EXIF orientation the program did not know."""
    write_mask(data / "trainannot" / "a.png", size=(32, 24))
    assert error_of(read, data) == (
        f"{data / 'trainannot' / 'a.png'}: the mask is 32x24, its image 24x32: turn the mask, or "
        "the image with its EXIF orientation, upright"
    )


def test_a_mask_of_another_size_and_the_same_aspect_is_resized(data):
    path = data / "trainannot" / "a.png"
    mask = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 11
    write_mask(path, mask)
    dataset = load_dataset("camvid", data)
    (sample, _) = dataset.split("train")
    image, class_ids, (warning,) = dataset.read_pair(sample)
    assert image.shape == (*SIZE, 3)
    np.testing.assert_array_equal(class_ids, mask.repeat(2, axis=0).repeat(2, axis=1))
    assert (warning.rule, warning.severity) == ("mask-resized", "warning")
    assert str(warning) == (
        f"{path}, {sample.image}: the mask is 12x16, its image 24x32: "
        "the mask is resized to its image"
    )
    # 3% is the limit: 48 to 62 is 1.3% off, 48 to 60 is 6% off.
    write_mask(path, size=(48, 63))
    assert dataset.read(sample)[1].shape == SIZE
    write_mask(path, size=(48, 60))
    with pytest.raises(SampleError, match="48x60"):
        dataset.read(sample)


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
    assert error_of(read, data) == (
        f"{path}: no image in a format known here ({known}): save it as PNG or JPEG"
    )


def test_an_image_that_is_missing(data):
    dataset = load_dataset("camvid", data)
    (data / "train" / "a.png").unlink()
    with pytest.raises(SampleError) as caught:
        dataset.read(dataset.split("train")[0])
    problem = caught.value.problem
    assert problem.rule == "unreadable-image"
    assert str(problem) == (
        f"{data / 'train' / 'a.png'}: No such file or directory: name an image that can be read"
    )


def test_a_mask_of_colours(data):
    path = data / "trainannot" / "a.png"
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[:4] = 200, 10, 10
    Image.fromarray(colours).save(path)
    assert error_of(read, data) == (
        f"{path}: the mask holds colours, such as (0, 0, 0), (200, 10, 10), where class ids are "
        "expected: save ids in one 8-bit channel, or train on it with --dataset folder and a "
        "classes file that has the colours"
    )
    error = sample_error(data)
    assert error.problem.rule == "colour-mask"
    assert error.found == ((0, 0, 0), (200, 10, 10))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_mask_that_was_saved_as_jpeg(data, suffix):
    path = data / "trainannot" / "a.png"
    Image.open(path).save(data / "as.jpg")
    path.unlink()
    path = (data / "as.jpg").rename(path.with_suffix(suffix))
    assert error_of(read, data) == (
        f"{path}: the mask was saved as JPEG, which changes ids and colours along edges: "
        "export the masks as PNG from where they were made"
    )
    assert sample_error(data).problem.rule == "jpeg-mask"


# === Kinds of mask files ===

IDS = np.resize(np.arange(11, dtype=np.uint8), SIZE)


def saved(path, image, **options):
    image.save(path, **options)
    return read_mask(path)


def test_masks_of_ids_in_every_format(tmp_path):
    grey = Image.fromarray(IDS)
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(saved(tmp_path / name, grey), IDS)
    np.testing.assert_array_equal(saved(tmp_path / "a.webp", grey, lossless=True), IDS)
    for mode in ("RGB", "RGBA", "LA"):  # equal channels
        np.testing.assert_array_equal(saved(tmp_path / "b.png", grey.convert(mode)), IDS)
    one_bit = Image.fromarray(IDS > 5)
    np.testing.assert_array_equal(saved(tmp_path / "c.png", one_bit), IDS > 5)
    sixteen = Image.fromarray(IDS.astype(np.uint16))
    np.testing.assert_array_equal(saved(tmp_path / "d.png", sixteen), IDS)
    stretched = Image.fromarray(IDS.astype(np.uint16) * 257)  # 8 bits spread over 16
    np.testing.assert_array_equal(saved(tmp_path / "e.png", stretched), IDS)


def test_ids_that_do_not_fit_into_8_bits(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(SampleError) as caught:
        saved(path, Image.fromarray(IDS.astype(np.uint16) * 100))
    assert caught.value.problem.rule == "unknown-ids"
    assert caught.value.found == (300, 400, 500, 600, 700, 800, 900, 1000)
    assert str(caught.value) == (
        f"{path}: the mask holds values that are no ids of 8 bits, such as 300, 400, 500, 600: "
        "relabel it with ids from 0 to 254, and 255 for void"
    )


def test_a_lossy_webp_is_refused(tmp_path):
    with pytest.raises(SampleError, match="saved as lossy WebP") as caught:
        saved(tmp_path / "a.webp", Image.fromarray(IDS))
    assert caught.value.problem.rule == "jpeg-mask"


def test_images_and_masks_are_turned_upright(data):
    """Both files have an orientation, as cameras and TIFF writers leave it."""
    pixels = write_image(data / "train" / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(pixels).save(data / "train" / "a.png", exif=exif)
    Image.fromarray(IDS).save(data / "trainannot" / "a.png", exif=exif)
    image, class_ids = read(data)
    np.testing.assert_array_equal(image, np.rot90(pixels, -1))
    np.testing.assert_array_equal(class_ids, np.rot90(IDS, -1))


# === Processes and threads ===


def test_a_data_set_and_its_errors_can_be_sent_to_other_processes(data):
    dataset = pickle.loads(pickle.dumps(load_dataset("camvid", data)))
    assert dataset == load_dataset("camvid", data)
    write_mask(data / "trainannot" / "a.png", np.full(SIZE, 99, np.uint8))
    error = sample_error(data)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.problem, copy.found) == (str(error), error.problem, (99,))


# === Held out by a part of the name ===


def test_held_out_images_are_kept_from_training_and_judge(streets):
    """Of the training split by name, and of the validation split those that have it too."""
    own = load_dataset("streets", streets)
    dataset = load_dataset("streets", streets, hold_out="00002")
    names = {
        split: [f"{s.image.parent.name}/{s.image.stem[-1]}" for s in samples]
        for split, samples in dataset.splits.items()
    }
    assert names["train"] == [f"train/{i}" for i in (0, 1, 3, 4, 5, 6, 7)]
    assert names["val"] == ["train/2", "val/2"]
    assert dataset.split("test") == own.split("test")


def test_a_part_of_a_name_or_a_pattern_of_the_whole(streets):
    for pattern, number in (("00003", 1), ("street_0000[3-5].png", 3), ("*7.png", 1)):
        dataset = load_dataset("streets", streets, hold_out=pattern)
        held = dataset.split("val")
        assert len(dataset.split("train")) == 8 - number
        assert not set(held) & set(dataset.split("train"))
        assert {s.image.parent.name for s in held} <= {"train", "val"}
        assert sum(s.image.parent.name == "train" for s in held) == number
    assert load_dataset("streets", streets, hold_out="") == load_dataset("streets", streets)


def test_a_hold_out_without_training_images(streets, tmp_path):
    for split in ("val", "test"):
        for folder in (split, f"{split}annot"):
            shutil.copytree(streets / folder, tmp_path / split / folder)
    val = load_dataset("streets", tmp_path / "val", hold_out="00002")
    assert {name: len(samples) for name, samples in val.splits.items()} == {"val": 1}
    test = load_dataset("streets", tmp_path / "test", hold_out="00002")
    assert {name: len(samples) for name, samples in test.splits.items()} == {"test": 3}
    whole = load_dataset("streets", streets, hold_out="street", to_train=False)
    assert [len(whole.split(name)) for name in ("train", "val", "test")] == [0, 11, 3]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "Seq05VD",
            "--hold-out Seq05VD: no training or validation image of streets has such a name: give "
            "a part of one, such as street_00000.png",
        ),
        (
            "street",
            "--hold-out street: all 8 training images of streets have such a name, and none is "
            "left to train on: give a part of fewer names",
        ),
    ],
)
def test_a_hold_out_that_leaves_nothing(streets, pattern, message):
    with pytest.raises(UsageError) as caught:
        load_dataset("streets", streets, hold_out=pattern)
    assert str(caught.value) == message
