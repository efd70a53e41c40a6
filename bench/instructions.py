#!/usr/bin/python3
"""Instructions of the pure core for each put and get, counted by callgrind: repeatable, whatever else the machine does.

    bench/instructions.py [--program build/release/core_cost] [--out FILE]

Each figure is the difference between two runs that differ in the number of requests, divided by it: what is counted is
shard_step and what it calls, summed over the nodes; sockets, disk and encoding of frames are not in it.
"""

import argparse
import os
import re
import subprocess
import tempfile
import time

FEW, MANY = 500, 2500


def count(program, nodes, request, requests):
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=shard_step", "--callgrind-out-file=" + directory + "/out",
             program, str(nodes), request, str(requests)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--program", default=os.path.join(root, "build", "release", "core_cost"))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    lines = ["| cluster | request | instructions |", "|---|---|---|"]
    for nodes, shape in ((1, "1 node, N=1"), (3, "3 nodes, N=3 W=2 R=2, all three together")):
        for request in ("put", "get"):
            figure = (count(arguments.program, nodes, request, MANY) - count(arguments.program, nodes, request, FEW)) / (MANY - FEW)
            lines.append("| %s | %s | %.0f |" % (shape, request, figure))
            print(lines[-1], flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            file.write("# Instructions of the core\n\n%s, commit %s, 100-byte values, 1,024 keys. Counted by callgrind inside "
                       "shard_step.\n\n%s\n" % (time.strftime("%Y-%m-%d"), commit.stdout.strip(), "\n".join(lines)))


if __name__ == "__main__":
    main()
