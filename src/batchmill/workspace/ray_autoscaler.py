"""The keeper of nodes on a Ray cluster: a detached actor on the head, one for all compute targets, made by whoever needs it first.

It outlives every run and every workspace that tells it something. When it dies, Ray starts it anew, and it reads what it knew from the
cluster's own key-value store; a cluster whose head was lost for good has no request left, and whoever looks next tells it again.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from batchmill.workspace.node_keeping import NodeKeeping

if TYPE_CHECKING:
    from batchmill.workspace.kept_nodes import Picture

NAME = "batchmill-autoscaler"
HEAD = "node:__internal_head__"
KEY, SPACE = "pools", "batchmill-autoscaler"
"""Of the key-value store of the cluster."""
LOOK_EVERY = 1.0
THREADS = 8
ANSWER_SECONDS = 20.0


class Keeper:
    """The body of the actor; its methods may be called from anywhere."""

    def __init__(self) -> None:
        self._keeping = NodeKeeping(ask=_ask, whole_nodes=_whole_nodes, load=_load, save=_save)
        threading.Thread(target=self._look_on, name="batchmill-keeper", daemon=True).start()

    def told(self, key: str, picture: Picture) -> None:
        """Somebody has looked at the pool of a compute target."""
        self._keeping.told(key, picture)

    def forget(self, key: str) -> None:
        """A compute target has been removed."""
        self._keeping.forget(key)

    def pictures(self) -> dict[str, Picture]:
        """The pools of all compute targets as they are now."""
        return self._keeping.pictures()

    def _look_on(self) -> None:
        while True:
            time.sleep(LOOK_EVERY)
            try:
                self._keeping.look()
            except Exception as error:  # the head is away, or its version answers otherwise: again at the next look
                print(f"The autoscaler cannot be asked: {error}", flush=True)  # noqa: T201 # the log of the actor


def tell(address: str, key: str, picture: Picture) -> None:
    """Tell the keeper of a cluster what the pool of a compute target looks like.

    Raises:
        ClusterError: the cluster cannot be reached, or does not answer.
    """
    _call(address, "told", key, picture)


def forget(address: str, key: str) -> None:
    """Tell the keeper that a compute target has been removed.

    Raises:
        ClusterError: the cluster cannot be reached, or does not answer.
    """
    _call(address, "forget", key)


def pictures(address: str) -> dict[str, Picture]:
    """What the keeper of a cluster knows: the pools of all compute targets by key; nothing where there is no keeper.

    Raises:
        ClusterError: the cluster cannot be reached, or does not answer.
    """
    found: dict[str, Picture] = _call(address, "pictures", make=False) or {}
    return found


def _call(address: str, method: str, *arguments: object, make: bool = True) -> Any:
    from batchmill.workspace.ray_cluster import NAMESPACE, connection, import_ray, translated

    ray = import_ray()
    with connection(address), translated("told of its nodes"):
        try:
            keeper = ray.get_actor(NAME, namespace=NAMESPACE)
        except ValueError:
            if not make:
                return None
            keeper = _made()
        return ray.get(getattr(keeper, method).remote(*arguments), timeout=ANSWER_SECONDS)


def _made() -> Any:
    from batchmill.workspace.ray_cluster import NAMESPACE, import_ray

    options = {"num_cpus": 0, "resources": {HEAD: 0.001}, "lifetime": "detached", "max_restarts": -1, "max_task_retries": -1}
    keeper = import_ray().remote(Keeper)
    return keeper.options(name=NAME, namespace=NAMESPACE, get_if_exists=True, max_concurrency=THREADS, **options).remote()


def _ask(bundles: list[dict[str, float]]) -> None:
    from batchmill.workspace.ray_cluster import request

    request(bundles)


def _whole_nodes() -> list[float]:
    from batchmill.workspace.ray_cluster import cluster_nodes

    return [node.total.get("CPU", 0.0) for node in cluster_nodes() if node.alive and not node.draining]


def _load() -> bytes | None:
    from ray.experimental.internal_kv import _internal_kv_get

    content: bytes | None = _internal_kv_get(KEY, namespace=SPACE)
    return content


def _save(content: bytes) -> None:
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(KEY, content, overwrite=True, namespace=SPACE)
