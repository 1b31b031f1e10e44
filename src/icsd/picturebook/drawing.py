"""Draw scenes as 32 × 32 RGB pictures, with Pillow at eight times the size, averaged down."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from icsd.picturebook.scenes import Scene, SceneObject

PIXELS = 32
SCALE = 8  # supersampling
SPRITE_PIXELS = {"small": 8, "large": 11}
COLUMN_CENTRES = (5, 16, 26)
ROW_BASELINES = (14, 30)

Point = tuple[float, float]
RGB = tuple[int, int, int]

PALETTE: dict[str, RGB] = {
    "red": (220, 30, 35), "orange": (250, 140, 20), "yellow": (250, 225, 40), "green": (35, 145, 55),
    "blue": (40, 75, 215), "purple": (145, 55, 175), "white": (250, 250, 250), "black": (45, 45, 50),
}  # fmt: skip
OUTLINE: RGB = (20, 20, 25)
BROWN: RGB = (120, 75, 35)
LEAF: RGB = (40, 120, 45)
PANE: RGB = (190, 225, 245)


def render(scene: Scene) -> np.ndarray:
    """Draw a scene as uint8 [32, 32, 3]. Larger objects lie behind smaller ones."""
    canvas = _background(scene.background, scene.variant).copy()
    for item in sorted(scene.objects, key=lambda o: (o.size == "small", o.column)):
        _paste(canvas, item)
    return canvas.round().astype(np.uint8)


def object_box(item: SceneObject) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom in pixels, right and bottom exclusive. They may lie a pixel past the edge."""
    side = SPRITE_PIXELS[item.size]
    left = COLUMN_CENTRES[item.column] + item.dx - side // 2
    top = ROW_BASELINES[item.row] + item.dy - side
    return left, top, left + side, top + side


def _paste(canvas: np.ndarray, item: SceneObject) -> None:
    left, top, right, bottom = object_box(item)
    x0, x1, y0, y1 = max(left, 0), min(right, PIXELS), max(top, 0), min(bottom, PIXELS)
    sprite = _sprite(item.kind, item.colour, item.size)[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = sprite[..., 3:]
    canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - alpha) + sprite[..., :3]


@cache
def _sprite(kind: str, colour: str, size: str) -> np.ndarray:
    """Return float32 [side, side, 4]: colour times opacity, and opacity in 0..1."""
    side = SPRITE_PIXELS[size]
    image = Image.new("RGBA", (side * SCALE, side * SCALE), (0, 0, 0, 0))
    _SHAPES[kind](_Pen(ImageDraw.Draw(image), side * SCALE), PALETTE[colour])
    big = np.asarray(image, dtype=np.float32)
    alpha = big[..., 3:] / 255
    blocks = np.concatenate([big[..., :3] * alpha, alpha], axis=-1)
    return blocks.reshape(side, SCALE, side, SCALE, 4).mean(axis=(1, 3))


class _Pen:
    """A pen for filled, outlined shapes in a unit square; y grows downwards."""

    def __init__(self, draw: ImageDraw.ImageDraw, pixels: int) -> None:
        self.draw = draw
        self.pixels = pixels - 1
        self.line_width = SCALE * 3 // 4

    def _scaled(self, points: tuple[Point, ...]) -> list[Point]:
        return [(x * self.pixels, y * self.pixels) for x, y in points]

    def polygon(self, fill: RGB, *points: Point) -> None:
        xy = self._scaled(points)
        self.draw.polygon(xy, fill=fill)
        self.draw.line([*xy, xy[0], xy[1]], fill=OUTLINE, width=self.line_width, joint="curve")

    def ellipse(self, fill: RGB | None, low: Point, high: Point) -> None:
        self.draw.ellipse(self._scaled((low, high))[0] + self._scaled((low, high))[1], fill=fill, outline=OUTLINE,
                          width=self.line_width)  # fmt: skip

    def dot(self, fill: RGB, low: Point, high: Point) -> None:
        self.draw.ellipse(self._scaled((low, high))[0] + self._scaled((low, high))[1], fill=fill)

    def line(self, *points: Point) -> None:
        self.draw.line(self._scaled(points), fill=OUTLINE, width=self.line_width, joint="curve")


