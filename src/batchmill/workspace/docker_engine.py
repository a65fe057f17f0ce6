"""Is there a Docker engine that answers? Scripts do not run in containers yet, so this decides only what an error or warning says."""

from __future__ import annotations

import shutil
import subprocess

SECONDS = 5


def docker_engine() -> tuple[str | None, str]:
    """(version of the engine that answers, or None; why there is none)."""
    docker = shutil.which("docker")
    if docker is None:
        return None, "docker is not on PATH"
    command = [docker, "version", "--format", "{{.Server.Version}}"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"docker does not answer ({type(error).__name__})"
    version = ended.stdout.strip()
    if ended.returncode or not version:
        said = ended.stderr.strip().splitlines()
        return None, said[-1].rstrip("?. ") if said else f"docker version ends with {ended.returncode}"
    return version, ""
