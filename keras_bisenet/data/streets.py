"""A street data set that needs no download: every image is drawn on the spot.

Streets seen from a car's dash camera, with exact masks in the ids of CamVid's 11-class release.
A scene is laid out in metres (x to the right, y up, z along the street; the road is y = 0) and
seen through a pinhole camera:

1. `render_street` chooses camera and weather and has the street drawn, from far to near;
2. everything drawn is a polygon on a flat `_Surface`. It is drawn twice with the same points:
   its colour into one picture, the number of its surface into another. The mask is read from
   the second, so image and mask cannot differ;
3. `_develop` works out what each pixel sees from its surface: depth, texture, light and haze,
   and then what lens and sensor make of it.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import math
import os
import random
import zlib
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from keras_bisenet import files
from keras_bisenet.errors import UsageError, UserError

# The ids in CamVid's 11-class mask files. As there, vans and buses are cars, hedges and lawns are
# trees, and what has no class (bins, the bonnet of the own car) is void.
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, VOID = range(12)

COUNTS = MappingProxyType({"train": 200, "val": 40, "test": 40})
RECIPE = "streets.json"
DRAWING = 1  # to be raised with any change here that changes the images of a seed


def generate_streets(
    directory: str | os.PathLike,
    *,
    counts: Mapping[str, int] = COUNTS,
    size: tuple[int, int] = (192, 256),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a street data set in the layout of CamVid's 11-class release.

    The mask of `train/street_00000.png` (RGB) is `trainannot/street_00000.png`, a single-channel
    PNG of ids. Image i of a split depends on seed, split, i and size alone, so a larger data set
    starts with the images of a smaller one. `streets.json`, written last, tells a finished data
    set, which is left as it is, from an interrupted one, which can be generated again.

    Args:
        directory: Where to write. Made if missing.
        counts: Number of images by split.
        size: Height and width in pixels.
        seed: An integer from 0.
        progress: Called with (images written, images in all) after each image.

    Raises:
        UsageError: When a count, the size or the seed makes no sense.
        UserError: When `directory` is a file, or holds anything but this data set.
    """
    height, width = size
    if min(height, width) < 32 or seed < 0 or min(counts.values(), default=-1) < 0:
        raise UsageError(
            f"cannot draw {dict(counts)} streets of {height}x{width} with seed {seed}: sides start "
            "at 32 pixels, seed and counts at 0"
        )
    directory = Path(directory)
    recipe = {"size": [height, width], "seed": seed, "counts": dict(counts), "drawing": DRAWING}
    recipe = json.dumps(recipe, indent=2) + "\n"
    jobs = [(split, i, f"street_{i:05d}.png") for split in counts for i in range(counts[split])]
    if _is_complete(directory, recipe, jobs):
        return
    for done, (split, i, name) in enumerate(jobs, start=1):
        rng = np.random.default_rng([seed, zlib.crc32(split.encode()), i, height, width])
        image, mask = render_street(rng, height, width)
        files.write_bytes(directory / split / name, _png(image))
        files.write_bytes(directory / f"{split}annot" / name, _png(mask))
        if progress:
            progress(done, len(jobs))
    files.write_text(directory / RECIPE, recipe)


