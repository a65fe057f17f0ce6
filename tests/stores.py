"""Real object-store servers on loopback for tests and benchmarks: moto_server (S3), Azurite (Azure Blob), a static HTTP server.

Each is a context manager that starts a process of its own on a free port and ends it again. `environment()` of a server holds the
variables with which Batchmill (and obstore, boto3 ...) find it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import used_secrets

ROOT = Path(__file__).resolve().parents[1]
AZURITE_VERSION = "3.35"
AZURITE = ROOT / ".tools" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "devstoreaccount1"
# The published key of every Azurite and of Microsoft's storage emulator: a constant, not a secret.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
START_BOUND = 120.0
PORTS_TRIED = 3


class StoreMissing(RuntimeError):
    """A server cannot be had on this machine; says why."""


@dataclass
class Server:
    """A running server: where it listens, and what a client's environment must hold."""

    port: int
    environment: dict[str, str] = field(default_factory=dict)
    create: Callable[[str], None] = lambda _name: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def serving(command: Callable[[int], list[str]], variables: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a server process until the block ends; yields its port, on which it accepts connections.

    A port that was free a moment ago may be somebody else's when the server asks for it; then another one is tried.
    """
    quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for left in reversed(range(PORTS_TRIED)):
        port = free_port()
        words = command(port)
        process = subprocess.Popen(words, env={**os.environ, **(variables or {})}, **quiet)
        try:
            if _accepts(process, port):
                yield port
                return
            if not left:
                raise StoreMissing(f"{words[0]} did not start (exit code {process.poll()})")
        finally:
            process.kill()
            process.wait()


def _accepts(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the process listens on its port; False when it ended before, or `START_BOUND` seconds went by."""
    deadline = time.monotonic() + START_BOUND
    while process.poll() is None and time.monotonic() < deadline:
        if answers(port):
            return process.poll() is None  # else it was somebody else who answered
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
    return False


@contextlib.contextmanager
def s3_server() -> Iterator[Server]:
    """moto_server: S3 in memory. Any key is accepted."""
    program = str(Path(__file__).with_name("s3_server.py"))
    with serving(lambda port: [sys.executable, program, "-H", "127.0.0.1", "-p", str(port)]) as port:
        environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        yield Server(port, environment, lambda name: _request(port, "PUT", f"/{name}", {}))


@contextlib.contextmanager
def azure_server() -> Iterator[Server]:
    """Azurite: Azure Blob in memory; checks keys as the real service does. It has a second account, that of `tests.used_secrets`."""
    program = azurite_program()
    options = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    accounts = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY};{used_secrets.ACCOUNT}:{used_secrets.ACCOUNT_KEY}"}
    with serving(lambda port: [str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), *options], accounts) as port:
        environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
        }
        yield Server(port, environment, lambda name: create_container(port, name))


def azurite_program() -> Path:
    """The Azurite of `.tools/`, installed there through npm the first time."""
    if AZURITE.exists():
        return AZURITE
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise StoreMissing("Azurite needs Node.js and npm, which are not on the PATH")
    folder = AZURITE.parents[2]
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent", f"azurite@{AZURITE_VERSION}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    if not AZURITE.exists():
        raise StoreMissing(f"npm could not install azurite@{AZURITE_VERSION}: {done.stderr.strip()[-300:]}")
    return AZURITE


@contextlib.contextmanager
def static_server(folder: Path) -> Iterator[Server]:
    """A static HTTP server over ``folder``."""
    command = [sys.executable, str(Path(__file__).with_name("static_server.py")), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextlib.contextmanager
def black_hole() -> Iterator[Server]:
    """Accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        held: list[socket.socket] = []
        thread = threading.Thread(target=_accept_all, args=(listener, held), daemon=True)
        thread.start()
        try:
            yield Server(int(listener.getsockname()[1]))
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()


def _accept_all(listener: socket.socket, held: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        while True:
            held.append(listener.accept()[0])


def create_container(port: int, name: str, account: str = ACCOUNT, key: str = KEY, *, public: bool = False) -> None:
    """Create a container (obstore cannot), signed with the account's key as Azure's Shared Key scheme asks; anybody reads a public one."""
    path, date, version = f"/{account}/{name}", datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "2021-08-06"
    headers = {"x-ms-date": date, "x-ms-version": version}
    if public:
        headers["x-ms-blob-public-access"] = "container"
    signed = "".join(f"{header}:{value}\n" for header, value in sorted(headers.items()))
    text = f"PUT{chr(10) * 12}{signed}/{account}{path}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
    headers |= {"Authorization": f"SharedKey {account}:{signature}", "Content-Length": "0"}
    _request(port, "PUT", f"{path}?restype=container", headers)


def _request(port: int, method: str, target: str, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {target}: {answer.status} {answer.read()[:300]!r}")
    finally:
        connection.close()
