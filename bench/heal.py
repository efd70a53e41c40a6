#!/usr/bin/python3
"""What it costs to find and mend differences between replicas, on three nodes of this machine, in one run:

1. d of the keys differ, as if a node had been down and nobody had kept a hint: what is found, sent and read, against d;
2. throughput with replicas being compared and nothing to mend, against not being compared;
3. p99.9 of a steady load while 10 % of the keys are mended, against idle, and how long it takes: with the target that is
   the default, and with one of 1.25 times what clients wait for anyway;
4. the same, in turns of a few seconds: background work held to the least that can be set, and not held.

2, 3 and 4 are paired and interleaved; medians.

    bench/heal.py [--keys 1000000] [--d 0,1,100,10000] [--rounds 3] [--requests 100000] [--rate 1000] [--rest 20]
                  [--turn 5] [--sync-round 5s] [--parts 1,2,3,4] [--out FILE]

A node is made to lack keys by being away while they are written, with `hints` 0.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from peers import Run  # noqa: E402
from steady import Steady, percentile  # noqa: E402
from support import Cluster, wait_until  # noqa: E402

NEVER = "24h"
LEAST_RATE, USUAL_RATE = "64kb", "64mb"  # of background-rate: the least that can be set, and the default
LOADERS = 500  # commands in one pipeline
LONG = 3600  # seconds; whatever takes longer is an error
COUNTERS = ("sync_found", "sync_mended", "sync_keys", "sync_bytes")


def say(text):
    print("%s  %s" % (time.strftime("%H:%M:%S"), text), flush=True)


def put_all(node, prefix, count, size):
    """Keys PREFIX:0 and on."""
    value = "x" * size
    with node.connect(timeout=120) as client:
        for start in range(0, count, LOADERS):
            part = range(start, min(start + LOADERS, count))
            replies = client.pipeline([("SET", "%s:%d" % (prefix, i), value) for i in part])
            if set(replies) != {"OK"}:
                raise RuntimeError("keys can not be written: %s" % [reply for reply in replies if reply != "OK"][:3])


def info(node):
    text = node.call("INFO", "stats", "background").decode()
    return {name: int(value) for name, value in (
        line.split(":", 1) for line in text.split("\r\n") if ":" in line) if value.isdigit()}


def totals(nodes):
    figures = [info(node) for node in nodes]
    return {name: sum(each[name] for each in figures) for name in COUNTERS}


def set_option(cluster, name, value):
    for node in cluster:
        node.call("CONFIG", "SET", name, value)


def wait_sync(cluster):
    with cluster[0].connect(timeout=LONG) as client:
        client.call("DYNAMO.CLUSTER", "WAITSYNC", "TIMEOUT", LONG * 1000)


def wait_trees(cluster):
    """Until no node has to read its store any more: only then it compares."""
    cluster.wait_until(lambda: all(info(node)["background_waiting_tree_permille"] == 0 for node in cluster), LONG,
                       "all Merkle trees are whole")


def settle(cluster):
    cluster.wait_hints_drained(LONG)
    wait_trees(cluster)
    wait_sync(cluster)


class Behind:
    """The last node is away while `count` keys are written. `before`: what the others' counters said then; its own begin anew."""

    def __init__(self, cluster, prefix, count, size):
        node = cluster[2]
        settle(cluster)
        set_option(cluster, "hints", "0")
        if node.stop() != 0:
            raise RuntimeError("a node did not stop")
        put_all(cluster[0], prefix, count, size)
        self.before = totals([cluster[0], cluster[1]])
        node.start()
        cluster.wait_formed()

    def counted(self, cluster):
        return {name: value - self.before[name] for name, value in totals(cluster).items()}


