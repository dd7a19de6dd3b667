"""`folder`: layouts and names as tools and people leave them, each read rightly or named."""

from __future__ import annotations

import json
import os
import sys
import unicodedata

import numpy as np
import pytest
from dataset_layouts import striped, write_image, write_mask
from PIL import Image

from keras_bisenet.data import load_dataset
from keras_bisenet.errors import UserError


def loaded(directory):
    problems = []
    return load_dataset("folder", directory, problems.append), problems


def error_of(directory) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset("folder", directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_pair(image, mask, seed=0, values=(0, 1)):
    write_image(image, seed)
    write_mask(mask, values)


def names(dataset):
    return {
        split: [(s.image.name, s.mask.name) for s in samples]
        for split, samples in dataset.splits.items()
    }


def all_pairs(directory):
    dataset, problems = loaded(directory)
    assert not [problem for problem in problems if problem.severity == "error"]
    return sorted(sum(names(dataset).values(), [])), [p.rule for p in problems]


# === Layouts of peers and tools ===


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("img_dir/{}", "ann_dir/{}"),  # mmsegmentation
        ("{}", "{}annot"),  # SegNet
        ("{}", "{}_labels"),  # Massachusetts roads and buildings
        ("{}", "{}_masks"),
        ("images_prepped_{}", "annotations_prepped_{}"),  # divamgupta
        ("{}_images", "{}_masks"),
        ("images_{}", "masks_{}"),
        ("{}/img", "{}/masks_machine"),  # Supervisely
        ("ds/{}/rgb", "ds/{}/gt"),
    ],
)
def test_folders_of_peers(tmp_path, images, masks):
    for split in ("train", "val"):
        image = tmp_path / images.format(split) / f"{split}.jpg"
        write_pair(image, tmp_path / masks.format(split) / f"{split}.png")
    assert names(loaded(tmp_path)[0]) == {
        "train": [("train.jpg", "train.png")],
        "val": [("val.jpg", "val.png")],
    }


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("JPEGImages", "SegmentationClassPNG"),
        ("original_images", "label_images_semantic"),
        ("ds0/img", "ds0/masks_machine"),
        ("my data/images", "my data/masks"),
        ("input", "output"),
        ("x", "y"),
    ],
)
def test_undivided_folders_of_tools(tmp_path, images, masks):
    (tmp_path / "README.txt").write_text("how to cite")
    for number in range(5):
        image = tmp_path / images / f"{number}.jpg"
        write_pair(image, tmp_path / masks / f"{number}.png", number)
    assert len(all_pairs(tmp_path)[0]) == 5


def test_the_folder_that_holds_masks_is_taken(tmp_path):
    """labelme's older script writes arrays into SegmentationClass."""
    for number in range(2):
        write_pair(
            tmp_path / "JPEGImages" / f"{number}.jpg",
            tmp_path / "SegmentationClassPNG" / f"{number}.png",
            number,
        )
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        np.save(tmp_path / "SegmentationClass" / f"{number}.npy", striped((0, 1)))
    assert all_pairs(tmp_path)[0] == [("0.jpg", "0.png"), ("1.jpg", "1.png")]


@pytest.mark.parametrize("ending", ["_sat.jpg _mask.png", ".jpg .png", ".JPG .png"])
def test_masks_in_the_images_folder(tmp_path, ending):
    image, mask = ending.split()
    for number in range(3):
        write_pair(tmp_path / "train" / f"{number}{image}", tmp_path / "train" / f"{number}{mask}")
    pairs, _ = all_pairs(tmp_path)
    assert pairs == [(f"{number}{image}", f"{number}{mask}") for number in range(3)]


@pytest.mark.parametrize(
    ("folder", "form"),
    [
        (".", "{}_list.txt"),
        (".", "{}.csv"),
        ("ImageSets/Segmentation", "{}.txt"),
        ("ImageSets", "{}.txt"),
        ("Splits", "{}.lst"),
    ],
)
@pytest.mark.parametrize("pairs", [True, False])
def test_splits_that_lists_give(tmp_path, folder, form, pairs):
    for number in range(6):
        write_pair(
            tmp_path / "JPEGImages" / f"{number}.jpg",
            tmp_path / "SegmentationClass" / f"{number}.png",
            number,
        )
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for split, numbers in (("train", (0, 2, 4)), ("val", (5,))):
        line = "JPEGImages/{0}.jpg SegmentationClass/{0}.png" if pairs else "{0}"
        text = "\n".join(line.format(number) for number in numbers)
        (tmp_path / folder / form.format(split)).write_text(text + "\n")
    assert names(loaded(tmp_path)[0]) == {
        "train": [(f"{n}.jpg", f"{n}.png") for n in (0, 2, 4)],
        "val": [("5.jpg", "5.png")],
    }


