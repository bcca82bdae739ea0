"""A Ray cluster of a head and two nodes on this machine; nodes are killed and added on command.

It is a process of its own, because the program that causes faults must not be a Ray driver. Prints
its address; then reads commands from its standard input: `kill` (a random node, at once) and `add`
(a node). Ends when its standard input closes.
"""

from __future__ import annotations

import random
import sys

from ray.cluster_utils import Cluster

SMALL = 100 * 2**20


def main() -> None:
    """Run the cluster; the argument seeds the choice of nodes."""
    draw = random.Random(sys.argv[1])
    head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "object_store_memory": SMALL}
    cluster = Cluster(initialize_head=True, head_node_args=head)

    def add() -> object:
        return cluster.add_node(
            num_cpus=1, num_gpus=0, object_store_memory=SMALL, labels={"machine": "cpu"}
        )

    nodes = [add(), add()]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill" and nodes:
            cluster.remove_node(nodes.pop(draw.randrange(len(nodes))), allow_graceful=False)
        elif line.strip() == "add":
            nodes.append(add())
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
