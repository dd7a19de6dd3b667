"""`folder`: layouts, the classes file, and what is inferred where there is none."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from dataset_layouts import striped, write_image, write_mask
from PIL import Image

from keras_bisenet.data import load_dataset
from keras_bisenet.data.classes_file import read_classes_file
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID, pascal_palette

SIZE = (32, 48)
RED, BLACK, GREEN = (200, 0, 0), (0, 0, 0), (0, 200, 30)


def loaded(directory):
    problems = []
    return load_dataset("folder", directory, problems.append), problems


def error_of(directory) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset("folder", directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_masks(directory, *masks, **options):
    """Images and masks of these stripes: `0.png`, `1.png`, ..."""
    for number, values in enumerate(masks):
        write_image(directory / "images" / f"{number}.png", number)
        write_mask(directory / "masks" / f"{number}.png", values, **options)
    return directory


def stripes(dataset, stem="0"):
    """Class ids of a mask's stripes, from the top."""
    samples = (sample for samples in dataset.splits.values() for sample in samples)
    class_ids = dataset.read(next(s for s in samples if s.image.stem == stem))[1]
    column = class_ids[:, 0]
    return column[np.flatnonzero(np.diff(column, prepend=-1))].tolist()


def classes_of(problems) -> str:
    """What the one warning about the classes says."""
    (warning,) = [problem for problem in problems if problem.rule == "inferred-classes"]
    assert warning.severity == "warning"
    return warning.message


# === Layouts ===


def names(dataset):
    return {
        split: [(s.image.name, s.mask.name) for s in samples]
        for split, samples in dataset.splits.items()
    }


def test_folders_of_images_and_masks_are_divided(tmp_path):
    write_masks(tmp_path, *[(0, 1)] * 10)
    dataset, problems = loaded(tmp_path)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {
        "train": 8,
        "val": 2,
    }
    assert str(problems[0]) == (
        f"{tmp_path}: no splits are given: 8 of the images are for training and 2 for validation, "
        "by their names: put them into the folders train and val to divide them otherwise"
    )


@pytest.mark.parametrize("split_first", [True, False])
@pytest.mark.parametrize("folders", [("images", "masks"), ("Images", "labels")])
def test_folders_by_split(tmp_path, split_first, folders):
    for split in ("train", "valid", "test"):
        images, masks = (
            tmp_path / split / name if split_first else tmp_path / name / split for name in folders
        )
        write_image(images / "a.jpg")
        write_mask(masks / "a.png", (0, 1))
    dataset, problems = loaded(tmp_path)
    assert names(dataset) == dict.fromkeys(("train", "val", "test"), [("a.jpg", "a.png")])
    assert [problem.rule for problem in problems] == ["inferred-classes"]


@pytest.mark.parametrize("split_first", [True, False])
def test_images_of_a_split_without_masks(tmp_path, split_first):
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            folder = tmp_path / split / kind if split_first else tmp_path / kind / split
            if kind == "images":
                write_image(folder / "a.jpg")
                images = folder
            elif split != "test":
                write_mask(folder / "a.png", (0, 1))
    dataset, problems = loaded(tmp_path)
    assert list(dataset.splits) == ["train", "val"]
    place = images.parent if split_first else images
    assert str(problems[0]) == (
        f"{place}: there are no masks for these images, so there is no split test: add the masks "
        "to have it"
    )


def test_a_training_split_alone_gives_a_part_to_validation(tmp_path):
    write_masks(tmp_path / "train", *[(0, 1)] * 5)
    dataset, problems = loaded(tmp_path)
    assert len(dataset.split("train")) == 4 and len(dataset.split("val")) == 1
    assert problems[0].rule == "missing-split"


