import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tflite_models import Graph, Op, T, model_bytes, segmenter

from keras_bisenet.errors import UserError
from keras_bisenet.label_map import LabelMap
from keras_bisenet.lite.metadata import add_metadata
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.lite.record import DeploymentRecord, read_record
from keras_bisenet.lite.standard_metadata import read_standard_metadata
from keras_bisenet.version import __version__

LABELS = LabelMap(
    ("Sky", "Road", "Tree", "Car", "Sign post"),
    ((128, 128, 128), (128, 64, 128), (128, 128, 0), (64, 0, 128), (192, 128, 128)),
)
RECORD = DeploymentRecord(
    model="bisenetv2",
    target="coral",
    precision="int8",
    dataset="camvid",
    label_map=LABELS,
    input_height=8,
    input_width=12,
    output_kind="logits",
    output_stride=2,
    miou=0.61,
    split="val",
)
JSON = {
    "format": 1,
    "generator": f"keras-bisenet {__version__}",
    "model": "bisenetv2",
    "target": "coral",
    "precision": "int8",
    "dataset": "camvid",
    "miou": 0.61,
    "split": "val",
    "miou_of": None,
    "input": {
        "height": 8,
        "width": 12,
        "scale": 0.00392156862745098,
        "offset": 0.0,
        "fit": "scale to fit, pad right and bottom with black",
    },
    "output": {"kind": "logits", "stride": 2},
    "classes": [
        {"name": "Sky", "color": [128, 128, 128]},
        {"name": "Road", "color": [128, 64, 128]},
        {"name": "Tree", "color": [128, 128, 0]},
        {"name": "Car", "color": [64, 0, 128]},
        {"name": "Sign post", "color": [192, 128, 128]},
    ],
}


def with_files(flatbuffer: bytes, method=zipfile.ZIP_STORED, **contents) -> bytes:
    archive = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(archive, "a", method) as files:
        for name, content in contents.items():
            files.writestr(f"{name}.json", content)
    return archive.getvalue()


def error_of(data, read=read_record) -> str:
    with pytest.raises(UserError) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_record_as_json():
    assert RECORD.to_json() == JSON
    assert DeploymentRecord.from_json(json.loads(json.dumps(JSON))) == RECORD
    unmeasured = replace(RECORD, miou=None, split=None, output_kind="class_ids", output_stride=1)
    assert DeploymentRecord.from_json(unmeasured.to_json()) == unmeasured
    of_float = replace(RECORD, miou_of="the float32 model")
    assert DeploymentRecord.from_json(of_float.to_json()) == of_float
    older = {name: value for name, value in JSON.items() if name != "miou_of"}
    assert DeploymentRecord.from_json(older) == RECORD


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 0}, "it is of format 0, which this version does not read"),
        ({"model": None}, "its 'model' makes no sense"),
        ({"miou": float("nan")}, "its 'miou' makes no sense"),
        ({"miou": True}, "its 'miou' makes no sense"),
        ({"miou_of": 3}, "its 'miou_of' makes no sense"),
        ({"classes": []}, "a label map has 1 to 255 classes, not 0"),
        ({"classes": [{"name": "a", "color": [1, 2]}]}, "a class colour is not three numbers"),
        ({"classes": [{"name": "a", "color": [1, 2, 256]}]}, "a class colour is not three"),
        ({"input": {**JSON["input"], "height": 0}}, "a size of 0 makes no sense"),
        ({"input": {**JSON["input"], "height": 10**9}}, "a size of 1000000000 makes no sense"),
        ({"input": {**JSON["input"], "scale": 0}}, "its input scale is 0"),
        ({"input": {"height": 8}}, "it has no 'width'"),
        ({"output": {"kind": "boxes", "stride": 1}}, "its output is of the unknown kind 'boxes'"),
    ],
)
def test_records_that_make_no_sense(change, reason):
    data = with_files(segmenter(), keras_bisenet=json.dumps({**JSON, **change}))
    assert error_of(data).startswith(f"model: its metadata is damaged ({reason}")


