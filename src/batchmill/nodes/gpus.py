"""Which worker process may see which GPU (Azure ML rule, specification C8).

Each of the first N processes of a node with N GPUs gets ``CUDA_VISIBLE_DEVICES`` set to one free index; further processes get no such
variable. The index of an ended process goes to the next one that starts. On a cluster the indexes are those that the node was given.

With the setting ``gpus_per_process`` a process gets that much instead: 0.5 puts two processes on each GPU, 2 gives each process two of
them; a process for which nothing is left gets an empty variable, so that it sees no GPU at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

COUNT_VARIABLE = "AZ_BATCHAI_GPU_COUNT_FOUND"
NO_GPU = ""
ROUNDING = 1e-9


def gpu_count(environment: Mapping[str, str] | None = None) -> int:
    """GPUs of this node: what ``AZ_BATCHAI_GPU_COUNT_FOUND`` says, else the NVIDIA device files."""
    text = (environment or {}).get(COUNT_VARIABLE) or os.environ.get(COUNT_VARIABLE, "")
    if text.isdigit():
        return int(text)
    return sum(1 for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit())


def gpu_ids(given: Sequence[str] | None, environment: Mapping[str, str] | None = None) -> Sequence[str]:
    """The indexes of the GPUs of a node: those it was given, else the first of the machine."""
    return [str(index) for index in range(gpu_count(environment))] if given is None else given


def gpu_processes(count: int, share: float | None) -> int:
    """How many processes ``count`` GPUs serve at once, each with ``share`` of a GPU (None: 1); 0 where they take none.

    >>> [gpu_processes(2, share) for share in (None, 0.5, 0.3, 2, 0)]
    [2, 4, 6, 1, 0]
    """
    share = 1.0 if share is None else share
    if share > 1:
        return count // int(share)
    return 0 if share == 0 else count * int(1 / share + ROUNDING)


class GpuIndexes:
    """The GPUs of one node, lent to its processes: ``ids`` are their indexes, ``share`` is the setting ``gpus_per_process``."""

    def __init__(self, ids: Sequence[str], share: float | None = None) -> None:
        self._share = share
        self._free = {index: gpu_processes(1, share) if share is None or share <= 1 else 1 for index in ids}

    def take(self) -> str | None:
        """``CUDA_VISIBLE_DEVICES`` of a process that starts; None: it gets no such variable.

        >>> halves = GpuIndexes(["0", "1"], 0.5)
        >>> [halves.take() for _ in range(5)]
        ['0', '1', '0', '1', '']
        """
        wanted = 1 if self._share is None or self._share <= 1 else int(self._share)
        most_free = sorted((index for index, places in self._free.items() if places), key=lambda index: -self._free[index])
        if len(most_free) < wanted:
            return None if self._share is None else NO_GPU
        for index in most_free[:wanted]:
            self._free[index] -= 1
        return ",".join(most_free[:wanted])

    def give_back(self, devices: str | None) -> None:
        """What `take` gave to a process that has ended."""
        for index in (devices or "").split(","):
            if index in self._free:
                self._free[index] += 1
