"""Makes the inputs of the digits example: real images and a real model.

Exports the 1,797 handwritten digits that come with scikit-learn as PNG files, trains a small classifier on one half, and leaves the
other half for scoring:

    FOLDER/images/digit-0001.png ...   the half to be scored
    FOLDER/labels.csv                  which digit each of them shows
    FOLDER/model.joblib                the classifier
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import joblib
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

BRIGHTEST = 16  # scikit-learn gives 8 x 8 pixels of 0 to 16


def prepare(folder: Path) -> int:
    """Write images, labels and model below ``folder`` (created); returns how many images wait to be scored."""
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / BRIGHTEST)).astype(np.uint8)
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)

    train, score = slice(0, None, 2), slice(1, None, 2)
    classifier = LogisticRegression(max_iter=2000)
    classifier.fit(pixels[train].reshape(-1, 64) / 255, digits.target[train])
    joblib.dump(classifier, folder / "model.joblib")

    names = [f"digit-{number:04d}.png" for number in range(len(pixels))][score]
    for name, image in zip(names, pixels[score], strict=True):
        Image.fromarray(image).save(images / name)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "digit"), *zip(names, digits.target[score].tolist(), strict=True)])
    return len(names)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/digits")
    print(f"{prepare(target)} images in {target / 'images'}")
