"""One tiny model per key: loads the model of the mini-batch's key and predicts all its rows."""

from __future__ import annotations

import os
import pickle
from typing import Any

FEATURES = ["a", "b", "c"]


def run(mini_batch: Any) -> list[str]:
    key = mini_batch["device"].iloc[0]
    with open(os.path.join(os.environ["KEYED_MODELS"], f"{key}.pickle"), "rb") as file:
        model = pickle.load(file)
    predicted = model.predict(mini_batch[FEATURES].to_numpy())
    return [f"{key} {value:.6f}" for value in predicted]
