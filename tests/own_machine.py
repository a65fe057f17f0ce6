"""A machine of one's own, as far as programs can tell: processes and network are in namespaces that hold nothing else.

Whatever listens on fixed ports or ends all processes of a name (`ray start`, `ray stop`) can be run in there as a user would.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

SETUP = "ip link set lo up && mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && echo ready && exec sleep infinity"


@contextmanager
def own_machine(folder: Path) -> Iterator[list[str]]:
    """The words to put before a command that is to run in there, in ``folder``; everything in there is killed at the end.

    Tests are skipped where a user may not make namespaces.
    """
    if shutil.which("unshare") is None or shutil.which("nsenter") is None or shutil.which("ip") is None:
        pytest.skip("NOT TESTED: the commands unshare, nsenter and ip are missing")
    words = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", SETUP]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "ready":
            _, error = holder.communicate()
            pytest.skip(f"NOT TESTED: namespaces cannot be made here: {error.strip()}")
        (first,) = psutil.Process(holder.pid).children()
        into = ["nsenter", "--target", str(first.pid), "--user", "--preserve-credentials", "--mount", "--net", "--pid"]
        yield [*into, f"--wdns={folder}"]
    finally:
        holder.kill()
        holder.communicate()
