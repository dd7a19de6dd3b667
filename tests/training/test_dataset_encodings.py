"""`folder`: what masks, classes files and images mean, read rightly or refused, never guessed."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from dataset_layouts import striped, write_image, write_mask
from PIL import Image

from keras_bisenet.data import load_dataset
from keras_bisenet.data.check import check_dataset
from keras_bisenet.data.classes_file import read_classes_file
from keras_bisenet.data.dataset import Sample
from keras_bisenet.data.masks import read_mask
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID

RED, BLACK, GREEN = (200, 0, 0), (0, 0, 0), (0, 200, 30)


def loaded(directory):
    problems = []
    return load_dataset("folder", directory, problems.append), problems


def error_of(directory) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset("folder", directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_masks(directory, *masks):
    for number, values in enumerate(masks):
        write_image(directory / "images" / f"{number}.png", number)
        if isinstance(values, np.ndarray):
            (directory / "masks").mkdir(exist_ok=True)
            Image.fromarray(values).save(directory / "masks" / f"{number}.png")
        else:
            write_mask(directory / "masks" / f"{number}.png", values)
    return directory


def class_names_of_stripes(dataset, stem):
    """Names of a mask's stripes, from the top, with `void`."""
    samples = (sample for samples in dataset.splits.values() for sample in samples)
    column = dataset.read(next(s for s in samples if s.image.stem == stem))[1][:, 0]
    ids = column[np.flatnonzero(np.diff(column, prepend=-1))]
    return [(*dataset.label_map.names, *["void"] * 256)[i] for i in ids]


# === Palettes that differ from file to file ===


def write_with_palettes(directory, *masks):
    for number, (values, palette) in enumerate(masks):
        write_image(directory / "images" / f"{number}.png", number)
        write_mask(directory / "masks" / f"{number}.png", values, palette=palette)


def test_palettes_that_number_the_same_colours_otherwise_are_read_by_colour(tmp_path):
    write_with_palettes(tmp_path, ((0, 1, 2), [BLACK, RED, GREEN]), ((0, 1), [BLACK, GREEN]))
    dataset, _ = loaded(tmp_path)
    assert class_names_of_stripes(dataset, "0") == ["#000000", "#c80000", "#00c81e"]
    assert class_names_of_stripes(dataset, "1") == ["#000000", "#00c81e"]
    (tmp_path / "classes.csv").write_text("name,r,g,b\nbg,0,0,0\ndog,0,200,30\ncat,200,0,0\n")
    dataset, _ = loaded(tmp_path)
    assert class_names_of_stripes(dataset, "0") == ["bg", "cat", "dog"]
    assert class_names_of_stripes(dataset, "1") == ["bg", "dog"]


def test_palettes_that_differ_and_leave_the_classes_open(tmp_path):
    write_with_palettes(tmp_path, ((0, 1), [BLACK, RED]), ((0, 1), [BLACK, GREEN]))
    assert "1.png: the mask's palette shows the id 1 in the colour (0, 200, 30)" in error_of(
        tmp_path
    )
    (tmp_path / "classes.csv").write_text("name,id\nbg,0\ncat,1\n")
    assert "and (200, 0, 0) is its colour in 0.png" in error_of(tmp_path)


