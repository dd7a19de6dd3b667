"""Small projects laid out as annotation tools export them, by their documentation.

Each function writes one below a directory: images `a` to `f` of 48x64, a road (a polygon) on each,
a car on top of it on most, and what else the tool has. It returns the masks that it means:
0 background, 1 road, 2 car, 255 void.
"""

from __future__ import annotations

import base64
import io
import json
import zlib

import numpy as np
from dataset_layouts import write_image
from PIL import Image, ImageDraw

HEIGHT, WIDTH = 48, 64
NAMES = "abcdef"
ROAD = [(4.0, 20.0), (58.0, 24.0), (60.0, 46.0), (2.0, 44.0)]
CAR = [(20, 26), (34, 26), (34, 36), (20, 36)]


def blank() -> np.ndarray:
    return np.zeros((HEIGHT, WIDTH), np.uint8)


def pillow(points, holes=()) -> np.ndarray:
    image = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(image)
    pen.polygon(points, fill=1, outline=1)
    for hole in holes:
        pen.polygon(hole, fill=0, outline=0)
    return np.array(image) > 0


def disc(y, x, radius) -> np.ndarray:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def flat(points) -> list[float]:
    return [float(value) for point in points for value in point]


# === COCO ===


def coco(directory):
    """As COCO is downloaded: two splits, polygons in parts, both encodings, a crowd."""
    from pycocotools import mask as masks

    truth = {}
    for split, names in (("train2017", NAMES[:4]), ("val2017", NAMES[4:])):
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 7, "name": "car"}, {"id": 3, "name": "road"}],
        }
        for number, name in enumerate(names):
            write_image(directory / split / f"{name}.jpg", ord(name), (HEIGHT, WIDTH))
            image = {"id": number, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH}
            content["images"].append(image)
            ring = disc(12, 50, 9) & ~disc(12, 50, 4)
            packed = masks.encode(np.asfortranarray(ring.astype(np.uint8)))
            crowd = disc(40, 10, 12)
            runs = np.flatnonzero(np.diff(crowd.T.reshape(-1), prepend=False, append=False))
            counts = np.diff([0, *runs, HEIGHT * WIDTH]).tolist()
            parts = [flat(CAR), flat([(x - 14, y - 20) for x, y in CAR])]
            regions = [
                (7, parts, 250.0, 0),  # the car comes first and is smaller
                (3, [flat(ROAD)], 1200.0, 0),
                (7, {"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()}, 200.0, 0),
                (3, {"size": [HEIGHT, WIDTH], "counts": counts}, 400.0, 1),
                (7, [], 30.0, 0),  # a box alone
            ]
            for category, region, area, is_crowd in regions:
                annotation = {
                    "id": len(content["annotations"]),
                    "image_id": number,
                    "category_id": category,
                    "segmentation": region,
                    "area": area,
                    "iscrowd": is_crowd,
                    "bbox": [0, 0, 9, 9],
                }
                content["annotations"].append(annotation)
            truth[name] = blank()
            truth[name][crowd] = 255
            for region, value in (([flat(ROAD)], 1), (parts, 2)):
                merged = masks.merge(masks.frPyObjects(region, HEIGHT, WIDTH))
                truth[name][masks.decode(merged) > 0] = value
            truth[name][ring] = 2
        path = directory / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        (directory / "annotations" / f"captions_{split}.json").write_text(
            json.dumps({**content, "annotations": [], "categories": []})
        )
    return truth


# === labelme ===


def labelme(directory):
    """Beside the images, with labels.txt; one image lies in its JSON file alone."""
    truth = {}
    (directory / "labels.txt").parent.mkdir(parents=True, exist_ok=True)
    (directory / "labels.txt").write_text("__ignore__\n_background_\nroad\ncar\n")
    for name in NAMES:
        path = directory / f"{name}.jpg"
        write_image(path, ord(name), (HEIGHT, WIDTH))
        data = None
        if name == "b":
            data = base64.b64encode(path.read_bytes()).decode()
            path.unlink()
        hole = [(24, 29), (30, 29), (30, 33), (24, 33)]
        png = io.BytesIO()
        Image.fromarray(np.full((5, 6), True)).save(png, "PNG")
        shapes = [
            ("road", "polygon", ROAD, None),
            ("car", "polygon", CAR, None),
            ("_background_", "polygon", hole, None),
            ("car", "circle", [(50, 12), (50, 18)], None),
            ("__ignore__", "rectangle", [(9, 9), (2, 3)], None),
            ("car", "mask", [(40, 2), (45, 6)], base64.b64encode(png.getvalue()).decode()),
            ("car", "point", [(1, 1)], None),
        ]
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [
                {
                    "label": label,
                    "points": points,
                    "group_id": 1,
                    "shape_type": kind,
                    "flags": {},
                    "mask": mask,
                }
                for label, kind, points, mask in shapes
            ],
            "imagePath": path.name,
            "imageData": data,
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        (directory / f"{name}.json").write_text(json.dumps(content))
        mask = blank()
        mask[pillow(ROAD)] = 1
        mask[pillow(CAR)] = 2
        mask[pillow(hole)] = 0
        circle = Image.new("L", (WIDTH, HEIGHT))
        ImageDraw.Draw(circle).ellipse((44, 6, 56, 18), fill=1, outline=1)
        mask[np.array(circle) > 0] = 2
        mask[3:10, 2:10] = 255
        mask[2:7, 40:46] = 2
        truth[name] = mask
    return truth


# === CVAT ===


def cvat(directory):
    """CVAT for images 1.1: subsets, a z_order that puts the first shape on top, a mask, a box."""
    from pycocotools import mask as masks

    truth, lines = {}, []
    for number, name in enumerate(NAMES):
        subset = "Train" if name in "abcd" else "Validation"
        image = directory / "images" / subset / f"{name}.png"
        write_image(image, ord(name), (HEIGHT, WIDTH))

        def points(polygon):
            return ";".join(f"{x:.2f},{y:.2f}" for x, y in polygon)

        # Rows of 4 pixels, 3 of them: 2 outside, then runs.
        brush = '<mask label="car" rle="2, 4, 1, 5" left="50" top="4" width="4" height="3"/>'
        lines += [
            f'<image id="{number}" name="{name}.png" subset="{subset}" width="{WIDTH}" '
            f'height="{HEIGHT}">',
            f'<polygon label="car" occluded="0" points="{points(CAR)}" z_order="2"/>',
            f'<polygon label="road" occluded="0" points="{points(ROAD)}" z_order="0"/>',
            brush,
            '<box label="road" xtl="2" ytl="2" xbr="12" ybr="8" z_order="0"/>',
            '<polyline label="road" points="1,1;5,5" z_order="0"/>',
            "</image>",
        ]
        mask = blank()
        box = [(2, 2), (12, 2), (12, 8), (2, 8)]
        for polygon, value in ((ROAD, 1), (box, 1), (CAR, 2)):
            rle = masks.merge(masks.frPyObjects([flat(polygon)], HEIGHT, WIDTH))
            mask[masks.decode(rle) > 0] = value
        mask[4:7, 50:54][np.array([0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1]).reshape(3, 4) > 0] = 2
        truth[name] = mask
    labels = "".join(
        f"<label><name>{name}</name><color>{colour}</color></label>"
        for name, colour in (("road", "#804080"), ("car", "#00008e"))
    )
    (directory / "annotations.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
        f"<labels>{labels}</labels></task></meta>{''.join(lines)}</annotations>"
    )
    return truth


# === Pascal VOC ===


def voc(directory):
    """As CVAT writes it ("Segmentation mask 1.1"): colours, labelmap.txt, lists."""
    colours = np.zeros((256, 3), np.uint8)
    colours[1], colours[2] = (128, 64, 128), (0, 0, 142)
    truth = {}
    for name in NAMES:
        write_image(directory / "JPEGImages" / f"{name}.jpg", ord(name), (HEIGHT, WIDTH))
        truth[name] = blank()
        truth[name][pillow(ROAD)] = 1
        truth[name][pillow(CAR)] = 2
        (directory / "SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(colours[truth[name]]).save(directory / f"SegmentationClass/{name}.png")
    lists = directory / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join("abcd") + "\n")
    (lists / "val.txt").write_text("\n".join("ef") + "\n")
    (directory / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:0,0,142::\n"
    )
    return truth


# === Supervisely ===


def supervisely(directory):
    """Two data sets that are splits; polygons with holes, and a bitmap that leaves the image."""
    classes = [
        {"title": "road", "shape": "polygon", "color": "#804080", "id": 1},
        {"title": "car", "shape": "bitmap", "color": "#00008E", "id": 2},
    ]
    truth = {}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    for name in NAMES:
        folder = directory / ("train" if name in "abcd" else "val")
        write_image(folder / "img" / f"{name}.png", ord(name), (HEIGHT, WIDTH))
        holes = [[(10, 28), (16, 28), (16, 36), (10, 36)], [(40, 30), (50, 30), (45, 40)]]
        pixels = disc(24, 24, 8)[14:34, 14:34]
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        bitmap = base64.b64encode(zlib.compress(png.getvalue())).decode()
        content = {
            "description": "",
            "tags": [],
            "size": {"height": HEIGHT, "width": WIDTH},
            "objects": [
                {
                    "classTitle": "road",
                    "geometryType": "polygon",
                    "points": {"exterior": ROAD, "interior": holes},
                },
                {
                    "classTitle": "car",
                    "geometryType": "bitmap",
                    "bitmap": {"data": bitmap, "origin": [50, -6]},
                },
                {"classTitle": "car", "geometryType": "point", "points": {"exterior": [[1, 1]]}},
            ],
        }
        (folder / "ann").mkdir(exist_ok=True)
        (folder / "ann" / f"{name}.png.json").write_text(json.dumps(content))
        truth[name] = blank()
        truth[name][pillow(ROAD, holes)] = 1
        truth[name][:14, 50:64][pixels[6:, :14]] = 2
    return truth


# === Label Studio ===


def packed(values, width=8, lengths=(3, 5, 9, 16)) -> list[int]:
    """`@thi.ng/rle-pack`: values that repeat in runs, others word by word."""
    values = np.asarray(values).tolist()
    bits = f"{len(values):032b}{width - 1:05b}" + "".join(f"{n - 1:04b}" for n in lengths)
    place = 0
    while place < len(values):
        end = place + 1
        while end < len(values) and values[end] == values[place] and end - place < 1 << lengths[-1]:
            end += 1
        same = end - place > 2
        if not same:
            end = min(place + 3, len(values))
        kind = next(k for k, n in enumerate(lengths) if end - place - 1 < 1 << n)
        bits += f"{int(same)}{kind:02b}{end - place - 1:0{lengths[kind]}b}"
        bits += "".join(f"{v:0{width}b}" for v in (values[place : place + 1] if same else
                                                    values[place:end]))  # fmt: skip
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def labelstudio(directory):
    """A JSON export: polygons in per cent, a brush, a turned box, a task that was skipped."""
    truth, tasks = {}, []
    for number, name in enumerate(NAMES):
        write_image(directory / "images" / f"{name}.jpg", ord(name), (HEIGHT, WIDTH))
        size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
        brush = disc(10, 10, 7)
        rgba = np.repeat(brush.reshape(-1).astype(np.uint8) * 255, 4)
        road = [(100 * x / WIDTH, 100 * y / HEIGHT) for x, y in ROAD]
        result = [
            {**size, "id": "1", "type": "polygonlabels",
             "value": {"points": road, "closed": True, "polygonlabels": ["road"]}},
            {**size, "id": "2", "type": "brushlabels",
             "value": {"format": "rle", "rle": packed(rgba), "brushlabels": ["car"]}},
            {**size, "id": "3", "type": "rectangle",
             "value": {"x": 50, "y": 50, "width": 12.5, "height": 12.5, "rotation": 90}},
            {"id": "3", "type": "labels", "value": {"labels": ["car"]}},
            {**size, "id": "4", "type": "keypointlabels",
             "value": {"x": 1, "y": 1, "keypointlabels": ["car"]}},
        ]  # fmt: skip
        tasks.append(
            {
                "id": number + 1,
                "data": {"image": f"/data/upload/1/{number:08x}-{name}.jpg"},
                "annotations": [
                    {"id": 1, "was_cancelled": False, "result": result},
                    {"id": 2, "was_cancelled": True, "result": []},
                ],
            }
        )
        truth[name] = blank()
        truth[name][pillow(ROAD)] = 1
        truth[name][brush] = 2
        truth[name][pillow([(32, 24), (32, 32), (26, 32), (26, 24)])] = 2
    tasks.append({"id": 99, "data": {"image": "/data/upload/1/x.jpg"}, "annotations": []})
    (directory / "project-1-at-2026-11-25.json").write_text(json.dumps(tasks))
    return truth


TOOLS = {
    "coco": coco,
    "labelme": labelme,
    "cvat": cvat,
    "voc": voc,
    "supervisely": supervisely,
    "labelstudio": labelstudio,
}
