"""Scores the readings of one sensor: the script of a step of its own.

predict.py DEVICE SENSOR MODELS_DIR DATA_DIR DATA_NAME PREDS_DIR

Reads DATA_DIR/DATA_NAME.csv and MODELS_DIR/model_DEVICE_SENSOR; writes PREDS_DIR/preds_DEVICE_SENSOR.csv with a column Prediction: 1 for a
reading that fits the sensor, -1 for one that is off. PREDS_DIR must not be there yet.
"""

import os
import sys

import joblib
import pandas as pd

device, sensor = int(sys.argv[1]), int(sys.argv[2])
models_dir, data_dir, data_name, preds_dir = sys.argv[3:7]

readings = pd.read_csv(os.path.join(data_dir, f"{data_name}.csv"))
readings = readings[(readings["Device"] == device) & (readings["Sensor"] == sensor)]
model = joblib.load(os.path.join(models_dir, f"model_{device}_{sensor}"))
scored = readings.assign(Prediction=model.predict(readings[["Val"]].to_numpy()))

os.makedirs(preds_dir)
scored.to_csv(os.path.join(preds_dir, f"preds_{device}_{sensor}.csv"), index=False)
print(f"sensor {device}_{sensor}: {len(scored)} readings, {(scored['Prediction'] < 0).sum()} of them off")
