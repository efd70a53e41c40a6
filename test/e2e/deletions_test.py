#!/usr/bin/python3
"""Deletions are forgotten when every replica has them, and not before (docs/adr/0008)."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, wait_until  # noqa: E402

OFTEN = {"timing.sync-round": "500ms"}
KEYS = 50


def tombstones(cluster):
    return [member["tombstones"] for member in cluster[0].status()["members"]]


def reaped(node):
    lines = node.call("INFO").decode().replace("\r", "").split("\n")
    return int(dict(line.split(":", 1) for line in lines if ":" in line)["reaped"])


class Deletions(unittest.TestCase):
    def delete_all(self, cluster):
        with cluster[0].connect() as client:
            for i in range(KEYS):
                self.assertEqual(client.call("SET", "k:%d" % i, "v"), "OK")
                self.assertEqual(client.call("DEL", "k:%d" % i), 1)

    def assert_gone(self, cluster):
        for node in cluster:
            with node.connect() as client:
                for i in range(KEYS):
                    self.assertIsNone(client.call("GET", "k:%d" % i))

    def test_they_go_from_all_replicas(self):
        with Cluster(3, settings=OFTEN) as cluster:
            self.delete_all(cluster)
            wait_until(lambda: min(reaped(node) for node in cluster) >= KEYS, 120, "each has forgotten all of them")
            wait_until(lambda: tombstones(cluster) == [0] * 3, 30, "and says so")
            self.assert_gone(cluster)
            self.assertEqual(cluster[0].status()["totals"]["tombstones"], 0)

    def test_not_while_a_replica_is_down_and_its_old_values_do_not_come_back(self):
        with Cluster(3, settings=OFTEN) as cluster:
            with cluster[0].connect() as client:
                for i in range(KEYS):
                    self.assertEqual(client.call("SET", "k:%d" % i, "v"), "OK")
            cluster.wait_hints_drained()
            cluster[2].kill9()
            cluster.wait_down(2)
            self.delete_all(cluster)
            cluster[2].start()
            cluster.wait_formed()
            wait_until(lambda: tombstones(cluster) == [0] * 3, 120, "they are forgotten when it is back")
            self.assert_gone(cluster)


if __name__ == "__main__":
    unittest.main()
