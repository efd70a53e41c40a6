#!/usr/bin/python3
"""A cluster grows from 3 to 5 nodes, shrinks to 4 and has a node replaced under a steady load: what its clients see meanwhile,
beside what they see at rest, and how fast partitions move.

    bench/grow.py [--rate 1000] [--keys 100000] [--size 1000] [--rest 20] [--background-rate 64mb] [--out FILE]
"""

import argparse
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from steady import Steady, percentile  # noqa: E402
from changing import ChangingCluster  # noqa: E402

POLL_SECONDS = 0.5
MOVE_SECONDS = 1800


class Bench:
    def __init__(self, arguments, cluster):
        self.arguments = arguments
        self.cluster = cluster
        self.changes = []  # rows of the second table

    def load_keys(self):
        value = "x" * self.arguments.size
        with self.cluster[0].connect(timeout=120) as client:
            for start in range(0, self.arguments.keys, 500):
                part = range(start, min(start + 500, self.arguments.keys))
                replies = client.pipeline([("SET", "key:%d" % i, value) for i in part])
                if set(replies) != {"OK"}:
                    raise RuntimeError("the keys can not be loaded: %s" % [reply for reply in replies if reply != "OK"][:3])

    def rest(self, name):
        self.load.phase(name)
        time.sleep(self.arguments.rest)

    def watch(self, name):
        """From the commit on: until partitions have moved, and until nothing is left on former owners."""
        start = time.monotonic()
        samples = []

        def sample(status):
            change = status["change"]
            if change is not None and change["moving"]:
                samples.append((time.monotonic(), change["bytes_moved"]))
            return change is None or not (change["moving"] or change["another_waits"])
        deadline = start + MOVE_SECONDS
        while not all([sample(node.status()) for node in self.cluster]):
            if time.monotonic() > deadline:
                raise RuntimeError("%s is not through after %d s\n%s" % (name, MOVE_SECONDS, self.cluster.logs()))
            time.sleep(POLL_SECONDS)
        moved = time.monotonic() - start
        self.load.phase(name + ", cleaning up")
        self.cluster.wait_settled(MOVE_SECONDS)
        settled = time.monotonic() - start
        largest = max((bytes_moved for _, bytes_moved in samples), default=0)
        self.changes.append((name, largest, moved, settled))
        print("%s: %.1f MB in %.1f s, clean after %.1f s" % (name, largest / 1e6, moved, settled), flush=True)

    def run(self):
        cluster = self.cluster
        self.load_keys()
        self.load = Steady(self.arguments.rate, self.arguments.keys, self.arguments.size)
        self.load.ports(cluster)
        self.load.phase("warm-up")
        time.sleep(min(5, self.arguments.rest))
        self.rest("rest, 3 nodes")

        newcomers = [cluster.newcomer(), cluster.newcomer()]
        self.load.phase("3 -> 5")
        cluster.add(*newcomers)
        self.watch("3 -> 5")
        self.load.ports(cluster)
        self.rest("rest, 5 nodes")

        leaver = cluster[1]
        self.load.ports([node for node in cluster if node is not leaver])
        self.load.phase("5 -> 4")
        cluster.remove(leaver)
        self.watch("5 -> 4")
        leaver.stop()
        self.rest("rest, 4 nodes")

        leaver, newcomer = cluster[1], cluster.newcomer()
        self.load.ports([node for node in cluster if node is not leaver])
        self.load.phase("one of 4 replaced")
        cluster.replace(leaver, newcomer)
        self.watch("one of 4 replaced")
        leaver.stop()
        self.load.ports(cluster)
        self.rest("rest, 4 nodes again")
        return self.load.stop()


def table(phases):
    lines = ["| phase | request | requests | p50 ms | p99 ms | p99.9 ms | longest ms | refused |", "|---|---|---|---|---|---|---|---|"]
    for name, latencies, errors in phases:
        if name == "warm-up":
            continue
        for kind in ("get", "set"):
            values = latencies[kind]
            figures = [percentile(values, wanted) * 1000 for wanted in (50, 99, 99.9)] + [max(values, default=0) * 1000]
            lines.append("| %s | %s | %d | %.2f | %.2f | %.2f | %.2f | %d |" % (
                name, kind, len(values), *figures, sum(errors[kind].values())))
    return "\n".join(lines) + "\n"


def changes_table(changes):
    lines = ["| change | moved MB | seconds | MB a second | clean after, seconds |", "|---|---|---|---|---|"]
    for name, size, moved, settled in changes:
        lines.append("| %s | %.1f | %.1f | %.1f | %.1f |" % (name, size / 1e6, moved, size / 1e6 / moved, settled))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--keys", type=int, default=100000)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--rest", type=float, default=20)
    parser.add_argument("--background-rate", default="64mb")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    with ChangingCluster(3, settings={"node.background-rate": arguments.background_rate}) as cluster:
        bench = Bench(arguments, cluster)
        phases, lost = bench.run()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    said = sorted({error for _, _, errors in phases for kind in errors for error in errors[kind]})
    text = ("# Growing and shrinking under load\n\n%s, commit %s, %d cores, which the nodes and the load share. N=3 W=2 R=2, rocksdb; "
            "%d keys of %d bytes; %.0f requests a second, half SET and half GET, through all nodes (not through one that is to leave); "
            "latency from when a request was due. background-rate %s.\n\n%s\n%s\nRequests never answered: %d. Errors: %s.\n" % (
                time.strftime("%Y-%m-%d"), commit.stdout.strip(), os.cpu_count(), arguments.keys, arguments.size, arguments.rate,
                arguments.background_rate, table(phases), changes_table(bench.changes), lost, "; ".join(said) or "none"))
    print("\n" + text)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
