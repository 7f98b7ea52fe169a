"""Twelve hard pairs: contents that are easily lost and styles that drown them, drawn by this module.

All but a portrait are made here, from seeds, so that anyone has the very same pixels.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

_HEIGHT, _WIDTH = 384, 512
_PORTRAIT = Path(__file__).parent / "samples/portrait.jpg"

Field = NDArray[np.float64]

HARD_PAIRS = (
    ("portrait", "black"),
    ("portrait", "dots"),
    ("portrait", "ink"),
    ("portrait", "white"),
    ("text", "pebbles"),
    ("text", "white"),
    ("fog", "black"),
    ("fog", "ink"),
    ("line-drawing", "pebbles"),
    ("night", "white"),
    ("flat-graphic", "black"),
    ("flat-graphic", "dots"),
)


def _portrait() -> Image.Image:
    return Image.open(_PORTRAIT).convert("RGB")


def _text() -> Image.Image:
    """A poster."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT), (250, 247, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, _WIDTH, 96), fill=(30, 60, 120))
    draw.text((24, 14), "OPEN AIR", font=ImageFont.load_default(64), fill=(255, 255, 255))
    for line, text in enumerate(["Saturday 14 June", "Harbour, Pier 7", "doors at 19:30"]):
        place = (24, 120 + line * 56)
        draw.text(place, text, font=ImageFont.load_default(44), fill=(20, 20, 25))
    draw.text((24, 306), "tickets 12.50", font=ImageFont.load_default(48), fill=(190, 30, 40))
    return image


def _fog() -> Image.Image:
    """Four ridges with firs, each paler than the one before it."""
    y = np.linspace(0, 1, _HEIGHT)[:, None] * np.ones((1, _WIDTH))
    columns = np.arange(_WIDTH)
    x = columns / _WIDTH
    grey = 0.86 - 0.05 * y
    generator = np.random.default_rng(3)
    for depth, (base, shade) in enumerate([(0.45, 0.8), (0.58, 0.72), (0.72, 0.6), (0.88, 0.44)]):
        ridge = (
            base + 0.05 * np.sin(6 * x * (depth + 1) + depth * 2) + 0.03 * np.sin(17 * x + depth)
        )
        firs = np.zeros(_WIDTH)
        for center in generator.uniform(0, _WIDTH, 14 + 6 * depth):
            height = generator.uniform(0.04, 0.09) * (0.6 + 0.5 * depth)
            slope = np.clip(1 - np.abs(columns - center) / (6 + 5 * depth), 0, 1)
            firs = np.maximum(firs, height * slope)
        is_below = np.clip((y - (ridge - firs)[None]) * _HEIGHT / 2, 0, 1)
        grey = grey * (1 - is_below) + (shade + 0.25 * np.clip(y - base, 0, 1)) * is_below
    grey += 0.006 * _noise(1, seed=5)
    return _image(np.stack([grey * 0.97, grey * 0.99, grey], axis=2))


def _line_drawing() -> Image.Image:
    """A house, a tree and a sun, in lines of two pixels."""
    image = Image.new("RGB", (2 * _WIDTH, 2 * _HEIGHT), (252, 252, 250))
    draw = ImageDraw.Draw(image)
    ink = (25, 25, 30)

    def line(*places: tuple[float, float]) -> None:
        draw.line([(2 * x, 2 * y) for x, y in places], fill=ink, width=5, joint="curve")

    line((60, 320), (60, 190), (150, 120), (240, 190), (240, 320), (60, 320))
    line((40, 206), (150, 120), (260, 206))
    line((120, 320), (120, 250), (165, 250), (165, 320))
    line((185, 215), (225, 215), (225, 250), (185, 250), (185, 215))
    line((205, 215), (205, 250))
    line((185, 232), (225, 232))
    line((195, 150), (195, 105), (218, 105), (218, 168))
    draw.ellipse((660, 120, 800, 260), outline=ink, width=5)
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        across, down = np.cos(angle), np.sin(angle)
        line((365 + 44 * across, 95 + 44 * down), (365 + 60 * across, 95 + 60 * down))
    line((360, 330), (360, 250))
    line((380, 330), (380, 250))
    for x, y, radius in [(370, 215, 45), (340, 235, 30), (400, 235, 30)]:
        box = (2 * (x - radius), 2 * (y - radius), 2 * (x + radius), 2 * (y + radius))
        draw.arc(box, 150, 390, fill=ink, width=5)
    line((310, 262), (430, 262))
    line((0, 330), (140, 322), (300, 336), (512, 326))
    for x in range(440, 500, 12):
        line((x, 322), (x + 4, 300))
    return image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)