def test_masks_in_folders_below(tmp_path):
    for place in ("monday", "tuesday/noon"):
        write_image(tmp_path / "images" / place / "a.png")
        write_mask(tmp_path / "masks" / place / "a.png", (0, 1))
    dataset, problems = loaded(tmp_path)
    pairs = [sample for samples in dataset.splits.values() for sample in samples]
    assert len(pairs) == 2
    assert all(pair.image.parent.name == pair.mask.parent.name for pair in pairs)


@pytest.mark.parametrize(
    "name", ["a_mask.png", "a.seg.png", "a_gt.png", "a_label.png", "a-mask.png", "a.jpg.png"]
)
def test_masks_whose_names_have_an_ending(tmp_path, name):
    for stem in ("a", "b_mask"):
        write_image(tmp_path / "images" / f"{stem}.jpg")
    write_mask(tmp_path / "masks" / name, (0, 1))
    write_mask(tmp_path / "masks" / "b_mask.png", (0, 1))  # the image has this name too
    dataset, problems = loaded(tmp_path)
    pairs = sum(names(dataset).values(), [])
    assert sorted(pairs) == [("a.jpg", name), ("b_mask.jpg", "b_mask.png")]
    assert not [problem for problem in problems if problem.severity == "error"]


@pytest.mark.parametrize("divided", [True, False])
def test_masks_beside_their_images(tmp_path, divided):
    """As Roboflow exports them, with the classes in every folder."""
    for split in ("train", "valid") if divided else (".",):
        for name in ("a_jpg.rf.1f", "b"):
            write_image(tmp_path / split / f"{name}.jpg")
            write_mask(tmp_path / split / f"{name}_mask.png", (0, 1))
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, wall\n1, crack\n")
    dataset, problems = loaded(tmp_path)
    pairs = [("a_jpg.rf.1f.jpg", "a_jpg.rf.1f_mask.png"), ("b.jpg", "b_mask.png")]
    assert sorted(sum(names(dataset).values(), [])) == sorted(pairs * (2 if divided else 1))
    assert list(dataset.splits) == ["train", "val"]
    assert dataset.label_map.names == ("wall", "crack")
    assert [problem.rule for problem in problems] == ["missing-split"] * (not divided)


def test_two_masks_of_one_image(tmp_path):
    write_masks(tmp_path, (0, 1), (0, 1))
    write_mask(tmp_path / "masks" / "1_mask.png", (0, 1))
    _, problems = loaded(tmp_path)
    (problem,) = [problem for problem in problems if problem.severity == "error"]
    assert problem.rule == "duplicate-name"
    assert [path.name for path in problem.files] == ["1_mask.png", "1.png"]


@pytest.mark.parametrize("separator", [",", " ", "\t", ", "])
def test_lists_of_pairs(tmp_path, separator):
    write_masks(tmp_path / "photos", *[(0, 1)] * 4)
    pair = "photos/images/{0}.png" + separator + "photos/masks/{0}.png\n"
    (tmp_path / "train.txt").write_text("# two\n" + pair.format(0) + "\n" + pair.format(3))
    (tmp_path / "val.txt").write_text(pair.format(1))
    dataset, _ = loaded(tmp_path)
    assert names(dataset) == {
        "train": [("0.png", "0.png"), ("3.png", "3.png")],
        "val": [("1.png", "1.png")],
    }


@pytest.mark.parametrize("named", [True, False])
def test_a_list_that_is_divided(tmp_path, named):
    write_masks(tmp_path, *[(0, 1)] * 5)
    lines = [f"images/{number}.png,masks/{number}.png" for number in range(5)]
    path = tmp_path / ("my pairs.txt" if named else "pairs.txt")
    path.write_text("\n".join(["image,mask", *lines]))
    dataset, problems = loaded(path if named else tmp_path)
    assert len(dataset.split("train")) == 4 and len(dataset.split("val")) == 1
    assert problems[0].rule == "missing-split"


