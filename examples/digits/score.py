"""Reads handwritten digits from PNG files: one row ``name: digit`` for each image.

batchmill run examples/digits/score.py --input build/digits/images --mini-batch-size 10 -- --model "$PWD/build/digits/model.joblib"
"""

from __future__ import annotations

import argparse
import os

import joblib
import numpy as np
from PIL import Image

model = None


def init() -> None:
    """Once per worker process: load the model that ``--model`` (or DIGITS_MODEL) names."""
    global model
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=os.environ.get("DIGITS_MODEL"), help="the classifier, as an absolute path")
    arguments, _ = parser.parse_known_args()
    if not arguments.model:
        parser.error("name the classifier: --model PATH, or DIGITS_MODEL=PATH")
    model = joblib.load(arguments.model)


def run(mini_batch: list[str]) -> list[str]:
    """Once per mini-batch: decode its images, classify them together."""
    pixels = []
    for path in mini_batch:
        with Image.open(path) as image:
            pixels.append(np.asarray(image.convert("L"), dtype=np.float64).reshape(64) / 255)
    digits = model.predict(np.stack(pixels))
    return [f"{os.path.basename(path)}: {digit}" for path, digit in zip(mini_batch, digits, strict=True)]