def test_a_palette_that_differs_where_nobody_looked(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_bisenet.data.mask_encoding.SCANNED", 2)
    same = ((0, 1, 2), [BLACK, RED, GREEN])
    write_with_palettes(tmp_path, same, ((0, 1), [BLACK, GREEN]), same)
    dataset, _ = loaded(tmp_path)
    with pytest.raises(UserError, match="1.png: the mask's palette shows the id 1 in the colour"):
        class_names_of_stripes(dataset, "1")
    assert class_names_of_stripes(dataset, "2") == ["class 0", "class 1", "class 2"]


def test_a_palette_that_contradicts_the_classes_file(tmp_path):
    write_with_palettes(tmp_path, ((0, 1, 2), [BLACK, GREEN, (9, 9, 90)]))
    (tmp_path / "classes.csv").write_text(
        "name,id,r,g,b\nbg,0,0,0,0\ncat,1,200,0,0\ndog,2,0,200,30\n"
    )
    assert error_of(tmp_path) == (
        f"{tmp_path / 'classes.csv'}: the masks' palette shows the id 1 in the colour (0, 200, "
        "30), which classes.csv gives to dog (id 2): give each class the id, or all colours, that "
        "the masks have"
    )


# === Classes files ===


def declared(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {each.id: each.name for each in read_classes_file(path).classes}


def test_numbers_as_names_are_names(tmp_path):
    assert declared(tmp_path, "classes.yaml", "names: {0: 7, 1: 9}\n") == {0: "7", 1: "9"}
    assert declared(tmp_path, "classes.yaml", "names: {a7: 1, a9: 0}\n") == {1: "a7", 0: "a9"}


THREE = {0: "background", 1: "cat", 2: "dog"}
PBTXT = """# mine
item {
  id: 2
  name: 'dog'
}
item { name: "cat" id: 1 }
item { name: '/m/0', id: 0, display_name: 'background' }
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.csv", "name\nbackground\ncat\ndog\n"),
        ("classes.txt", "label\nbackground\ncat\ndog\n"),
        ("classes.txt", "cat 1\ndog 2\nbackground 0\n"),
        ("classes.txt", "cat: 1\ndog: 2\nbackground: 0\n"),
        ("classes.csv", "dog,2\nbackground,0\ncat,1\n"),
        ("classes.csv", "Label_Names\nbackground\ncat\ndog\n"),
        ("classes.csv", "Class Name|Class ID\nbackground|0\ndog|2\ncat|1\n"),
        ("classes.txt", "background (0)\ndog [2]\ncat (1)\n"),
        ("classes.txt", "1. cat\n2. dog\n0. background\n"),
        ("classes.txt", "cat|1\ndog|2\nbackground|0\n"),
        ("classes.txt", "background # what is left\ncat\ndog\n"),
        (
            "classes.csv",
            "name,id,r,g,b,a\ncat,1,9,0,0,5\ndog,2,0,9,0,5\nbackground,0,0,0,0,5",
        ),
        ("classes.txt", "2=dog\n0=background\n1=cat\n"),
        ("classes.csv", "class_name,class_id,note\ncat,1,furry\ndog,2,\nbackground,0,\n"),
        ("labels.txt", "__ignore__\nbackground\ncat\ndog\n"),
        ("class_names.txt", "background\ncat\ndog"),
        ("data.yaml", "nc: 3\nnames: [background, cat, dog]\ntrain: images\n"),
        ("data.yaml", "names:\n  0: background\n  2: dog\n  1: cat\n"),
        ("classes.yaml", "- {label: background, index: 0}\n- {name: cat, value: 1}\n- dog\n"),
        ("classes.txt", "background\ncat\ndog\n".encode("utf-16")),
        ("classes.txt", "// mine\n  # all\n\u200bbackground\xa0\r\ncat\0\ndog\n".replace("\0", "")),
        ("classes.csv", 'name,id\n"background",0\n"dog\n",2\ncat,1\n'),
        ("classes.txt", "Klasse\nbackground\ncat\ndog\n"),
        ("classes.csv", "sep=;\nname;id\nbackground;0.0\ncat;1.0\ndog;2.0\n"),
        ("classes.yaml", "classes: [background, cat, dog, hen]\nignore: [hen]\n"),
        ("CLASSES.TXT", "background\ncat\ndog\n"),
        ("labels.csv", "Pixel Value, Class\n0, background\n2, dog\n1, cat\n"),
        ("classes.json", '["background", "cat", "dog"]'),
        ("classes.json", '{"cat": 1, "dog": 2, "background": 0}'),
        ("id2label.json", '{"0": "background", "2": "dog", "1": "cat"}'),
        ("label_map.pbtxt", PBTXT),
        ("classes.txt", "#000000 background\n#ff0000 cat\n#00ff00 dog\n"),
    ],
)
def test_classes_files_say_the_same(tmp_path, name, text):
    assert declared(tmp_path, name, text) == THREE


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "cat 1\ndog 2\nbackground\n", "'background' can be read in several ways"),
        ("classes.txt", "id name\n0 background\n1 cat\n", "'id name' can be read in several ways"),
        ("classes.csv", "cat,1,2\ndog,2,3\n", "'cat,1,2' can be read in several ways"),
        ("classes.csv", "cat,9,9,9,255\ndog,8,8,8,255\n", "can be read in several ways"),
        ("classes.csv", "name,code\ncat,2\ndog,1\n", "what 'code' means is not known: call it id"),
        ("classes.csv", "name,id\na, b,1\n", "more columns than the header names"),
        ("classes.yaml", "- {name: cat, number_in_mask: 2}\n", "what 'number in mask' means is"),
        ("classes.yaml", "- yes\n- no\n", "YAML reads a class as True: put its name in quotes"),
        ("data.yaml", "nc: 2\nnames: [a, b, c]\n", "nc is 2, and there are 3 names: mend one"),
        ("data.yaml", "names:\n  0: a\n  1: b\n  1: c\n", "the key 1 is there twice"),
        ("classes.json", '{"0": "a", "1": "b", "1": "c"}', "the key 1 is there twice"),
        ("classes.json", '["a", null]', "JSON reads a class as None: put its name in quotes"),
        ("classes.json", '["a", "b"', "no JSON that can be read"),
        ("classes.txt", "3\nbackground\ncat\ndog\n", "'3' can be read in several ways"),
        ("classes.txt", "background\ncafé\ncafe\u0301\n", "the name café is there twice"),
        ("classes.txt", "background\ncat\n".encode("utf-16-le"), "not a text file in UTF-8"),
        ("label_map.pbtxt", "item { name: 'cat' }", "an item without name or id"),
        ("label_map.pbtxt", PBTXT + "item { name: 'hen' id: 3", "an item without an end"),
    ],
)
def test_classes_files_that_can_be_read_in_two_ways(tmp_path, name, text, message):
    with pytest.raises(UserError) as caught:
        declared(tmp_path, name, text)
    assert message in str(caught.value) and str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("__ignore__\nbg\ncat\ndog\n", (0, 1, 2, 255), ["bg", "cat", "dog", "void"]),
        ("void\nbg\ncat\ndog\n", (0, 1, 2, 3), ["void", "bg", "cat", "dog"]),
        ("bg\nignore\ncat\n", (0, 1, 2, 255), ["bg", "void", "cat", "void"]),
        ("bg\ncat\nvoid\n", (0, 1, 255), ["bg", "cat", "void"]),
        ("void\nbg\ncat\ndog\n", (0, 1, 2, 255), None),
        ("__ignore__\nbg\ncat\ndog\n", (0, 1, 2, 3), None),
        ("bg\nignore\ncat\n", (0, 1, 255), None),
    ],
)
def test_a_void_name_before_classes_without_ids(tmp_path, text, values, expected):
    write_masks(tmp_path, values)
    (tmp_path / "classes.txt").write_text(text)
    if expected:
        assert class_names_of_stripes(loaded(tmp_path)[0], "0") == expected
    else:
        assert "stands before classes without ids" in error_of(tmp_path)


@pytest.mark.parametrize(
    "name", ["labels.txt", "class_names.txt", "label_class_dict.csv", "codes.txt"]
)
def test_files_that_tools_write_are_read(tmp_path, name):
    write_masks(tmp_path, (0, 1, 2))
    text = "name,r,g,b\nbg,0,0,0\ncat,9,0,0\ndog,0,9,0\n" if "csv" in name else "bg\ncat\ndog\n"
    (tmp_path / name).write_text(text)
    assert loaded(tmp_path)[0].label_map.names == ("bg", "cat", "dog")


@pytest.mark.parametrize(
    ("text", "values", "names"),
    [
        ("1 cat\n2 dog\n", (0, 1, 2), ("background", "cat", "dog")),
        ("1 cat\n2 dog\n", (0, 2, 255), ("background", "cat", "dog")),
        ("1 cat\n2 dog\n3 hen\n", (0, 1, 2), None),  # off by one, or no hen here
        ("1 background\n2 cat\n", (0, 1, 2), None),
    ],
)
def test_a_background_below_ids_from_1_on(tmp_path, text, values, names):
    write_masks(tmp_path, values, values)
    (tmp_path / "classes.txt").write_text(text)
    dataset, problems = loaded(tmp_path)
    told = [problem.message for problem in problems if problem.rule == "inferred-classes"]
    if names:
        assert dataset.label_map.names == names
        assert (
            told == ["classes: 0 background, 1 cat, 2 dog (inferred from 2 masks)"] or 255 in values
        )
        assert told and class_names_of_stripes(dataset, "0")[0] == "background"
    else:
        with pytest.raises(UserError, match="the mask holds ids 0, which are none"):
            dataset.read(dataset.split("train")[0])


def test_a_classes_file_among_the_masks(tmp_path):
    write_masks(tmp_path, (0, 1, 2))
    (tmp_path / "masks" / "classes.txt").write_text("bg\ncat\ndog\n")
    assert loaded(tmp_path)[0].label_map.names == ("bg", "cat", "dog")


def test_a_link_to_no_classes_file(tmp_path):
    write_masks(tmp_path, (0, 1, 2))
    (tmp_path / "classes.txt").symlink_to("nowhere")
    assert error_of(tmp_path).startswith(f"{tmp_path / 'classes.txt'}: No such file")


def test_the_annotations_of_images_are_no_classes_file(tmp_path):
    write_masks(tmp_path, (0, 1, 2))
    (tmp_path / "labels.json").write_text('{"images": [], "categories": [{"id": 1}]}')
    assert loaded(tmp_path)[0].label_map.names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    "name", ["label_map.xml", "categories.json", "my_classes.txt", "obj.names"]
)
def test_files_that_nobody_reads_are_named(tmp_path, name):
    write_masks(tmp_path, (0, 1, 2))
    (tmp_path / name).write_text("cat dog")
    (warning,) = [p for p in loaded(tmp_path)[1] if p.rule == "unread-file"]
    assert warning.files == (tmp_path / name,)


def test_a_list_of_files_is_no_classes_file(tmp_path):
    write_masks(tmp_path, (0, 1, 2))
    (tmp_path / "labels.txt").write_text("masks/0.png\nmasks/1.png\n")
    assert loaded(tmp_path)[0].label_map.names == ("class 0", "class 1", "class 2")


# === Numbers of few bits, and files of several pictures ===


def write_png(path, pixels, bits):
    """A grey PNG of 2 or 4 bits, or an RGB one of 16, which Pillow does not write."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    height, width = pixels.shape
    lowest = np.unpackbits(pixels[..., None], axis=2)[..., max(0, 8 - bits) :]
    rows = np.packbits(lowest.reshape(height, -1), axis=1)
    if bits == 16:
        rows = np.repeat(pixels[..., None], 3, axis=-1).astype(">u2").reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, bits, 2 if bits == 16 else 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("text", ["bg\ncat\ndog\n", "bg,0,0,0\ncat,9,0,0\ndog,0,9,0\n", None])
def test_ids_of_2_and_4_bits(tmp_path, bits, text):
    write_masks(tmp_path, (0, 1, 2), (0, 1, 2))
    write_png(tmp_path / "masks" / "0.png", striped((2, 0, 1)), bits)
    if text:
        (tmp_path / "classes.txt").write_text(text)
    names = ["bg", "cat", "dog"] if text else ["class 0", "class 1", "class 2"]
    dataset, _ = loaded(tmp_path)
    assert list(dataset.label_map.names) == names
    assert class_names_of_stripes(dataset, "0") == [names[2], *names[:2]]
    assert class_names_of_stripes(dataset, "1") == names


def test_colours_of_16_bits_are_refused(tmp_path):
    write_masks(tmp_path, (0, 1), (0, 1))
    path = tmp_path / "masks" / "0.png"
    write_png(path, striped((0, 1)), 16)
    message = f"{path}: a mask of several channels of 16 bits: save it with 8 bits per channel"
    with pytest.raises(UserError) as caught:
        read_mask(path)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("suffix", [".tif", ".gif"])
def test_a_file_of_several_masks_is_refused(tmp_path, suffix):
    write_masks(tmp_path, (0, 1), (0, 1))
    pages = [Image.fromarray(striped(values)) for values in ((0, 1), (1, 0))]
    (tmp_path / "masks" / "0.png").unlink()
    path = tmp_path / "masks" / f"0{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(UserError) as caught:
        loaded(tmp_path)[0].read_raw(Sample(path, path))
    assert str(caught.value) == f"{path}: a file of 2 pictures: save the mask as a file of its own"


def test_a_preview_beside_a_mask_is_none(tmp_path):
    pages = [Image.fromarray(striped((0, 1))), Image.fromarray(striped((0, 1), (8, 12)))]
    pages[0].save(tmp_path / "0.tif", save_all=True, append_images=pages[1:])
    assert (read_mask(tmp_path / "0.tif") == striped((0, 1))).all()


# === White in two forms ===


@pytest.mark.parametrize("text", ["background\ncat\n", None])
@pytest.mark.parametrize("one", [striped((0, 1)), striped((0, 1)).astype(bool)])
def test_masks_of_which_some_are_white_and_some_are_1(tmp_path, one, text):
    write_masks(tmp_path, (0, 255), one, (0,), (0, 255))
    if text:
        (tmp_path / "classes.txt").write_text(text)
    assert error_of(tmp_path).startswith(
        f"{tmp_path / 'masks' / '0.png'}, {tmp_path / 'masks' / '1.png'} and 1 more: some masks "
        "hold 0 and 255 alone, others 0 and 1 alone"
    )


@pytest.mark.parametrize(
    ("text", "masks"),
    [
        ("name,id\nbg,0\ncat,1\nvoid,255\n", [(0, 255), (0, 1)]),  # it is said
        ("name,id\nbg,0\ncat,1\n", [(0, 255), (0, 1), (0, 1, 255)]),  # void beside a class
        ("name,id\nbg,0\ncat,1\n", [(255,), (0, 1), (0, 1)]),  # nothing is labelled
    ],
)
def test_void_that_is_void(tmp_path, text, masks):
    write_masks(tmp_path, *masks)
    (tmp_path / "classes.csv").write_text(text)
    dataset = load_dataset("folder", tmp_path)
    assert class_names_of_stripes(dataset, "0")[-1] == "void"


def test_white_that_is_no_class_is_refused(tmp_path):
    write_masks(tmp_path, (0, 255), (0, 255))
    (tmp_path / "classes.csv").write_text("name,id\nbg,0\ncat,1\n")
    assert "255 is void, so that only one class is left: give the class" in error_of(tmp_path)
    (tmp_path / "classes.csv").write_text("name,id\nbg,0\ncat,1\nvoid,255\n")
    assert class_names_of_stripes(load_dataset("folder", tmp_path), "0") == ["bg", "void"]


# === Ids that are none ===


@pytest.mark.parametrize("damage", ["jpeg", "resize"])
def test_grey_levels_along_edges_are_no_classes(tmp_path, damage):
    masks = []
    for seed in range(3):
        image = Image.fromarray(striped((0, 120, 60)))
        image.paste(200, (5 + seed, 4, 25, 20))
        if damage == "jpeg":
            image.save(tmp_path / "mask.jpg", quality=75)
            masks.append(np.array(Image.open(tmp_path / "mask.jpg")))
        else:
            masks.append(
                np.array(image.rotate(17 + seed).resize((96, 64), Image.Resampling.BICUBIC))
            )
    write_masks(tmp_path, *masks)
    for path in (tmp_path / "images").iterdir():
        write_image(path, size=masks[0].shape)
    assert "most of them along edges alone, as after a JPEG or a smooth resize" in error_of(
        tmp_path
    )


def test_many_classes_are_classes(tmp_path):
    write_masks(tmp_path, tuple(range(16)), tuple(range(8, 16)))
    assert loaded(tmp_path)[0].label_map.num_classes == 16


@pytest.mark.parametrize("text", ["name,id\nbg,0\ncat,1\n", None])
def test_ids_in_the_red_channel_are_named(tmp_path, text):
    write_masks(tmp_path, striped([(0, 0, 0), (1, 0, 0), (7, 0, 0)]))
    if text:
        (tmp_path / "classes.csv").write_text(text)
    assert "0.png: the masks hold ids in the red channel alone, as CARLA's do" in error_of(tmp_path)


# === Empty and single values ===


@pytest.mark.parametrize("classes", [None, "name,id\nroad,0\nsky,1\n"])
def test_masks_that_are_white_all_over(tmp_path, classes):
    write_masks(tmp_path, (255,), (255,))
    if classes:
        (tmp_path / "classes.csv").write_text(classes)
        dataset, _ = loaded(tmp_path)
        with pytest.raises(UserError, match="every mask of train is void all over"):
            dataset.require_labels("train")
    else:
        assert error_of(tmp_path).startswith(
            f"{tmp_path}: the masks hold 255 alone, which is void: nothing in them is labelled. "
        )


def test_a_split_without_one_labelled_pixel(tmp_path):
    write_masks(tmp_path / "train", (0, 1), (0, 1))
    write_masks(tmp_path / "val", (255,), (255,))
    dataset, _ = loaded(tmp_path)
    dataset.require_labels("train")
    with pytest.raises(UserError) as caught:
        dataset.require_labels("val")
    assert str(caught.value) == (
        f"{tmp_path / 'val/masks'}: every mask of val is void all over, so that there is no pixel "
        "to count: label them, or use another split"
    )


@pytest.mark.parametrize(
    ("text", "values", "held"),
    [
        ("road\n", (0,), "the masks hold 0:"),
        ("name,id\ntunnel,0\n", (0, 255), "the masks hold 0, 255 (255 is void):"),
        ("name,id\nvoid,0\nroad,1\n", (0, 1), "the masks hold 0, 1:"),
        ("name,r,g,b\nroad,200,0,0\n", (RED,), "the masks hold colours:"),
    ],
)
def test_one_class(tmp_path, text, values, held):
    write_masks(tmp_path, values)
    (tmp_path / "classes.csv").write_text(text)
    message = error_of(tmp_path)
    assert message.startswith(f"{tmp_path / 'classes.csv'}: there is one class alone, ")
    assert held in message and "declare the others there" in message


# === Transparency ===


def rgba(colours, alpha):
    alpha = striped(alpha)
    colours = striped(colours)
    return np.dstack([colours, alpha])


def test_masks_in_the_alpha_channel(tmp_path):
    write_masks(tmp_path, rgba((BLACK,), (0, 255)), rgba((BLACK,), (255,)), rgba((BLACK,), (0,)))
    dataset, _ = loaded(tmp_path)
    assert dataset.label_map.file_ids == (0, 255)
    assert class_names_of_stripes(dataset, "0") == ["background", "foreground"]
    assert class_names_of_stripes(dataset, "1") == ["foreground"]
    assert class_names_of_stripes(dataset, "2") == ["background"]


def test_masks_with_colours_below_transparent_parts(tmp_path):
    mask = rgba((RED, GREEN, (7, 7, 77)), (255, 0, 0))
    write_masks(tmp_path, mask, mask)
    assert "the mask has parts that are transparent, with all kinds of colours" in error_of(
        tmp_path
    )


def test_a_transparent_background_of_one_colour_is_a_class(tmp_path):
    write_masks(tmp_path, rgba((BLACK, RED), (0, 255)), rgba((BLACK, RED), (255, 255)))
    dataset, _ = loaded(tmp_path)
    assert class_names_of_stripes(dataset, "0") == ["background", "foreground"]
    assert class_names_of_stripes(dataset, "1") == ["background", "foreground"]


def test_one_mask_in_the_alpha_channel_among_others(tmp_path):
    write_masks(tmp_path, (BLACK, RED), rgba((BLACK,), (0, 255)))
    assert "1.png: the mask has one colour alone, and its shape in the alpha" in error_of(tmp_path)


# === Colours that are off ===


def blurred(values):
    noise = np.random.default_rng(0).integers(-2, 3, (32, 48, 3))
    return np.clip(striped(values).astype(int) + noise, 0, 255).astype(np.uint8)


def test_colours_that_are_off_by_a_little(tmp_path):
    write_masks(tmp_path, blurred((BLACK, RED)))
    (tmp_path / "classes.csv").write_text("name,r,g,b\nbg,0,0,0\ncat,200,0,0\n")
    dataset, _ = loaded(tmp_path)
    with pytest.raises(UserError) as caught:
        class_names_of_stripes(dataset, "0")
    assert "(off by 2 at most from a class' colour): it was a JPEG once" in str(caught.value)


def test_nearly_equal_colours_are_no_classes(tmp_path):
    write_masks(tmp_path, (BLACK, RED, (201, 0, 0)), (BLACK, RED))
    assert "hold colours that are nearly equal, such as (200, 0, 0) and (201, 0, 0)" in error_of(
        tmp_path
    )


# === The range of images ===


@pytest.mark.parametrize(
    ("white", "form"), [(1023, "png"), (4095, "tif"), (16383, "png"), (1.0, "tif"), (255.0, "tif")]
)
def test_images_of_more_than_8_bits(tmp_path, white, form):
    """A dark image among bright ones stays dark."""
    for number, brightest in enumerate((1.0, 0.9, 0.1)):
        values = np.linspace(0, brightest * white, 32 * 48).reshape(32, 48)
        values = values.astype(np.float32 if isinstance(white, float) else np.uint16)
        write_mask(tmp_path / "masks" / f"{number}.png", (0, 1))
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "images" / f"{number}.{form}")
    dataset, problems = loaded(tmp_path)
    largest = {
        sample.image.stem: int(dataset.read(sample)[0].max())
        for samples in dataset.splits.values()
        for sample in samples
    }
    assert largest == {"0": 255, "1": pytest.approx(230, abs=1), "2": pytest.approx(26, abs=1)}
    told = [problem.message for problem in problems if problem.rule == "image-range"]
    assert told == ([] if white == 255 else [f"the images' values reach {white:g}, so {white:g} "
                                             "is taken for white"])  # fmt: skip


@pytest.mark.parametrize("rule", ["dark-image", "constant-image"])
def test_images_that_show_nothing_are_warned_of(tmp_path, rule):
    write_masks(tmp_path, *[(0, 1)] * 4)
    value = 3 if rule == "dark-image" else 120
    Image.new("RGB", (48, 32), (value, value, value)).save(tmp_path / "images" / "2.png")
    dataset, problems = loaded(tmp_path)
    (issue,) = [issue for issue in check_dataset(dataset, problems).issues if issue.rule == rule]
    assert issue.severity == "warning" and issue.files == (tmp_path / "images" / "2.png",)


def test_void_is_not_confused_by_palettes(tmp_path):
    """255 may have any colour: it is void in every file."""
    colours = [BLACK, RED] + [BLACK] * 253
    write_with_palettes(
        tmp_path, ((0, 1, 255), [*colours, GREEN]), ((0, 1, 255), [*colours, (9, 9, 9)])
    )
    dataset, _ = loaded(tmp_path)
    column = dataset.read(dataset.splits["train"][0])[1][:, 0]
    assert sorted(set(column.tolist())) == [0, 1, VOID]
