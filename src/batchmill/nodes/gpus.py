"""Which worker process may see which GPU (Azure ML rule, specification C8).

Each of the first N processes of a node with N GPUs gets ``CUDA_VISIBLE_DEVICES`` set to one free index; further processes get no such
variable. The index of an ended process goes to the next one that starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

COUNT_VARIABLE = "AZ_BATCHAI_GPU_COUNT_FOUND"


def gpu_count(environment: Mapping[str, str] | None = None) -> int:
    """GPUs of this node: what ``AZ_BATCHAI_GPU_COUNT_FOUND`` says, else the NVIDIA device files."""
    text = (environment or {}).get(COUNT_VARIABLE) or os.environ.get(COUNT_VARIABLE, "")
    if text.isdigit():
        return int(text)
    return sum(1 for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit())


class GpuIndexes:
    """The free GPU indexes of one node."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))

    def take(self) -> int | None:
        return self._free.pop(0) if self._free else None

    def give_back(self, index: int | None) -> None:
        if index is not None:
            self._free.append(index)
            self._free.sort()
