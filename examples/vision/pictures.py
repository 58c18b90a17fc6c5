"""Draws a set of pictures to train on without a download: six classes, a folder each, 32 by 32 pixels.

python pictures.py FOLDER [EACH [SEED]]

They are drawings and no photographs, with what real sets have in common: classes in twos share their surroundings
(planes and ships are on blue, cars and trucks on grey, cats and dogs on brown), shapes within such a two are alike, and
within every class pictures go from dark to bright and some lie on another ground than the rest.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 32
BLUE, GREY, BROWN = (110, 160, 220), (140, 140, 145), (150, 115, 75)
GROUNDS = (BLUE, GREY, BROWN)
KINDS = {"car": GREY, "cat": BROWN, "dog": BROWN, "plane": BLUE, "ship": BLUE, "truck": GREY}


def shape(kind, pen, ink):
    """The strokes of a class, in a square from 0 to 31."""
    if kind in ("plane", "ship"):
        pen.polygon([(4, 17), (28, 17), (24, 22), (8, 22)], fill=ink)  # fuselage or hull
        pen.polygon(
            [(12, 17), (20, 17), (24, 8)] if kind == "plane" else [(13, 17), (19, 17), (16, 6)], fill=ink
        )
    elif kind in ("car", "truck"):
        pen.rectangle((4, 15, 28, 22), fill=ink)
        pen.rectangle((10, 9, 22, 15) if kind == "car" else (12, 6, 28, 15), fill=ink)
        for left in (7, 20):
            pen.ellipse((left, 20, left + 5, 25), fill=(25, 25, 25))
    else:
        pen.ellipse((8, 8, 24, 24), fill=ink)  # a head, ears up or down
        for left, right in ((8, 13), (19, 24)):
            tip = (left, 3) if kind == "cat" else (left - 2, 22)
            pen.polygon([(left, 11), (right, 11), tip], fill=ink)


def picture(kind, rng):
    """One picture of a class, uint8 (32, 32, 3)."""
    own = KINDS[kind]
    ground = own if rng.random() < 0.8 else GROUNDS[rng.integers(len(GROUNDS))]
    canvas = Image.new("RGB", (SIDE, SIDE), ground)
    shape(kind, ImageDraw.Draw(canvas), tuple(int(v) for v in rng.integers(40, 256, 3)))
    moved = canvas.rotate(
        float(rng.normal(0, 10)), translate=tuple(int(v) for v in rng.integers(-3, 4, 2)), fillcolor=ground
    )
    pixels = np.asarray(moved, dtype=np.float64) * rng.uniform(0.35, 1.25)
    coarse = rng.normal(0, 14, (SIDE // 4, SIDE // 4, 3)).repeat(4, axis=0).repeat(4, axis=1)
    return np.clip(pixels + coarse + rng.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)


def main(folder, each="100", seed="0"):
    """Write FOLDER/CLASS/000.png and so on."""
    rng = np.random.default_rng(int(seed))
    for kind in KINDS:
        (Path(folder) / kind).mkdir(parents=True, exist_ok=True)
        for number in range(int(each)):
            Image.fromarray(picture(kind, rng)).save(Path(folder) / kind / f"{number:03d}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