def test_lists_of_names(tmp_path):
    write_masks(tmp_path, *[(0, 1)] * 4)
    for folder in ("images", "masks"):
        (tmp_path / folder / "3.png").rename(tmp_path / folder / "photo 3.png")
    (tmp_path / "train.txt").write_text("0\n2.png\n")
    (tmp_path / "val.txt").write_text("photo 3\n")
    dataset, _ = loaded(tmp_path)
    assert names(dataset) == {
        "train": [("0.png", "0.png"), ("2.png", "2.png")],
        "val": [("photo 3.png", "photo 3.png")],
    }


def test_lists_that_name_what_is_not_there(tmp_path):
    write_masks(tmp_path, *[(0, 1)] * 2)
    path = tmp_path / "train.txt"
    path.write_text("images/0.png masks/0.png\nimages/1.png masks/7.png\n")
    (tmp_path / "val.txt").write_text("images/1.png masks/1.png\n")
    assert error_of(tmp_path) == (
        f"{tmp_path / 'masks/7.png'}: there is no such mask, which line 2 of train.txt names: "
        "add it, or remove the line"
    )
    path.write_text("images/0.png masks/0.png more\n")
    message = f"{path}: line 1 is no 'image,mask': give one pair per line"
    assert error_of(tmp_path) == message


def test_orphans(tmp_path):
    write_masks(tmp_path, *[(0, 1)] * 5)
    (tmp_path / "masks" / "1.png").unlink()
    (tmp_path / "images" / "2.png").unlink()
    dataset, problems = loaded(tmp_path)
    assert [(p.rule, p.files[0]) for p in problems if p.severity == "error"] == [
        ("missing-mask", tmp_path / "images" / "1.png"),
        ("missing-image", tmp_path / "masks" / "2.png"),
    ]
    assert len(sum(names(dataset).values(), [])) == 3


def test_no_such_layout(tmp_path):
    write_image(tmp_path / "pictures" / "a.png")
    assert error_of(tmp_path) == (
        f"{tmp_path}: no folders of images and masks here: lay them out as DIR/images and "
        "DIR/masks, DIR/train/images and DIR/train/masks, or DIR/train.txt with lines of "
        "image,mask"
    )


# === Classes that are inferred ===


def test_black_and_white_masks(tmp_path):
    write_masks(tmp_path, (0, 255), (0,), (255, 0))
    dataset, problems = loaded(tmp_path)
    assert dataset.label_map.names == ("background", "foreground")
    assert dataset.label_map.file_ids == (0, 255)
    assert stripes(dataset) == [0, 1] and stripes(dataset, "2") == [1, 0]
    assert str(problems[-1]) == (
        f"{tmp_path}: classes: 0 background, 255 foreground (inferred from 3 masks): "
        "write a classes.csv to name them"
    )


def test_black_and_white_masks_in_colour_channels_and_of_1_bit(tmp_path):
    write_masks(tmp_path, ((0, 0, 0), (255, 255, 255)))
    assert classes_of(loaded(tmp_path)[1]).startswith("classes: 0 background, 255 foreground (")
    Image.fromarray(striped((0, 1)) > 0).save(tmp_path / "masks" / "0.png")
    dataset, problems = loaded(tmp_path)
    assert classes_of(problems).startswith("classes: 0 background, 1 foreground (")
    assert stripes(dataset) == [0, 1]


def test_black_and_white_masks_with_soft_edges(tmp_path):
    write_masks(tmp_path, (0, 255), (0, 255))
    mask = striped((0, 255))
    mask[15, :16] = np.arange(0, 256, 16)
    Image.fromarray(mask).save(tmp_path / "masks" / "0.png")
    dataset, problems = loaded(tmp_path)
    assert classes_of(problems).startswith("classes: 0 background, 255 foreground (")
    samples = {s.image.stem: s for samples in dataset.splits.values() for s in samples}
    pair = dataset.read_pair(samples["0"])
    np.testing.assert_array_equal(pair.class_ids, mask >= 128)
    (warning,) = pair.warnings
    assert warning.rule == "mask-thresholded" and warning.message.startswith("0.98% of the mask's")
    assert dataset.read_pair(samples["1"]).warnings == ()