def cost_of_differences(arguments):
    rows = ["| d | found | mended | seconds | exchange bytes | beyond d = 0, each | keys listed | each |",
            "|---|---|---|---|---|---|---|---|"]
    roots = 0
    with Cluster(3, settings={"timing.sync-round": NEVER}) as cluster:
        start = time.monotonic()
        put_all(cluster[0], "key", arguments.keys, arguments.size)
        settle(cluster)
        say("%d keys written in %.0f s" % (arguments.keys, time.monotonic() - start))
        for d in arguments.d:
            behind = Behind(cluster, "d%d" % d, d, arguments.size)
            wait_trees(cluster)
            start = time.monotonic()
            wait_sync(cluster)
            took = time.monotonic() - start
            got = behind.counted(cluster)
            if got["sync_found"] != d or got["sync_mended"] != d:
                raise RuntimeError("%d keys were made to differ, %d found, %d mended" % (
                    d, got["sync_found"], got["sync_mended"]))
            roots = got["sync_bytes"] if d == 0 else roots
            each = max(d, 1)
            rows.append("| %d | %d | %d | %.1f | %d | %.0f | %d | %.2f |" % (
                d, got["sync_found"], got["sync_mended"], took, got["sync_bytes"], (got["sync_bytes"] - roots) / each,
                got["sync_keys"], got["sync_keys"] / each))
            say(rows[-1])
    return "\n".join(rows) + (
        "\n\nBytes and keys are the sum over all nodes. The seconds are those of a wait-sync: two rounds and more, the last of "
        "which finds nothing. With d = 0 it is what the roots cost.\n")


def throughput(arguments):
    """{(test, on): [per second]}"""
    figures = {}
    with Cluster(3, settings={"timing.sync-round": NEVER}) as cluster:
        put_all(cluster[0], "key", arguments.load_keys, arguments.size)
        settle(cluster)
        for round_number in range(arguments.rounds):
            for on in (False, True) if round_number % 2 == 0 else (True, False):
                set_option(cluster, "sync-round", arguments.sync_round if on else "0ms")
                for test in ("set", "get"):
                    run = Run(cluster[0].port, test, arguments.requests, pipeline=16, keys=arguments.load_keys)
                    if run.errors:
                        raise RuntimeError("errors: %s" % run.errors[:3])
                    figures.setdefault((test, on), []).append(run.per_second)
                    say("round %d  exchange %-3s %s %9.0f/s" % (round_number + 1, "on" if on else "off", test, run.per_second))
        exchanged = totals(cluster)
    rows = ["| request | off, per second | on, per second | on / off |", "|---|---|---|---|"]
    for test in ("set", "get"):
        off, on = (statistics.median(figures[(test, state)]) for state in (False, True))
        rows.append("| %s | %.0f | %.0f | %.3f |" % (test, off, on, on / off))
    return "\n".join(rows) + "\n\nOn: a round within %s. %d bytes were exchanged in all.\n" % (
        arguments.sync_round, exchanged["sync_bytes"])


def all_mended(cluster, behind, d):
    counted = behind.counted(cluster)
    waiting = sum(info(node)["background_waiting_exchange_partitions"] for node in cluster)
    return counted["sync_mended"] >= d and waiting == 0


class Tails:
    """Latencies by phase, over all rounds."""

    def __init__(self):
        self.rows = ["| round | phase | seconds | requests | p50 ms | p99 ms | p99.9 ms | lowest level |",
                     "|---|---|---|---|---|---|---|---|"]
        self.p999 = {}

    def add(self, number, load, took, level):
        """The load ends. `took`: the seconds of each phase that counts; `level`: the lowest while healing."""
        load.phase("end")
        phases, lost = load.stop()
        if lost:
            raise RuntimeError("%d requests were never answered" % lost)
        for name, latencies, errors in phases:
            if name not in took:
                continue
            if any(errors.values()):
                raise RuntimeError("errors: %s" % errors)
            both = latencies["set"] + latencies["get"]
            self.p999.setdefault(name, []).append(percentile(both, 99.9) * 1000)
            self.rows.append("| %d | %s | %.1f | %d | %.2f | %.2f | %.2f | %s |" % (
                number, name, took[name], len(both), percentile(both, 50) * 1000, percentile(both, 99) * 1000,
                percentile(both, 99.9) * 1000, "" if name == "idle" else level))
            say(self.rows[-1])


