#!/usr/bin/python3
"""The simulator: core events a second, what a simulated hour costs, how gossip grows with the cluster, the set test.

    bench/simulator.py [--runs 100] [--seeds 100] [--program build/gramme-sim] [--out FILE]

The first two are times, medians of rounds, of one process on a machine that does nothing else; the others are counts, the same
on any machine.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import time

CLUSTERS = (5, 10, 20, 40, 70, 100)


def run(program, *arguments):
    """(what it printed, wall seconds, CPU seconds). A run that fails is none to measure."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([program, *[str(argument) for argument in arguments]], capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode != 0:
        raise RuntimeError("%s %s: %s%s" % (program, arguments, done.stdout[-2000:], done.stderr[-2000:]))
    return done.stdout, wall, cpu


def number(pattern, text):
    return int(re.search(pattern, text).group(1))


def speed(program, runs, rounds):
    """Rows of a table: many short runs with all faults, under each profile; an hour without any."""
    rows = []
    for name, arguments in (
            ("%d seeds, recoverable" % runs, ("--runs", runs, "--jobs", 1)),
            ("%d seeds, hostile" % runs, ("--runs", runs, "--jobs", 1, "--profile", "hostile")),
            ("an hour of five nodes, light load", ("--seed", 1, "--light", "--seconds", 3600))):
        walls, cpus = [], []
        for _ in range(rounds):
            text, wall, cpu = run(program, *arguments)
            walls.append(wall)
            cpus.append(cpu)
        events, simulated = number(r"events=(\d+)", text), number(r"simulated_s=(\d+)", text)
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        rows.append("| %s | %d | %d | %.2f | %.2f | %.0f | %.0f |" % (
            name, simulated, events, wall, cpu, events / wall, events / cpu))
        print(rows[-1], flush=True)
    return rows


def gossip(program, seeds):
    rows = []
    for nodes in CLUSTERS:
        rounds, until, at_rest = [], [], []
        for seed in range(1, seeds + 1):
            text, _, _ = run(program, "--gossip", nodes, "--seed", seed)
            rounds.append(number(r"rounds=(\d+)", text))
            until.append(number(r"bytes_per_node=(\d+)", text))
            at_rest.append(number(r"converged_bytes_per_node_and_round=(\d+)", text))
        rows.append("| %d | %g | %d | %.0f | %.0f |" % (
            nodes, statistics.median(rounds), max(rounds), statistics.median(until), statistics.median(at_rest)))
        print(rows[-1], flush=True)
    return rows


def set_test(program, seeds):
    text, _, _ = run(program, "--set-test", seeds)
    rows = []
    for kind, acknowledged, lost, share in re.findall(
            r"set test, (.*): runs=\d+ acknowledged=(\d+) lost=(\d+) \(([\d.]+) %\)", text):
        rows.append("| %s | %s | %s | %s %% |" % (kind, acknowledged, lost, share))
        print(rows[-1], flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--program", default=os.path.join(root, "build", "gramme-sim"))
    parser.add_argument("--runs", type=int, default=100, help="seeds that the speed is measured with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gossip-seeds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=100, help="of the set test")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    fast = speed(arguments.program, arguments.runs, arguments.rounds)
    talk = gossip(arguments.program, arguments.gossip_seeds)
    sets = set_test(arguments.program, arguments.seeds)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    text = ("# The simulator\n\n%s, commit %s, %d cores, of which one is used.\n\n"
            "## Speed\n\nSimulated seconds, events of the core, and the seconds that they took, with checkers and oracle: "
            "medians of %d rounds.\n\n| what | simulated s | events | wall s | CPU s | events a second | events a CPU second |\n"
            "|---|---|---|---|---|---|---|\n%s\n\n"
            "## Gossip\n\nEach node begins with the records of the founder, of itself and of two others, and gossips once a "
            "second: rounds until all have the same history of members, what each node sent until then, and what it sends a "
            "round once they agree. Medians of %d seeds.\n\n"
            "| nodes | rounds, median | most | bytes a node until agreed | bytes a node and round, agreed |\n"
            "|---|---|---|---|---|\n%s\n\n"
            "## Set test\n\nFive nodes, a client pinned to each, 2,000 integers added by read-modify-write to one key; {1, 2} and "
            "{3, 4, 5} apart for a third of the run; healed, then read. %d seeds.\n\n"
            "| conflicts | acknowledged | lost | share |\n|---|---|---|---|\n%s\n" % (
                time.strftime("%Y-%m-%d"), commit.stdout.strip(), os.cpu_count(), arguments.rounds, "\n".join(fast),
                arguments.gossip_seeds, "\n".join(talk), arguments.seeds, "\n".join(sets)))
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
