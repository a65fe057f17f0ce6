"""``batchmill compute``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.tables import AfterOption, JsonOption, LimitOption, WorkspaceOption, YesOption, command_group

if TYPE_CHECKING:
    from batchmill.workspace.compute_status import AmlComputeStatus

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the compute target.", show_default=False)]
MinOption = typer.Option("--min-nodes", metavar="N", help="Nodes that are always there.", show_default=False)
MaxOption = typer.Option("--max-nodes", metavar="N", help="Nodes that there may be.", show_default=False)
IdleOption = typer.Option("--idle-seconds", metavar="SECONDS", help="How long a node that nobody needs stays.", show_default=False)


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Elastic pools of nodes for runs: make, look at, change and remove compute targets.")
    for name, command in (("create", create), ("attach", attach), ("list", list_all), ("show", show), ("update", update)):
        group.command(name)(command)
    group.command("remove")(remove)
    group.command("detach")(detach)
    app.add_typer(group, name="compute")


def create(
    name: NameArgument,
    max_nodes: Annotated[int, MaxOption],
    min_nodes: Annotated[int, MinOption] = 0,
    idle_seconds: Annotated[int, IdleOption] = 1800,
    vm_size: Annotated[
        str, typer.Option(metavar="SIZE", help="What a node may use, as a size of Azure (STANDARD_D2_V2).", show_default=False)
    ] = "",
    low_priority: Annotated[bool, typer.Option("--low-priority", help="Nodes that may be taken away, where there are any.")] = False,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.", show_default=False)] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag. Repeatable.", show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a compute target, or give the one of that name another size and other bounds."""
    from batchmill.cli.tables import parse_pairs, print_json
    from batchmill.cli.terminal import tell
    from batchmill.workspace.compute import AmlCompute, ComputeTarget
    from batchmill.workspace.current import find_workspace

    configuration = AmlCompute.provisioning_configuration(
        vm_size=vm_size,
        vm_priority="lowpriority" if low_priority else "dedicated",
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        idle_seconds_before_scaledown=idle_seconds,
        tags=parse_pairs(tag, "--tag"),
        description=description,
    )
    target = ComputeTarget.create(find_workspace(workspace), name, configuration)
    if as_json:
        print_json(target.serialize())
    else:
        tell(f"Compute target {name} is ready: {min_nodes} to {max_nodes} nodes.")


def attach(
    name: NameArgument,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Where the cluster is, as ray.init takes it: head:6379, ray://head:10001.")
    ],
    vm_size: Annotated[
        str,
        typer.Option(metavar="SIZE", help="What a node may use [default: a whole machine of the cluster].", show_default=False),
    ] = "",
    min_nodes: Annotated[int, MinOption] = 0,
    max_nodes: Annotated[int | None, MaxOption] = None,
    idle_seconds: Annotated[int, IdleOption] = 1800,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.", show_default=False)] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag. Repeatable.", show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a Ray cluster a compute target, or change the one of that name. The cluster is asked whether it is there."""
    from batchmill.cli.tables import parse_pairs, print_json
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.ray_compute import RayCompute

    target = RayCompute.attach(
        find_workspace(workspace),
        name,
        address,
        vm_size=vm_size,
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        idle_seconds_before_scaledown=idle_seconds,
        tags=parse_pairs(tag, "--tag"),
        description=description,
    )
    if as_json:
        print_json(target.serialize())
    else:
        tell(f"The Ray cluster at {target.address} is compute target {name}.")


def list_all(workspace: WorkspaceOption = None, limit: LimitOption = 100, after: AfterOption = None, as_json: JsonOption = False) -> None:
    """List the compute targets, by name."""
    from batchmill.cli.tables import print_json, print_table, tell_more
    from batchmill.cli.terminal import tell
    from batchmill.workspace.compute import from_asset
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found = [from_asset(ws, asset) for asset in ws.registry.list("compute", limit=limit, after=after)]
    if as_json:
        print_json([target.serialize() for target in found])
    elif not found:
        tell(f"There are no compute targets in workspace {ws.name}. Make one: batchmill compute create NAME --max-nodes N")
    else:
        rows, troubles, on_ray = [], [], any(target.cluster is not None for target in found)
        right = (3, 4, 5, 6, 7) if on_ray else (2, 3, 4, 5, 6)
        for target in found:
            status, bounds = target.get_status(), target.scale_settings
            counts = (status.current_node_count, status.running_node_count, status.idle_node_count)
            where = [target.cluster] if on_ray else []
            rows.append([target.name, *where, target.vm_size, *counts, bounds.minimum_node_count, bounds.maximum_node_count])
            troubles += [f"{target.name}: {one['error']['message']}" for one in status.errors or ()]
        print_table(["name", *(["cluster"] if on_ray else []), "size", "nodes", "running", "idle", "min", "max"], rows, right=right)
        for trouble in troubles:
            tell(trouble)
        tell_more(len(found), limit, found[-1].name)


def show(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show one compute target: its bounds, its nodes and the runs that hold them."""
    from batchmill.cli.tables import print_facts, print_json
    from batchmill.workspace.compute import AmlCompute
    from batchmill.workspace.current import find_workspace

    target = AmlCompute(find_workspace(workspace), name)
    if as_json:
        print_json(target.serialize() | {"nodes": target.list_nodes()})
        return
    status, bounds = target.get_status(), target.scale_settings
    print_facts(
        [
            ("compute", target.name),
            ("description", target.description),
            ("tags", target.tags),
            ("size", target.vm_size),
            ("priority", target.vm_priority),
            ("cluster", target.cluster),
            ("nodes", _nodes(status)),
            ("error", None if status.errors is None else status.errors[0]["error"]["message"]),
            ("bounds", f"{bounds.minimum_node_count} to {bounds.maximum_node_count}"),
            ("idle seconds", bounds.idle_seconds_before_scaledown),
            ("created", status.creation_time),
            *((node["nodeId"], " ".join([node["nodeState"], node["runId"] or ""]).strip()) for node in target.list_nodes()),
        ]
    )


