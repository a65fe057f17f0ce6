"""Addresses at which no cluster is, and the ways to say which one is meant."""

from __future__ import annotations

import http.server
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from batchmill.workspace import ray_cluster as ray_cluster_module
from batchmill.workspace.ray_cluster import ClusterError, cluster_nodes, connect, disconnect
from tests.ray_cluster import ray_cluster
from tests.stores import closed_port


@pytest.fixture
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("prefix", ["ray:", "ray://"])
def test_nothing_listens_there(prefix: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=f"No Ray cluster answers at .*{address}: Connection refused.*Give the address"):
        connect(prefix + address)


@pytest.mark.parametrize("prefix", ["ray:", "ray://"])
def test_something_else_listens_there(prefix: str, web_server: str) -> None:
    with pytest.raises(ClusterError, match=f"What answers at .*{web_server} is no Ray cluster"):
        connect(prefix + web_server)


@pytest.fixture
def guarded() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a gRPC server that wants another token, and what it is asked."""
    asked: list[bytes] = []
    settings, headers = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), b"\0\x0bgrpc-status\x0216"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                asked.append(connection.recv(1 << 16))
                connection.sendall(settings + bytes((0, 0, len(headers), 1, 5, 0, 0, 0, 1)) + headers)
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
        thread.join()


@pytest.mark.parametrize("prefix", ["ray:", "ray://"])
@pytest.mark.parametrize(
    ("token", "said"),
    [({}, "wants a token, and this process gives none"), ({"authorization": "Bearer " + "x" * 200}, "does not take the token")],
)
def test_who_has_not_the_token_of_a_cluster_is_told_at_once(
    prefix: str, token: dict[str, str], said: str, guarded: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = guarded
    monkeypatch.setattr(ray_cluster_module, "_token", lambda: token)
    with pytest.raises(ClusterError, match=f"The Ray cluster at .*{address} {said}.* Set RAY_AUTH_MODE=token"):
        connect(prefix + address)
    assert all(value.encode() in asked[0] for value in token.values())


def test_auto_is_what_the_variable_of_ray_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as port:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(ClusterError, match=f"No Ray cluster answers at 127.0.0.1:{port}: Connection refused. Give the address"):
            connect("auto")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r'Install it: pip install "batchmill\[ray\]"') as caught:
        connect("auto")
    assert caught.value.exit_code == 2


def test_one_connection_for_all_who_need_the_same_cluster() -> None:
    ray = pytest.importorskip("ray", reason="NOT TESTED on Ray: it is not installed")
    with ray_cluster(0) as cluster, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = f"127.0.0.1:{free.getsockname()[1]}"
        connect(cluster.address)
        connect("localhost:" + cluster.address.rpartition(":")[2])
        with pytest.raises(ClusterError, match=f"connected to another Ray cluster than {other}: .*Leave that one with"):
            connect(other)
        disconnect()
        assert ray.is_initialized(), "the first one still needs it"
        disconnect(keep=True)
        assert ray.is_initialized()
        with pytest.raises(ClusterError, match=f"No Ray cluster answers at {other}"):
            connect(other)
        connect(cluster.address)
        disconnect()
        assert not ray.is_initialized()
        ray.init(cluster.address, logging_level="ERROR")
        connect(cluster.address)
        disconnect()
        assert ray.is_initialized(), "it is not ours to end"


def connect_as_client(address: str) -> None:
    """Every client gets a server of its own on a port that Ray believes to be free; another cluster of this machine may have it."""
    for _ in range(5):
        try:
            connect(address)
        except ClusterError as error:
            if "Starting Ray client server failed" not in str(error):
                raise
        else:
            return
    raise AssertionError("no client server could be started")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray leaves the logs of its client server open
def test_a_client_from_outside_sees_the_same_machines() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ray_cluster(1, client_port=port) as cluster:
        connect(cluster.address)
        inside = {node.id: dict(node.total) for node in cluster_nodes()}
        disconnect()
        for wrong in (f"ray://{cluster.address}", f"127.0.0.1:{port}"):  # each is the port of the other
            with pytest.raises(ClusterError, match=f"What answers at {wrong} is another port of Ray, or no Ray cluster. Give the address"):
                connect(wrong)
        connect_as_client(f"ray://127.0.0.1:{port}")
        assert {node.id: dict(node.total) for node in cluster_nodes()} == inside
        assert {node.id for node in cluster_nodes() if node.available.get("CPU")} == {cluster.nodes[0].id}
        disconnect()
