#!/usr/bin/python3
"""`gramme ring simulate`: no node is needed, and what it prints adds up."""

import collections
import json
import os
import re
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import run  # noqa: E402


def simulate(*arguments):
    result = run("ring", "simulate", "--json", *arguments)
    assert (result.returncode, result.stderr) == (0, ""), result
    return json.loads(result.stdout)


class Figures(unittest.TestCase):
    def test_growth_is_one_node_a_step_and_moves_the_fewest(self):
        told = simulate("--nodes", "6..20", "--partitions", "1024")
        self.assertEqual([step["nodes"] for step in told["steps"]], list(range(6, 21)))
        self.assertNotIn("moved", told["steps"][0])
        for step in told["steps"][1:]:
            self.assertGreaterEqual(step["moved"], step["optimum"])
            self.assertGreater(step["optimum"], 0)
            self.assertLessEqual(step["most"] - step["least"], 1)
            self.assertLessEqual(step["balance"], 1.02)
            self.assertEqual(step["node_clashes"] + step["zone_clashes"], 0)
        self.assertEqual(told["moved"], sum(step["moved"] for step in told["steps"][1:]))
        self.assertEqual(told["optimum"], sum(step["optimum"] for step in told["steps"][1:]))
        self.assertLessEqual(told["ratio"], 1.02)

    def test_shrinking_takes_the_same_way_back(self):
        told = simulate("--nodes", "20..6", "--partitions", "1024")
        self.assertEqual([step["nodes"] for step in told["steps"]], list(range(20, 5, -1)))
        self.assertLessEqual(told["ratio"], 1.02)

    def test_owners_follow_the_weights(self):
        told = simulate("--nodes", "8", "--partitions", "1024", "--weights", "1,3", "--owners")
        self.assertEqual(len(told["steps"]), 1)
        owned = collections.Counter(told["owners"])
        self.assertEqual(sum(owned.values()), 1024)
        for node in range(1, 9):
            self.assertEqual(owned[node], 64 if node % 2 == 1 else 192)
        for p in range(1024):  # any three neighbours are three nodes
            self.assertEqual(len({told["owners"][(p + i) % 1024] for i in range(3)}), 3)

    def test_three_zones_hold_a_replica_each(self):
        told = simulate("--nodes", "9", "--zones", "3", "--owners")
        owners = told["owners"]
        detours = sum(len({owners[(p + i) % 1024] % 3 for i in range(3)}) < 3 for p in range(1024))
        self.assertEqual(told["steps"][0]["detours"], detours)
        self.assertLessEqual(detours, 2)
        self.assertEqual(told["steps"][0]["zone_clashes"], 0)

    def test_fewer_nodes_than_replicas_are_told_as_clashes(self):
        told = simulate("--nodes", "2..3", "--partitions", "64")
        self.assertEqual([step["node_clashes"] for step in told["steps"]], [64, 0])
        told = simulate("--nodes", "2..3", "--partitions", "64", "--n", "2")
        self.assertEqual([step["node_clashes"] for step in told["steps"]], [0, 0])

    def test_the_table_says_the_same(self):
        told = simulate("--nodes", "4..9", "--zones", "2")
        result = run("ring", "simulate", "--nodes", "4..9", "--zones", "2")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        rows = [line.split() for line in result.stdout.splitlines() if re.match(r" *\d+ +\d+\.\d{3} ", line)]
        self.assertEqual([int(row[0]) for row in rows], [step["nodes"] for step in told["steps"]])
        for row, step in zip(rows[1:], told["steps"][1:]):
            self.assertEqual((float(row[1]), int(row[4]), int(row[5])), (step["balance"], step["moved"], step["optimum"]))
        self.assertIn("ratio %.3f" % told["ratio"], result.stdout)


class Usage(unittest.TestCase):
    def test_what_is_out_of_range_is_named_with_its_limits(self):
        for arguments, parts in (
                (["--nodes", "0..3"], ["--nodes", "1 to 256", "'0'"]),
                (["--nodes", "3..257"], ["--nodes", "1 to 256", "'257'"]),
                (["--nodes", "3.."], ["--nodes", "A..B", "''"]),
                (["--nodes", "x"], ["--nodes", "'x'"]),
                (["--partitions", "0"], ["--partitions", "1 to 16384"]),
                (["--partitions", "100"], ["--partitions", "power of two", "16384", "'100'"]),
                (["--partitions", "32768"], ["--partitions", "1 to 16384"]),
                (["--weights", "1,,2"], ["--weights", "1 to 1000", "''"]),
                (["--weights", "1001"], ["--weights", "1 to 1000"]),
                (["--weights", ",".join(["1"] * 257)], ["--weights", "256"]),
                (["--zones", "0"], ["--zones", "1 to 256"]),
                (["--n", "8"], ["--n", "1 to 7"]),
                (["--owners"], ["--owners", "--json"]),
                (["3"], ["no arguments"])):
            result = run("ring", "simulate", *arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
            for part in parts:
                self.assertIn(part, result.stderr, arguments)

    def test_help_leads_to_it(self):
        self.assertIn("gramme ring simulate", run("help", "ring").stdout)
        self.assertIn("--partitions", run("ring", "simulate", "--help").stdout)


if __name__ == "__main__":
    unittest.main()