def _tint(colour: RGB, share: float) -> RGB:
    """Return the colour moved towards white (share > 0) or black (share < 0)."""
    goal = 255 if share > 0 else 0
    red, green, blue = (round(c + (goal - c) * abs(share)) for c in colour)
    return red, green, blue


def _house(pen: _Pen, colour: RGB) -> None:
    pen.polygon(colour, (0.1, 0.45), (0.9, 0.45), (0.9, 0.97), (0.1, 0.97))
    pen.polygon(_tint(colour, -0.45), (0.02, 0.48), (0.5, 0.03), (0.98, 0.48))
    pen.polygon(BROWN, (0.4, 0.65), (0.62, 0.65), (0.62, 0.97), (0.4, 0.97))


def _tree(pen: _Pen, colour: RGB) -> None:
    pen.polygon(BROWN, (0.4, 0.6), (0.6, 0.6), (0.6, 0.98), (0.4, 0.98))
    pen.polygon(colour, (0.5, 0.02), (0.95, 0.72), (0.05, 0.72))


def _car(pen: _Pen, colour: RGB) -> None:
    pen.polygon(PANE, (0.25, 0.5), (0.35, 0.24), (0.7, 0.24), (0.82, 0.5))
    pen.polygon(colour, (0.02, 0.48), (0.98, 0.48), (0.98, 0.8), (0.02, 0.8))
    for left in (0.12, 0.62):
        pen.dot(OUTLINE, (left, 0.68), (left + 0.27, 0.97))


def _boat(pen: _Pen, colour: RGB) -> None:
    pen.polygon(_tint(colour, 0.25), (0.5, 0.03), (0.92, 0.6), (0.5, 0.6))
    pen.line((0.47, 0.02), (0.47, 0.68))
    pen.polygon(colour, (0.02, 0.66), (0.98, 0.66), (0.8, 0.97), (0.2, 0.97))


def _ball(pen: _Pen, colour: RGB) -> None:
    pen.ellipse(colour, (0.08, 0.12), (0.92, 0.97))
    pen.polygon(_tint(colour, 0.7), (0.12, 0.45), (0.88, 0.45), (0.88, 0.62), (0.12, 0.62))


def _cup(pen: _Pen, colour: RGB) -> None:
    pen.ellipse(None, (0.6, 0.4), (0.98, 0.78))
    pen.polygon(colour, (0.05, 0.2), (0.78, 0.2), (0.68, 0.97), (0.15, 0.97))
    pen.dot(_tint(colour, -0.5), (0.1, 0.2), (0.74, 0.36))


def _flower(pen: _Pen, colour: RGB) -> None:
    pen.polygon(LEAF, (0.46, 0.5), (0.56, 0.5), (0.56, 0.98), (0.46, 0.98))
    for x, y in ((0.5, 0.16), (0.24, 0.34), (0.76, 0.34), (0.34, 0.58), (0.66, 0.58)):
        pen.ellipse(colour, (x - 0.18, y - 0.16), (x + 0.18, y + 0.16))
    pen.dot((255, 200, 40), (0.36, 0.26), (0.64, 0.52))


def _fish(pen: _Pen, colour: RGB) -> None:
    pen.polygon(_tint(colour, -0.25), (0.98, 0.25), (0.98, 0.85), (0.62, 0.55))
    pen.ellipse(colour, (0.02, 0.26), (0.76, 0.84))
    pen.dot((255, 255, 255), (0.12, 0.38), (0.32, 0.58))
    pen.dot(OUTLINE, (0.15, 0.42), (0.26, 0.54))


def _balloon(pen: _Pen, colour: RGB) -> None:
    pen.line((0.5, 0.65), (0.42, 0.8), (0.56, 0.99))
    pen.ellipse(colour, (0.18, 0.02), (0.82, 0.7))
    pen.dot(_tint(colour, 0.75), (0.32, 0.14), (0.48, 0.32))