def test_two_classes_and_void(tmp_path):
    write_masks(tmp_path, (0, 1, 255), (0,))
    dataset, problems = loaded(tmp_path)
    assert dataset.label_map.file_ids == (0, 1)
    assert stripes(dataset) == [0, 1, VOID]
    assert classes_of(problems) == (
        "classes: 0 background, 1 foreground; 255 is void (inferred from 2 masks)"
    )


def test_ids_with_gaps(tmp_path):
    write_masks(tmp_path, (1, 2), (5, 7, 2))
    dataset, problems = loaded(tmp_path)
    assert dataset.label_map.names == ("class 1", "class 2", "class 5", "class 7")
    assert stripes(dataset, "1") == [2, 3, 1]
    assert dataset.label_map.palette == pascal_palette(4)


def test_a_palette_image_gives_ids_and_their_colours(tmp_path):
    write_masks(tmp_path, (0, 1, 2, 255), palette=[BLACK, RED, GREEN] + [BLACK] * 253)
    dataset, problems = loaded(tmp_path)
    assert dataset.label_map.file_ids == (0, 1, 2)
    assert dataset.label_map.palette == (BLACK, RED, GREEN)
    assert stripes(dataset) == [0, 1, 2, VOID]


def test_colours(tmp_path):
    write_masks(tmp_path, (BLACK, RED), (GREEN, (9, 9, 9)), (BLACK,))
    dataset, problems = loaded(tmp_path)
    assert dataset.label_map.names == ("#000000", "#00c81e", "#090909", "#c80000")
    assert dataset.label_map.palette == (BLACK, GREEN, (9, 9, 9), RED)
    assert stripes(dataset) == [0, 3] and stripes(dataset, "2") == [0]
    assert classes_of(problems) == (
        "classes: #000000, #00c81e, #090909, #c80000 (inferred from 3 masks)"
    )


def test_a_black_and_a_coloured_class(tmp_path):
    write_masks(tmp_path, (BLACK, RED))
    assert classes_of(loaded(tmp_path)[1]).startswith("classes: #000000 background, #c80000 fore")


def test_a_part_of_many_masks_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_bisenet.data.mask_encoding.SCANNED", 3)
    write_masks(tmp_path, *[(0, 1)] * 9, (0, 1, 4))
    dataset, problems = loaded(tmp_path)
    assert classes_of(problems).endswith("(inferred from 3 of 10 masks)")
    with pytest.raises(UserError) as caught:
        stripes(dataset, "9")
    assert caught.value.problem.cure == (
        f"declare them in {tmp_path / 'classes.csv'}, or relabel them"
    )


def test_masks_that_cannot_be_read_leave_the_others(tmp_path):
    write_masks(tmp_path, (0, 1), (0, 1))
    path = tmp_path / "masks" / "0.png"
    path.write_bytes(path.read_bytes()[:60])
    assert classes_of(loaded(tmp_path)[1]).endswith("(inferred from 1 mask)")
    (tmp_path / "masks" / "1.png").unlink()
    Image.fromarray(striped((0, 255))).save(tmp_path / "masks" / "1.jpg")
    path.unlink()
    shutil.copy(tmp_path / "masks" / "1.jpg", tmp_path / "masks" / "0.jpg")
    assert "the mask was saved as JPEG" in error_of(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 128, 255), "the masks hold the grey levels 0, 128, 255: which are classes, and "),
        ((0, 85, 170, 255), "the masks hold the grey levels 0, 85, 170, 255: which are classes"),
        ((0,), "the masks hold no two classes, only 0: write a classes.csv in "),
        ((1, 255), "the masks hold no two classes, only 1, 255 (255 is void): write a classes"),
    ],
)
def test_masks_that_leave_their_classes_open(tmp_path, values, message):
    write_masks(tmp_path, values)
    assert error_of(tmp_path).startswith(f"{tmp_path}: {message}")
    write_masks(tmp_path, values)
    rows = "".join(f"level {value},{value}\n" for value in values)
    (tmp_path / "classes.csv").write_text("name,id\n" + rows + "other,7\n" * (len(values) < 2))
    assert stripes(loaded(tmp_path)[0]) == list(range(len(values)))


