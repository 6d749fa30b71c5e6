"""Draws the example portrait: a man who does not exist, made of curves and soft light.

    python tests/tools/draw_portrait.py multitalk_cli/examples/portrait.png

It is drawn twice as large on 1024 x 640, of which the rows in SHOWN are kept: with them the default
frame leaves some room above the hair.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 1024, 640
SHOWN = 24, 552
MIDDLE = 512
SKIN, SHADE, BLUSH = (226, 178, 150), (150, 92, 72), (205, 120, 104)
HAIR, HAIR_LIGHT, HAIR_DARK = (62, 43, 33), (128, 92, 66), (30, 20, 17)

FACE = [
    (512, 128), (566, 138), (602, 176), (612, 226), (611, 276), (607, 322), (597, 364),
    (574, 402), (544, 425), (512, 431), (480, 425), (450, 402), (427, 364), (417, 322),
    (413, 276), (412, 226), (422, 176), (458, 138),
]  # fmt: skip
NECK = [
    (452, 370), (450, 440), (440, 474), (428, 498), (436, 560), (512, 586), (588, 560),
    (596, 498), (584, 474), (574, 440), (572, 370),
]  # fmt: skip
HAIR_BACK = [
    (512, 76), (572, 84), (612, 116), (630, 168), (626, 226), (617, 250), (512, 260),
    (407, 250), (398, 226), (394, 168), (412, 116), (452, 84),
]  # fmt: skip
HAIR_FRONT = [
    (409, 244), (400, 206), (397, 164), (408, 122), (440, 90), (486, 72), (540, 70), (588, 88),
    (616, 122), (627, 164), (624, 206), (615, 244), (608, 208), (600, 182), (586, 166), (566, 158),
    (540, 160), (516, 152), (490, 146), (466, 150), (446, 166), (430, 174), (420, 190), (414, 214),
]  # fmt: skip
JUMPER = [
    (438, 486), (360, 520), (272, 548), (214, 588), (186, 660), (838, 660), (810, 588),
    (752, 548), (664, 520), (586, 486), (572, 520), (512, 546), (452, 520),
]  # fmt: skip


def smooth(points, closed=True, per_span=14):
    """A Catmull-Rom curve through the points, as [n, 2]."""
    p = np.asarray(points, np.float64)
    p = np.vstack([p[-1:], p, p[:2]]) if closed else np.vstack([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, per_span, endpoint=False)[:, None]
    spans = [
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return np.concatenate([*spans, p[-2:-1]])


def mirrored(points):
    """The same points on the other side of the face."""
    return [(2 * MIDDLE - x, y) for x, y in points]


class Canvas:
    """Colours of the picture, painted through soft masks."""

    def __init__(self, scale, seed=11):
        self.scale = scale
        self.rng = np.random.default_rng(seed)
        self.size = (WIDTH * self.scale, HEIGHT * self.scale)
        rows, columns = np.mgrid[0 : self.size[1], 0 : self.size[0]] / self.scale
        self.x, self.y = columns.astype(np.float32), rows.astype(np.float32)
        self.colors = np.zeros((*self.x.shape, 3), np.float32)

    def area(self, points, blur=0.6, closed=True):
        """Mask 0 to 1 of the curve's inside; blur in pixels of the finished picture."""
        image = Image.new("L", self.size)
        outline = smooth(points) if closed else np.asarray(points, np.float64)
        ImageDraw.Draw(image).polygon([tuple(p) for p in outline * self.scale], fill=255)
        return self._blurred(image, blur)

    def line(self, points, width, blur=0.4):
        """Mask of an open curve that thins out towards both ends."""
        image = Image.new("L", self.size)
        draw = ImageDraw.Draw(image)
        curve = smooth(points, closed=False) * self.scale
        for n, (x, y) in enumerate(curve):
            share = np.sin(np.pi * (0.08 + 0.84 * n / (len(curve) - 1)))
            r = width * self.scale * share / 2
            draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
        return self._blurred(image, blur)

    def glow(self, x, y, across, down, power=1.0):
        """A soft ellipse, 1 in its middle."""
        distance = ((self.x - x) / across) ** 2 + ((self.y - y) / down) ** 2
        return np.exp(-(distance**power))

    def _blurred(self, image, blur):
        soft = image.filter(ImageFilter.GaussianBlur(blur * self.scale)) if blur else image
        return np.asarray(soft, np.float32) / 255

    def paint(self, mask, color, opacity=1.0):
        """Lays a colour over the picture where the mask is."""
        share = (mask * opacity)[..., None]
        self.colors += share * (np.asarray(color, np.float32) - self.colors)

    def strokes(self, paths, inside, opacity):
        """Lays fine hairs of given colour, (points, width, colour), where `inside` is."""
        image = Image.new("RGBA", self.size)
        draw = ImageDraw.Draw(image)
        for points, width, color in paths:
            curve = [tuple(p) for p in smooth(points, closed=False, per_span=8) * self.scale]
            draw.line(curve, fill=(*color, 255), width=max(1, round(width * self.scale)))
        layer = np.asarray(image.filter(ImageFilter.GaussianBlur(0.5 * self.scale)), np.float32)
        self.paint(layer[..., 3] / 255 * inside, layer[..., :3], opacity)

    def finished(self):
        """The picture at its final size."""
        pixels = np.clip(self.colors, 0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        return picture.crop((0, SHOWN[0], WIDTH, SHOWN[1]))


def draw_room(canvas):
    """A wall out of focus: dusk blue to warm, a few soft lamps."""
    across = canvas.x / WIDTH
    cool, warm = np.array((46, 66, 82), np.float32), np.array((128, 104, 88), np.float32)
    canvas.colors[:] = cool + (warm - cool) * (across**1.4)[..., None]
    canvas.paint(canvas.glow(300, 240, 330, 300), (104, 132, 146), 0.75)
    canvas.paint(
        canvas.area([(690, -40), (1064, -40), (1064, 700), (740, 700)], 26), (96, 78, 68), 0.5
    )
    for x, y, r, light in (
        (842, 150, 58, 0.5),
        (934, 236, 40, 0.42),
        (776, 84, 30, 0.3),
        (114, 120, 44, 0.16),
    ):
        disc = np.clip(r - np.hypot(canvas.x - x, canvas.y - y), 0, 7) / 7
        canvas.paint(disc, (246, 208, 154), light)
    canvas.paint(np.clip((canvas.y - 430) / 400, 0, 1), (26, 30, 38), 0.7)


def draw_body(canvas):
    """Neck and a knitted jumper."""
    neck = canvas.area(NECK, 1.0)
    canvas.paint(neck, (212, 160, 132))
    canvas.paint(neck * canvas.glow(610, 470, 70, 130), SHADE, 0.75)
    canvas.paint(neck * canvas.glow(516, 415, 92, 46), (126, 74, 58), 0.85)
    canvas.paint(neck * canvas.glow(478, 492, 20, 60), (232, 188, 162), 0.35)
    jumper = canvas.area(JUMPER, 1.0)
    canvas.paint(jumper, (52, 84, 92))
    canvas.paint(jumper * canvas.glow(330, 560, 150, 80), (92, 132, 140), 0.7)
    canvas.paint(jumper * canvas.glow(740, 640, 190, 110), (22, 38, 46), 0.75)
    ribs = (np.sin(canvas.x * 1.15 + np.sin(canvas.y * 0.9)) * 0.5 + 0.5) * jumper
    canvas.paint(ribs, (30, 54, 62), 0.22)
    collar = [
        (436, 482),
        (450, 522),
        (512, 550),
        (574, 522),
        (588, 482),
        (598, 506),
        (578, 540),
        (512, 570),
        (446, 540),
        (426, 506),
    ]
    band = canvas.area(collar, 0.8)
    canvas.paint(canvas.area([(x, y + 9) for x, y in collar], 5) * jumper, (20, 36, 42), 0.55)
    canvas.paint(band, (66, 102, 110))
    canvas.paint(band * (np.sin(canvas.x * 1.9) * 0.5 + 0.5), (34, 60, 68), 0.4)


def draw_head(canvas):
    """Ears, the skin of the face, and the light on it: bright from the left, dim at the right."""
    ear = [(416, 246), (401, 238), (392, 256), (396, 288), (404, 312), (418, 316)]
    for outline, light in ((ear, 0.1), (mirrored(ear), 0.45)):
        mask = canvas.area(outline, 0.9)
        x = np.mean([p[0] for p in outline])
        canvas.paint(mask, (214, 158, 132))
        canvas.paint(mask * canvas.glow(x + (MIDDLE - x) * 0.06, 278, 7, 24), (146, 84, 68), 0.7)
        canvas.paint(mask, SHADE, light)
    face = canvas.area(FACE, 0.9)
    canvas.paint(face, SKIN)
    canvas.paint(face * np.clip((canvas.x - 520) / 100, 0, 1) ** 1.6, SHADE, 0.78)
    canvas.paint(face * np.clip((432 - canvas.x) / 40, 0, 1), (188, 132, 108), 0.55)
    canvas.paint(face * np.clip((canvas.y - 372) / 62, 0, 1) ** 1.4, (172, 112, 90), 0.5)
    for x, light in ((452, 0.3), (574, 0.34)):
        canvas.paint(face * canvas.glow(x, 316, 34, 26), BLUSH, light)
    for x, y, across, down, light in (
        (480, 196, 60, 30, 0.5),
        (450, 300, 26, 20, 0.42),
        (510, 414, 24, 11, 0.4),
        (564, 300, 18, 14, 0.3),
    ):
        canvas.paint(face * canvas.glow(x, y, across, down), (250, 214, 188), light)
    beard = face * np.clip((canvas.y - 338) / 30, 0, 1) * (1 - canvas.glow(512, 352, 62, 44))
    canvas.paint(beard, (128, 104, 98), 0.26)
    return face


def draw_eye(canvas, side):
    """One eye with its lid, lashes and brow; side -1 at the picture's left, 1 at the right."""

    def place(points):
        return [(MIDDLE + side * x, y) for x, y in points]

    x, y = MIDDLE + side * 50, 259
    socket = 0.42 if side < 0 else 0.55
    canvas.paint(canvas.glow(x, 250, 36, 15), (152, 98, 80), socket)
    canvas.paint(canvas.glow(MIDDLE + side * 22, 254, 10, 18), (142, 88, 70), socket)
    canvas.paint(canvas.glow(x, 278, 26, 6), (176, 120, 100), 0.35)
    opening = place(
        [(27, 263), (36, 253), (49, 248), (63, 251), (74, 260), (63, 267), (49, 270), (36, 268)]
    )
    white = canvas.area(opening, 0.6)
    canvas.paint(white, (232, 226, 220) if side < 0 else (206, 196, 190))
    canvas.paint(white * canvas.glow(x, 246, 40, 7), (120, 96, 92), 0.6)
    iris = np.clip(12.2 - np.hypot(canvas.x - x, canvas.y - y), 0, 1.2) / 1.2 * white
    canvas.paint(iris, (64, 92, 96))
    canvas.paint(
        iris * np.clip(np.hypot(canvas.x - x, canvas.y - y) / 12 - 0.62, 0, 0.4) * 2.5,
        (22, 34, 40),
        0.9,
    )
    canvas.paint(iris * canvas.glow(x + 3, y + 5, 6, 4), (128, 158, 150), 0.7)
    pupil = np.clip(5.2 - np.hypot(canvas.x - x, canvas.y - y), 0, 1) * white
    canvas.paint(pupil, (12, 12, 14))
    canvas.paint(iris * canvas.glow(x, 248, 16, 6), (20, 18, 20), 0.55)
    canvas.paint(
        np.clip(2.5 - np.hypot(canvas.x - x + 4, canvas.y - y + 4), 0, 1), (255, 255, 252), 0.95
    )
    canvas.paint(
        canvas.line(place([(25, 264), (35, 253), (49, 247.4), (64, 250.5), (77, 261)]), 3.6),
        (44, 28, 24),
        0.92,
    )
    canvas.paint(
        canvas.line(place([(32, 267), (49, 271), (64, 268), (75, 260)]), 1.5), (134, 82, 70), 0.6
    )
    canvas.paint(
        canvas.line(place([(29, 250), (38, 243), (52, 240), (67, 244), (77, 252)]), 2.2, 0.9),
        (126, 76, 60),
        0.62,
    )
    canvas.paint(canvas.glow(MIDDLE + side * 25.5, 264, 4, 3), (206, 130, 118), 0.8)
    draw_brow(canvas, side)


def draw_brow(canvas, side):
    """An eyebrow of single hairs over a soft ground."""
    ridge = smooth([(22, 237), (38, 231), (56, 227), (72, 230), (86, 239)], closed=False)
    outline = [
        (21, 232),
        (38, 226),
        (56, 222),
        (74, 226),
        (90, 241),
        (72, 234),
        (56, 232),
        (38, 237),
        (23, 242),
    ]
    canvas.paint(canvas.area([(MIDDLE + side * x, y) for x, y in outline], 1.8), HAIR, 0.62)
    hairs = []
    for x, y in ridge[np.linspace(0, len(ridge) - 1, 130).astype(int)]:
        y += canvas.rng.uniform(-4.2, 4.4)
        length, lift = canvas.rng.uniform(8, 13), canvas.rng.uniform(-3, 1) + (x - 45) * 0.09
        points = [(x, y), (x + length * 0.5, y + lift * 0.5 - 1), (x + length, y + lift)]
        hairs.append(([(MIDDLE + side * a, b) for a, b in points], 0.8, HAIR_DARK))
    canvas.strokes(hairs, 1.0, 0.6)


def draw_nose(canvas):
    """A nose made of light and shade alone."""
    canvas.paint(canvas.glow(529, 286, 9, 34), (156, 100, 80), 0.5)
    canvas.paint(canvas.glow(495, 268, 6, 30), (190, 134, 110), 0.4)
    canvas.paint(canvas.glow(510, 272, 6, 40), (250, 214, 190), 0.55)
    canvas.paint(canvas.glow(512, 318, 22, 13), (222, 160, 134), 0.55)
    canvas.paint(canvas.glow(507, 311, 9, 8), (252, 220, 200), 0.65)
    canvas.paint(canvas.glow(514, 339, 26, 7), (138, 82, 66), 0.6)
    for side in (-1, 1):
        canvas.paint(canvas.glow(MIDDLE + side * 24, 322, 6, 9), (168, 108, 88), 0.55)
        wing = [(MIDDLE + side * x, y) for x, y in ((25, 312), (30, 322), (27, 331), (19, 333))]
        canvas.paint(canvas.line(wing, 2.2, 0.8), (128, 76, 62), 0.6)
        nostril = [
            (MIDDLE + side * x, y)
            for x, y in ((6, 332), (12, 328.5), (19, 330), (17, 334), (10, 335))
        ]
        canvas.paint(canvas.area(nostril, 0.8), (84, 42, 36), 0.85)
        cheek = [(MIDDLE + side * x, y) for x, y in ((31, 326), (40, 342), (46, 358))]
        canvas.paint(canvas.line(cheek, 4, 2.4), (160, 102, 84), 0.34)


def draw_mouth(canvas):
    """Closed lips at the beginning of a smile."""
    upper = [
        (473, 367),
        (490, 361),
        (504, 356),
        (512, 358.5),
        (520, 356),
        (534, 361),
        (551, 367),
        (534, 369),
        (512, 369.5),
        (490, 369),
    ]
    lower = [
        (475, 367.5),
        (490, 368.5),
        (512, 369),
        (534, 368.5),
        (549, 367.5),
        (538, 379),
        (512, 384.5),
        (486, 379),
    ]
    canvas.paint(canvas.glow(512, 350, 6, 7), (176, 118, 98), 0.4)
    canvas.paint(canvas.area(lower, 1.2), (194, 118, 106))
    canvas.paint(canvas.area(upper, 1.0), (164, 94, 86))
    canvas.paint(canvas.glow(504, 375, 17, 3.2), (238, 172, 160), 0.6)
    canvas.paint(
        canvas.line(
            [
                (471, 366),
                (486, 368.4),
                (503, 368.6),
                (512, 369.8),
                (521, 368.6),
                (538, 368.4),
                (553, 366),
            ],
            2.3,
            0.6,
        ),
        (92, 40, 40),
        0.92,
    )
    for x in (471, 553):
        canvas.paint(canvas.glow(x, 367, 5, 5), (142, 84, 70), 0.6)
    canvas.paint(canvas.glow(512, 391, 24, 5), (160, 102, 84), 0.52)


def draw_hair(canvas, face):
    """A short side-parted cut: a mass, its shadow on the forehead, and hairs that follow it."""
    mass = canvas.area(HAIR_FRONT, 1.6)
    canvas.paint(canvas.area([(x, y + 9) for x, y in HAIR_FRONT], 6) * face, (134, 84, 66), 0.5)
    canvas.paint(mass, HAIR)
    canvas.paint(mass * canvas.glow(462, 108, 66, 30), HAIR_LIGHT, 0.4)
    canvas.paint(mass * np.clip((canvas.x - 540) / 90, 0, 1), HAIR_DARK, 0.6)
    hairs = []
    for _ in range(2600):
        hairs.append(hair_over_head(canvas.rng))
    soft = np.clip(canvas.area(HAIR_FRONT, 4.0) * 2.2, 0, 1)
    canvas.strokes(hairs, soft, 0.55)
    for side in (-1, 1):
        temple = [
            (MIDDLE + side * x, y)
            for x, y in ((106, 196), (98, 206), (97, 240), (100, 262), (104, 244))
        ]
        canvas.paint(canvas.area(temple, 2.0), HAIR, 0.82)


def hair_over_head(rng):
    """One hair: most rise from the forehead and sweep to the right, the rest lie down the sides."""
    if rng.uniform() < 0.74:
        along = rng.uniform(0, 1)
        x, y = 432 + 165 * along, 172 - 26 * np.sin(np.pi * along * 0.8) + rng.normal(0, 7)
        lean, rise = rng.normal(26, 12) + 26 * along, rng.normal(58, 14) * (1 - 0.35 * along)
        points = [
            (x, y),
            (x + lean * 0.2, y - rise * 0.6),
            (x + lean, y - rise),
            (x + lean * 2.1, y - rise * 0.8),
        ]
    else:
        side = -1 if rng.uniform() < 0.5 else 1
        x, y = MIDDLE + side * (104 + rng.normal(0, 6)), rng.uniform(112, 214)
        points = [(x - side * 12, y - 24), (x, y), (x + side * 2, y + rng.uniform(18, 34))]
    tone = rng.uniform() ** 2.2 * (0.35 if points[0][0] > 556 else 1.0)
    base, far = np.array(HAIR_DARK), np.array(HAIR_LIGHT)
    return points, rng.uniform(0.5, 1.1), tuple(int(v) for v in base + (far - base) * tone)


def draw_portrait(scale=2):
    """The whole picture; a scale below 2 is quicker and coarser."""
    canvas = Canvas(scale)
    draw_room(canvas)
    canvas.paint(canvas.area(HAIR_BACK, 1.4), HAIR_DARK)
    draw_body(canvas)
    face = draw_head(canvas)
    for side in (-1, 1):
        draw_eye(canvas, side)
    draw_nose(canvas)
    draw_mouth(canvas)
    draw_hair(canvas, face)
    return canvas.finished()


if __name__ == "__main__":
    draw_portrait().save(Path(sys.argv[1]), optimize=True)
