"""A Ray cluster as seen from here: connecting to it, the machines it has, and what they have left.

Ray is an extra and is imported only when one of these is called; what it raises is translated here.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from batchmill.errors import UsageError
from batchmill.settings.ray_address import CLIENT, plain_address

NAMESPACE = "batchmill"
"""All actors of Batchmill live in this namespace of Ray."""

PATIENCE, ANSWER_PATIENCE = 5.0, 1.0
ANSWER = 60.0
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a gRPC client begins (RFC 9113): the preface and empty settings; the server answers with its own."""
HEAD_CALL, CLIENT_CALL = "/ray.rpc.NodeInfoGcsService/GetClusterId", "/ray.rpc.RayletDriver/ClusterInfo"
"""What only the head of a cluster, and only its server for clients, can be asked."""
UNKNOWN_CALL, NO_TOKEN = b"grpc-status\x0212", b"grpc-status\x0216"
"""In the answer of a gRPC server that has no such call (UNIMPLEMENTED) or wants a token (UNAUTHENTICATED), in HPACK (RFC 7541)."""
SETTINGS_FRAME = 4
LOOPBACK = {"127.0.0.1", "::1"}
TOKEN_CURE = (
    "Set RAY_AUTH_MODE=token where this is started, and have the token of the cluster there: in ~/.ray/auth_token, or in RAY_AUTH_TOKEN."
)
LEAVE = "Leave that one with ray.shutdown() first, or use a process of its own for each cluster, as the command line does."


class ClusterError(UsageError):
    """A Ray cluster cannot be reached or used."""


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """One machine (or container) of the cluster; amounts by the names Ray gives them (``CPU``, ``GPU``, ``memory`` in bytes, ...)."""

    id: str
    host: str
    alive: bool = True
    draining: bool = False
    total: Mapping[str, float] = field(default_factory=dict)
    available: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def import_ray() -> Any:
    """The module ``ray``.

    Raises:
        ClusterError: the extra is not installed.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what later versions do; this one warns otherwise
    try:
        import ray
    except ImportError as error:
        raise ClusterError("Ray is not installed here.", cure='Install it: pip install "batchmill[ray]"') from error
    return ray


def connect(address: str) -> None:
    """Connect this process to the cluster at ``address`` (what ``ray.init`` takes, with or without ``ray:`` in front of a plain one).

    A process has one connection; it stands until each who called this has called `disconnect`. One that the user made with ``ray.init``
    is used and stays. Nothing happens in a process that the cluster started.

    Raises:
        ClusterError: Ray is not installed, nothing of the kind answers there (told within seconds), or the process is connected to
            another cluster.
    """
    global _own, _asked, _users
    ray = import_ray()
    if _started_by_cluster(ray):
        return
    address = _meant(plain_address(address))
    with _lock:
        found = _connected_to(ray)
        if found is not None and found != _own:
            _own, _asked, _users = None, None, 0  # the user's
        if found is None or not (address == _asked or _same(found, address)):
            if found is not None and (_own is None or _users):
                raise ClusterError(f"This process is connected to another Ray cluster than {address}: {found}.", cure=LEAVE)
            _look(address)
            if found is not None:
                ray.shutdown()
            _initialize(ray, address)
            _own, _asked, _users = _connected_to(ray), address, 0
        _users += 1


def disconnect(*, keep: bool = False) -> None:
    """Leave the cluster, if nobody else in this process needs it; with ``keep``, only when another one is wanted.

    Actors that are not detached end with the connection.
    """
    global _own, _asked, _users
    ray = import_ray()
    if _started_by_cluster(ray):
        return
    with _lock:
        _users = max(_users - 1, 0)
        if _users == 0 and not keep and _own is not None and _own == _connected_to(ray):
            _own = _asked = None
            with translated("left"):
                ray.shutdown()


@contextmanager
def connection(address: str) -> Iterator[None]:
    """Be connected to the cluster at ``address`` inside; afterwards the connection stands until another one is wanted. See `connect`."""
    connect(address)
    try:
        yield
    finally:
        disconnect(keep=True)


_lock = threading.RLock()
_own: str | None = None
"""Where the connection leads that was made here."""
_asked: str | None = None
"""What was given for it."""
_users = 0


def _initialize(ray: Any, address: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Ray Client connection timed out")  # the error says so
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (Exception, SystemExit) as error:
        raise ClusterError(f"The Ray cluster at {address} cannot be used: {_line(error)}", cure=_cure(address)) from error


def _started_by_cluster(ray: Any) -> bool:
    return bool(ray.is_initialized() and ray._private.worker.global_worker.mode == ray._private.worker.WORKER_MODE)


def _connected_to(ray: Any) -> str | None:
    """Where the connection of this process leads."""
    if not ray.is_initialized():
        return None
    if ray.util.client.ray.is_connected():
        return f"{CLIENT}{ray.util.client.ray.get_context().client_worker._conn_str}"
    return str(ray.get_runtime_context().gcs_address)


def _same(one: str, other: str) -> bool:
    """Whether two addresses are names of one place."""
    if one.startswith(CLIENT) != other.startswith(CLIENT):
        return False
    (host, _, port), (host2, _, port2) = (address.removeprefix(CLIENT).rpartition(":") for address in (one, other))
    return port == port2 and (host == host2 or bool(_resolved(host) & _resolved(host2)))


def _resolved(host: str) -> set[str]:
    """Addresses of a host; Ray calls this machine by the one that others use."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host.strip("[]"), None)}
    except OSError:
        return set()
    return found | {import_ray().util.get_node_ip_address()} if found & LOOPBACK else found


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of Ray inside become one line: The Ray cluster cannot be ``what``: ..."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise ClusterError(f"The Ray cluster cannot be {what}: {_line(error)}") from error


