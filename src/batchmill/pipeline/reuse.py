"""Reuse of steps: whether an earlier run of a step may stand for this one, and why, or why not (decision of G4 and of ours on content).

A step run keeps its parts (`step_identity`) and their key in the registry when it begins, and what its outputs hold when it has completed.
A later run with the same key takes these outputs for its own, if they are still as they were left, and if every name that its script asked
for stands for the same as then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchmill.errors import BatchmillError
from batchmill.pipeline.step_identity import Parts, key_of, parts_of
from batchmill.pipeline.step_work import StepWork
from batchmill.records import RunStatus
from batchmill.workspace.input_listing import QUERY, changes_since_asked, keep_listing, kept_listing, listing_changes, listing_of_place
from batchmill.workspace.registered_run import STEP_RUN

if TYPE_CHECKING:
    from batchmill.workspace.registered_run import RegisteredRun
    from batchmill.workspace.workspace import Workspace

IDENTITY, MADE, REUSE, BOUND, OUTPUTS = "identity", "made", "reuse", "bound", "outputs"
"""In the details of a step run: its parts; what its outputs held at the end; why it was reused or runs; the names that were bound."""
RUN_ID, NODE_ID, PIPELINE_ID = "azureml.reusedrunid", "azureml.reusednodeid", "azureml.reusedpipeline"
LOOKED_AT = 8
NEVER = "runs: allow_reuse is False"
REGENERATE = "runs again: regenerate_outputs"


@dataclass(frozen=True, slots=True)
class Reused:
    """An earlier step run that stands for this one. ``outputs`` as in the details of step runs; ``labels``: the properties of the reuse."""

    run_id: str
    outputs: Mapping[str, Any]
    labels: Mapping[str, str]
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a step is carried out. ``text`` says why, ``details`` and ``key`` go into the record of the step run."""

    text: str
    key: str | None = None
    reused: Reused | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def decide(work: StepWork, *, regenerate: bool = False) -> Decision:
    """Look for an earlier run of a step that is about to begin; nothing is brought anywhere.

    ``work``: its inputs need no paths. What cannot be found out (a store is away, a model is gone) speaks for running it, where it is told.
    """
    if not work.node.allow_reuse:
        return Decision(NEVER, details={REUSE: NEVER})
    try:
        parts = parts_of(work)
        key = key_of(parts)
        if regenerate:
            return _decided(REGENERATE, key, None, parts)
        reused, why = _search(work, parts, key)
    except BatchmillError as error:
        text = f"runs: what it depends on cannot be found out: {error.line}"
        return Decision(text, details={REUSE: text})
    return _decided(reason(work, parts, reused, why), key, reused, parts)


def find_reusable(work: StepWork) -> Reused | None:
    """The newest completed step run of the workspace that may stand for this one.

    Raises:
        BatchmillError: an input cannot be listed.
    """
    parts = parts_of(work)
    return _search(work, parts, key_of(parts))[0]


