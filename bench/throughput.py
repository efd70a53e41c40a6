#!/usr/bin/python3
"""Puts and gets a second, p99.9 and CPU for each request, against Redis: the same client, interleaved, medians of rounds.

    bench/throughput.py [--rounds 3] [--requests 200000] [--out FILE]
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from peers import Gramme, Redis, Run  # noqa: E402

ONE = {"n": 1, "r": 1, "w": 1}
THREE = {"n": 3, "r": 2, "w": 2}
SUBJECTS = [
    lambda: Redis(always=False),
    lambda: Gramme("gramme, 1 node, N=1, memory", 1, "memory", ONE),
    lambda: Gramme("gramme, 3 nodes, N=3 W=2 R=2, memory", 3, "memory", THREE),
    lambda: Redis(always=True),
    lambda: Gramme("gramme, 3 nodes, N=3 W=2 R=2, rocksdb, dw=2", 3, "rocksdb", THREE),
]


def measure(arguments):
    """{(subject, test, pipeline): [(per second, p50, p99.9, CPU us a request)]}. One subject runs at a time: two cores."""
    figures = {}
    for round_number in range(arguments.rounds):
        for make in SUBJECTS:
            subject = make()
            try:
                for pipeline in (1, 16):
                    for test in ("set", "get"):
                        requests = arguments.requests * (4 if pipeline > 1 else 1)
                        before = subject.cpu_seconds()
                        run = Run(subject.port, test, requests, pipeline=pipeline)
                        cpu = (subject.cpu_seconds() - before) / requests * 1e6
                        if run.errors:
                            raise RuntimeError("%s answered errors: %s" % (subject.name, run.errors[:3]))
                        figures.setdefault((subject.name, test, pipeline), []).append(
                            (run.per_second, run.p50, run.p999, cpu))
                        print("round %d  %-46s %s P=%-2d %9.0f/s p99.9 %6.2f ms  %5.1f us CPU" % (
                            round_number + 1, subject.name, test, pipeline, run.per_second, run.p999, cpu), flush=True)
            finally:
                subject.close()
    return figures


def table(figures):
    """Markdown: medians, and each as a ratio to the Redis of its kind in the same run."""
    lines = ["| subject | request | P | per second | of redis | p50 ms | p99.9 ms | CPU us a request |",
             "|---|---|---|---|---|---|---|---|"]
    for (name, test, pipeline), rows in figures.items():
        peer = "redis, appendfsync always" if "rocksdb" in name or "always" in name else "redis, no persistence"
        ratio = statistics.median(row[0] for row in rows) / statistics.median(
            row[0] for row in figures[(peer, test, pipeline)])
        medians = [statistics.median(column) for column in zip(*rows)]
        lines.append("| %s | %s | %d | %.0f | %.2f | %.2f | %.2f | %.1f |" % (
            name, test, pipeline, medians[0], ratio, medians[1], medians[2], medians[3]))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200000)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    figures = measure(arguments)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    text = ("# Throughput against Redis\n\n%s, commit %s, %s, %d cores. redis-benchmark, 50 connections, 100-byte values, "
            "100,000 keys, client and servers on the same cores; %d rounds interleaved, medians.\n\n%s" % (
                time.strftime("%Y-%m-%d"), commit.stdout.strip(), platform.machine(), os.cpu_count(), arguments.rounds,
                table(figures)))
    print("\n" + text)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
