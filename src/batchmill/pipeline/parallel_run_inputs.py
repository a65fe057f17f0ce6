"""What a parallel run may be given to cut into mini-batches, and how it reads it (specification B3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from batchmill.pipeline.graph import InputPort
from batchmill.pipeline.output_dataset import OutputDatasetConfig, OutputDatasetInput
from batchmill.pipeline.pipeline_dataset import (
    PipelineOutputAbstractDataset,
    PipelineOutputFileDataset,
    PipelineOutputTabularDataset,
)
from batchmill.workspace.consumption import DIRECT, DatasetConsumptionConfig

ALLOWED = (DatasetConsumptionConfig, PipelineOutputFileDataset, PipelineOutputTabularDataset, OutputDatasetConfig)
NOT_ALLOWED = "Step input must be of any type: {}, found {}"
MIXED = "All inputs of step must be same type"
NOT_DIRECT = "Please ensure input dataset consumption mode is direct"
NOT_DIRECT_PARTITIONED = "Please ensure input dataset consumption mode is direct for partitioned dataset"
OUTPUT_NOT_DIRECT = "Please ensure pipeline input dataset consumption mode is direct"
TABULAR = "tabular"


def check_inputs(inputs: Sequence[Any]) -> bool:
    """Whether the inputs are tables.

    Raises:
        Exception: one is nothing that can be cut, or files are mixed with tables; with Azure ML's words.
    """
    for one in inputs:
        if not isinstance(one, ALLOWED):
            raise Exception(NOT_ALLOWED.format(tuple(kind.__name__ for kind in ALLOWED), type(one).__name__))
    kinds = {_is_table(one) for one in inputs}
    if len(kinds) > 1:
        raise Exception(MIXED)
    return True in kinds


def checked_modes(ports: Sequence[InputPort], inputs: Sequence[Any], *, partitioned: bool) -> list[InputPort]:
    """The ports of ``inputs`` with the modes in which they are read: files are mounted, tables and partitions given directly.

    Raises:
        Exception: another mode was asked for where only the direct one is possible.
    """
    return [_checked_mode(port, one, partitioned) for port, one in zip(ports, inputs, strict=True)]


def _checked_mode(port: InputPort, given: Any, partitioned: bool) -> InputPort:
    if _is_table(given):
        if port.mode != DIRECT:
            raise Exception(OUTPUT_NOT_DIRECT if isinstance(given, (PipelineOutputAbstractDataset, OutputDatasetConfig)) else NOT_DIRECT)
        return port
    if not partitioned:
        return replace(port, mode="mount")
    if isinstance(given, DatasetConsumptionConfig) and not isinstance(given, OutputDatasetInput) and port.mode != DIRECT:
        raise Exception(NOT_DIRECT_PARTITIONED)
    return port


def _is_table(given: Any) -> bool:
    if isinstance(given, OutputDatasetInput):
        return bool(given.dataset.type == TABULAR)
    if isinstance(given, DatasetConsumptionConfig):
        return given.default_dataset.kind == TABULAR
    return isinstance(given, PipelineOutputTabularDataset) or getattr(given, "type", None) == TABULAR
