#!/usr/bin/python3
"""One node of three stopped (SIGSTOP) for 20 s under load: what the clients of the other two see before, during and after.

    bench/pause.py [--seconds 20] [--out FILE]

Two loads run at once, each through a node that goes on: SET and GET by redis-benchmark's clients.
"""

import argparse
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from peers import Gramme, Run  # noqa: E402


def phase(name, cluster, seconds, rates):
    """Drives SET through node 1 and GET through node 2 for about so many seconds; rows of the table."""
    runs = {}

    def drive(test, port):
        runs[test] = Run(port, test, max(2000, int(rates[test] * seconds)), clients=25, keys=20000)
    threads = [threading.Thread(target=drive, args=("set", cluster[0].port)),
               threading.Thread(target=drive, args=("get", cluster[1].port))]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - start
    rows = []
    for test, run in sorted(runs.items()):
        rows.append("| %s | %s | %.0f | %.2f | %.2f | %.2f | %d |" % (
            name, test, run.per_second, run.p50, run.p99, run.p999, len(run.errors)))
        print(rows[-1], "(%.0f s)" % took, flush=True)
        rates[test] = run.per_second * 0.9
    return rows, took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    subject = Gramme("3 nodes", 3, "rocksdb", {"n": 3, "r": 2, "w": 2})
    rows = []
    try:
        cluster = subject.cluster
        rates = {"set": 3000, "get": 3000}
        phase("warm-up", cluster, 5, rates)
        rows += phase("before", cluster, arguments.seconds, rates)[0]
        cluster[2].sigstop()
        more, took = phase("stopped", cluster, arguments.seconds, rates)
        rows += more
        print("one node was stopped for %.0f s" % took)
        cluster[2].sigcont()
        rows += phase("after", cluster, arguments.seconds, rates)[0]
        cluster.wait_hints_drained(120)
    finally:
        subject.close()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    text = ("# One of three nodes stopped under load\n\n%s, commit %s, %d cores. 25 clients SET through one node and 25 GET "
            "through another, N=3 W=2 R=2, rocksdb; the third is stopped (SIGSTOP) for the whole middle phase (%.0f s), then "
            "goes on. Hints drained to zero afterwards.\n\n"
            "| phase | request | per second | p50 ms | p99 ms | p99.9 ms | errors |\n|---|---|---|---|---|---|---|\n%s\n" % (
                time.strftime("%Y-%m-%d"), commit.stdout.strip(), os.cpu_count(), took, "\n".join(rows)))
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