def cluster_nodes() -> list[ClusterNode]:
    """Every machine of the cluster that this process is connected to, dead ones too; what is left of each is a few seconds old at most.

    Raises:
        ClusterError: the head of the cluster does not answer.
    """
    ray = import_ray()
    with translated("asked for its nodes"):
        if ray.util.client.ray.is_connected():  # a client is not told; the cluster asks itself
            told: list[ClusterNode] = ray.get(ray.remote(cluster_nodes).options(num_cpus=0).remote(), timeout=ANSWER)
            return told
        found = ray.nodes()
        available, draining = _available(), _draining()
    return [_record(one, available.get(one["NodeID"], {}), one["NodeID"] in draining) for one in found]


def is_replaced() -> bool:
    """Whether the cluster takes another process for the actor that this one is: its machine was thought dead, because Ray's process there
    had no time to say that it lives, and the actor was started again elsewhere. `ray.kill` would end that one.

    Raises:
        ClusterError: the head of the cluster does not answer.
    """
    context = import_ray().get_runtime_context()
    with translated("asked for its actors"):
        from ray._private.state import state

        whole: Any = state  # its functions have no types
        known: Mapping[str, Any] = whole.actor_table(context.get_actor_id())
        return bool(known) and (known["Address"]["NodeID"], known["Pid"]) != (context.get_node_id(), os.getpid())


def request(bundles: Sequence[Mapping[str, float]]) -> None:
    """Ask the autoscaler for room for all of ``bundles`` at once; it replaces what was asked before, an empty list takes it back.

    Raises:
        ClusterError: the head of the cluster does not answer.
    """
    import_ray()
    from ray.autoscaler.sdk import request_resources

    with translated("asked for resources"):
        request_resources(bundles=[dict(bundle) for bundle in bundles])


def _record(one: Mapping[str, Any], available: Mapping[str, float], draining: bool) -> ClusterNode:
    alive = bool(one["Alive"])
    return ClusterNode(
        id=one["NodeID"],
        host=one["NodeManagerHostname"] or one["NodeManagerAddress"],
        alive=alive,
        draining=draining,
        total=dict(one["Resources"]) if alive else {},
        available=dict(available),
        labels=dict(one["Labels"]),
    )


def _available() -> Mapping[str, Mapping[str, float]]:
    from ray._private import state

    whole: Any = state.state  # its functions have no types
    found: Mapping[str, Mapping[str, float]] = whole.available_resources_per_node()
    return found


def _draining() -> Mapping[str, int]:
    """Ids of nodes that are going to be taken away, by when (milliseconds, 0 for unknown)."""
    from ray._private.state import state

    found: Mapping[str, int] = state.get_draining_nodes()
    return found


