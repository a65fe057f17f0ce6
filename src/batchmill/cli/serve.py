"""``batchmill serve``."""

from __future__ import annotations

from typing import Annotated

import typer

from batchmill.cli.tables import WorkspaceOption


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    workspace: WorkspaceOption = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, do what is due, and end.")] = False,
) -> None:
    """Fire the schedules of a workspace and take up its interrupted runs, until Ctrl-C or SIGTERM. Runs that were started go on."""
    import signal
    import threading

    from batchmill.cli.terminal import tell
    from batchmill.pipeline.serve import Server
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    server = Server(ws, tell)
    if once:
        server.turn()
        return
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    tell(f"Serving workspace {ws.name}: schedules fire, interrupted runs go on. Ctrl-C ends it.")
    server.run(stop)
    tell(f"Workspace {ws.name} is served no more; runs go on.")