def _kite(pen: _Pen, colour: RGB) -> None:
    pen.line((0.5, 0.6), (0.75, 0.75), (0.55, 0.85), (0.8, 0.98))
    pen.polygon(colour, (0.45, 0.02), (0.88, 0.32), (0.45, 0.76), (0.05, 0.32))
    pen.line((0.05, 0.32), (0.88, 0.32))


def _star(pen: _Pen, colour: RGB) -> None:
    angles = np.deg2rad(np.arange(10) * 36 - 90)
    radii = np.where(np.arange(10) % 2 == 0, 0.5, 0.23)
    points = [(0.5 + r * np.cos(a), 0.52 + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    pen.polygon(colour, *points)


def _ghost(pen: _Pen, colour: RGB) -> None:
    arch = [(0.5 - 0.4 * np.cos(a), 0.42 - 0.38 * np.sin(a)) for a in np.linspace(0, np.pi, 16)]
    hem = [(0.9, 0.95), (0.74, 0.8), (0.6, 0.97), (0.42, 0.8), (0.27, 0.97), (0.1, 0.82)]
    pen.polygon(colour, *arch, *hem)
    eyes = (255, 70, 70) if sum(colour) < 300 else OUTLINE
    for left in (0.26, 0.56):
        pen.dot(eyes, (left, 0.3), (left + 0.2, 0.56))


_SHAPES = {
    "house": _house, "tree": _tree, "car": _car, "boat": _boat, "ball": _ball, "cup": _cup, "flower": _flower,
    "fish": _fish, "balloon": _balloon, "kite": _kite, "star": _star, "ghost": _ghost,
}  # fmt: skip


@cache
def _background(name: str, variant: int) -> np.ndarray:
    """Return float32 [32, 32, 3]. The variant, 0 to 2, moves the marks sideways."""
    upper, lower, horizon = _GROUNDS[name]
    canvas = np.empty((PIXELS, PIXELS, 3), dtype=np.float32)
    canvas[:horizon], canvas[horizon:] = upper, lower
    for top, bottom, left, right, colour in _MARKS[name]:
        columns = np.arange(left, right) + variant * 4
        canvas[top:bottom, columns % PIXELS] = colour
    return canvas


_GROUNDS: dict[str, tuple[RGB, RGB, int]] = {
    "field": ((180, 222, 248), (140, 205, 105), 17),
    "beach": ((190, 228, 250), (242, 222, 165), 19),
    "sea": ((205, 225, 240), (85, 165, 215), 15),
    "snow": ((170, 182, 205), (238, 244, 250), 17),
    "street": ((226, 220, 214), (140, 140, 145), 17),
    "room": ((245, 215, 190), (185, 130, 85), 20),
}
Mark = tuple[int, int, int, int, RGB]  # top, bottom, left, right, colour
_MARKS: dict[str, tuple[Mark, ...]] = {
    "field": tuple((y, y + 2, x, x + 1, (95, 165, 70)) for y, x in ((19, 3), (23, 13), (20, 22), (26, 29), (27, 6))),
    "beach": ((15, 19, 0, 32, (95, 175, 220)), (24, 25, 4, 6, (220, 195, 130)), (27, 28, 18, 20, (220, 195, 130))),
    "sea": tuple((y, y + 1, x, x + 5, (150, 205, 238))
                 for y, x in ((18, 2), (18, 19), (23, 11), (23, 27), (28, 4), (28, 20))),
    "snow": tuple((y, y + 1, x, x + 1, (250, 252, 255))
                  for y, x in ((2, 4), (4, 15), (3, 26), (9, 9), (11, 21), (8, 30), (13, 2))),
    "street": ((11, 17, 2, 8, (196, 188, 182)), (9, 17, 12, 17, (186, 180, 176)), (12, 17, 21, 28, (196, 188, 182)),
               *((24, 25, x, x + 4, (235, 235, 230)) for x in (1, 12, 23))),
    "room": ((14, 15, 0, 32, (135, 90, 50)), (15, 16, 0, 32, (215, 180, 150))),
}  # fmt: skip