def test_a_record_that_is_no_record():
    for content in ("[]", "", "{", "\xff", "[" * 100_000, "9" * 10_000, json.dumps("x")):
        assert "its metadata is damaged" in error_of(with_files(segmenter(), keras_bisenet=content))


def test_files_behind_the_model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(add_metadata(segmenter(), RECORD))
    with zipfile.ZipFile(path) as files:
        assert files.namelist() == ["labels.txt", "keras_bisenet.json"]
        assert files.testzip() is None
        assert files.read("labels.txt") == b"Sky\nRoad\nTree\nCar\nSign post\n"
        assert json.loads(files.read("keras_bisenet.json")) == JSON
        assert {entry.date_time[0] for entry in files.infolist()} == {1980}
        assert {entry.compress_type for entry in files.infolist()} == {zipfile.ZIP_STORED}
    assert read_record(path) == RECORD
    assert read_record(path.read_bytes()) == RECORD
    assert read_record(read_model_file(path)) == RECORD


def test_the_description_says_what_miou_was_measured_with():
    described = replace(RECORD, miou_of="the float32 model at 480x640")
    assert read_standard_metadata(add_metadata(segmenter(), described))["description"].endswith(
        "mIoU 0.6100 on its val split (the float32 model at 480x640)."
    )


def test_standard_metadata():
    assert read_standard_metadata(add_metadata(segmenter(), RECORD)) == {
        "name": "bisenetv2",
        "description": "Semantic segmentation into the 5 classes of camvid; int8, for coral. "
        "mIoU 0.6100 on its val split.",
        "version": f"keras-bisenet {__version__}",
        "min_parser_version": "1.5.0",
        "files": [
            {
                "name": "keras_bisenet.json",
                "description": "Deployment record of keras-bisenet.",
                "type": "description",
            }
        ],
        "inputs": [
            {
                "name": "image",
                "description": "RGB image of 8x12 (height x width) pixels. "
                "Other sizes: scale to fit, pad right and bottom with black.",
                "content": "image",
                "mean": [0.0],
                "std": [255.0],
                "min": [-128.0],
                "max": [127.0],
            }
        ],
        "outputs": [
            {
                "name": "segmentation_masks",
                "description": "Score (logit) of each class for every 2x2 pixels of the input; "
                "the highest wins.",
                "content": "image",
                "files": [
                    {
                        "name": "labels.txt",
                        "description": "Class names in the order of their ids.",
                        "type": "axis labels",
                    }
                ],
            }
        ],
    }


def test_standard_metadata_of_other_types():
    def of(model, **changes):
        return read_standard_metadata(add_metadata(model, replace(RECORD, **changes)))

    image = of(segmenter("FLOAT32"))["inputs"][0]
    assert (image["min"], image["max"]) == ([0.0], [1.0])
    image = of(segmenter("UINT8"))["inputs"][0]
    assert (image["min"], image["max"]) == ([0.0], [255.0])
    # (pixel - mean) / std is the same as pixel * scale + offset.
    image = of(segmenter("FLOAT32"), input_scale=1 / 127.5, input_offset=-1.0)["inputs"][0]
    assert (image["mean"], image["std"]) == ([127.5], [127.5])
    assert (image["min"], image["max"]) == ([-1.0], [1.0])
    ids = of(segmenter(), output_kind="class_ids", output_stride=1, miou=None)
    assert ids["min_parser_version"] == "1.0.0"
    assert ids["outputs"][0]["files"][0]["type"] == "value labels"
    assert "mIoU" not in ids["description"]


