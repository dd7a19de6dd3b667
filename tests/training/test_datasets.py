"""Every named data set, from files laid out like the real one: splits, classes, what is missing."""

from __future__ import annotations

import importlib.util
import sys

import dataset_layouts as layouts
import numpy as np
import pytest
from click.testing import CliRunner
from dataset_layouts import LAYOUTS, write_image, write_mask
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.ade20k import ADE20K
from keras_bisenet.data.camvid import CAMVID, COLOURS, LABELS_BY_CLASS
from keras_bisenet.data.cityscapes import LABEL_IDS_MAP, TRAIN_IDS_MAP
from keras_bisenet.data.cocostuff import LABELS_TXT_MAP, PIXEL_MAPS_MAP
from keras_bisenet.data.splits import split_train_val
from keras_bisenet.data.voc2012 import VOC2012
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID

needs_scipy = pytest.mark.skipif(
    importlib.util.find_spec("scipy") is None, reason="reading .mat files takes SciPy"
)
every_layout = pytest.mark.parametrize(
    "layout",
    [pytest.param(n, marks=needs_scipy if n == "cocostuff10k" else ()) for n in LAYOUTS],
)


def loaded(name, directory):
    """The data set and the problems that it has."""
    problems = []
    return load_dataset(name, directory, problems.append), problems


def sizes(dataset):
    return {split: len(samples) for split, samples in dataset.splits.items()}


def stripes(dataset, split="train", number=0):
    """Class ids of a mask's stripes, from the top."""
    image, class_ids = dataset.read(dataset.split(split)[number])
    assert image.shape == (*layouts.SIZE, 3) and class_ids.shape == layouts.SIZE
    assert (class_ids == class_ids[:, :1]).all()
    column = class_ids[:, 0]
    return column[np.flatnonzero(np.diff(column, prepend=-1))].tolist()