def test_masks_that_are_photographs(tmp_path):
    write_masks(tmp_path, (0, 1))
    path = tmp_path / "masks" / "0.png"
    write_image(path)
    assert error_of(tmp_path).startswith(
        f"{path}: the masks hold 1536 colours or more, which are no classes: "
    )


def test_masks_of_one_colour(tmp_path):
    write_masks(tmp_path, (RED,))
    assert error_of(tmp_path) == (
        f"{tmp_path / 'masks/0.png'}: the masks hold one colour alone, (200, 0, 0): write a "
        f"classes.csv in {tmp_path} with the colour of each class"
    )


def test_files_that_change_are_read_again(tmp_path):
    write_masks(tmp_path, (0, 1))
    assert loaded(tmp_path)[0].label_map.num_classes == 2
    write_mask(tmp_path / "masks" / "0.png", (0, 1, 2, 3))
    assert loaded(tmp_path)[0].label_map.num_classes == 4


# === The classes file ===


def declared(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    found = read_classes_file(path)
    classes = [(each.name, each.id, each.colour) for each in found.classes]
    return classes, found.ignored_ids, found.ignored_colours


ROAD_AND_SKY = [("road", 0, (128, 64, 128)), ("the sky", 3, (70, 130, 180))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.csv", "name,id,r,g,b\nroad,0,128,64,128\nthe sky,3,70,130,180\n"),
        ("classes.csv", "id;class;color\n0;road;128 64 128\n3;the sky;#4682b4\n"),
        ("classes.csv", "0,road,128,64,128\n3,the sky,70,130,180\n"),
        ("classes.txt", "# id name r g b\n0 road 128 64 128\n\n3 the sky 70 130 180\n"),
        ("classes.txt", "0: 128 64 128 road\n3: 70 130 180 the sky\n"),
    ],
)
def test_rows(tmp_path, name, text):
    assert declared(tmp_path, name, text) == (ROAD_AND_SKY, (), ())


@pytest.mark.parametrize(
    "text",
    [
        "classes:\n- {name: road, id: 0, color: [128, 64, 128]}\n"
        "- {name: the sky, id: 3, colour: '#4682b4'}\n",
        "0: {name: road, color: [128, 64, 128]}\n3: {name: the sky, color: [70, 130, 180]}\n",
    ],
)
def test_yaml(tmp_path, text):
    pytest.importorskip("yaml")
    assert declared(tmp_path, "classes.yaml", text) == (ROAD_AND_SKY, (), ())


def test_yaml_of_names_alone_and_what_is_ignored(tmp_path):
    pytest.importorskip("yaml")
    found = declared(tmp_path, "classes.yaml", "names: [a, b]\nignore: [7, [9, 9, 9]]\n")
    assert found == ([("a", 0, None), ("b", 1, None)], (7,), ((9, 9, 9),))
    found = declared(tmp_path, "classes.yaml", "- a\n- b\n")
    assert found == ([("a", 0, None), ("b", 1, None)], (), ())


def test_names_alone_and_void(tmp_path):
    found = declared(tmp_path, "classes.txt", "my class\nVoid\ntraffic light\n")
    assert found == ([("my class", 0, None), ("traffic light", 2, None)], (1,), ())