def test_the_published_layout():
    """The bytes at the places where the published schema has them, read without our reader."""
    contents = bytes(read_model_file(add_metadata(segmenter(), RECORD)).metadata["TFLITE_METADATA"])

    def field(table, slot):
        vtable = table - int.from_bytes(contents[table : table + 4], "little", signed=True)
        offset = int.from_bytes(contents[vtable + 4 + 2 * slot :][:2], "little")
        assert offset
        return table + offset

    def follow(place):
        return place + int.from_bytes(contents[place : place + 4], "little")

    def text(place):
        length = int.from_bytes(contents[follow(place) :][:4], "little")
        return contents[follow(place) + 4 :][:length].decode()

    def first(place):
        return follow(follow(place) + 4)

    assert contents[4:8] == b"M001"
    root = follow(0)
    assert text(field(root, 0)) == "bisenetv2"  # ModelMetadata.name
    assert text(field(root, 7)) == "1.5.0"  # .min_parser_version
    graph = first(field(root, 3))  # .subgraph_metadata
    output = first(field(graph, 3))  # SubGraphMetadata.output_tensor_metadata
    labels = first(field(output, 6))  # TensorMetadata.associated_files
    assert text(field(labels, 0)) == "labels.txt"
    assert contents[field(labels, 2)] == 2  # TENSOR_AXIS_LABELS
    content = follow(field(output, 3))  # TensorMetadata.content
    assert contents[field(content, 0)] == 2  # ImageProperties
    assert contents[field(follow(field(content, 1)), 0)] == 2  # GRAYSCALE
    custom = first(field(graph, 9))  # SubGraphMetadata.custom_metadata
    assert text(field(custom, 0)) == "SEGMENTER_METADATA"
    data = follow(field(custom, 1)) + 4
    assert data % 16 == 0
    assert contents[data + 4 : data + 8] == b"V001"


@pytest.mark.parametrize("dtype", ["INT8", "UINT8", "FLOAT32"])
def test_the_model_stays_as_it_is(dtype):
    plain = segmenter(dtype)
    model = read_model_file(add_metadata(plain, RECORD))
    assert plain in model.data
    before = read_model_file(plain)
    assert model.main.operators == before.main.operators
    assert list(model.metadata) == ["TFLITE_METADATA"]
    for old, new in zip(before.main.tensors, model.main.tensors):
        assert replace(new, data_offset=0) == replace(old, data_offset=0)
        assert new.data_offset % 16 == 0
        if old.is_constant:
            np.testing.assert_array_equal(model.array(new), before.array(old))


@pytest.mark.parametrize("dtype", ["INT8", "UINT8", "FLOAT32"])
def test_the_same_answers_with_metadata(dtype):
    plain = segmenter(dtype)
    np.testing.assert_array_equal(answer(plain), answer(add_metadata(plain, RECORD)))


def answer(model: bytes) -> np.ndarray:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    image, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    values = np.random.default_rng(0).integers(0, 100, image["shape"]).astype(image["dtype"])
    interpreter.set_tensor(image["index"], values)
    interpreter.invoke()
    result = interpreter.get_tensor(output["index"])
    assert len(np.unique(result)) > 20
    return result


def test_other_entries_stay():
    plain = model_bytes(
        Graph([T("image", (1, 8, 12, 3))], [Op("NEG", (0,), (0,))], (0,), (0,)),
        metadata={"min_runtime_version": b"2.5.0", "TFLITE_METADATA": b"another program's"},
    )
    model = read_model_file(add_metadata(plain, RECORD))
    assert list(model.metadata) == ["min_runtime_version", "TFLITE_METADATA"]
    assert bytes(model.metadata["min_runtime_version"]) == b"2.5.0"
    assert bytes(model.metadata["TFLITE_METADATA"][4:8]) == b"M001"
    assert model.description == "by hand"


def test_metadata_is_replaced():
    measured = replace(RECORD, miou=0.7)
    once = add_metadata(segmenter(), measured)
    again = add_metadata(add_metadata(segmenter(), RECORD), measured)
    assert again == once
    assert read_record(again) == measured
    with zipfile.ZipFile(io.BytesIO(again)) as files:
        assert files.namelist() == ["labels.txt", "keras_bisenet.json"]


def test_an_archive_of_another_program_is_replaced():
    other = with_files(segmenter(), zipfile.ZIP_DEFLATED, theirs="{}")
    assert add_metadata(other, RECORD) == add_metadata(segmenter(), RECORD)


