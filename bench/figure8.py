#!/usr/bin/python3
"""The paper's Figure 8: how evenly the three partitioning strategies of its section 6.2 spread a skewed load over 30 nodes
with N = 3, by the size of the membership information that each node keeps.

    bench/figure8.py [--out FILE.md]      a plot, FILE.svg, is written beside it

Strategy 3 is Gramme's own: the owners come from `gramme ring simulate`.
"""

import argparse
import bisect
import itertools
import json
import math
import os
import random
import subprocess
import time

NODES = 30
REPLICAS = 3
KEYS = 200000
ZIPF = 0.5
SEEDS = 20
SIZES = [512, 1024, 2048, 4096, 8192, 16384]
PARTITIONS_A_TOKEN = 8  # strategy 2 wants many more partitions than tokens

STRATEGIES = [
    ("1", "T random tokens per node, partition by token", "#b3403a"),
    ("2", "T random tokens per node, equal partitions", "#c98a1b"),
    ("3", "Q/S tokens per node, equal partitions (Gramme)", "#2f6db3"),
]


class Load:
    """Keys at random positions, request rates by Zipf's law; what arrives in a range of positions."""

    def __init__(self, seed):
        draw = random.Random(seed)
        total = sum(rank ** -ZIPF for rank in range(1, KEYS + 1))
        keys = sorted((draw.random(), rank ** -ZIPF / total) for rank in range(1, KEYS + 1))
        self.positions = [position for position, _ in keys]
        self.sums = [0.0] + list(itertools.accumulate(rate for _, rate in keys))

    def between(self, low, high):
        """Of the keys in [low, high)."""
        return self.sums[bisect.bisect_left(self.positions, high)] - self.sums[bisect.bisect_left(self.positions, low)]


def draw_tokens(tokens_per_node, seed):
    draw = random.Random(seed)
    return sorted((draw.random(), node) for node in range(NODES) for _ in range(tokens_per_node))


def first_distinct(nodes, start):
    """The first REPLICAS distinct nodes of a ring, clockwise."""
    found = []
    at = start
    while len(found) < REPLICAS:
        node = nodes[at % len(nodes)]
        if node not in found:
            found.append(node)
        at += 1
    return found


def efficiency(served):
    return sum(served) / len(served) / max(served)


