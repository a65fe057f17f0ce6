"""Scores the readings of many sensors: the entry script of one step, which is given the readings of one sensor at a time."""

import os

import joblib
from azureml.core.model import Model


def init():
    global models
    models = Model.get_model_path("sensor-models")  # the folder with a file model_<device>_<sensor> for each sensor


def run(readings, context):
    device, sensor = (int(context.partition_key_value[key]) for key in ("Device", "Sensor"))
    model = joblib.load(os.path.join(models, f"model_{device}_{sensor}"))
    prediction = model.predict(readings[["Val"]].to_numpy())
    return readings.assign(Device=device, Sensor=sensor, Prediction=prediction)[["TS", "Device", "Sensor", "Val", "Prediction"]]