@pytest.mark.parametrize(
    "text",
    [
        "mask,image\n{m},{i}\n",
        ",image_path,mask_path,fold\n0,{i},{m},3\n",
        "Image Path\tLabel Path\n{i}\t{m}\n",
        'image,mask\n"{i}","{m}"\n',
        "{i};{m}\r\n",
        "{i}|{m}\n",
        "{wi} {wm}\r\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_as_programs_write_them(tmp_path, text, encoding):
    write_pair(tmp_path / "images" / "a.png", tmp_path / "masks" / "a.png")
    write_pair(tmp_path / "images" / "b.png", tmp_path / "masks" / "b.png", 1)
    for split, name in (("train", "a"), ("val", "b")):
        image, mask = f"images/{name}.png", f"masks/{name}.png"
        windows = {"wi": image.replace("/", "\\"), "wm": mask.replace("/", "\\")}
        line = text.format(i=image, m=mask, **windows)
        (tmp_path / f"{split}.csv").write_bytes(line.encode(encoding))
    dataset = load_dataset("folder", tmp_path)
    assert names(dataset) == {"train": [("a.png", "a.png")], "val": [("b.png", "b.png")]}
    assert dataset.split("train")[0].mask.parent.name == "masks"


def test_a_list_of_names_with_a_header(tmp_path):
    for name in "abc":
        write_pair(tmp_path / "images" / f"{name}.jpg", tmp_path / "masks" / f"{name}.png")
    (tmp_path / "train.csv").write_text("Image_ID\na\nb.jpg\n")
    (tmp_path / "val.csv").write_text("Image_ID\nc\n")
    assert names(load_dataset("folder", tmp_path)) == {
        "train": [("a.jpg", "a.png"), ("b.jpg", "b.png")],
        "val": [("c.jpg", "c.png")],
    }


def test_run_lengths_in_a_list_are_named(tmp_path):
    write_pair(tmp_path / "images" / "a.jpg", tmp_path / "masks" / "a.png")
    (tmp_path / "train.csv").write_text("ImageId,EncodedPixels\na.jpg,1 3 10 5\n")
    assert "train.csv: run-length encodings, as Kaggle has them" in error_of(tmp_path)


def test_a_list_with_the_masks_first_is_refused(tmp_path):
    write_pair(tmp_path / "images" / "a.png", tmp_path / "masks" / "a.png")
    (tmp_path / "train.txt").write_text("masks/a.png images/a.png\n")
    assert "train.txt: line 1 has the mask first (" in error_of(tmp_path)


@pytest.mark.parametrize("line", ["images/{0}.jpg,masks/{0}.png", "{0}"])
def test_lines_that_are_there_twice_count_once(tmp_path, line):
    for name in "abc":
        write_pair(tmp_path / "images" / f"{name}.jpg", tmp_path / "masks" / f"{name}.png")
    (tmp_path / "train.txt").write_text("\n".join(line.format(name) for name in "abacb"))
    (tmp_path / "val.txt").write_text(line.format("c"))
    dataset, problems = loaded(tmp_path)
    assert len(dataset.split("train")) == 3
    assert ["2 of its 5 pairs are listed again"] == [
        problem.message for problem in problems if problem.rule == "listed-twice"
    ]


def test_a_folder_of_pairs_that_is_no_split_is_named(tmp_path):
    for split in ("train", "val", "extra"):
        write_pair(tmp_path / split / "images" / "a.jpg", tmp_path / split / "masks" / "a.png")
    (problem,) = [p for p in loaded(tmp_path)[1] if p.rule == "unread-folder"]
    assert problem.files == (tmp_path / "extra",)


def test_an_archive_is_named(tmp_path):
    (tmp_path / "data.zip").write_bytes(b"PK")
    assert error_of(tmp_path / "data.zip").endswith("an archive: unpack it, and name its folder")


def test_masks_of_another_kind_of_file_are_named(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    for name in "ab":
        np.save(tmp_path / "masks" / f"{name}.npy", striped((0, 1)))
    assert error_of(tmp_path).endswith(".tiff (it holds 2 .npy): save them as PNG")


# === Names ===


@pytest.mark.skipif(
    sys.getfilesystemencoding() == "ascii", reason="this locale names no file with accents"
)
@pytest.mark.parametrize("listed", [True, False])
def test_accents_in_another_normal_form(tmp_path, listed):
    for number, name in enumerate(("é", "è")):
        image, mask = (unicodedata.normalize(form, name) for form in ("NFD", "NFC"))
        write_pair(tmp_path / "images" / f"{image}.jpg", tmp_path / "masks" / f"{mask}.png", number)
    for split, name in (("train", "é"), ("val", "è")) if listed else ():
        (tmp_path / f"{split}.txt").write_text(unicodedata.normalize("NFKC", name))
    pairs, _ = all_pairs(tmp_path)
    assert len(pairs) == 2
    for image, mask in pairs:
        assert unicodedata.normalize("NFC", image[:-4]) == mask[:-4]


def test_several_kinds_of_masks_are_named(tmp_path):
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}_leftImg8bit.png")
        for kind in ("color", "labelIds", "instanceIds"):
            write_mask(tmp_path / "masks" / f"{name}_gtFine_{kind}.png", (0, 1))
    assert error_of(tmp_path).startswith(
        f"{tmp_path / 'masks'}: there are several masks for each image, whose names end in "
        "_gtFine_color, _gtFine_instanceIds, _gtFine_labelIds: keep those of one kind"
    )


@pytest.mark.parametrize(
    ("image", "mask", "said"),
    [
        ("IMG_{}.JPG", "img_{}.png", "without regard to case"),
        ("{}_leftImg8bit.png", "{}_gtFine_labelIds.png", None),
        ("{}.jpg", "{}_lab.png", None),
        ("{0}/{0}.jpg", "{0}.png", "without regard to folders"),
        ("{}.jpg", "000{}.png", "without regard to zeros before numbers"),
        ("frame{}.jpg", "annotation-{}.png", "by the parts of their names that differ"),
        ("{}.jpg", "{}_segm.png", "by the parts of their names that differ"),
    ],
)
def test_names_that_differ(tmp_path, image, mask, said):
    for number in (1, 2, 13):
        write_pair(
            tmp_path / "images" / image.format(number),
            tmp_path / "masks" / mask.format(number),
            number,
            values=(0, 1, number),
        )
    dataset, problems = loaded(tmp_path)
    samples = [sample for samples in dataset.splits.values() for sample in samples]
    assert len(samples) == 3
    for sample in samples:
        number = next(n for n in (13, 1, 2) if str(n) in sample.image.name)
        assert dataset.read_raw(sample).max() == number
    told = [problem for problem in problems if problem.rule == "names-differ"]
    assert [f" are paired {said}: " in str(problem) for problem in told] == [True] * bool(said)


@pytest.mark.parametrize("masks", [("x", "y"), ("img3", "img4")])
def test_names_that_do_not_pair(tmp_path, masks):
    for number, mask in enumerate(masks):
        write_pair(tmp_path / "images" / f"img{number}.jpg", tmp_path / "masks" / f"{mask}.png")
    assert error_of(tmp_path) == (
        f"{tmp_path / 'images'}: the names of images and masks do not pair: the first image is "
        f"img0.jpg, the first mask {masks[0]}.png (in {tmp_path / 'masks'}): give each mask its "
        "image's name"
    )


def test_a_missing_folder_is_said(tmp_path):
    for name in ("folder", "camvid", "voc2012"):
        with pytest.raises(UserError, match="nowhere: no such folder: check --data-dir$"):
            load_dataset(name, tmp_path / "nowhere")


# === What is no data ===


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_mask(tmp_path):
    for name in "ab":
        write_pair(tmp_path / "images" / f"{name}.jpg", tmp_path / "masks" / f"{name}.png")
    (tmp_path / "masks" / "a.png").unlink()
    os.mkfifo(tmp_path / "masks" / "a.png")
    assert "a.jpg: there is no mask for this image" in error_of(tmp_path)


@pytest.mark.parametrize("folder", [".ipynb_checkpoints", "@eaDir", ".Trash-1000", "__MACOSX"])
@pytest.mark.parametrize("kinds", [("images",), ("images", "masks")])
def test_folders_that_systems_leave_behind(tmp_path, folder, kinds):
    for number in range(3):
        write_pair(
            tmp_path / "images" / f"{number}.jpg", tmp_path / "masks" / f"{number}.png", number
        )
    for kind in kinds:
        if kind == "images":
            write_image(tmp_path / kind / folder / "0-checkpoint.jpg")
        else:
            write_mask(tmp_path / kind / folder / "0-checkpoint.png", (0, 7))
    pairs, _ = all_pairs(tmp_path)
    assert pairs == [(f"{number}.jpg", f"{number}.png") for number in range(3)]


def test_links_to_folders_are_followed_and_no_circle_is(tmp_path):
    for number in range(2):
        write_pair(
            tmp_path / "elsewhere" / "i" / f"{number}.jpg",
            tmp_path / "elsewhere" / "m" / f"{number}.png",
            number,
        )
    data = tmp_path / "data"
    for kind, short in (("images", "i"), ("masks", "m")):
        (data / kind).mkdir(parents=True)
        os.symlink(tmp_path / "elsewhere" / short, data / kind / "a")
        os.symlink(data / kind, data / kind / "circle")
    assert all_pairs(data)[0] == [("0.jpg", "0.png"), ("1.jpg", "1.png")]


# === Annotations that are no masks ===


@pytest.mark.parametrize(
    ("name", "content", "tool"),
    [
        ("annotations/instances_train.json", {"images": [], "annotations": []}, "coco"),
        ("images/0.json", {"shapes": [], "imagePath": "0.jpg"}, "labelme"),
        ("export.json", [{"id": 1, "annotations": []}], "labelstudio"),
        ("meta.json", {"classes": [], "tags": []}, "supervisely"),
        ("annotations.xml", "<annotations/>", "cvat"),
    ],
)
def test_annotations_of_tools_are_named(tmp_path, name, content, tool):
    write_image(tmp_path / "images" / "0.jpg")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    message = error_of(tmp_path)
    assert f"keras-bisenet dataset import --from {tool} {tmp_path} -o NEW" in message


def test_label_studios_masks_are_named(tmp_path):
    for number in range(2):
        write_image(tmp_path / "images" / f"{number}.jpg")
        name = f"task-{number}-annotation-{number}-by-1-tag-road-0.png"
        write_mask(tmp_path / "masks" / name, (0, 255))
    assert "import --from labelstudio" in error_of(tmp_path)


# === Files that are damaged in their own way ===


def test_an_empty_file_is_named(tmp_path):
    write_pair(tmp_path / "images" / "0.png", tmp_path / "masks" / "0.png")
    (tmp_path / "masks" / "0.png").write_bytes(b"")
    assert "0.png: an empty file (0 bytes): copy it again" in error_of(tmp_path)


def test_an_image_that_its_exif_data_turns_over(tmp_path):
    """By 180 degrees the sizes agree, whether the mask was turned or not."""
    write_pair(tmp_path / "images" / "0.png", tmp_path / "masks" / "0.png")
    exif = Image.Exif()
    exif[274] = 3
    image = Image.open(tmp_path / "images" / "0.png")
    image.save(tmp_path / "images" / "0.jpg", exif=exif)
    (tmp_path / "images" / "0.png").unlink()
    dataset, _ = loaded(tmp_path)
    (sample,) = dataset.split("train")
    (warning,) = dataset.read_pair(sample).warnings
    assert warning.rule == "turned-image"
    mask = Image.open(tmp_path / "masks" / "0.png")
    mask.save(tmp_path / "masks" / "0.tif", exif=exif)
    (tmp_path / "masks" / "0.png").unlink()
    dataset, _ = loaded(tmp_path)
    assert dataset.read_pair(dataset.split("train")[0]).warnings == ()
