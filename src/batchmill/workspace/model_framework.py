"""The names of frameworks that models are made with."""

from __future__ import annotations


class Framework:
    """Names for ``model_framework`` (Azure ML: ``Model.Framework``); any other text works, too."""

    CUSTOM = "Custom"
    MULTI = "Multi"
    ONNX = "Onnx"
    PYTORCH = "PyTorch"
    SCIKITLEARN = "ScikitLearn"
    TENSORFLOW = "TensorFlow"
    TFKERAS = "TfKeras"
