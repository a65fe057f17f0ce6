"""A Ray cluster of one node, until its input ends. It prints its address.

python ray_head.py FOLDER CPUS OBJECT_STORE_BYTES
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    from ray.cluster_utils import Cluster

    folder, cpus, memory = sys.argv[1:]
    Path("/tmp/ray").mkdir(exist_ok=True)  # where Ray notes the address of the cluster started last
    node = {"num_cpus": int(cpus), "object_store_memory": int(memory), "include_dashboard": False, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