def _meant(address: str) -> str:
    """Where ``auto`` is: what RAY_ADDRESS names, or the cluster that runs on this machine."""
    if address != "auto":
        return address
    from ray._private.services import get_ray_address_from_environment

    try:
        return plain_address(get_ray_address_from_environment(address, None))
    except ConnectionError as error:
        raise ClusterError("No Ray cluster runs on this machine, and RAY_ADDRESS names none.", cure=_cure(address)) from error


def _look(address: str) -> None:
    """Is there a server of that kind, and may we ask it? Ray itself would try for more than a minute."""
    token = _token()
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit() or os.environ.get("RAY_USE_TLS", "0") not in ("", "0", "false"):
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(HELLO + _call(CLIENT_CALL if address.startswith(CLIENT) else HEAD_CALL, token))
            answer = connection.recv(9)
            if len(answer) < 4 or answer[3] != SETTINGS_FRAME:
                raise ClusterError(f"What answers at {address} is no Ray cluster.", cure=_cure(address))
            answer = _whole(connection, answer)
    except OSError as error:
        raise ClusterError(f"No Ray cluster answers at {address}: {error.strerror or error}.", cure=_cure(address)) from error
    if UNKNOWN_CALL in answer:
        raise ClusterError(f"What answers at {address} is another port of Ray, or no Ray cluster.", cure=_cure(address))
    if NO_TOKEN in answer:
        what = "does not take the token of this process" if token else "wants a token, and this process gives none"
        raise ClusterError(f"The Ray cluster at {address} {what}.", cure=TOKEN_CURE)


def _token() -> Mapping[str, str]:
    """The header with which this process shows its token; empty where tokens are not switched on.

    Raises:
        ClusterError: they are, and there is none.
    """
    loader = getattr(import_ray()._raylet, "AuthenticationTokenLoader", None)
    if loader is None:  # another version of Ray
        return {}
    try:
        found: Mapping[str, str] = loader.instance().get_token_for_http_header()
    except Exception as error:
        raise ClusterError("RAY_AUTH_MODE is set, and there is no token here.", cure=TOKEN_CURE) from error
    return {name.lower(): value for name, value in found.items()}


def _call(path: str, more: Mapping[str, str]) -> bytes:
    """A gRPC call with an empty message, as stream 1 of HTTP/2; headers as literals that are not indexed."""
    pairs = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "ray", "te": "trailers", "content-type": "application/grpc"}
    headers = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in {**pairs, **more}.items())
    frame = len(headers).to_bytes(3, "big") + bytes((1, 4, 0, 0, 0, 1)) + headers  # HEADERS, END_HEADERS
    return frame + bytes((0, 0, 5, 0, 1, 0, 0, 0, 1)) + bytes(5)  # DATA, END_STREAM


def _literal(text: str) -> bytes:
    """A string of HPACK: its length as an integer with a prefix of seven bits, then itself.

    >>> _literal("ab"), _literal("x" * 200)[:3]
    (b'\\x02ab', b'\\x7fIx')
    """
    data = text.encode()
    rest = len(data) - 0x7F
    if rest < 0:
        return bytes((len(data),)) + data
    length = [0x7F]
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*length, rest)) + data


def _whole(connection: socket.socket, answer: bytes) -> bytes:
    """The answer up to its status; of a server that takes its time, as far as it came."""
    deadline = time.monotonic() + ANSWER_PATIENCE
    connection.settimeout(ANSWER_PATIENCE)
    while time.monotonic() < deadline:
        try:
            more = connection.recv(1 << 12)
        except TimeoutError:
            break
        answer += more
        if not more or b"grpc-status" in answer:
            break
    return answer


def _cure(address: str) -> str:
    if address.startswith(CLIENT):
        return "Give the address of the head's Ray client server (port 10001 unless it was changed): ray://HEAD:10001"
    if address == "auto":
        return "Start this on a node of the cluster, or give the address of its head: ray:HEAD:6379"
    return "Give the address that `ray start --head` printed: ray:HEAD:6379, or ray://HEAD:10001 from outside the cluster."


def _line(error: BaseException) -> str:
    """One sentence: how it begins, and, where that is only an introduction, how it ends."""
    if isinstance(error, SystemExit):
        return "it does not answer."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    return text if text.endswith((".", "!", "?")) else f"{text}."