def _night() -> Image.Image:
    """A moon and the milky way above black hills, two windows lit."""
    y = np.linspace(0, 1, _HEIGHT)[:, None] * np.ones((1, _WIDTH))
    x = np.arange(_WIDTH)[None] / _WIDTH
    sky = np.stack([0.03 + 0.05 * y, 0.04 + 0.07 * y, 0.10 + 0.13 * y], axis=2)
    milky_way = np.exp(-(((y - 0.2 - 0.5 * x) / 0.13) ** 2)) * (0.1 + 0.04 * _noise(1.3, seed=8))
    sky += np.clip(milky_way, 0, 1)[..., None] * [0.9, 0.85, 1.0]
    stars = _points(420, seed=2, highest=1.3)
    image = _image(sky + stars[..., None] + 1.5 * _blurred(stars, 1.2)[..., None])
    draw = ImageDraw.Draw(image)
    draw.ellipse((380, 50, 440, 110), fill=(238, 232, 205))
    hills = [(32 * i, 300 - 60 * abs(np.sin(i * 0.9)) - 25 * np.sin(i * 2.3)) for i in range(17)]
    draw.polygon([(0, 330), *hills, (_WIDTH, _HEIGHT), (0, _HEIGHT)], fill=(8, 9, 14))
    draw.rectangle((90, 250, 150, 320), fill=(12, 12, 16))
    draw.polygon([(80, 252), (120, 215), (160, 252)], fill=(14, 13, 18))
    draw.rectangle((104, 268, 118, 284), fill=(250, 205, 110))
    draw.rectangle((126, 268, 138, 284), fill=(250, 205, 110))
    return image


def _flat_graphic() -> Image.Image:
    """A boat and two mountains in seven flat colours."""
    image = Image.new("RGB", (2 * _WIDTH, 2 * _HEIGHT), (245, 196, 66))
    draw = ImageDraw.Draw(image)
    navy, white = (20, 30, 40), (255, 255, 255)
    draw.rectangle((0, 520, 2 * _WIDTH, 2 * _HEIGHT), fill=(38, 84, 124))
    draw.ellipse((600, 80, 900, 380), fill=(239, 71, 111))
    draw.polygon([(80, 520), (300, 180), (520, 520)], fill=(6, 174, 137))
    draw.polygon([(340, 520), (500, 300), (660, 520)], fill=white)
    draw.rectangle((760, 440, 792, 660), fill=navy)
    draw.polygon([(792, 450), (940, 500), (792, 550)], fill=white)
    draw.polygon([(600, 660), (960, 660), (900, 730), (660, 730)], fill=navy)
    return image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)


def _black() -> Image.Image:
    """Faint stars, on nearly nothing."""
    ground = 0.012 + 0.008 * _noise(1.2, seed=12)
    stars = _points(260, seed=11, highest=1)[..., None] * [1, 0.97, 0.9]
    glow = np.stack([_blurred(2 * channel, 0.9) for channel in np.moveaxis(stars, 2, 0)], axis=2)
    return _image(np.stack([ground, ground, 1.5 * ground], axis=2) + 0.6 * stars + glow)


def _white() -> Image.Image:
    """Strokes of a hard pencil on white paper."""
    generator = np.random.default_rng(21)
    image = Image.new("L", (2 * _WIDTH, 2 * _HEIGHT), 250)
    draw = ImageDraw.Draw(image)
    for _ in range(260):
        x, y = generator.uniform(0, 2 * _WIDTH), generator.uniform(0, 2 * _HEIGHT)
        angle, length = generator.normal(0.7, 0.25), generator.uniform(30, 130)
        end = (x + length * np.cos(angle), y + length * np.sin(angle))
        draw.line(((x, y), end), fill=int(generator.uniform(205, 240)), width=2)
    small = image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
    paper = np.asarray(small, dtype=float) / 255 + 0.006 * _noise(0.5, seed=22)
    return _image(np.stack([paper, 0.995 * paper, 0.98 * paper], axis=2))