def error_of(name, directory) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(name, directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_layout
def test_every_pair_of_a_data_set_as_downloaded_is_sound(tmp_path, layout):
    name, write = LAYOUTS[layout]
    write(tmp_path)
    dataset, problems = loaded(name, tmp_path)
    assert [problem for problem in problems if problem.severity == "error"] == []
    for samples in dataset.splits.values():
        for sample in samples:
            pair = dataset.read_pair(sample)
            assert pair.image.shape[:2] == pair.class_ids.shape
            assert set(np.unique(pair.class_ids)) <= {*range(dataset.label_map.num_classes), VOID}
            assert (pair.warnings == ()) is (name != "folder")
            assert dataset.read_raw(sample).dtype == np.uint8


@every_layout
def test_dataset_check_finds_nothing_wrong_with_it(tmp_path, layout):
    name, write = LAYOUTS[layout]
    write(tmp_path)
    arguments = ["dataset", "check", "--dataset", name, "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "\nerror: " not in result.output
    assert ("\nwarning: " in result.output) is (name == "folder")


@pytest.mark.parametrize("name", sorted({name for name, _ in LAYOUTS.values()}))
def test_a_folder_without_the_data_set_is_said_in_one_line(tmp_path, name):
    assert error_of(name, tmp_path).startswith(f"{tmp_path}: no ")
    assert error_of(name, tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: no ")


# === Cityscapes ===


def test_cityscapes_has_19_classes():
    assert TRAIN_IDS_MAP.num_classes == LABEL_IDS_MAP.num_classes == 19
    assert TRAIN_IDS_MAP.names[:3] == ("road", "sidewalk", "building")
    assert TRAIN_IDS_MAP.palette[13] == (0, 0, 142)  # car
    mapped = LABEL_IDS_MAP.class_ids(np.arange(34, dtype=np.uint8))
    classes = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
    classes.update({24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18})
    assert mapped.tolist() == [classes.get(number, VOID) for number in range(34)]


@pytest.mark.parametrize("inside", ["", "trainvaltest"])
def test_cityscapes_of_label_ids(tmp_path, inside):
    layouts.cityscapes(tmp_path, inside=inside)
    dataset, problems = loaded("cityscapes", tmp_path)
    assert problems == [] and sizes(dataset) == {"train": 4, "val": 2}
    assert dataset.label_map == LABEL_IDS_MAP
    assert stripes(dataset) == [VOID, 0, 10, 13, 18]
    names = [sample.image.name for sample in dataset.split("train")]
    assert names[0] == "aachen_000000_000019_leftImg8bit.png" and names == sorted(names)


def test_cityscapes_of_train_ids_where_every_image_has_them(tmp_path):
    layouts.cityscapes(tmp_path, train_ids=True)
    dataset, problems = loaded("cityscapes", tmp_path)
    assert problems == [] and sizes(dataset) == {"train": 4, "val": 2}
    assert dataset.label_map == TRAIN_IDS_MAP
    assert stripes(dataset, "val") == [VOID, 0, 10, 13, 18]
    assert dataset.split("val")[0].mask.name.endswith("_gtFine_labelTrainIds.png")
    dataset.split("val")[0].mask.unlink()
    dataset, problems = loaded("cityscapes", tmp_path)
    assert problems == [] and dataset.label_map == LABEL_IDS_MAP
    assert stripes(dataset, "val") == [VOID, 0, 10, 13, 18]


def test_cityscapes_test_masks_count_where_they_have_classes(tmp_path):
    layouts.cityscapes(tmp_path)
    for path in (tmp_path / "gtFine" / "test").rglob("*labelIds.png"):
        write_mask(path, (7, 23))
    dataset, problems = loaded("cityscapes", tmp_path)
    assert problems == [] and sizes(dataset) == {"train": 4, "val": 2, "test": 2}


def test_a_sample_of_cityscapes_without_validation_images(tmp_path):
    layouts.cityscapes(tmp_path, splits=["train"])
    dataset, (problem,) = loaded("cityscapes", tmp_path)
    assert sizes(dataset) == {"train": 3, "val": 1}
    assert (problem.rule, problem.severity) == ("missing-split", "warning")
    assert str(problem) == (
        f"{tmp_path}: there are no validation images here: 1 of the 4 training images are held "
        "out in their place, so that scores compare to no others: add the validation images to "
        "have the data set's own"
    )


def test_a_sample_of_cityscapes_without_training_images(tmp_path, capsys):
    layouts.cityscapes(tmp_path, splits=["val"])
    dataset, (problem,) = loaded("cityscapes", tmp_path)
    assert sizes(dataset) == {"val": 2}
    assert "there are no training images here, only val" in str(problem)
    for _ in range(2):  # is printed once
        load_dataset("cityscapes", tmp_path)
    assert capsys.readouterr().err == f"Warning: {problem}\n"


def test_orphans_of_cityscapes(tmp_path):
    layouts.cityscapes(tmp_path)
    mask = tmp_path / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png"
    image = tmp_path / "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png"
    mask.unlink()
    image.unlink()
    partner = tmp_path / "leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png"
    dataset, problems = loaded("cityscapes", tmp_path)
    assert [(p.rule, p.files[0].name) for p in problems] == [
        ("missing-mask", partner.name),
        ("missing-image", "lindau_000000_000019_gtFine_labelIds.png"),
    ]
    assert sizes(dataset) == {"train": 3, "val": 1}
    assert error_of("cityscapes", tmp_path) == (
        f"{partner}: there is no mask for this image: add {mask} or remove the image"
    )


def test_cityscapes_with_one_of_its_two_parts(tmp_path):
    layouts.cityscapes(tmp_path / "both")
    (tmp_path / "both" / "gtFine").rename(tmp_path / "gtFine")
    assert error_of("cityscapes", tmp_path / "both") == (
        f"{tmp_path / 'both'}: no cityscapes data here (no folder gtFine/train or gtFine/val): "
        "--data-dir is the folder that holds leftImg8bit and gtFine"
    )


# === CamVid ===


def test_the_32_labels_of_camvid_are_merged_into_11_classes():
    labels = [label for merged in LABELS_BY_CLASS.values() for label in merged]
    assert len(labels) == 31 and len(COLOURS.colours) == 32  # and Void
    assert tuple(LABELS_BY_CLASS) == CAMVID.names
    by_colour = dict(zip(COLOURS.colours, COLOURS.class_ids))
    assert by_colour[0, 0, 0] == VOID
    assert by_colour[64, 192, 0] == CAMVID.names.index("Building")  # Wall
    assert by_colour[64, 128, 64] == CAMVID.names.index("Pedestrian")  # Animal
    assert by_colour[192, 64, 128] == CAMVID.names.index("Car")  # Train
    assert by_colour[0, 64, 64] == CAMVID.names.index("SignSymbol")  # TrafficLight


def test_camvid_as_its_authors_publish_it_is_divided_as_segnet_did(tmp_path):
    layouts.camvid_stills(tmp_path)
    dataset, problems = loaded("camvid", tmp_path)
    assert problems == [] and dataset.label_map == CAMVID
    names = {s: [p.image.stem for p in samples] for s, samples in dataset.splits.items()}
    assert names == {
        "train": ["0001TP_006690", "0006R0_f00930", "0016E5_07957", "0016E5_08190"],
        "val": ["0016E5_07959", "0016E5_08159"],
        "test": ["0001TP_008550", "Seq05VD_f00000"],
    }
    assert stripes(dataset) == [0, 3, 8, 10, VOID]
    assert dataset.read_raw(dataset.split("val")[0])[0, 0].tolist() == [128, 128, 128]


def test_camvid_of_32_labels_by_split(tmp_path):
    layouts.camvid_by_split(tmp_path)
    dataset, problems = loaded("camvid", tmp_path)
    assert problems == [] and sizes(dataset) == {"train": 4, "val": 2, "test": 1}
    assert stripes(dataset, "test") == [0, 3, 8, 10, VOID]


def test_a_colour_that_is_no_label(tmp_path):
    layouts.camvid_by_split(tmp_path)
    path = tmp_path / "val_labels" / "0001TP_e_L.png"
    write_mask(path, ((128, 128, 128), (1, 2, 3)))
    dataset, _ = loaded("camvid", tmp_path)
    with pytest.raises(UserError) as caught:
        dataset.read(dataset.split("val")[0])
    assert str(caught.value) == (
        f"{path}: the mask holds colours that stand for no class of camvid: (1, 2, 3): relabel "
        "them, or set them to void"
    )
    assert caught.value.problem.rule == "unknown-colours"
    assert caught.value.found == ((1, 2, 3),)


# === COCO-Stuff ===


def test_coco_stuff_has_171_classes():
    assert PIXEL_MAPS_MAP.num_classes == 171
    assert PIXEL_MAPS_MAP.names[0] == "person" and PIXEL_MAPS_MAP.names[170] == "wood"
    assert PIXEL_MAPS_MAP.names[79:82] == ("toothbrush", "banner", "blanket")  # 80 things
    ids = np.array([0, 10, 12, 89, 91, 181, 255], np.uint8)
    assert PIXEL_MAPS_MAP.class_ids(ids).tolist() == [0, 10, 11, 79, 80, 170, VOID]
    ids = np.array([0, 1, 11, 13, 90, 92, 182], np.uint8)
    assert LABELS_TXT_MAP.class_ids(ids).tolist() == [VOID, 0, 10, 11, 79, 80, 170]
    gaps = sorted(set(range(182)) - set(PIXEL_MAPS_MAP.file_ids))
    assert gaps == [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]


def test_coco_stuff_164k(tmp_path):
    layouts.cocostuff(tmp_path)
    dataset, problems = loaded("cocostuff", tmp_path)
    assert problems == [] and sizes(dataset) == {"train": 4, "val": 2}
    assert stripes(dataset, "val") == [0, 10, 11, 170, VOID]
    (tmp_path / "annotations").rename(tmp_path / "stuffthingmaps")
    for split in ("train2017", "val2017"):
        (tmp_path / "images" / split).rename(tmp_path / split)
    (tmp_path / "images").rmdir()
    dataset, problems = loaded("cocostuff", tmp_path)
    assert problems == [] and stripes(dataset) == [0, 10, 11, 170, VOID]


def test_coco_stuff_of_train_ids(tmp_path):
    layouts.cocostuff(tmp_path)
    layouts.cocostuff(tmp_path, (0, 10, 11, 170, 255), "_labelTrainIds.png")
    dataset, problems = loaded("cocostuff", tmp_path)
    assert problems == [] and sizes(dataset) == {"train": 4, "val": 2}
    assert stripes(dataset) == [0, 10, 11, 170, VOID]


@needs_scipy
def test_coco_stuff_10k(tmp_path):
    layouts.cocostuff10k(tmp_path)
    dataset, problems = loaded("cocostuff10k", tmp_path)
    assert problems == [] and sizes(dataset) == {"train": 4, "val": 2}
    assert stripes(dataset, "val") == [VOID, 0, 11, 170]
    mask = dataset.split("train")[0].mask
    mask.write_bytes(mask.read_bytes()[:200])
    with pytest.raises(UserError) as caught:
        dataset.read(dataset.split("train")[0])
    assert caught.value.problem.rule == "unreadable-mask"
    assert str(caught.value).startswith(f"{mask}: a damaged mask (")
    dataset.split("train")[1].image.unlink()
    dataset, (problem,) = loaded("cocostuff10k", tmp_path)
    assert sizes(dataset) == {"train": 3, "val": 2} and problem.rule == "missing-image"


def test_coco_stuff_10k_without_scipy(tmp_path, monkeypatch):
    layouts.cocostuff(tmp_path)
    for split in ("train", "test"):
        (tmp_path / "imageLists").mkdir(exist_ok=True)
        (tmp_path / "imageLists" / f"{split}.txt").write_text("000000000000\n")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    message = "COCO-Stuff 10k's .mat files need SciPy: pip install scipy"
    assert error_of("cocostuff10k", tmp_path) == message


# === ADE20K ===


def test_ade20k_has_150_classes():
    assert ADE20K.num_classes == 150
    assert (ADE20K.names[0], ADE20K.names[2], ADE20K.names[149]) == ("wall", "sky", "flag")
    assert ADE20K.names[44] == "chest of drawers"
    assert ADE20K.palette[0] == (120, 120, 120) and ADE20K.palette[2] == (6, 230, 230)
    assert ADE20K.class_ids(np.array([0, 1, 150, 255], np.uint8)).tolist() == [VOID, 0, 149, VOID]


def test_ade20k(tmp_path):
    layouts.ade20k(tmp_path)
    for directory in (tmp_path, tmp_path / "ADEChallengeData2016"):
        dataset, problems = loaded("ade20k", directory)
        assert problems == [] and sizes(dataset) == {"train": 4, "val": 2}
        assert stripes(dataset, "val") == [VOID, 0, 2, 149]


# === Pascal VOC 2012 ===


def test_pascal_voc_has_21_classes():
    assert VOC2012.num_classes == 21
    assert (VOC2012.names[0], VOC2012.names[20]) == ("background", "tvmonitor")
    assert VOC2012.palette[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert VOC2012.palette[15] == (192, 128, 128)  # person


def test_pascal_voc(tmp_path):
    layouts.voc2012(tmp_path)
    for directory in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        dataset, problems = loaded("voc2012", directory)
        assert problems == [] and sizes(dataset) == {"train": 4, "val": 2}
        assert stripes(dataset) == [0, 1, 20, VOID]


def test_pascal_voc_with_the_masks_of_sbd(tmp_path):
    layouts.voc2012(tmp_path, augmented=True)
    dataset, problems = loaded("voc2012", tmp_path)
    assert problems == [] and sizes(dataset) == {"train": 5, "val": 2}
    assert stripes(dataset, number=4) == [0, 15]
    assert dataset.split("train")[0].mask.parent.name == "SegmentationClassAug"
    assert dataset.split("val")[0].mask.parent.name == "SegmentationClass"


def test_a_name_in_a_list_of_pascal_voc_without_a_file(tmp_path):
    layouts.voc2012(tmp_path)
    root = tmp_path / "VOCdevkit" / "VOC2012"
    (root / "SegmentationClass" / "2007_000001.png").unlink()
    dataset, (problem,) = loaded("voc2012", tmp_path)
    assert problem.rule == "missing-mask" and sizes(dataset)["train"] == 3
    assert str(problem) == (
        f"{root / 'ImageSets/Segmentation/train.txt'}, {root / 'JPEGImages/2007_000001.jpg'}: "
        "there is no mask named 2007_000001: unpack the data set again, or take the name out of "
        "the list"
    )


# === Splits that are made ===


def test_splits_depend_on_names_alone(tmp_path):
    for number in range(200):
        write_image(tmp_path / "images" / f"{number}.png", size=(2, 2))
        write_mask(tmp_path / "masks" / f"{number}.png", (0, 1), size=(2, 2))
    dataset, _ = loaded("folder", tmp_path)
    assert sizes(dataset) == {"train": 160, "val": 40}
    val = set(dataset.split("val"))
    everything = [*reversed(dataset.split("train")), *val]
    assert set(split_train_val(everything)[1]) == val
    assert sorted(sample.image.stem for sample in val)[:4] == ["101", "105", "107", "109"]
    # One that is added moves one other at most.
    assert len(val - set(split_train_val(everything[1:])[1])) <= 1


@pytest.mark.parametrize("count", [2, 3, 5])
def test_small_splits_have_a_sample_of_each(tmp_path, count):
    for number in range(count):
        write_image(tmp_path / "images" / f"{number}.png")
        write_mask(tmp_path / "masks" / f"{number}.png", (0, 1))
    dataset, _ = loaded("folder", tmp_path)
    assert min(sizes(dataset).values()) >= 1 and sum(sizes(dataset).values()) == count


def test_hidden_files_of_other_systems_are_left_alone(tmp_path):
    layouts.camvid(tmp_path)
    for folder in ("train", "trainannot"):
        (tmp_path / folder / "._0001TP_006690.png").write_bytes(b"Mac OS X")
    dataset, problems = loaded("camvid", tmp_path)
    assert problems == [] and sizes(dataset)["train"] == 4


def test_images_may_be_of_any_format(tmp_path):
    for suffix in (".png", ".jpg", ".bmp", ".webp", ".tif", ".TIFF"):
        write_image(tmp_path / "images" / f"x{suffix[1:]}{suffix}")
        mask = tmp_path / "masks" / f"x{suffix[1:]}.png"
        write_mask(mask, (0, 1))
        if suffix not in (".jpg", ".webp"):
            Image.open(mask).save(mask.with_suffix(suffix))
            if suffix != ".png":
                mask.unlink()
    dataset, _ = loaded("folder", tmp_path)
    samples = [sample for samples in dataset.splits.values() for sample in samples]
    assert len(samples) == 6
    for sample in samples:
        assert set(np.unique(dataset.read(sample)[1])) == {0, 1}