def idle(arguments, cluster, tails, number):
    load = Steady(arguments.rate, arguments.load_keys, arguments.size, seed=100 + number)
    load.ports(cluster)
    load.phase("warm")
    time.sleep(arguments.rest / 4)
    load.phase("idle")
    time.sleep(arguments.rest)
    tails.add(number, load, {"idle": arguments.rest}, "")


def heal(arguments, cluster, tails, number, name, target_ms):
    """One of the nodes lacks a tenth of the keys; returns how long it takes until it has them."""
    d = arguments.keys // 10
    behind = Behind(cluster, "late%d-%s" % (number, name), d, arguments.size)
    set_option(cluster, "hints", "1")
    set_option(cluster, "background-p999-target", "%dms" % target_ms)
    load = Steady(arguments.rate, arguments.load_keys, arguments.size, seed=number)
    load.ports(cluster)
    load.phase(name)
    set_option(cluster, "sync-round", "1s")
    start = time.monotonic()
    levels = []

    def done():
        levels.append(min(info(node)["background_level_permille"] for node in cluster))
        return all_mended(cluster, behind, d)
    wait_until(done, LONG, "all is mended")
    took = time.monotonic() - start
    tails.add(number, load, {name: took}, min(levels))
    set_option(cluster, "sync-round", NEVER)
    settle(cluster)
    return took