def _nodes(status: AmlComputeStatus) -> str:
    """How many nodes there are, in which states; the two usual ones always, others when there are some."""
    states = {"running": status.running_node_count, "idle": status.idle_node_count}
    states |= {"leaving": status.leaving_node_count, "unusable": status.unusable_node_count}
    shown = " + ".join(f"{count} {state}" for state, count in states.items() if count or state in ("running", "idle"))
    coming = f", {status.preparing_node_count} preparing" if status.preparing_node_count else ""
    return f"{status.current_node_count} = {shown}{coming}"


def update(
    name: NameArgument,
    min_nodes: Annotated[int | None, MinOption] = None,
    max_nodes: Annotated[int | None, MaxOption] = None,
    idle_seconds: Annotated[int | None, IdleOption] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Change the bounds of a compute target. Nodes that work are not taken away; idle ones above the maximum leave at once."""
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError
    from batchmill.workspace.compute import AmlCompute
    from batchmill.workspace.current import find_workspace

    if min_nodes is None and max_nodes is None and idle_seconds is None:
        raise UsageError("Nothing to change was given.", cure="See batchmill compute update --help.")
    target = AmlCompute(find_workspace(workspace), name)
    target.update(min_nodes=min_nodes, max_nodes=max_nodes, idle_seconds_before_scaledown=idle_seconds)
    bounds = target.scale_settings
    told = f"{bounds.minimum_node_count} to {bounds.maximum_node_count} nodes, idle for {bounds.idle_seconds_before_scaledown:,} seconds"
    tell(f"Compute target {name} has been changed: {told}.")


def detach(name: NameArgument, workspace: WorkspaceOption = None, yes: YesOption = False) -> None:
    """Forget an attached cluster, which goes on as it is. Runs that hold nodes of it go on to their end."""
    from batchmill.cli.tables import confirm
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.ray_compute import RayCompute

    target = RayCompute(find_workspace(workspace), name)
    held = sum(node["runId"] is not None for node in target.list_nodes())
    if held:
        confirm(f"Runs hold {held} node{'s' * (held != 1)} of compute target {name}; others that wait for it would fail.", yes=yes)
    target.detach()
    tell(f"Compute target {name} has been detached.")


def remove(name: NameArgument, workspace: WorkspaceOption = None, yes: YesOption = False) -> None:
    """Remove a compute target. Runs that hold nodes of it go on to their end."""
    from batchmill.cli.tables import confirm
    from batchmill.cli.terminal import tell
    from batchmill.workspace.compute import AmlCompute
    from batchmill.workspace.current import find_workspace

    target = AmlCompute(find_workspace(workspace), name)
    running = sum(node["runId"] is not None for node in target.list_nodes())
    if running:
        confirm(f"Runs work on {running} node{'s' * (running != 1)} of compute target {name}; others that wait for it would fail.", yes=yes)
    target.delete()
    tell(f"Compute target {name} has been removed.")