def test_the_files_of_other_programs(tmp_path):
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nmy car:200,0,0::\n"
    expected = [("background", 0, BLACK), ("my car", 1, RED)]
    assert declared(tmp_path, "labelmap.txt", text)[0] == expected  # CVAT
    text = "name,r,g,b\nbackground,0,0,0\nmy car,200,0,0\nVoid,1,2,3\n"
    found = declared(tmp_path, "class_dict.csv", text)
    assert found == (expected, (2,), ((1, 2, 3),))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "", "it names no class: write a name per line"),
        ("classes.txt", "a\nb\na\n", "the name a is there twice: give each class its own"),
        ("classes.csv", "name,id\na,1\nb,1\n", "the id 1 is there twice: give each class its own"),
        ("classes.csv", "name,id\na,300\n", "'300' is no id of a class: give a number from 0 to"),
        ("classes.csv", "name,color\na,pink\n", "'pink' is no colour: give red, green and blue"),
        ("classes.csv", "name,id\n,3\n", "a class without a name (, 3): name it"),
        ("classes.yaml", "classes: [a, b", "no YAML that can be read (line 1): mend it"),
        ("classes.yaml", "classes: street\n", "no list of classes: write 'classes:' and a '- name"),
        ("classes.yaml", "- {id: 3}\n", "a class without a name ({'id': 3}): write 'name:' in it"),
    ],
)
def test_a_bad_classes_file(tmp_path, name, text, message):
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    with pytest.raises(UserError) as caught:
        declared(tmp_path, name, text)
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")


def test_two_classes_files(tmp_path):
    write_masks(tmp_path, (0, 1))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "classes.csv").write_text("a\nb\n")
    assert loaded(tmp_path)[0].label_map.names == ("a", "b")
    (tmp_path / "classes.csv").write_text("b\na\n")
    assert error_of(tmp_path) == (
        f"{tmp_path / 'classes.csv'}: classes.txt lies beside it and says something else: keep one "
        "of the two"
    )


# === Masks and the classes file ===


def with_classes(directory, text, *masks, name="classes.csv", **options):
    write_masks(directory, *masks, **options)
    (directory / name).write_text(text)
    dataset, problems = loaded(directory)
    return dataset, [problem for problem in problems if problem.rule != "missing-split"]


def test_declared_ids(tmp_path):
    text = "name,id,r,g,b\nroad,7,1,2,3\nsky,3,70,130,180\nvoid,0,0,0,0\n"
    dataset, problems = with_classes(tmp_path, text, (7, 3, 0))
    assert problems == []
    assert dataset.label_map.names == ("road", "sky")
    assert dataset.label_map.palette == ((1, 2, 3), (70, 130, 180))
    assert stripes(dataset) == [0, 1, VOID]


def test_ids_that_are_not_declared(tmp_path):
    dataset, problems = with_classes(tmp_path, "road\nsky\n", (0, 1, 2))
    assert problems == []
    with pytest.raises(UserError) as caught:
        stripes(dataset)
    assert str(caught.value) == (
        f"{tmp_path / 'masks/0.png'}: the mask holds ids 2, which are none of the 2 classes of "
        "folder (ids 0, 1; void 255): "
        f"declare them in {tmp_path / 'classes.csv'}, or relabel them"
    )


def test_two_names_for_black_and_white(tmp_path):
    dataset, problems = with_classes(tmp_path, "wall\ncrack\n", (0, 255))
    assert dataset.label_map.names == ("wall", "crack") and stripes(dataset) == [0, 1]
    assert classes_of(problems) == "classes: 0 wall, 255 crack (inferred from 1 mask)"


