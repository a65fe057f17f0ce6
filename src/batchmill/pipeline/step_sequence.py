"""`StepSequence`: steps one behind the other (Azure ML: ``azureml.pipeline.core.StepSequence``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from batchmill.pipeline.step import PipelineStep


class StepSequence:
    """Each element begins when all of the one before have completed. An element is a step, a list of steps that run side by side, or
    another sequence.

    >>> StepSequence(steps=[prepare, [score_images, score_tables], report])  # doctest: +SKIP

    Raises:
        ValueError: something in it is none of these.
    """

    def __init__(self, steps: Sequence[Any] | None = None) -> None:
        self.elements = list(steps or [])
        for element in self.elements:
            list(steps_of(element))  # raises

    def __iter__(self) -> Iterator[PipelineStep]:
        return steps_of(self)


def steps_of(element: Any) -> Iterator[PipelineStep]:
    """All steps in a step, in lists nested as deep as you like and in sequences, in the order they are written.

    Raises:
        ValueError: something else is among them.
    """
    if isinstance(element, PipelineStep):
        yield element
    elif isinstance(element, (list, tuple, StepSequence)):
        for one in element.elements if isinstance(element, StepSequence) else element:
            yield from steps_of(one)
    else:
        raise ValueError(f"A pipeline is made of steps, lists of steps and StepSequence, not of {type(element).__name__}.")


def orders_of(element: Any) -> Iterator[tuple[PipelineStep, PipelineStep]]:
    """The pairs (earlier, later) that sequences ask for; of two neighbouring groups every step of one waits for every step of the other."""
    if isinstance(element, PipelineStep):
        return
    elements = element.elements if isinstance(element, StepSequence) else element
    for one in elements:
        yield from orders_of(one)
    if isinstance(element, StepSequence):
        filled = [steps for steps in (list(steps_of(one)) for one in elements) if steps]
        for earlier, later in pairwise(filled):
            yield from ((first, second) for first in earlier for second in later)
