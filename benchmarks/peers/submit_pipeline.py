"""Submits pipelines and says when: what is measured of them stands in a JSON object on the last line.

submit_pipeline.py one SOURCE INPUT          a pipeline of one parallel run; waits for its end
submit_pipeline.py sensors FOLDER            a step for each sensor; waits for the end
submit_pipeline.py many SOURCE COUNT         so many pipelines of one small script, one after another; waits for none
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from azureml.core import Dataset, Environment, Experiment, Workspace
from azureml.pipeline.core import Pipeline, PipelineData
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep, PythonScriptStep

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sensors"


def one(ws: Workspace, source: str, folder: str) -> Pipeline:
    config = ParallelRunConfig(
        Environment("plain"), "first_batch.py", 0, "append_row", None, 1,
        process_count_per_node=2, mini_batch_size="5", source_directory=source,
    )  # fmt: skip
    files = Dataset.File.from_files(folder).as_named_input("files")
    step = ParallelRunStep("first-batch", config, [files], PipelineData("rows"), allow_reuse=False)
    return Pipeline(ws, steps=[step])


def sensors(ws: Workspace, folder: str) -> Pipeline:
    sys.path.insert(0, str(EXAMPLE))
    from pipeline_as_microsoft import build

    return build(ws, Path(folder))[0]


def many(ws: Workspace, source: str, count: str) -> list[str]:
    step = PythonScriptStep("small.py", source_directory=source, compute_target="local", allow_reuse=False)
    return [Experiment(ws, "many").submit(Pipeline(ws, steps=[step])).id for _ in range(int(count))]


def main() -> None:
    kind, *words = sys.argv[1:]
    ws = Workspace.from_config()
    if kind == "many":
        print(json.dumps(many(ws, *words)))
        return
    makers: dict[str, Any] = {"one": one, "sensors": sensors}
    pipeline = makers[kind](ws, *words)
    began = time.time()
    run = Experiment(ws, kind).submit(pipeline)
    submitted = time.time()
    status = run.wait_for_completion(show_output=False)
    print(json.dumps({"began": began, "submitted": submitted, "ended": time.time(), "status": status}))


if __name__ == "__main__":
    main()