def healing(arguments):
    tails, times = Tails(), {"default": [], "strict": []}
    with Cluster(3, settings={"timing.sync-round": NEVER}) as cluster:
        default_ms = info(cluster[0])["background_target_usec"] // 1000
        put_all(cluster[0], "base", arguments.keys - arguments.keys // 10, arguments.size)
        put_all(cluster[0], "key", arguments.load_keys, arguments.size)
        settle(cluster)
        for number in range(1, arguments.rounds + 1):
            for name in ("default", "strict") if number % 2 == 1 else ("strict", "default"):
                idle(arguments, cluster, tails, number)
                strict_ms = max(1, round(1.25 * statistics.median(tails.p999["idle"])))
                times[name].append(heal(arguments, cluster, tails, number, name,
                                        default_ms if name == "default" else strict_ms))
                idle(arguments, cluster, tails, number)
    rows = ["| target | p99.9 ms, median | idle, median | ratio | seconds to converge, median |", "|---|---|---|---|---|"]
    rest = statistics.median(tails.p999["idle"])
    for name in ("default", "strict"):
        p999 = statistics.median(tails.p999[name])
        rows.append("| %s | %.2f | %.2f | %.2f | %.1f |" % (name, p999, rest, p999 / rest, statistics.median(times[name])))
    return "\n".join(tails.rows) + "\n\n" + "\n".join(rows) + (
        "\n\n%d keys differ each time, on one of three nodes; %.0f requests a second, half SET and half GET, through all "
        "nodes; idle is before and after each. `background-p999-target` is %d ms by default, and for strict 1.25 times the "
        "median of the p99.9 at idle until then, rounded to ms. The time is from when the node is back; the reading of its "
        "store after the start is part of it.\n" % (arguments.keys // 10, arguments.rate, default_ms))


class Turns:
    """Latencies of turns in which background work is held to the least, and is not."""

    def __init__(self):
        self.turns = {"held": [], "not held": []}  # of each turn, seconds
        self.converge = []  # for each round: the seconds of the turns in which it was not held

    def take(self, arguments, cluster, behind, load):
        """Until all is mended."""
        names = []
        while not all_mended(cluster, behind, arguments.keys // 10):
            names.append(("held", "not held")[len(names) % 2])
            set_option(cluster, "background-rate", LEAST_RATE if names[-1] == "held" else USUAL_RATE)
            load.phase(str(len(names) - 1))
            time.sleep(arguments.turn)
        load.phase("end")
        phases, lost = load.stop()
        if lost or any(any(errors.values()) for _, _, errors in phases):
            raise RuntimeError("requests failed, or were never answered: %d" % lost)
        latencies = {phase: each["set"] + each["get"] for phase, each, _ in phases}
        # In the last one it came to its end: that does not count, nor what it would be compared with.
        for i, name in enumerate(names[:(len(names) - 1) // 2 * 2]):
            self.turns[name].append(latencies[str(i)])
        self.converge.append(names.count("not held") * arguments.turn)

    def tails(self, name):
        return [percentile(latencies, 99.9) * 1000 for latencies in self.turns[name]]

    def rows(self):
        yield "| background work | turns | requests | p50 ms | p99 ms | p99.9 ms of all | p99.9 ms, median of turns |"
        yield "|---|---|---|---|---|---|---|"
        for name, turns in self.turns.items():
            every = [latency * 1000 for latencies in turns for latency in latencies]
            yield "| %s | %d | %d | %.2f | %.2f | %.2f | %.2f |" % (
                name, len(turns), len(every), percentile(every, 50), percentile(every, 99), percentile(every, 99.9),
                statistics.median(self.tails(name)))


def healing_in_turns(arguments):
    d, turns = arguments.keys // 10, Turns()
    with Cluster(3, settings={"timing.sync-round": NEVER}) as cluster:
        put_all(cluster[0], "base", arguments.keys - d, arguments.size)
        put_all(cluster[0], "key", arguments.load_keys, arguments.size)
        for number in range(1, arguments.rounds + 1):
            behind = Behind(cluster, "turns%d" % number, d, arguments.size)
            set_option(cluster, "hints", "1")
            load = Steady(arguments.rate, arguments.load_keys, arguments.size, seed=number)
            load.ports(cluster)
            load.phase("warm")
            set_option(cluster, "sync-round", "1s")
            turns.take(arguments, cluster, behind, load)
            set_option(cluster, "background-rate", USUAL_RATE)
            set_option(cluster, "sync-round", NEVER)
            say("round %d: p99.9 ms until now: held %s, not held %s" % (
                number, *("%.1f" % statistics.median(turns.tails(name) or [0]) for name in turns.turns)))
    held, free = (statistics.median(turns.tails(name)) for name in turns.turns)
    return "\n".join(turns.rows()) + (
        "\n\n%d keys differ in each of %d rounds, on one of three nodes, and are mended in turns of %.0f s: `background-rate` "
        "%s (the least), then %s (the default); %.0f requests a second as above. Not held over held, medians: %.2f. Median "
        "time to converge, without the turns in which it was held: %.0f s.\n" % (
            d, arguments.rounds, arguments.turn, LEAST_RATE, USUAL_RATE, arguments.rate, free / held,
            statistics.median(turns.converge)))


PARTS = {
    "1": ("The cost of d keys that differ", cost_of_differences),
    "2": ("Throughput with nothing to mend", throughput),
    "3": ("A steady load while 10 % of the keys are mended", healing),
    "4": ("The same, in turns", healing_in_turns),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1000000)
    parser.add_argument("--load-keys", type=int, default=100000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--d", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 100, 10000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200000)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--rest", type=float, default=20)
    parser.add_argument("--turn", type=float, default=5)
    parser.add_argument("--sync-round", default="5s")
    parser.add_argument("--parts", default="1,2,3,4")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    text = "# Replicas that differ\n\n%s, commit %s, %d cores, which the nodes and the load share. " % (
        time.strftime("%Y-%m-%d"), commit.stdout.strip(), os.cpu_count())
    text += "Three nodes, N=3 W=2 R=2, rocksdb; %d keys of %d bytes.\n" % (arguments.keys, arguments.size)
    for part in arguments.parts.split(","):
        title, measure = PARTS[part]
        text += "\n## %s\n\n%s" % (title, measure(arguments))
        if arguments.out:
            with open(arguments.out, "w", encoding="utf-8") as file:
                file.write(text)
    print(text)


if __name__ == "__main__":
    main()
