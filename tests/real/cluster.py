"""A Ray cluster of two nodes on this machine, labelled as two kinds of machine.

It runs until its standard input closes, as a process of its own: the tests' process shall not be a
Ray driver. Prints its address.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

NODE = {
    "num_cpus": 1,
    "num_gpus": 0,
    "include_dashboard": False,
    "object_store_memory": 100 * 2**20,
}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "labels": {"machine": "cpu"}})
    del NODE["include_dashboard"]
    cluster.add_node(**NODE, labels={"machine": "pc"})
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
