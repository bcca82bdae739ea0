"""A Ray cluster of a head and some nodes on this machine, whose nodes die and come on command.

A process of its own, since the program that kills shall not be a Ray driver. Prints its address; takes lines from its
standard input: `kill` (a random node, at once), `add` (a node); ends with its standard input.
"""

from __future__ import annotations

import random
import sys

from ray.cluster_utils import Cluster

SMALL = 100 * 2**20


def main() -> None:
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
