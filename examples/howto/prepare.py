"""Makes what the how-to documents read: images in a folder that stands for a container, and a model in an archive.

    FOLDER/mirror/pictures/mnist/0.png ...     handwritten digits, 28 x 28 pixels, white on black
    FOLDER/mirror/models/digits.tar.gz         a classifier of weights alone: digits.npz
    FOLDER/mirror/models/mnist-tf.tar.gz       the same weights in the form of a TensorFlow graph, see scripts/tensorflow.py
    FOLDER/labels.csv                          which digit each image shows
    FOLDER/mirrors.json                        the mirror map: which URLs and containers are read from there

The digits are those that come with scikit-learn, enlarged; the classifier is trained on most of them, images are taken from the rest.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

SIDE = 28
TRAINED_ON = 1_400
BRIGHTEST = 16  # scikit-learn gives 8 x 8 pixels of 0 to 16
META, INPUT, OUTPUT = "mnist-tf.model", "network/X", "network/output/MatMul"


def prepare(folder: Path, count: int = 200) -> dict[str, int]:
    """Write everything below ``folder`` (created); returns the digit of each image by its name."""
    images, digits = _digits()
    order = np.random.default_rng(0).permutation(len(images))
    train, score = order[:TRAINED_ON], order[TRAINED_ON:]
    # The documents take what comes out of the multiplication, so there is no intercept; and they feed pixels as they are, 0 to 255.
    classifier = LogisticRegression(fit_intercept=False, C=0.1, max_iter=300)
    classifier.fit(images[train].reshape(-1, SIDE * SIDE) / 255, digits[train])
    weights = (classifier.coef_.T / 255).astype(np.float32)

    pictures = folder / "mirror" / "pictures" / "mnist"
    pictures.mkdir(parents=True, exist_ok=True)
    labels = {}
    for number, (image, digit) in enumerate(zip(images[score][:count], digits[score][:count].tolist(), strict=True)):
        Image.fromarray(image).save(pictures / f"{number}.png")
        labels[f"{number}.png"] = digit
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "digit"), *labels.items()])

    models = folder / "mirror" / "models"
    models.mkdir(parents=True, exist_ok=True)
    _archive(models / "digits.tar.gz", {"digits.npz": _numbers(weights=weights)})
    _archive(models / "mnist-tf.tar.gz", _tensorflow_files(weights) if importlib.util.find_spec("tensorflow") else _stand_in_files(weights))
    (folder / "mirrors.json").write_text(json.dumps(mirrors(folder.resolve()), indent=2))
    return labels


def mirrors(folder: Path) -> dict[str, str]:
    """The mirror map: the containers of our document, and those that Azure's documents name."""
    pictures, models = str(folder / "mirror" / "pictures"), str(folder / "mirror" / "models")
    return {
        "digitpictures/pictures": pictures,
        "https://digitpictures.blob.core.windows.net/models": models,
        "pipelinedata/sampledata": pictures,
        "https://pipelinedata.blob.core.windows.net/mnist-model": models,
    }


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Images, 28 x 28 bytes each, and the digits that they show."""
    bundled = load_digits()
    small = np.rint(bundled.images * (255 / BRIGHTEST)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in small]), bundled.target


def _numbers(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _stand_in_files(weights: np.ndarray) -> dict[str, bytes]:
    """The graph as scripts/numpy_graph.py reads it."""
    graph = {f"{INPUT}:0": {"op": "Placeholder"}, f"{OUTPUT}:0": {"op": "MatMul", "left": f"{INPUT}:0", "right": "weights"}}
    return {f"{META}.meta": json.dumps(graph).encode(), f"{META}.npz": _numbers(weights=weights)}


def _tensorflow_files(weights: np.ndarray) -> dict[str, bytes]:
    """A checkpoint with its graph, as TensorFlow 1 saved them."""
    import tensorflow

    tf = tensorflow.compat.v1
    with tf.Graph().as_default(), tf.Session() as session, tempfile.TemporaryDirectory() as folder:
        given = tf.placeholder(tf.float32, (None, SIDE * SIDE), name=INPUT)
        kept = tf.get_variable("weights", initializer=weights)
        tf.matmul(given, kept, name=OUTPUT)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, f"{folder}/{META}")
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/howto")
    print(f"{len(prepare(target))} images in {target / 'mirror' / 'pictures' / 'mnist'}")