def made_by(ws: Workspace, outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What outputs hold now, for the details of a step run that has completed; ``outputs`` as in these details."""
    return {name: keep_listing(ws, listing_of_place(ws, f"datastore://{one['datastore']}/{one['path']}")) for name, one in outputs.items()}


def _decided(text: str, key: str | None, reused: Reused | None, parts: Parts) -> Decision:
    return Decision(text, key, reused, {REUSE: text, IDENTITY: parts, **(reused.details if reused is not None else {})})


# --- looking --------------------------------------------------------------------------------------------------------------------


def _search(work: StepWork, parts: Parts, key: str | None) -> tuple[Reused | None, str | None]:
    """The run that may be reused; or else what speaks against the newest with the same parts, if there is one."""
    if key is None:
        return None, None
    why: str | None = None
    for run in work.workspace.registry.runs(reuse_key=key, kind=STEP_RUN, status=RunStatus.COMPLETED, limit=LOOKED_AT):
        if run.id == work.step_run_id or run.details.get(IDENTITY) != json.loads(json.dumps(parts)):
            continue
        against = next(_against(work.workspace, run), None)
        if against is None:
            return _reused(run), None
        why = why or against
    return None, why


def _against(ws: Workspace, run: RegisteredRun) -> Iterator[str]:
    """What speaks against a run with the same parts: names stand for something else now, or its outputs are not what it left."""
    yield from _names(ws, run.details.get(BOUND) or {})
    made, outputs = run.details.get(MADE), run.details.get(OUTPUTS) or {}
    if made is None:
        yield f"what run {run.id} left was not recorded"
        return
    for name, digest in made.items():
        now = listing_of_place(ws, f"datastore://{outputs[name]['datastore']}/{outputs[name]['path']}")
        if keep_listing(ws, now) != digest:
            before = kept_listing(ws, digest)
            how = "is gone" if not now else listing_changes(before, now) if before is not None else "changed"
            yield f"output '{name}' of run {run.id}: {how}" if now else f"output '{name}' of run {run.id} {how}"


def _names(ws: Workspace, bound: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Names that the script asked for and that stand for something else now (``model v7 -> v8``); datasets that hold something else."""
    from batchmill.workspace.dataset import asset_by_name
    from batchmill.workspace.model_lookup import resolve_model

    for kind, find in (("model", resolve_model), ("dataset", asset_by_name)):
        entries = bound.get(f"{kind}s") or {}
        for label, entry in entries.items():
            name, _, version = label.partition(":")
            who = kind if len(_only_names(entries)) == 1 else f"{kind} {name}"
            try:
                asset = find(ws, name, int(version) if version else None)
            except BatchmillError:
                yield f"{kind} {label} is not registered any more"
                continue
            if asset.id != entry["id"]:
                yield f"{who} v{entry['version']} -> v{asset.version}"
            elif kind == "dataset" and (change := changes_since_asked(ws, name, entry.get("files"), asset.definition)) is not None:
                yield change


def _only_names(labels: Mapping[str, Any]) -> set[str]:
    return {label.partition(":")[0] for label in labels}


def _reused(run: RegisteredRun) -> Reused:
    """The run itself, or the one that it was reused from: that is where the outputs were made."""
    properties = run.properties
    labels = {
        RUN_ID: properties.get(RUN_ID) or run.id,
        NODE_ID: properties.get(NODE_ID) or properties.get("azureml.nodeid") or run.tags.get("azureml.nodeid") or "",
        PIPELINE_ID: properties.get(PIPELINE_ID) or run.parent or "",
    }
    outputs = run.details.get(OUTPUTS) or {}
    kept = {name: run.details[name] for name in (MADE, BOUND, "counts", "names") if run.details.get(name) is not None}
    return Reused(labels[RUN_ID], outputs, labels, {**kept, OUTPUTS: outputs})


# --- words ----------------------------------------------------------------------------------------------------------------------


def reason(work: StepWork, parts: Parts, reused: Reused | None, why: str | None = None) -> str:
    """``reused: same script, inputs, model v7, environment`` or ``runs again: model v7 -> v8``."""
    if reused is not None:
        return f"reused: same {', '.join(_same(parts, reused))}"
    if why is not None:
        return f"runs again: {why}"
    before = _newest(work)
    if before is None:
        return "runs: no earlier run of this step has completed"
    changes = list(_changes(work.workspace, before.details[IDENTITY], parts))
    changes += _names(work.workspace, before.details.get(BOUND) or {})
    if not changes and QUERY in {one["files"] for one in parts["inputs"].values()}:
        return "runs again: an input is a query, whose answer may be another each time"
    return f"runs again: {', '.join(changes[:4]) or 'something that is not told apart changed'}"


def _same(parts: Parts, reused: Reused) -> Iterator[str]:
    yield "command" if parts["kind"] == "command" else "script"
    if parts["inputs"]:
        yield "inputs"
    models = {**{label: one["version"] for label, one in parts["models"].items()}, **_versions(reused.details.get(BOUND) or {}, "models")}
    names = {label.partition(":")[0]: version for label, version in models.items()}
    yield from (f"model v{version}" if len(names) == 1 else f"model {name} v{version}" for name, version in sorted(names.items()))
    yield "environment"


def _versions(bound: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, Any]:
    return {label: entry["version"] for label, entry in (bound.get(kind) or {}).items()}


def _newest(work: StepWork) -> RegisteredRun | None:
    """The newest completed run of the same step."""
    found = work.workspace.registry.runs(name=work.node.name, kind=STEP_RUN, status=RunStatus.COMPLETED, limit=LOOKED_AT * 4)
    same = [run for run in found if run.id != work.step_run_id and run.details.get(IDENTITY)]
    return next((run for run in same if run.details.get("module") == work.node.module), None)


def _changes(ws: Workspace, old: Parts, new: Parts) -> Iterator[str]:
    """Part by part."""
    from batchmill.parallel_run.run_identity import argument_changes

    if old["kind"] != new["kind"] or old["script"] != new["script"]:
        yield f"script {old['script']} -> {new['script']}"
    elif old["snapshot"] != new["snapshot"]:
        yield _of_source(ws, old, new)
    yield from argument_changes(old["command"], new["command"])
    yield from argument_changes(old["arguments"], new["arguments"])
    for name, was, now in _different(old["parameters"], new["parameters"]):
        yield f"parameter {name} is another" if isinstance(now, dict) else f"parameter {name}: {was} -> {now}"
    yield from _of_environment(old["environment"], new["environment"])
    yield from (f"variable {name} changed" for name, _, _ in _different(old["variables"], new["variables"]))
    yield from (f"setting {name}: {was} -> {now}" for name, was, now in _different(old["settings"], new["settings"]))
    yield from _of_models(old["models"], new["models"])
    if old["compute"] != new["compute"]:
        yield f"compute {old['compute']} -> {new['compute']}"
    yield from _of_inputs(ws, old["inputs"], new["inputs"])
    if old.get("order") != new["order"] and set(old["inputs"]) == set(new["inputs"]):
        yield "inputs in another order"
    yield from (f"output '{name}' is another" for name, _, _ in _different(old["outputs"], new["outputs"]))


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _of_source(ws: Workspace, old: Parts, new: Parts) -> str:
    from batchmill.pipeline.source_snapshot import snapshot_folder

    try:
        one, other = (snapshot_folder(ws, digest) for digest in (old["snapshot"], new["snapshot"]))
        if new["script"] is not None and (one / new["script"]).read_bytes() != (other / new["script"]).read_bytes():
            return f"script {new['script']} changed"
    except (BatchmillError, OSError):
        return "script or its folder changed"
    return "the folder of the script changed"


def _of_environment(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    from batchmill.parallel_run.run_identity import package_changes

    if old == new:
        return
    before, now = (f"{one['name']} v{one['version']}" if one.get("version") else str(one["name"]) for one in (old, new))
    if before != now:
        yield f"environment {before} -> {now}"
    elif old.get("installed") != new.get("installed") and old.get("installed") and new.get("installed"):
        yield from package_changes(json.loads(old["installed"]), json.loads(new["installed"]))
    else:
        yield f"environment {now} changed" if new["name"] else "environment changed"


def _of_models(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for label, was, now in _different(old, new):
        who = "model" if len(_only_names(new)) == 1 else f"model {label.partition(':')[0]}"
        if was is None or now is None:
            yield f"model {label} is {'new' if was is None else 'not used any more'}"
        else:
            yield f"{who} v{was['version']} -> v{now['version']}"


def _of_inputs(ws: Workspace, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name, was, now in _different(old, new):
        if was is None or now is None:
            yield f"input '{name}' is {'new' if was is None else 'gone'}"
        elif {**was, "files": None} != {**now, "files": None}:
            yield f"input '{name}' is another"
        else:
            before, after = (kept_listing(ws, str(one["files"])) for one in (was, now))
            how = listing_changes(before, after) if before is not None and after is not None else "its files changed"
            yield f"input '{name}': {how}"
