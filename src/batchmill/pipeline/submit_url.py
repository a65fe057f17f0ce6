"""The addresses at which a service takes requests to submit published pipelines (Azure ML: the same form)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

VARIABLE = "BATCHMILL_SERVICE_URL"
DEFAULT = "http://localhost:8460"
PIPELINE_SUBMIT, ENDPOINT_SUBMIT = "PipelineSubmit", "PipelineEndpointSubmit/Id"


def submit_url(workspace: Workspace, what: str, id: str) -> str:
    """The address that submits a published pipeline or an endpoint.

    It begins with ``BATCHMILL_SERVICE_URL`` (default ``http://localhost:8460``). Programs cut the address of an endpoint at its first "Id"
    (Azure ML's notebooks), so a workspace named otherwise has these two letters of its name percent-encoded.
    """
    service = os.environ.get(VARIABLE, DEFAULT).rstrip("/")
    provider = "providers/Microsoft.MachineLearningServices"
    group = f"subscriptions/{_part(workspace.subscription_id)}/resourceGroups/{_part(workspace.resource_group)}"
    return f"{service}/pipelines/v1.0/{group}/{provider}/workspaces/{_part(workspace.name)}/PipelineRuns/{what}/{quote(id)}"


def _part(text: str) -> str:
    return quote(text or "local", safe="").replace("Id", "%49d")