def by_token(size, load, seed):
    tokens = draw_tokens(size // NODES, seed)
    nodes = [node for _, node in tokens]
    served = [0.0] * NODES
    for at, (position, _) in enumerate(tokens):
        requests = load.between(tokens[at - 1][0] if at > 0 else 0.0, position)
        if at == 0:
            requests += load.between(tokens[-1][0], 1.0)
        for node in first_distinct(nodes, at):
            served[node] += requests
    return efficiency(served)


def by_token_equal_partitions(size, load, seed):
    tokens_per_node = max(1, round(size / (1 + PARTITIONS_A_TOKEN) / NODES))
    tokens = draw_tokens(tokens_per_node, seed)
    positions = [position for position, _ in tokens]
    nodes = [node for _, node in tokens]
    partitions = size - tokens_per_node * NODES
    served = [0.0] * NODES
    for p in range(partitions):
        requests = load.between(p / partitions, (p + 1) / partitions)
        # "the first N unique nodes that are encountered while walking ... clockwise from the end of the partition"
        for node in first_distinct(nodes, bisect.bisect_left(positions, (p + 1) / partitions)):
            served[node] += requests
    return efficiency(served)


def equal_shares(owners, load):
    served = [0.0] * NODES
    for p in range(len(owners)):
        requests = load.between(p / len(owners), (p + 1) / len(owners))
        for node in first_distinct(owners, p):
            served[node] += requests
    return efficiency(served)


def gramme_owners(partitions):
    program = os.environ.get("GRAMME", "build/gramme")
    told = subprocess.run([program, "ring", "simulate", "--json", "--owners", "--nodes", str(NODES), "--n", str(REPLICAS),
                           "--partitions", str(partitions)], capture_output=True, text=True, check=True)
    return [node - 1 for node in json.loads(told.stdout)["owners"]]


def measure():
    """{strategy: {size: (mean, least, most)}} over the seeds."""
    samples = {name: {size: [] for size in SIZES} for name, _, _ in STRATEGIES}
    owners = {size: gramme_owners(size) for size in SIZES}
    for seed in range(1, SEEDS + 1):
        load = Load(seed)
        for size in SIZES:
            samples["1"][size].append(by_token(size, load, seed))
            samples["2"][size].append(by_token_equal_partitions(size, load, seed))
            samples["3"][size].append(equal_shares(owners[size], load))
    return {name: {size: (sum(some) / len(some), min(some), max(some)) for size, some in sizes.items()}
            for name, sizes in samples.items()}


# -- the plot ------------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 34, 44, 64


def plot(results):
    low = math.floor(10 * min(least for sizes in results.values() for _, least, _ in sizes.values())) / 10

    def x(size):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log2(size / SIZES[0]) / math.log2(SIZES[-1] / SIZES[0])

    def y(value):
        return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value) / (1.0 - low)

    def text(at_x, at_y, words, anchor="middle", more=""):
        return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (at_x, at_y, anchor, more, words)

    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">' % (
        WIDTH, HEIGHT), '<rect width="%d" height="%d" fill="white"/>' % (WIDTH, HEIGHT),
        text(LEFT, 22, "Efficiency of load distribution, %d nodes, N = %d" % (NODES, REPLICAS), "start", ' font-size="15"')]
    for step in range(round((1.0 - low) * 10) + 1):
        value = low + step / 10
        out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>' % (LEFT, WIDTH - RIGHT, y(value), y(value)))
        out.append(text(LEFT - 8, y(value) + 4, "%.1f" % value, "end"))
    for size in SIZES:
        out.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#888"/>' % (
            x(size), x(size), HEIGHT - BOTTOM, HEIGHT - BOTTOM + 5))
        out.append(text(x(size), HEIGHT - BOTTOM + 20, "%d" % size))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 42, "entries of membership information at each node"))
    out.append(text(18, HEIGHT / 2 - 20, "mean load / highest load", "middle", ' transform="rotate(-90 18 %.1f)"' % (
        HEIGHT / 2 - 20)))
    for row, (name, words, colour) in enumerate(STRATEGIES):
        sizes = results[name]
        points = " L ".join("%.1f,%.1f" % (x(size), y(sizes[size][0])) for size in SIZES)
        out.append('<path d="M %s" fill="none" stroke="%s" stroke-width="2"/>' % (points, colour))
        for size in SIZES:
            mean, least, most = sizes[size]
            out.append('<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s" stroke-opacity="0.45"/>' % (
                x(size), x(size), y(least), y(most), colour))
            out.append('<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>' % (x(size), y(mean), colour))
        legend = HEIGHT - BOTTOM - 58 + 18 * row
        out.append('<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="2"/>' % (
            WIDTH - 350, WIDTH - 326, legend, legend, colour))
        out.append(text(WIDTH - 318, legend + 4, "%s: %s" % (name, words), "start"))
    return "\n".join(out + ["</svg>"]) + "\n"


# -- the page ------------------------------------------------------------------------------------------------------------

def page(results, image):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    rows = []
    for size in SIZES:
        cells = ["%.3f (%.3f to %.3f)" % results[name][size] for name, _, _ in STRATEGIES]
        rows.append("| %d | %s |" % (size, " | ".join(cells)))
    return """# Figure 8 of the paper: three ways to partition

%s, commit %s. %d nodes, N = %d. %d keys at random places, requests by Zipf's law with exponent %.1f: skewed, but with
enough popular keys for partitioning to spread them, as the paper assumes (section 6.2). Each request is served by the N
nodes of its key. Efficiency is the mean load of a node over that of the hottest; mean of %d seeds, least and most.

![efficiency by size of membership information](%s)

| entries | %s |
|---|---|---|---|
%s

An entry is one token (strategies 1 and 2) or the owner of one partition (2 and 3). Strategy 1 keeps S * T tokens. Strategy 2
keeps tokens and the map of its partitions, %d for each token, since it wants many more of them than tokens. Strategy 3 keeps
Q owners. In bytes the gap is wider: a token is a position of 16 bytes and a node, an owner 2 bytes.

As in the paper, 3 is the most even and 2 the least for the same room. What 3 lacks of 1.0 is nearly all the keys': popular ones
fall where they fall. Its nodes own equal shares of the partitions, within one.
""" % (time.strftime("%Y-%m-%d"), commit.stdout.strip(), NODES, REPLICAS, KEYS, ZIPF, SEEDS, image,
       " | ".join("%s: %s" % (name, words) for name, words, _ in STRATEGIES), "\n".join(rows), PARTITIONS_A_TOKEN)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out")
    arguments = parser.parse_args()
    results = measure()
    image = os.path.splitext(arguments.out)[0] + ".svg" if arguments.out else "figure8.svg"
    text = page(results, os.path.basename(image))
    print(text)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            file.write(text)
        with open(image, "w", encoding="utf-8") as file:
            file.write(plot(results))


if __name__ == "__main__":
    main()