def _is_complete(directory: Path, recipe: str, jobs: list[tuple]) -> bool:
    """Whether `directory` holds the data set. Raises UserError if it holds anything else."""
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file: choose a folder for the generated streets")
    ours = {f"{split}{kind}/{name}" for split, _, name in jobs for kind in ("", "annot")}
    found = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    if RECIPE in found:
        if (directory / RECIPE).read_bytes() != recipe.encode():
            raise UserError(
                f"{directory / RECIPE} is of streets with another seed, size or counts: choose "
                "another folder, or delete this one"
            )
        return ours <= found
    # Dotted names are the system's (.DS_Store), or what a killed process was writing.
    foreign = sorted(name for name in found - ours if "/." not in f"/{name}")
    if foreign:
        raise UserError(f"{directory / foreign[0]} is no generated street: choose an empty folder")
    return False


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def render_street(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one street; `rng` decides all about it.

    Returns:
        The image, uint8 [height, width, 3] RGB, and its mask, uint8 [height, width] of ids.
    """
    canvas = _Canvas(rng, height, width)
    dice = canvas.dice
    plan = _Plan(dice)
    _draw_far_end(canvas, plan)
    _draw_ground(canvas, plan)
    for side in (-1, 1):
        _draw_plots(canvas, plan, side)
    # All else stands between the two rows of plots: it may hide them, they never hide it.
    for z, x, draw in sorted(_things(dice, plan), key=lambda thing: -thing[0]):
        draw(canvas, x, z)
    if dice.chance(0.25):
        _draw_bonnet(canvas)
    image, mask = _develop(canvas, rng)
    if dice.chance(0.5):  # half of the world drives on the right
        image, mask = image[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


# ------------------------------------------------------------------------------------ the canvas

SCALE = 3  # supersampling; odd, so that one sample lies in the middle of each pixel
NEAR = 0.6  # metres from the camera at which polygons are cut off
X, Y, Z = (1, 0, 0), (0, 1, 0), (0, 0, 1)
SQUARE = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
TRIANGLE = [(-1, -0.6), (1, -0.6), (0, 1.1)]
ROUND = [(math.cos(k * math.pi / 5), math.sin(k * math.pi / 5)) for k in range(10)]


class _Dice(random.Random):
    """What is left to chance."""

    def chance(self, p: float) -> bool:
        return self.random() < p

    def colour(self, colours, amount: float = 12) -> tuple[int, ...]:
        """One of the colours, somewhat lighter or darker, and each channel a little off."""
        light = self.gauss(0, amount)
        return tuple([_byte(c + light + self.gauss(0, amount / 3)) for c in self.choice(colours)])


def _byte(value: float) -> int:
    return min(255, max(0, int(value)))


def _scale(colour, factor: float) -> tuple[int, ...]:
    return tuple([_byte(c * factor) for c in colour])


class _Canvas:
    """The picture under way, its camera and its weather."""

    def __init__(self, rng: np.random.Generator, height: int, width: int):
        self.dice = dice = _Dice(int(rng.integers(2**63)))
        self.focal = dice.uniform(0.8, 1.0) * width * SCALE
        self.centre = width / 2 * SCALE, dice.uniform(0.42, 0.51) * height * SCALE
        self.position = dice.uniform(-2.1, -1.3), dice.uniform(1.35, 1.8), 0
        yaw, azimuth = math.radians(dice.gauss(0, 3)), dice.uniform(0, 2 * math.pi)
        self.cos, self.sin = math.cos(yaw), math.sin(yaw)
        self.weather = weather = dice.choices(WEATHERS, [35, 25, 25, 15])[0]
        altitude = math.radians(weather.altitude * dice.uniform(0.75, 1.25))
        flat = math.cos(altitude)
        self.sun = flat * math.sin(azimuth), math.sin(altitude), flat * math.cos(azimuth)
        self.metal = dice.colour(METALS)

        self.labels, self.rows = [], []  # of each surface: its class, and what `_develop` needs
        sky = self.surface(SKY, (0, 0, 1e5), X, Y).glowing()
        self.colours = _draw_sky(self, rng, height, width)
        self.surfaces = Image.new("I", self.colours.size, sky.number)
        self.draw = ImageDraw.Draw(self.colours), ImageDraw.Draw(self.surfaces)
        self.shades = Image.new("L", (width, height), 255)  # how much light reaches the ground
        self.umbra = 1 / (1 + weather.sun[0] / weather.sky[0])

    def surface(
        self, label, origin, u, v, grain=(20, 20, 0.05), *, ground=False, rounded=False
    ) -> _Surface:
        """Makes a surface with (0, 0) at `origin` and the unit vectors `u` and `v` as its axes.

        Args:
            label: The class of what is drawn on it.
            grain: Texture: grains per metre along u and along v, and strength.
            ground: Whether shadows fall on it.
            rounded: Whether it stands for a thing that always has some side in the sun.
        """
        normal = _cross(u, v)
        seen = math.copysign(1, _dot(normal, [c - o for c, o in zip(self.position, origin)]))
        sun = 0.65 if rounded else max(0.0, seen * _dot(normal, self.sun))
        origin = self.turn([o - c for c, o in zip(self.position, origin)])
        u, v = self.turn(u), self.turn(v)
        normal, shift = _cross(u, v), self.dice.uniform(0, 512)
        plane = (*normal, _dot(normal, origin), *u, _dot(u, origin) - shift, *v, _dot(v, origin))
        self.labels.append(label)
        self.rows.append((*plane, *grain, ground, sun, 1, 0))
        return _Surface(self, len(self.rows) - 1, origin, u, v)

    def upright(self, label, x, z, along=None, y=0.1, grain=(20, 20, 0.05)) -> _Surface:
        """A surface standing at (x, z), turned to the camera unless `along` says otherwise."""
        along = along or (self.cos, 0, -self.sin)
        return self.surface(label, (x, y, z), along, Y, grain, rounded=True)

    def ground(self, label, y=0.0) -> _Surface:
        """The level surface at height y, its axes x and z."""
        return self.surface(label, (0, y, 0), X, Z, (28, 28, 0.09), ground=True)

    def turn(self, vector) -> tuple[float, float, float]:
        """A direction in the scene as the camera has it: right, up, ahead."""
        x, y, z = vector
        return x * self.cos - z * self.sin, y, x * self.sin + z * self.cos

    def sees(self, point, outward) -> bool:
        """Whether a face at `point` that looks `outward` is turned to the camera."""
        return _dot(outward, [c - p for c, p in zip(self.position, point)]) > 0

    def pixels(self, points) -> list[tuple[float, float]]:
        """Projects a polygon (right, up, ahead), of which only what is beyond `NEAR` is kept."""
        if min([z for _, _, z in points]) < NEAR:
            points = _cut(points)
        f, (cx, cy) = self.focal, self.centre
        return [(cx + f * x / z, cy - f * y / z) for x, y, z in points]

    def shade(self, points, light: float) -> None:
        """Leaves that much light (0 to 1) to a polygon (x, z) of the ground."""
        cx, cy, _ = self.position
        pixels = self.pixels([self.turn((x - cx, -cy, z)) for x, z in points])
        if pixels:
            pixels = [(u / SCALE, v / SCALE) for u, v in pixels]
            ImageDraw.Draw(self.shades).polygon(pixels, fill=int(255 * light))

    def cast(self, x, z, width, top, base=0.0) -> None:
        """The shadow on the ground of a thing at (x, z), from its base to its top."""
        sx, sy, sz = self.sun
        dx, dz = width / 2 * sz / math.hypot(sx, sz), width / 2 * sx / math.hypot(sx, sz)
        (x0, z0), (x1, z1) = [(x - h * sx / sy, z - h * sz / sy) for h in (base, top)]
        corners = [(x0 - dx, z0 + dz), (x0 + dx, z0 - dz), (x1 + dx, z1 - dz), (x1 - dx, z1 + dz)]
        self.shade(corners, self.umbra)


class _Surface(NamedTuple):
    """A plane to draw on, in metres along its axes. Vectors are in the camera's frame."""

    canvas: _Canvas
    number: int
    origin: tuple
    u: tuple
    v: tuple

    def glowing(self) -> _Surface:
        """The same plane, shining instead of lit."""
        canvas = self.canvas
        canvas.labels.append(canvas.labels[self.number])
        canvas.rows.append((*canvas.rows[self.number][:-3], 0, 0, 1))
        return self._replace(number=len(canvas.rows) - 1)

    def fill(self, points, colour) -> None:
        """Draws a polygon. If `colour` is None it is labelled, not painted: the outline of a
        railing or a wheel, which people label as if they could not see through it.
        """
        (ox, oy, oz), (ux, uy, uz), (vx, vy, vz) = self.origin, self.u, self.v
        pixels = self.canvas.pixels(
            [(ox + a * ux + b * vx, oy + a * uy + b * vy, oz + a * uz + b * vz) for a, b in points]
        )
        if pixels:
            colours, surfaces = self.canvas.draw
            surfaces.polygon(pixels, fill=self.number)
            if colour:
                colours.polygon(pixels, fill=colour)

    def rect(self, x, y, width, height, colour) -> None:
        self.fill([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], colour)

    def oval(self, x, y, rx, ry, colour) -> None:
        self.fill([(x + rx * a, y + ry * b) for a, b in ROUND], colour)

    def blob(self, x, y, radius, colour) -> None:
        """A ragged spot, such as a tuft of leaves."""
        spikes = [(radius * (0.55 + 0.6 * self.canvas.dice.random()), a, b) for a, b in ROUND]
        self.fill([(x + r * a, y + r * b) for r, a, b in spikes], colour)

    def stroke(self, a, b, width, colour, end_width=None) -> None:
        """A straight bar from a to b."""
        (x0, y0), (x1, y1) = a, b
        length = math.hypot(x1 - x0, y1 - y0) * 2
        nx, ny = (y0 - y1) / length, (x1 - x0) / length
        end = width if end_width is None else end_width
        sides = [(x0, y0, -width), (x0, y0, width), (x1, y1, end), (x1, y1, -end)]
        self.fill([(x + nx * w, y + ny * w) for x, y, w in sides], colour)


def _cut(points: list[tuple]) -> list[tuple]:
    """The part of a polygon beyond `NEAR` (Sutherland and Hodgman's clipping)."""
    kept = []
    for (x0, y0, z0), (x1, y1, z1) in zip(points[-1:] + points[:-1], points):
        if (z0 < NEAR) != (z1 < NEAR):
            t = (NEAR - z0) / (z1 - z0)
            kept.append((x0 + t * (x1 - x0), y0 + t * (y1 - y0), NEAR))
        if z1 >= NEAR:
            kept.append((x1, y1, z1))
    return kept


def _dot(a, b) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a, b) -> tuple[float, float, float]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _develop(canvas: _Canvas, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Makes a photograph, and its mask, of colours and surface numbers."""
    dice, weather = canvas.dice, canvas.weather
    surface = np.asarray(canvas.surfaces)[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
    mask = np.array(canvas.labels, np.uint8)[surface]
    height, width = mask.shape
    table = np.take(np.array(canvas.rows, np.float32).T, surface, axis=1)
    nx, ny, nz, no, ux, uy, uz, uo, vx, vy, vz, vo = table[:12]
    grain_u, grain_v, grain, ground, sun, sky, glow = table[12:]

    # The ray through each pixel, (x, y, 1), and where it meets its surface.
    x = np.float32((np.arange(width)[None] + 0.5) * SCALE - canvas.centre[0]) / canvas.focal
    y = np.float32(canvas.centre[1] - (np.arange(height)[:, None] + 0.5) * SCALE) / canvas.focal
    facing = nx * x + ny * y + nz
    depth = np.clip(no / np.where(facing == 0, 1e-6, facing), NEAR, 2000)
    u = ((ux * x + uy * y + uz) * depth - uo) * grain_u
    v = ((vx * x + vy * y + vz) * depth - vo) * grain_v
    texture = 1 + grain * (_noise(u, v) / (1 + depth / 25) + 0.7 * _noise(u * 0.13, v * 0.13))

    shade = np.asarray(canvas.shades.filter(ImageFilter.GaussianBlur(height / 200)), np.float32)
    bright = dice.uniform(0.9, 1.2) * texture * (1 - ground * (1 - shade / 255))
    light = [bright * (sun * s + sky * a) + glow for s, a in zip(weather.sun, weather.sky)]
    image = np.asarray(canvas.colours.reduce(SCALE)) * np.stack(light, axis=-1)
    haze = 1 - np.exp(-depth / (weather.clear * dice.uniform(0.6, 1.6)))
    image += np.where(mask == SKY, 0, haze)[..., None] * (np.float32(weather.horizon) - image)

    # Lens and sensor: vignette, contrast and colour cast, blur, noise.
    image *= 1 - dice.uniform(0.1, 0.35) * (x * x + y * y)[..., None]
    image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    casts = [[255 * dice.gauss(1, 0.03)] for _ in range(3)]
    tones = casts * (np.arange(256) / 255) ** dice.uniform(0.75, 1.05)
    image = image.point(np.clip(tones, 0, 255).astype(int).ravel().tolist())
    image = image.filter(ImageFilter.GaussianBlur(dice.uniform(0, 0.6) * height / 192))
    noise = rng.standard_normal((height, width, 3), np.float32) * dice.uniform(1.5, 5)
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8), mask


@functools.lru_cache(maxsize=1)
def _noise_table() -> np.ndarray:
    """512x512 noise of all octaves, each half as strong as the one below. It tiles."""
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None])
    frequency[0, 0] = np.inf
    white = np.random.default_rng(0).standard_normal((512, 512))
    table = np.fft.irfft2(np.fft.rfft2(white) / frequency)
    return (table / table.std()).astype(np.float32)


def _noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _noise_table()[u.astype(np.int32) & 511, v.astype(np.int32) & 511]


# ------------------------------------------------------------------------------- sky and street

# Colours of the sky; least and greatest cover of cloud (0 to 1); light of the sun on what faces it
# and of the sky all around; metres after which 63% of the light is haze; the sun's altitude;
# whether lamps are lit.
Weather = namedtuple("Weather", "zenith horizon cloud cover sun sky clear altitude lamps")
# fmt: off
WEATHERS = [
    Weather((74, 128, 205), (188, 212, 235), (250, 250, 250), (0, 0.45),  # clear
             (0.95, 0.88, 0.74), (0.46, 0.50, 0.57), 500, 45, False),
    Weather((110, 150, 200), (205, 214, 222), (238, 238, 240), (0.45, 0.8),  # cloudy
             (0.55, 0.52, 0.46), (0.60, 0.62, 0.65), 350, 42, False),
    Weather((168, 174, 182), (214, 217, 220), (146, 152, 162), (0.3, 0.9),  # overcast
             (0.08, 0.08, 0.08), (0.86, 0.88, 0.91), 180, 42, False),
    Weather((70, 88, 140), (244, 178, 120), (150, 112, 122), (0.2, 0.7),  # dusk
             (0.46, 0.27, 0.13), (0.57, 0.53, 0.60), 300, 17, True),
]
# fmt: on


def _draw_sky(canvas: _Canvas, rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """The sky alone: a gradient, and clouds on a level layer high above the street."""
    weather, dice = canvas.weather, canvas.dice
    up = np.clip((canvas.centre[1] / SCALE - np.arange(height)) / height, 0.004, None)[:, None]
    across = (np.arange(width) - width / 2)[None] / height / up
    zenith, horizon = (dice.colour([colour]) for colour in (weather.zenith, weather.horizon))
    blend = np.clip(up * 1.7, 0, 1)[..., None] ** 0.6
    sky = np.array(horizon) + blend * np.subtract(zenith, horizon)
    ox, oy = rng.integers(0, 512, 2)
    layer = _noise(across * 22 + ox, 34 / up + oy) + 0.4 * _noise(across * 70 + oy, 100 / up + ox)
    density = np.clip(layer / 2 + dice.uniform(*weather.cover) * 2 - 1, 0, 1)
    density *= np.clip(up * 9, 0.25, 1)
    cloud = (1 - 0.12 * np.clip(layer, 0, 2))[..., None] * np.array(weather.cloud)
    sky = np.clip(sky + density[..., None] * (cloud - sky), 0, 255).astype(np.uint8)
    sky = Image.fromarray(sky).filter(ImageFilter.GaussianBlur(height / 200))
    return sky.resize((width * SCALE, height * SCALE), Image.Resampling.NEAREST)


class _Plan:
    """Widths in metres, by side where they differ: -1 is left, where we drive, 1 is right."""

    def __init__(self, dice: _Dice):
        self.suburb = dice.chance(0.45)
        self.length = dice.uniform(55, 130)
        lane = dice.uniform(2.7, 3.3)
        self.parking = {side: dice.chance(0.45) for side in (-1, 1)}
        self.kerb = {s: s * (lane + 2.1 * self.parking[s]) for s in (-1, 1)}
        self.line = {s: self.kerb[s] + s * dice.uniform(2.2, 4.6) for s in (-1, 1)}
        self.asphalt, self.paving = dice.colour(ASPHALTS, 10), dice.colour(PAVINGS)


def _draw_far_end(canvas: _Canvas, plan: _Plan) -> None:
    """The horizon, and what closes the street: buildings, trees or nothing."""
    dice = canvas.dice
    for z in (260, 190):
        label, colours = dice.choice([(TREE, LEAVES), (BUILDING, WALLS)])
        skyline = canvas.surface(label, (0, 0, z), X, Y, (0.8, 0.8, 0.12))
        colours = [dice.choice(colours)]
        for x in range(-240, 240, 12):
            skyline.rect(x, 0, 12.5, dice.uniform(5, 16), dice.colour(colours, 8))
    end, closed = plan.length + 14, dice.random()
    if closed < 0.35:
        for x in (-26, -9, 8):
            _draw_building(canvas, plan, x, end, 0, 17, dice.uniform(6, 15), WALLS)
    elif closed < 0.75:
        for deep in range(9, 0, -1):
            _draw_tree(canvas, dice.uniform(-24, 24), end + deep)


def _draw_ground(canvas: _Canvas, plan: _Plan) -> None:
    """The road, its wear and markings, and the pavements with their kerbs."""
    dice, far, left, right = canvas.dice, plan.length + 60, plan.kerb[-1], plan.kerb[1]
    canvas.ground(PAVEMENT).rect(-400, 0, 800, 600, plan.paving)
    road = canvas.ground(ROAD)
    road.rect(left, 0, right - left, far, plan.asphalt)
    for middle in (left / 2 - 0.8, left / 2 + 0.8, right / 2 - 0.8, right / 2 + 0.8):
        road.rect(middle - 0.3, 0, 0.6, far, _scale(plan.asphalt, 0.95))  # where tyres run
    for _ in range(dice.randrange(7)):  # mended places and covers
        x, z, wide = dice.uniform(left, right - 2), dice.uniform(4, 45), dice.uniform(0.5, 2)
        road.rect(x, z, wide, dice.uniform(1, 9), _scale(plan.asphalt, dice.uniform(0.8, 1.17)))
        road.oval(x, z + 9, 0.33, 0.33, _scale(plan.asphalt, 0.6))

    white = _scale(WHITE, dice.uniform(0.75, 1))
    edge, gap, start = dice.choice([None, white, YELLOW]), dice.uniform(4, 8), dice.uniform(-6, 0)
    for k in range(int(far / gap)):
        road.rect(-0.07, start + k * gap, 0.14, 2, white)
    if dice.chance(0.3):
        crossing = dice.uniform(9, 30)
        for k in range(int((right - left) / 1.1)):
            road.rect(left + 0.3 + 1.1 * k, crossing, 0.55, 3.2, white)
        road.rect(left, crossing - 1.6, -left, 0.3, white)

    slab, joint = dice.uniform(0.7, 1.6), _scale(plan.paving, 0.78)
    for side in (-1, 1):
        kerb, wide = plan.kerb[side], plan.line[side] - plan.kerb[side]
        for offset in (0.3, 0.52) if edge else ():
            road.rect(kerb - side * offset, 0, 0.1, far, edge)
        stone = canvas.surface(PAVEMENT, (kerb, 0, 0), Z, Y)
        stone.rect(0, 0, far, 0.12, _scale(plan.paving, 0.95))
        walk = canvas.ground(PAVEMENT, 0.12)
        walk.rect(kerb, 0, wide, far, plan.paving)
        for k in range(int(24 / slab)):
            walk.rect(kerb, 2 + k * slab, wide, 0.025, joint)
        walk.rect(kerb + wide / 2, 0, 0.025, 26, joint)
        walk.rect(kerb, 0, side * 0.15, far, _scale(plan.paving, 1.16))


def _draw_plots(canvas: _Canvas, plan: _Plan, side: int) -> None:
    """One side's plots, from far to near: buildings and their gardens, greens, side streets."""
    dice, line, plots, z = canvas.dice, plan.line[side], [], -9.0
    while z < plan.length:
        kind = dice.choices(["building", "green", "side street"], [76, 16, 8])[0]
        plots.append((kind, z, 7.5 if kind == "side street" else dice.uniform(6, 17)))
        z += plots[-1][2]
    floors = dice.choice([2, 2, 3] if plan.suburb else [3, 3, 4, 5])
    setback, usual = dice.uniform(2, 5) * plan.suburb, [dice.choice(WALLS)]
    for kind, z, width in reversed(plots):
        if kind == "side street":
            canvas.ground(ROAD).rect(plan.kerb[side], z, side * 60, width, plan.asphalt)
            continue
        garden = 40 if kind == "green" else setback + dice.choice([0, 0, 0, 1.5])
        lawn = kind == "green" or dice.chance(0.5)
        ground = canvas.ground(TREE if lawn else PAVEMENT, 0.1)
        ground.rect(line, z, side * garden, width, dice.colour(LEAVES) if lawn else plan.paving)
        if kind == "green":
            for deep in (17, 11, 6, 3):
                x = line + side * (deep + dice.random())
                _draw_tree(canvas, x, z + dice.uniform(0, width))
        else:
            height = 3.1 * (floors + dice.chance(0.25)) + dice.uniform(0, 1)
            walls = usual if dice.chance(0.5) else WALLS
            _draw_building(canvas, plan, line + side * garden, z, side, width, height, walls)
        if garden and dice.chance(0.75):
            draw = dice.choice([_draw_fence, _draw_fence, _draw_hedge])
            draw(canvas, line, z + 0.2, width - dice.choice([0.4, 2.5]))


def _things(dice: _Dice, plan: _Plan) -> list[tuple]:
    """What stands or moves between the plots: (z, x, how to draw it)."""
    things = []

    def add(z, x, draw, **options):
        things.append((z, x, functools.partial(draw, **options)))

    if dice.chance(0.06):  # a car out of a side street, or those of our lane and the other
        heading = dice.choice([-1, 1]) * math.pi / 2
        add(dice.uniform(12, 28), dice.uniform(-4, 4), _draw_car, heading=heading)
    else:
        if dice.chance(0.5):
            add(dice.uniform(10, 40), dice.gauss(-1.6, 0.2), _draw_car, heading=0)
        for k in range(dice.choice([0, 1, 1, 2])):
            add(dice.uniform(9, 25) + 18 * k, dice.gauss(1.6, 0.2), _draw_car, heading=math.pi)
    for side in (-1, 1):
        kerb, line, full = plan.kerb[side], plan.line[side], dice.uniform(0.2, 0.8)
        for z in range(7, int(plan.length), 6) if plan.parking[side] else ():
            if dice.chance(full):
                heading = dice.choice([0, math.pi]) + dice.gauss(0, 0.02)
                add(z, kerb - side * 1.1, _draw_car, heading=heading, parked=True)
        for z in range(dice.randrange(6, 16), int(plan.length), dice.randrange(18, 32)):
            add(z, kerb + side * 0.45, _draw_lamp, side=side)
        for z in range(6, int(plan.length), 9):
            for p, ahead, draw in (0.24, 2, _draw_tree), (0.34, 4, _draw_sign), (0.1, 7, _draw_bin):
                if dice.chance(p):
                    add(z + ahead + dice.random(), kerb + side * dice.uniform(0.4, 0.8), draw)
        if dice.chance(0.22):
            start = dice.uniform(5, 18)
            for k in range(dice.randrange(3, 9)):
                add(start + 2 * k, kerb + side * 0.25, _draw_fence, length=1.95, kind="railing")
        for _ in range(dice.choice([0, 1, 2, 3, 4])):
            x, z = dice.uniform(kerb + side * 0.7, line - side * 0.6), dice.uniform(5, 26)
            for k in range(dice.choice([1, 1, 1, 2, 3])):
                add(z + dice.uniform(-0.3, 0.3), x - side * 0.55 * k, _draw_pedestrian)
    for _ in range(dice.choice([0, 0, 0, 1, 2])):
        add(dice.uniform(10, 30), dice.uniform(-4, 4), _draw_pedestrian)
    for _ in range(dice.choice([0, 0, 1, 1, 1, 2])):
        side = dice.choice([-1, -1, 1])
        x = plan.kerb[side] - side * (dice.uniform(0.5, 1.1) + 2.1 * plan.parking[side])
        add(dice.uniform(5.5, 15), x, _draw_cyclist)
    return things


# ------------------------------------------------------------------------------------ the things

# fmt: off
ASPHALTS = [(84, 84, 88), (108, 106, 104), (128, 124, 118)]
PAVINGS = [(152, 148, 140), (122, 120, 118), (168, 150, 130)]
WALLS = [(148, 84, 66), (124, 72, 58), (172, 112, 84), (196, 168, 124), (176, 158, 128),
         (214, 204, 184), (232, 226, 214), (142, 140, 138), (110, 112, 116), (98, 108, 122),
         (188, 190, 186), (206, 178, 160), (120, 124, 104), (88, 78, 72)]
LEAVES = [(58, 92, 40), (72, 104, 46), (92, 116, 56), (44, 74, 42), (118, 124, 58),
          (150, 122, 52), (164, 96, 44), (86, 98, 76)]
PAINTS = [(226, 226, 224), (30, 31, 34), (168, 172, 176), (112, 116, 120), (160, 30, 34),
          (40, 66, 128), (76, 112, 156), (44, 78, 60), (196, 180, 150), (206, 168, 48)]
CLOTHES = [(34, 36, 42), (58, 64, 84), (44, 62, 110), (150, 40, 44), (196, 190, 178),
           (112, 98, 78), (74, 96, 72), (214, 214, 210), (178, 128, 60), (60, 130, 150)]
SKIN = [(232, 196, 170), (206, 160, 128), (160, 112, 82), (104, 72, 54)]
HAIR = [(40, 32, 28), (90, 64, 42), (180, 150, 100), (150, 150, 150)]
METALS = [(70, 74, 76), (140, 144, 146), (40, 62, 52), (30, 30, 32)]
TILES = [(92, 62, 52), (74, 76, 84), (120, 78, 60), (70, 62, 58)]
WOODS = [(128, 92, 62), (96, 76, 60), (150, 130, 104), (222, 220, 212)]
BARKS = [(84, 70, 58), (104, 98, 88), (64, 56, 50)]
GLASS = [(52, 60, 70), (88, 104, 120), (40, 44, 50)]
DARK, GREY, WHITE, RED = (26, 27, 29), (158, 160, 162), (240, 239, 232), (202, 30, 36)
BLUE, GREEN, YELLOW = (30, 70, 150), (20, 96, 66), (226, 190, 60)
# The boards of signs: outline, half their width and height, colours of rim and field.
BOARDS = [(ROUND, 1, 1, RED, WHITE), (ROUND, 1, 1, BLUE, BLUE), (TRIANGLE, 1, 1, RED, WHITE),
          (SQUARE, 1.6, 1.1, WHITE, BLUE), (SQUARE, 1.6, 1.1, WHITE, GREEN),
          (SQUARE, 1.2, 0.8, DARK, WHITE), (SQUARE, 1.2, 0.8, DARK, YELLOW)]
# Cars by their profile, (position, height) from the rear over the roof: how many there are of
# each; width; height from which the sides lean inwards, and how much; where side windows start;
# which of the profile's edges are rear and front window; where the wheels are.
Body = namedtuple("Body", "weight width belt lean glazed panes wheels profile")
BODIES = [
    Body(8, 1.72, 0.92, 0.28, 0, (1, 3), (0.72, 3.2), [  # hatchback
        (0, 0.28), (0.02, 0.92), (0.5, 1.44), (2.2, 1.47), (2.95, 0.92), (3.9, 0.76), (4, 0.28)]),
    Body(6, 1.78, 0.95, 0.28, 0, (2, 4), (0.9, 3.65), [  # saloon
        (0, 0.28), (0.02, 0.9), (0.85, 0.95), (1.4, 1.4), (2.7, 1.43), (3.45, 0.95), (4.4, 0.76),
        (4.5, 0.28)]),
    Body(3, 1.88, 1.1, 0.2, 0, (1, 3), (0.85, 3.6), [  # off-roader
        (0, 0.4), (0.02, 1.1), (0.25, 1.7), (2.8, 1.76), (3.4, 1.1), (4.4, 1.02), (4.5, 0.4)]),
    Body(2, 1.95, 1.2, 0.08, 3, (1, 3), (0.95, 4.15), [  # van
        (0, 0.4), (0.02, 1.2), (0.1, 2.2), (3.6, 2.25), (4.3, 1.2), (5.0, 1.05), (5.1, 0.4)]),
    Body(1, 2.45, 1.3, 0.02, 0, (1, 3), (2.0, 7.6), [  # bus
        (0, 0.4), (0, 1.3), (0.1, 2.95), (9.3, 3.0), (9.5, 1.3), (9.5, 0.4)]),
]
# fmt: on


def _draw_building(canvas, plan, x, z, side, width, height, walls) -> None:
    """A building along the street; with `side` 0, one across the street's end."""
    dice, deep, along, back = canvas.dice, 10, Z if side else X, (side, 0, 0) if side else Z
    wall = dice.colour(walls)
    grain = dice.choice([(6, 24, 0.07), (10, 10, 0.05), (18, 5, 0.05), (14, 14, 0.09)])
    rise = deep / 2 * dice.uniform(0.5, 1) if plan.suburb else 0.0
    if side:
        gable = canvas.surface(BUILDING, (x, 0, z), back, Y, grain)
        ridge = [(deep, height), (deep / 2, height + rise), (0, height)]
        gable.fill([(0, 0), (deep, 0), *ridge], wall)
        dx, dz = (-height * c / canvas.sun[1] for c in (canvas.sun[0], canvas.sun[2]))
        shadow = [(x, z), (x, z + width), (x + dx, z + width + dz), (x + dx, z + dz)]
        canvas.shade(shadow, canvas.umbra)
    if rise:
        size = math.hypot(deep / 2, rise)
        up = [(deep / 2 * b + rise * y) / size for b, y in zip(back, Y)]
        if canvas.sees((x, height, z), [deep / 2 * y - rise * b for b, y in zip(back, Y)]):
            roof = canvas.surface(BUILDING, (x, height, z), along, up, (6, 16, 0.1))
            roof.rect(-0.2, -0.2, width + 0.4, size, dice.colour(TILES))
    front = canvas.surface(BUILDING, (x, 0, z), along, Y, grain)
    front.rect(0, 0, width, height, wall)
    if z < 90:
        _draw_windows(canvas, front, z, width, height, wall)


def _draw_windows(canvas, front, z, width, height, wall) -> None:
    """Doors, a shop and storeys of windows; of what is far away, the panes alone."""
    dice, near = canvas.dice, z < 35
    trim = dice.colour([WHITE, _scale(wall, 0.75), _scale(wall, 1.25)], 8)
    pane, bays = dice.colour(GLASS), max(1, int(width / dice.uniform(1.9, 3.6)))
    bay, tall, shop = width / bays, dice.uniform(1.2, 1.9), dice.chance(0.4)
    wide, door = bay * dice.uniform(0.4, 0.75), dice.randrange(bays)
    lamp = front.glowing() if canvas.weather.lamps else None
    front.rect(0, 0, width, 0.5, _scale(wall, 0.78))
    front.rect(0, height - 0.4, width, 0.4, trim)
    if shop:
        paint = dice.colour(PAINTS + CLOTHES)
        front.rect(0.2, 0, width - 0.4, 2.5, _scale(paint, 0.7))
        front.rect(0.2, 2.5, width - 0.4, 0.65, paint)
        for k in range(1, int(width - 1)):  # lettering
            ink = _scale(paint, 0.3 if sum(paint) > 380 else 2.4)
            front.rect(k, 2.68, dice.uniform(0.2, 0.8), 0.28, ink)
    for storey, k in itertools.product(range(max(1, int(height / 3.1))), range(bays)):
        left, sill, w, h = k * bay + (bay - wide) / 2, storey * 3.1 + 0.95, wide, tall
        if storey == 0 and shop:
            left, sill, w, h = k * bay + 0.3, 0.5, bay - 0.6, 1.8
        elif near:
            front.rect(left - 0.1, sill - 0.15, w + 0.2, h + 0.25, trim)
        if storey == 0 and k == door:
            front.rect(left - 0.1, 0, 1.3, 2.5, trim)
            front.rect(left, 0, 1.1, 2.3, dice.colour(PAINTS))
        elif lamp and dice.chance(0.35):
            lamp.rect(left, sill, w, h, (246, 204, 128))
        else:
            front.rect(left, sill, w, h, pane if dice.chance(0.8) else dice.choice(WALLS))
            if near:
                front.rect(left + w / 2 - 0.04, sill, 0.08, h, trim)


def _draw_fence(canvas, x, z, length, kind=None) -> None:
    """Railings, boards or pickets along the street."""
    dice, kind = canvas.dice, kind or canvas.dice.choice(["railing", "boards", "pickets"])
    fence = canvas.surface(FENCE, (x, 0.12, z), Z, Y, (30, 6, 0.08))
    sizes = {"railing": (1.1, 0.15, 0.04), "boards": (1.7, 0.5, 0.05), "pickets": (1, 0.2, 0.11)}
    height, step, bar = sizes[kind]
    colour = canvas.metal if kind == "railing" else dice.colour(WOODS)
    fence.rect(0, 0, length, height, colour if kind == "boards" else None)
    for y in (0.1, height - 0.08):
        fence.rect(0, y, length, 0.08, colour)
    coarse = 1 if z < 14 else 2  # from afar single bars would be lost
    tone = _scale(colour, 0.7) if kind == "boards" else colour
    for k in range(int(length / step / coarse) + 1):
        fence.rect(k * step * coarse, 0, bar * coarse, height, tone)


def _draw_hedge(canvas, x, z, length) -> None:
    dice, leaf, height = canvas.dice, canvas.dice.colour(LEAVES), canvas.dice.uniform(0.8, 2)
    hedge = canvas.surface(TREE, (x, 0.1, z), Z, Y, (36, 36, 0.25))
    hedge.rect(0, 0, length, height, leaf)
    for _ in range(int(4 * length)):
        at = dice.uniform(0, length), height * math.sqrt(dice.random())
        hedge.blob(*at, 0.25, _scale(leaf, dice.uniform(0.7, 1.3)))


def _draw_tree(canvas, x, z) -> None:
    dice, height, wide = canvas.dice, canvas.dice.uniform(5, 10), canvas.dice.uniform(1.5, 3.2)
    tree = canvas.upright(TREE, x, z, grain=(40, 40, 0.2))
    base, lean = max(2.0, height * dice.uniform(0.25, 0.4)), dice.gauss(0, 0.2)
    middle, tall, leaf = (height + base) / 2, (height - base) / 2, dice.colour(LEAVES, 16)
    tree.stroke((0, 0), (lean, middle), 0.34, dice.colour(BARKS), 0.2)
    sunny = math.copysign(0.5, canvas.turn(canvas.sun)[0])
    tufts = []
    for _ in range(int(min(60, 12 + 450 / z))):
        angle, reach = dice.uniform(0, 2 * math.pi), math.sqrt(dice.random())
        a, b = reach * math.cos(angle), reach * math.sin(angle)
        tufts.append((b + sunny * a + dice.gauss(0, 0.25), lean + a * wide, middle + b * tall))
    for light, a, b in sorted(tufts):  # the sunny ones last
        tree.blob(a, b, wide * dice.uniform(0.22, 0.4), _scale(leaf, 0.95 + 0.3 * light))
    for dx, dz in SQUARE:
        canvas.cast(x + dx * wide / 3, z + dz * wide / 3, wide * dice.random(), height, base)
    canvas.cast(x, z, 0.34, height)


def _draw_lamp(canvas, x, z, side) -> None:
    """A street lamp with its arm over the road, or a mast without one."""
    dice, post = canvas.dice, canvas.upright(POLE, x, z)
    height, arm = dice.uniform(5.5, 8.5), -side * dice.uniform(1.2, 2.2)
    post.stroke((0, 0), (0, height), 0.17, canvas.metal, 0.11)
    post.rect(-0.12, 0, 0.24, 1.1, canvas.metal)
    if dice.chance(0.8):
        post.stroke((0, height - 0.1), (arm, height + 0.35), 0.1, canvas.metal)
        post.stroke((arm * 0.6, height + 0.3), (arm, height + 0.4), 0.2, canvas.metal)
    canvas.cast(x, z, 0.17, height)


def _draw_sign(canvas, x, z) -> None:
    """One or two boards on a post; some are seen from behind."""
    dice, post, board = canvas.dice, canvas.upright(POLE, x, z), canvas.upright(SIGN, x, z - 0.05)
    size, top, grey = dice.uniform(0.4, 0.65), dice.uniform(2.3, 3.0), dice.choice(METALS)
    post.stroke((0, 0), (0, top), 0.1, grey)
    for y in (top, top - 2.2 * size)[: dice.choice([1, 1, 2])]:
        corners, wide, tall, rim, field = dice.choice(BOARDS)
        if dice.chance(0.2):
            rim = field = grey
        for scale, colour in ((size, rim), (size * 0.78, field)):
            board.fill([(a * wide * scale, y + b * tall * scale) for a, b in corners], colour)
        if field != grey:
            ink = DARK if sum(field) > 400 else WHITE
            board.rect(-size * 0.4, y - 0.08, size * dice.uniform(0.6, 0.8), 0.13, ink)
    canvas.cast(x, z, 0.1, top)


def _draw_bin(canvas, x, z) -> None:
    """A bin, a post box or a cabinet."""
    dice, thing = canvas.dice, canvas.upright(VOID, x, z)
    wide, tall = dice.choice([(0.5, 0.95), (0.45, 1.4), (1.0, 1.2)])
    colour = dice.colour(PAINTS)
    thing.rect(-wide / 2, 0, wide, tall, colour)
    thing.rect(-wide / 2 - 0.04, tall - 0.12, wide + 0.08, 0.14, _scale(colour, 0.7))
    canvas.cast(x, z, wide, tall)


def _draw_bonnet(canvas) -> None:
    """The bonnet of the car that carries the camera."""
    paint, (x, y, _), z = canvas.dice.choice(PAINTS), canvas.position, 1.2
    bottom = y + z * (canvas.centre[1] - canvas.colours.height) / canvas.focal
    bonnet = canvas.upright(VOID, x + z * canvas.sin, z * canvas.cos, y=bottom)
    rise = canvas.dice.uniform(0.05, 0.12)
    for size, light in ((1, 0.7), (0.9, 0.95), (0.7, 1.05)):
        bonnet.oval(0, 0, 0.85 * size, rise * size, _scale(paint, light))


def _draw_car(canvas, x, z, heading, parked=False) -> None:
    """A car from any side: the faces of its body that are turned to the camera."""
    dice, bodies, grain = canvas.dice, BODIES[: 4 if parked else 5], (8, 8, 0.03)
    body = dice.choices(bodies, [body.weight for body in bodies])[0]
    paint, glass = dice.colour(PAINTS), dice.colour(GLASS[:1])
    half, length, bottom = body.width / 2, body.profile[-1][0], body.profile[0][1]
    ahead = math.sin(heading), 0, math.cos(heading)
    right = ahead[2], 0, -ahead[0]

    def point(across, along, y):
        along -= length / 2
        return tuple(o + across * r + along * a for o, r, a in zip((x, y, z), right, ahead))

    def towards(a, b):  # a unit vector, made of so much ahead and so much up
        return tuple((a * f + b * u) / math.hypot(a, b) for f, u in zip(ahead, Y))

    for along in (0.2, 0.5, 0.8):
        sx, _, sz = point(0, along * length, 0)
        canvas.cast(sx, sz, body.width, body.profile[2][1])
    for size, light in ((1.1, 0.6), (0.9, 0.3)):  # beneath it
        corners = [point(a * half * size, length * (0.5 + b * size / 2), 0) for a, b in SQUARE]
        canvas.shade([(sx, sz) for sx, _, sz in corners], light)

    for k, edge in enumerate(zip(body.profile, body.profile[1:])):
        (t0, y0), (t1, y1) = edge
        if not canvas.sees(point(0, t0, y0), towards(y0 - y1, t1 - t0)):
            continue
        front, ((t0, y0), (t1, y1)) = y1 < y0, sorted(edge, key=lambda end: end[1])
        face = canvas.surface(CAR, point(0, t0, y0), right, towards(t1 - t0, y1 - y0), grain)
        size = math.hypot(t1 - t0, y1 - y0)
        w0, w1 = (half - body.lean * max(0, y - body.belt) for y in (y0, y1))
        face.fill([(-w0, 0), (w0, 0), (w1, size), (-w1, size)], paint)
        if k in body.panes:
            a, b, low, high = w0 - 0.1, w1 - 0.1, 0.12 * size, 0.9 * size
            face.fill([(-a, low), (a, low), (b, high), (-b, high)], glass)
        elif y0 == bottom:  # an end: tyres and the dark between them, bumper, plate, lights
            for left, wide, tall in ((-w0, 2 * w0, 0.12), (-w0, 0.25, y0), (w0 - 0.25, 0.25, y0)):
                face.rect(left, -tall, wide, tall, DARK)
            face.rect(-w0, 0, 2 * w0, 0.2, _scale(paint, 0.6))
            face.rect(-w0 * 0.55, size * 0.6, w0 * 1.1, 0.14, DARK if front else paint)
            face.rect(-0.26, 0.18, 0.52, 0.12, WHITE if front else YELLOW)
            lights = face.glowing() if canvas.weather.lamps and not parked else face
            for left in (-w0 + 0.06, w0 - 0.36):
                lights.rect(left, size * 0.6, 0.3, 0.15, WHITE if front else RED)

    for side in (-1, 1):
        at = point(side * half, 0, body.belt)
        if not canvas.sees(at, [side * r for r in right]):
            continue
        lower = canvas.surface(CAR, point(side * half, 0, 0), ahead, Y, grain)
        lower.fill([(t, min(y, body.belt)) for t, y in body.profile], paint)
        lower.rect(0, bottom, length, 0.1, _scale(paint, 0.55))
        for hub in body.wheels:
            r = bottom * 0.6 + 0.16
            for grow, colour in ((1.15, DARK), (0.6, GREY), (0.2, DARK)):
                lower.oval(hub, r, r * grow, r * grow, colour)
        size = math.hypot(1, body.lean)
        up = [(u - side * body.lean * r) / size for u, r in zip(Y, right)]
        upper = canvas.surface(CAR, at, ahead, up, grain)
        cabin = [(t, (y - body.belt) * size) for t, y in body.profile if y >= body.belt]
        middle = (cabin[0][0] + cabin[-1][0]) / 2
        upper.fill(cabin, paint)
        window = [(middle + 0.84 * (t - middle), 0.05 + 0.78 * y) for t, y in cabin]
        upper.fill([(max(body.glazed, t), y) for t, y in window], glass)
        upper.rect(max(middle, body.glazed) - 0.06, 0, 0.12, cabin[1][1] * 0.9, paint)


def _draw_pedestrian(canvas, x, z) -> None:
    dice, figure = canvas.dice, canvas.upright(PEDESTRIAN, x, z, grain=(25, 25, 0.1))
    h, turn = dice.choice([1.0, 1.0, 0.75]) * dice.uniform(1.55, 1.9), dice.choice([-1, 1])
    coat, trousers, shoes, bag = (dice.colour(CLOTHES) for _ in range(4))
    skin, stride = dice.choice(SKIN), dice.choice([0.03, dice.uniform(0.05, 0.17)]) * h
    side, hem = 0.115 * h * dice.uniform(0.85, 1.2), dice.choice([0.48, 0.48, 0.4, 0.3]) * h
    for step in (-stride, stride):
        figure.stroke((step * 0.25, 0.52 * h), (step, 0.03 * h), 0.1 * h, trousers, 0.065 * h)
        figure.stroke((step, 0.02 * h), (step + turn * 0.08 * h, 0.015 * h), 0.045 * h, shoes)
    torso = [(0.8 * side, hem), (side, 0.78 * h), (0.4 * side, 0.84 * h)]
    figure.fill([*torso, *((-a, b) for a, b in reversed(torso))], coat)
    for arm in (-side, side):
        hand = arm * 1.25 + turn * arm / side * stride * 0.4, 0.46 * h
        figure.stroke((arm, 0.79 * h), hand, 0.06 * h, _scale(coat, 0.88), 0.045 * h)
        figure.oval(*hand, 0.025 * h, 0.025 * h, skin)
    figure.rect(-0.025 * h, 0.8 * h, 0.05 * h, 0.08 * h, skin)
    figure.oval(0, 0.93 * h, 0.058 * h, 0.07 * h, dice.choice(HAIR))
    if dice.chance(0.6):  # not seen from behind
        figure.oval(turn * 0.012 * h, 0.915 * h, 0.044 * h, 0.05 * h, skin)
    if dice.chance(0.3):
        figure.rect(turn * side - 0.07 * h, 0.38 * h, 0.14 * h, 0.16 * h, bag)
    canvas.cast(x, z, 0.4, h)


def _draw_cyclist(canvas, x, z) -> None:
    """A cyclist from the side, on a surface at an angle to the camera, or from an end."""
    dice, across = canvas.dice, canvas.dice.chance(0.5)
    jacket = dice.colour([*CLOTHES, (216, 230, 60), (240, 120, 40)])
    bike, legs, skin = dice.choice(PAINTS), dice.choice(CLOTHES), dice.choice(SKIN)
    sleeve, turn = _scale(jacket, 0.85), dice.uniform(-0.9, 0.9)
    along = (dice.choice([-1, 1]) * math.cos(turn), 0, math.sin(turn)) if across else None
    rider = canvas.upright(BICYCLIST, x, z, along, y=0)
    for hub in (-0.52, 0.52) if across else ():
        rider.oval(hub, 0.34, 0.36, 0.36, None)
        rim = [(hub + 0.33 * a, 0.34 + 0.33 * b) for a, b in ROUND]
        for start, end in zip(rim, rim[1:] + rim[:1]):
            rider.stroke(start, end, 0.06, DARK)
    # fmt: off
    for x0, y0, x1, y1, width, end_width, colour in [  # frame, legs, body, arm
        (-0.52, 0.34, -0.05, 0.3, 0.05, 0.05, bike), (-0.52, 0.34, -0.2, 0.92, 0.05, 0.05, bike),
        (-0.05, 0.3, -0.2, 0.92, 0.05, 0.05, bike), (-0.05, 0.3, 0.36, 0.98, 0.05, 0.05, bike),
        (-0.2, 0.85, 0.36, 0.9, 0.05, 0.05, bike), (0.52, 0.34, 0.36, 0.98, 0.05, 0.05, bike),
        (-0.18, 0.98, 0.16, 0.78, 0.18, 0.13, legs), (0.16, 0.78, 0.02, 0.42, 0.13, 0.09, legs),
        (-0.18, 0.98, 0.1, 0.62, 0.18, 0.13, legs), (0.1, 0.62, -0.08, 0.18, 0.13, 0.09, legs),
        (0.02, 0.42, 0.16, 0.42, 0.08, 0.08, DARK), (-0.08, 0.18, 0.06, 0.18, 0.08, 0.08, DARK),
        (-0.18, 0.95, 0.14, 1.48, 0.26, 0.3, jacket), (0.12, 1.42, 0.4, 1.04, 0.11, 0.08, sleeve),
    ] if across else [  # wheel, frame, bar, legs, arms, body
        (0, 0, 0, 0.7, 0.07, 0.07, DARK), (0, 0.3, 0, 1, 0.06, 0.06, bike),
        (-0.3, 1.02, 0.3, 1.02, 0.05, 0.05, DARK),
        (-0.1, 0.98, -0.14, 0.28, 0.17, 0.11, legs), (0.1, 0.98, 0.14, 0.45, 0.17, 0.11, legs),
        (-0.14, 0.28, -0.16, 0.23, 0.12, 0.12, DARK), (0.14, 0.45, 0.16, 0.4, 0.12, 0.12, DARK),
        (-0.22, 1.44, -0.29, 1.03, 0.1, 0.1, sleeve), (0.22, 1.44, 0.29, 1.03, 0.1, 0.1, sleeve),
        (0, 0.88, 0, 1.42, 0.36, 0.48, jacket), (0, 1.42, 0, 1.55, 0.48, 0.2, jacket),
    ]:
        rider.stroke((x0, y0), (x1, y1), width, colour, end_width)
    # fmt: on
    rider.oval(0.2 * across, 1.66, 0.1, 0.13, skin)
    rider.oval(0.2 * across, 1.73, 0.12, 0.1, dice.choice(PAINTS))
    canvas.cast(x, z, 0.5, 1.7)
