#!/usr/bin/python3
"""Replicas find what differs between them, say how many keys it is, and mend it (paper 4.7): a node is away while the
others keep no hints, so that no hint and no read tells of what it lacks."""

import os
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, program, wait_until  # noqa: E402

NEVER = {"timing.sync-round": "24h"}
OFTEN = {"timing.sync-round": "500ms"}
KEPT = 400  # keys that do not differ


def wait_sync(node, seconds=120):
    return subprocess.run([program(), "wait-sync", "-p", str(node.port), "--timeout", str(seconds)],
                          capture_output=True, text=True, check=False)


def put_all(node, prefix, count):
    commands = [("SET", "%s:%d" % (prefix, i), "value %d" % i) for i in range(count)]
    with node.connect() as client:
        for start in range(0, count, 50):
            for reply in client.pipeline(commands[start:start + 50]):
                assert reply == "OK", reply


def found(nodes):
    """Keys that were found to differ, in all, by the nodes as they run now."""
    return sum(other["found"] for node in nodes for other in node.status()["compared"])


class Compare(unittest.TestCase):
    def settle(self, cluster):
        cluster.wait_hints_drained()
        done = wait_sync(cluster[0])
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def fall_behind(self, cluster, node, prefix, count):
        """The node is away while those keys are written. What the others had found until then."""
        others = [other for other in cluster if other is not node]
        for other in others:
            other.call("CONFIG", "SET", "hints", "0")
        self.assertEqual(node.stop(), 0)
        put_all(others[0], prefix, count)
        before = found(others)
        node.start()  # and compares what it has at once, whatever sync-round is
        cluster.wait_formed()
        return before

    def clocks(self, node, key):
        replicas = [r for r in node.explain(key)["replicas"] if r["role"] == "replica"]
        self.assertEqual(len(replicas), 3)
        return [r["clock"] for r in replicas]

    def assert_equal_on_all(self, cluster, prefix, count):
        for i in range(count):
            clocks = self.clocks(cluster[i % 3], "%s:%d" % (prefix, i))
            self.assertIsNotNone(clocks[0])
            self.assertEqual(clocks.count(clocks[0]), 3)

    def test_what_differs_is_counted_to_a_key_and_mended(self):
        with Cluster(3, settings=NEVER) as cluster:
            put_all(cluster[0], "kept", KEPT)
            self.settle(cluster)
            for count in (1, 100):
                prefix = "d%d" % count
                before = self.fall_behind(cluster, cluster[2], prefix, count)
                self.settle(cluster)
                self.assertEqual(found(cluster) - before, count)
                self.assertEqual(cluster[1].status()["totals"]["keys_differ"], 0)
                self.assert_equal_on_all(cluster, prefix, count)
                before = found(cluster)
                self.settle(cluster)
                self.assertEqual(found(cluster) - before, 0)

    def test_nobody_has_to_ask_for_it(self):
        with Cluster(3, settings=OFTEN) as cluster:
            put_all(cluster[0], "kept", KEPT)
            self.fall_behind(cluster, cluster[1], "behind", 20)
            wait_until(lambda: None not in self.clocks(cluster[0], "behind:7"), 60, "the node has what it lacked")
            wait_until(lambda: cluster[0].status()["totals"]["compared_age_ms"], 60, "all have been compared")

    def test_with_a_node_down_there_is_no_knowing(self):
        with Cluster(3, settings=NEVER) as cluster:
            put_all(cluster[0], "kept", 10)
            cluster[2].kill9()
            cluster.wait_down(2)
            done = wait_sync(cluster[0], 2)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("TIMEOUT", done.stderr)
            cluster[2].start()
            cluster.wait_formed()
            self.settle(cluster)


if __name__ == "__main__":
    unittest.main(verbosity=2)