def _dots() -> Image.Image:
    """One flat colour with small dots."""
    generator = np.random.default_rng(31)
    image = Image.new("RGB", (2 * _WIDTH, 2 * _HEIGHT), (214, 40, 40))
    draw = ImageDraw.Draw(image)
    for number, y in enumerate(range(20, 2 * _HEIGHT, 52)):
        for x in range(20 + 26 * (number % 2), 2 * _WIDTH, 52):
            radius = generator.uniform(6, 9)
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, fill=(252, 246, 236))
    return image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)


def _pebbles() -> Image.Image:
    """A dense texture: the cells of nine hundred points, lit from one side."""
    generator = np.random.default_rng(41)
    count = 900
    down, across = generator.uniform(0, _HEIGHT, count), generator.uniform(0, _WIDTH, count)
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    nearest = np.full((_HEIGHT, _WIDTH), np.inf)
    second = nearest.copy()
    owner = np.zeros((_HEIGHT, _WIDTH), dtype=int)
    for point in range(count):
        distance = np.hypot(y - down[point], x - across[point])
        is_closer = distance < nearest
        second = np.where(is_closer, nearest, np.minimum(second, distance))
        owner = np.where(is_closer, point, owner)
        nearest = np.minimum(nearest, distance)
    rim = np.clip((second - nearest) / 7, 0, 1)
    slope = -0.6 * ((y - down[owner]) + (x - across[owner])) / 22
    light = (0.25 + 0.75 * rim * np.clip(0.75 + slope, 0.3, 1.2))[..., None]
    stones = np.array(
        [
            [0.62, 0.55, 0.46],
            [0.45, 0.43, 0.41],
            [0.72, 0.68, 0.6],
            [0.36, 0.3, 0.27],
            [0.55, 0.45, 0.35],
        ]
    )
    colors = stones[generator.integers(0, 5, count)] * generator.uniform(0.8, 1.15, (count, 1))
    return _image(colors[owner] * light + 0.03 * _noise(0.3, seed=42)[..., None])


def _ink() -> Image.Image:
    """Black waves and blots on paper."""
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    waves = np.sin((0.35 * x + 0.75 * y) * 0.55 + 3.2 * _noise(1.8, seed=51))
    paper = 1 / (1 + np.exp(-9 * (waves + 0.9 * _noise(1.8, seed=52))))
    paper = _blurred(np.where(_noise(1.6, seed=53) > 1, 0, paper), 0.7)
    return _image(np.stack([0.05 + 0.92 * paper, 0.05 + 0.9 * paper, 0.06 + 0.85 * paper], axis=2))


HARD_PICTURES: Mapping[str, Callable[[], Image.Image]] = {
    "portrait": _portrait,
    "text": _text,
    "fog": _fog,
    "line-drawing": _line_drawing,
    "night": _night,
    "flat-graphic": _flat_graphic,
    "black": _black,
    "white": _white,
    "dots": _dots,
    "pebbles": _pebbles,
    "ink": _ink,
}


def _noise(power: float, *, seed: int) -> Field:
    """A field whose spectrum falls as 1/f^power, of mean 0 and deviation 1."""
    white = np.random.default_rng(seed).standard_normal((_HEIGHT, _WIDTH))
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.rfftfreq(_WIDTH))
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(white) / frequency**power, s=white.shape)
    whole: Field = field / field.std()
    return whole


def _points(count: int, *, seed: int, highest: float) -> Field:
    """Single bright pixels, few of them near `highest`."""
    generator = np.random.default_rng(seed)
    rows, columns = (generator.integers(1, side - 1, count) for side in (_HEIGHT, _WIDTH))
    field = np.zeros((_HEIGHT, _WIDTH))
    field[rows, columns] = highest * generator.uniform(0.2, 1, count) ** 2
    return field


def _blurred(field: Field, radius_px: float) -> Field:
    levels = Image.fromarray(np.uint8(np.clip(field, 0, 1) * 255 + 0.5))
    return np.asarray(levels.filter(ImageFilter.GaussianBlur(radius_px)), dtype=float) / 255


def _image(values: Field) -> Image.Image:
    """Values in [0, 1], clipped, as an image of 8 bits."""
    return Image.fromarray(np.uint8(np.clip(values, 0, 1) * 255 + 0.5))
