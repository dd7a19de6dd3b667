"""A model and a data set: the same classes in another order are mapped, others are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dataset_layouts import write_image, write_mask

from keras_bisenet.data import load_dataset
from keras_bisenet.data.class_agreement import with_classes_of
from keras_bisenet.errors import UserError

COLOURS = {"bg": (0, 0, 0), "cat": (200, 0, 0), "dog": (0, 200, 30)}
IDS = {"bg": 0, "cat": 1, "dog": 2}


@pytest.fixture(params=["ids", "colours", "shards"])
def make(request, tmp_path):
    """A function that writes a data set whose classes are in some order, void last."""

    def make(*order):
        for number in range(2):
            write_image(tmp_path / "images" / f"{number}.png", number)
            values = COLOURS if request.param == "colours" else IDS
            void = (9, 9, 9) if request.param == "colours" else 255
            write_mask(tmp_path / "masks" / f"{number}.png", (*values.values(), void))
        lines = ["name,id,r,g,b", "void,255,9,9,9"]
        for name in order:
            lines.append(f"{name},{IDS[name]},{','.join(map(str, COLOURS[name]))}")
        (tmp_path / "classes.csv").write_text("\n".join(lines))
        if request.param != "shards":
            return load_dataset("folder", tmp_path)
        from keras_bisenet.data.shards import pack

        packed = tmp_path / "-".join(order)
        pack(load_dataset("folder", tmp_path), packed)
        return load_dataset("shards", packed)

    return make


def names_of_stripes(dataset):
    (sample,) = dataset.split("train")
    column = dataset.read(sample)[1][:, 0]
    ids = column[np.flatnonzero(np.diff(column, prepend=-1))]
    return [(*dataset.label_map.names, *["void"] * 256)[i] for i in ids], ids.tolist()


@pytest.mark.parametrize("order", [("bg", "dog", "cat"), ("dog", "cat", "bg")])
def test_another_order_is_mapped_and_said(make, order, capsys, tmp_path):
    dataset = make(*order)
    assert names_of_stripes(dataset)[0] == ["bg", "cat", "dog", "void"]
    mapped = with_classes_of(dataset, ("bg", "cat", "dog"), tmp_path)
    assert names_of_stripes(mapped) == (["bg", "cat", "dog", "void"], [0, 1, 2, 255])
    assert mapped.label_map.palette == tuple(COLOURS.values())
    said = capsys.readouterr().err
    assert f"({', '.join(order)}; bg, cat, dog): they are matched by name" in said


def test_the_same_classes_are_left_alone(make):
    dataset = make("bg", "dog", "cat")
    assert with_classes_of(dataset, ("bg", "dog", "cat"), "runs/a") is dataset
    assert with_classes_of(dataset, None, "model.tflite") is dataset


def test_names_are_compared_as_people_see_them(make):
    dataset = make("bg", "dog", "cat")
    own = dataclasses.replace(dataset.label_map, names=("bg", "caf\u00e9", "cat"))
    dataset = dataclasses.replace(dataset, label_map=own)
    assert with_classes_of(dataset, ("bg", "cafe\u0301", "cat\u200b"), "runs/a") is dataset
    mapped = with_classes_of(dataset, ("cafe\u0301", "bg", "cat"), "runs/a")
    assert mapped.label_map.names == ("caf\u00e9", "bg", "cat")


def test_other_classes_are_refused(make, capsys, tmp_path):
    dataset = make("bg", "dog", "cat")
    with pytest.raises(UserError) as caught:
        with_classes_of(dataset, ("bg", "wolf", "cat"), "runs/a")
    assert str(caught.value) == (
        f"runs/a: its classes are not those of {dataset.name}, which has 'dog' for 'wolf': choose "
        "the data set that it was trained on, or compare by number with --any-classes"
    )
    assert with_classes_of(dataset, ("bg", "wolf", "cat"), tmp_path, any_classes=True) is dataset
    assert "compared by number, and the data set has 'dog' for 'wolf'" in capsys.readouterr().err
    with pytest.raises(UserError, match="tells 2 classes apart, the data set has 3"):
        with_classes_of(dataset, ("bg", "dog"), "runs/a", any_classes=True)