def test_255_stays_void_where_the_classes_file_says_so(tmp_path):
    text = "name,id\nwall,0\ncrack,1\n"
    dataset, (problem,) = with_classes(tmp_path, text, (0, 255))
    assert stripes(dataset) == [0, VOID]
    assert str(problem) == (
        f"{tmp_path / 'classes.csv'}: the masks hold 0 and 255 alone, and 255 is void, so that "
        "only one class is left: give the class that is white the id 255, or ignore 255 there if "
        "that is meant"
    )
    dataset, problems = with_classes(tmp_path, text, (0, 1, 255))
    assert problems == [] and stripes(dataset) == [0, 1, VOID]
    dataset, problems = with_classes(tmp_path, "name,id\nwall,0\ncrack,1\nvoid,255\n", (0, 255))
    assert problems == [] and stripes(dataset) == [0, VOID]


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 38)])
def test_one_class_has_a_background(tmp_path, values):
    dataset, problems = with_classes(tmp_path, "crack\n", values, (0,))
    assert dataset.label_map.names == ("background", "crack")
    assert dataset.label_map.file_ids == values and stripes(dataset) == [0, 1]
    assert f"0 background, {values[1]} crack" in classes_of(problems)


def test_one_class_with_an_id_and_one_with_a_colour_have_a_background(tmp_path):
    dataset, _ = with_classes(tmp_path, "name,id\ncrack,9\n", (0, 9, 255))
    assert dataset.label_map.names == ("background", "crack")
    assert stripes(dataset) == [0, 1, VOID]
    dataset, problems = with_classes(tmp_path, "crack,200,0,0\n", (BLACK, RED))
    assert dataset.label_map.names == ("background", "crack") and stripes(dataset) == [0, 1]
    assert "#000000 background, #c80000 crack" in classes_of(problems)


def test_declared_colours(tmp_path):
    text = "sky,0,200,30\nroad,200,0,0\nvoid,0,0,0\n"
    dataset, problems = with_classes(tmp_path, text, (RED, BLACK, GREEN), (BLACK,))
    assert problems == [] and dataset.label_map.names == ("sky", "road")
    assert stripes(dataset) == [1, VOID, 0] and stripes(dataset, "1") == [VOID]
    assert dataset.read_raw(dataset.splits["train"][0]).shape == (*SIZE, 3)


def test_the_colours_of_a_palette_image_are_those_that_are_declared(tmp_path):
    """Programs that write the smallest palette number the colours as they come."""
    text = "sky,0,200,30\nroad,200,0,0\n"
    dataset, problems = with_classes(tmp_path, text, (0, 1), palette=[RED, GREEN])
    assert problems == [] and stripes(dataset) == [1, 0]


def test_declared_colours_may_be_for_drawing_alone(tmp_path):
    text = "sky,0,200,30\nroad,200,0,0\n"
    dataset, problems = with_classes(tmp_path, text, (0, 1))
    assert problems == [] and dataset.colours is None
    assert stripes(dataset) == [0, 1] and dataset.label_map.palette == (GREEN, RED)


def test_declared_black_and_white(tmp_path):
    dataset, problems = with_classes(tmp_path, "off,255,255,255\non,0,0,0\n", (0, 255))
    assert problems == [] and stripes(dataset) == [1, 0]


def test_colours_that_the_classes_file_does_not_have(tmp_path):
    write_masks(tmp_path, (BLACK, RED, GREEN))
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    message = error_of(tmp_path)
    assert message == (
        f"{tmp_path / 'masks/0.png'}, {tmp_path / 'classes.txt'}: the masks hold colours, and "
        "classes.txt does not say which mean which class: give each class its colour there; the "
        "masks have (0, 0, 0), (0, 200, 30), (200, 0, 0)"
    )
    dataset, problems = loaded(tmp_path)  # goes on with what the masks say
    assert [p.rule for p in problems if p.severity == "error"] == ["colour-mask"]
    assert stripes(dataset) == [0, 2, 1]


def test_yaml_declares_ids_and_void(tmp_path):
    pytest.importorskip("yaml")
    text = "classes:\n- wall\n- {name: crack, id: 200}\nignore: [100]\n"
    dataset, problems = with_classes(tmp_path, text, (0, 200, 100), name="classes.yaml")
    assert problems == [] and stripes(dataset) == [0, 1, VOID]
