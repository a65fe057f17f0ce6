"""Makes readings of sensors, and a trained model for each of them.

    FOLDER/data/sensor_data.csv          TS,Device,Sensor,Val: the last hour, a reading a minute
    FOLDER/models/model_<d>_<s>          a One-Class SVM for sensor s of device d, trained on an earlier week of its readings

A sensor follows its day (warmer at noon), drifts a little, and has noise of its own; about one in fifty readings of the last hour is off: a
spike, a sensor that hangs, or a step. Everything comes from one seed: the same folder is made each time.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import joblib
import numpy as np
from sklearn.svm import OneClassSVM

BEGAN = datetime(2026, 3, 2, 14, tzinfo=UTC)
WEEK = 7 * 24 * 60  # minutes
TRAINED_ON = 200  # readings, spread over the week
SEED = 20_260_302


class Sensor:
    """One sensor: the level, swing, drift and noise that are its nature."""

    def __init__(self, device: int, number: int) -> None:
        self.device, self.number = device, number
        self.random = np.random.default_rng((SEED, device, number))
        self.level = self.random.uniform(20, 90)
        self.swing = self.random.uniform(0.5, 6)
        self.noise = self.random.uniform(0.1, 0.8)
        self.drift = self.random.normal(0, 0.2) / WEEK

    def healthy(self, minutes: np.ndarray) -> np.ndarray:
        """Readings at some minutes after `BEGAN` (before it where negative), nothing being wrong."""
        phase = 2 * np.pi * (minutes + BEGAN.hour * 60) / 1440
        return self.level - self.swing * np.cos(phase) + self.drift * minutes + self.random.normal(0, self.noise, len(minutes))

    def last_hour(self, count: int) -> np.ndarray:
        """The readings to be scored, some of them off."""
        values = self.healthy(np.arange(count, dtype=float))
        for at in np.flatnonzero(self.random.random(count) < 0.02):
            kind = self.random.integers(3)
            if kind == 0:  # a spike
                values[at] += self.random.choice([-1, 1]) * self.random.uniform(4, 9) * (self.swing + self.noise)
            elif kind == 1:  # it hangs at zero for a while
                values[at : at + 3] = 0.0
            else:  # a step to another level
                values[at : at + 5] += 3 * (self.swing + self.noise)
        return values

    def model(self) -> OneClassSVM:
        """Trained on what was healthy in the week before."""
        minutes = np.linspace(-WEEK, -1, TRAINED_ON)
        return OneClassSVM(kernel="rbf", gamma="scale", nu=0.01).fit(self.healthy(minutes).reshape(-1, 1))


def make(folder: Path, devices: int = 3, sensors: int = 5, readings: int = 60) -> int:
    """Write readings and models below ``folder`` (created); returns the number of readings. Models that are there stay."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    all_sensors = [Sensor(device, number) for device in range(1, devices + 1) for number in range(1, sensors + 1)]
    for sensor in all_sensors:
        path = folder / "models" / f"model_{sensor.device}_{sensor.number}"
        model = sensor.model()  # also where it stays: the sensor's random numbers go on from here
        if not path.exists():
            joblib.dump(model, path)
    with open(folder / "data" / "sensor_data.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("TS", "Device", "Sensor", "Val"))
        writer.writerows(_rows(all_sensors, readings))
    return len(all_sensors) * readings


def _rows(sensors: list[Sensor], readings: int) -> Iterator[tuple[str, int, int, float]]:
    """As they come in: minute by minute, sensor after sensor."""
    values = [sensor.last_hour(readings) for sensor in sensors]
    for minute in range(readings):
        moment = (BEGAN + timedelta(minutes=minute)).strftime("%Y-%m-%d %H:%M:%S")
        for sensor, own in zip(sensors, values, strict=True):
            yield moment, sensor.device, sensor.number, round(float(own[minute]), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make readings of sensors and their models.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--sensors", type=int, default=5, help="of each device")
    parser.add_argument("--readings", type=int, default=60, help="of each sensor, one a minute")
    arguments = parser.parse_args()
    count = make(arguments.folder, arguments.devices, arguments.sensors, arguments.readings)
    print(f"{count:,} readings of {arguments.devices * arguments.sensors:,} sensors, and their models, in {arguments.folder}")


if __name__ == "__main__":
    main()