def test_the_same_bytes_in_every_process():
    program = (
        "import hashlib\n"
        "from test_metadata import RECORD, add_metadata, segmenter\n"
        "print(hashlib.sha256(add_metadata(segmenter(), RECORD)).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path), "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(hashes) == 1


def test_records_of_another_model():
    with pytest.raises(ValueError, match=r"the record is of an input of 384x480, the model's is"):
        add_metadata(segmenter(), replace(RECORD, input_height=384, input_width=480))
    two = model_bytes(Graph([T("a", (1,)), T("b", (1,))], [], (0, 1), (0,)))
    with pytest.raises(ValueError, match="2 inputs and 1 outputs, not one"):
        add_metadata(two, RECORD)
    with pytest.raises(UserError, match="not a TFLite model"):
        add_metadata(b"something else", RECORD)


def test_models_that_are_too_large():
    tensors = [T("image", (1, 8, 12, 3)), T("weights", (3,), "INT8", np.int8([0, 0, 0]))]
    flatbuffer = model_bytes(Graph(tensors, [], (0,), (0,)), external=[(1000, 3)])
    with pytest.raises(UserError, match="a model of more than 2 GB cannot take metadata"):
        add_metadata(flatbuffer.ljust(1003, b"\0"), RECORD)


def test_class_names_take_one_line_each():
    record = replace(RECORD, label_map=replace(LABELS, names=("a\nb", "c", " d ", "e", "f")))
    data = add_metadata(segmenter(), record)
    with zipfile.ZipFile(io.BytesIO(data)) as files:
        assert files.read("labels.txt") == b"a b\nc\nd\ne\nf\n"
    assert read_record(data) == record


def test_files_without_a_record():
    assert read_record(segmenter()) is None
    assert read_standard_metadata(segmenter()) == {}
    assert read_record(with_files(segmenter(), theirs="{}")) is None


def test_a_record_that_was_cut_off():
    data = add_metadata(segmenter(), RECORD)
    assert error_of(data[:-1]) == (
        "model: its metadata is damaged (keras_bisenet.json is missing behind the model); "
        "convert, or copy, it again"
    )
    assert "keras_bisenet.json is damaged" in error_of(data.replace(b'"camvid"', b'"camvud"'))


def test_archives_that_are_too_much():
    large = json.dumps({**JSON, "padding": " " * (2 << 20)})
    packed = with_files(segmenter(), zipfile.ZIP_DEFLATED, keras_bisenet=large)
    assert len(packed) < 20_000
    assert "keras_bisenet.json is too large" in error_of(packed)
    packed = with_files(segmenter(), zipfile.ZIP_BZIP2, keras_bisenet=json.dumps(JSON))
    assert "keras_bisenet.json is compressed by an unknown method" in error_of(packed)
    packed = with_files(segmenter(), zipfile.ZIP_DEFLATED, keras_bisenet=json.dumps(JSON))
    assert read_record(packed) == RECORD


def test_damaged_metadata():
    data = add_metadata(segmenter(), RECORD)
    model_start = data.index(b"TFL3", 8)
    outcomes = Counter()
    for seed in range(200):
        rng = random.Random(seed)
        damaged = bytearray(data)
        # Before the model is its metadata, behind it the archive.
        places = [*range(8, model_start), *range(model_start + len(segmenter()), len(data))]
        for _ in range(rng.choice((1, 2, 8))):
            damaged[rng.choice(places)] = rng.choice((0, 1, 127, 128, 255))
        for read in (read_record, read_standard_metadata):
            try:
                json.dumps(read(bytes(damaged)), default=repr, allow_nan=False)
                outcomes["read"] += 1
            except UserError:
                outcomes["refused"] += 1
    assert outcomes["read"] > 40 and outcomes["refused"] > 40


def test_damaged_metadata_of_another_program():
    for contents in (b"", b"\0" * 7, b"\x10\0\0\0M002" + bytes(20), b"\xff" * 4 + b"M001"):
        plain = model_bytes(
            Graph([T("t", (1,))], [], (0,), (0,)), metadata={"TFLITE_METADATA": contents}
        )
        if contents:
            assert "its metadata is damaged" in error_of(plain, read_standard_metadata)
            assert read_record(plain) is None
        else:
            assert read_standard_metadata(plain) == {}
