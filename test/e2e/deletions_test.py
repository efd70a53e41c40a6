#!/usr/bin/python3
"""Deletions, and values that have expired, are forgotten when every replica has them, and not before (docs/adr/0008)."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from changing import ChangingCluster  # noqa: E402
from support import Cluster, wait_until  # noqa: E402

OFTEN = {"timing.sync-round": "500ms"}
KEYS = 50


def tombstones(cluster):
    return [member["tombstones"] for member in cluster[0].status()["members"]]


def stat(node, name):
    lines = node.call("INFO").decode().replace("\r", "").split("\n")
    return int(dict(line.split(":", 1) for line in lines if ":" in line)[name])


def reaped(node):
    return stat(node, "reaped")


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

    def set_all(self, cluster):
        with cluster[0].connect() as client:
            for i in range(KEYS):
                self.assertEqual(client.call("SET", "k:%d" % i, "v"), "OK")
        cluster.wait_hints_drained()

    def wait_looks(self, nodes):
        """Until those that are up have looked for differences, and for what can be forgotten, many times more."""
        begun = [stat(node, "gossip_rounds") for node in nodes]
        wait_until(lambda: all(stat(node, "gossip_rounds") > before + 8 for node, before in zip(nodes, begun)), 60,
                   "many rounds have passed")

    def test_what_has_expired_goes_though_nothing_was_ever_deleted(self):
        with Cluster(3, settings=OFTEN) as cluster:
            with cluster[0].connect() as client:
                for i in range(KEYS):
                    self.assertEqual(client.call("SET", "k:%d" % i, "v", "PX", "200"), "OK")
                self.assertEqual(client.call("SET", "stays:1", "v"), "OK")
            wait_until(lambda: min(reaped(node) for node in cluster) >= KEYS, 120, "each has forgotten all of them")
            wait_until(lambda: [stat(node, "expiring") for node in cluster] == [0] * 3, 30, "and says so")
            self.assertEqual(cluster[1].call("GET", "stays:1"), b"v")

    def test_not_while_a_replica_is_down_and_its_old_values_do_not_come_back(self):
        with Cluster(3, settings=OFTEN) as cluster:
            self.set_all(cluster)
            cluster[2].kill9()
            cluster.wait_down(2)
            self.delete_all(cluster)
            self.wait_looks(cluster[:2])
            self.assertEqual([reaped(node) for node in cluster[:2]], [0, 0])
            self.assertEqual([stat(node, "tombstones") for node in cluster[:2]], [KEYS, KEYS])
            cluster[2].start()
            cluster.wait_formed()
            wait_until(lambda: tombstones(cluster) == [0] * 3, 120, "they are forgotten when it is back")
            self.assert_gone(cluster)

    def test_removing_the_dead_member_releases_them(self):
        with ChangingCluster(4, settings=OFTEN) as cluster:
            self.set_all(cluster)
            cluster[3].kill9()
            cluster.wait_down(3)
            self.delete_all(cluster)
            self.wait_looks(cluster[:3])
            self.assertEqual([reaped(node) for node in cluster[:3]], [0, 0, 0])
            cluster.commit(("REMOVE", cluster[3].name))
            wait_until(lambda: [stat(node, "tombstones") for node in cluster[:3]] == [0] * 3, 120, "they are forgotten without it")
            for node in cluster[:3]:
                with node.connect() as client:
                    self.assertEqual([client.call("GET", "k:%d" % i) for i in range(KEYS)], [None] * KEYS)


if __name__ == "__main__":
    unittest.main()
