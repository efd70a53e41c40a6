#!/usr/bin/python3
"""A bit flips in what one replica has stored, while the cluster runs: no client ever sees it, nobody is handed it, and
the record is made whole from the other replicas and counted (paper 4.7)."""

import glob
import os
import random
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, wait_until  # noqa: E402

KEYS = 60
VALUE_BYTES = 4000  # about one to a block of the engine: what lies beside it stays readable


def value_of(i):
    """Bytes that no engine makes smaller, so that they stand in its file as they are."""
    return random.Random(i).randbytes(VALUE_BYTES)


def flip_bit(node, value):
    """In the one file of the node's store that has this value."""
    for path in glob.glob(os.path.join(node.directory, "rocksdb", "*.sst")):
        with open(path, "r+b") as file:
            at = file.read().find(value)
            if at >= 0:
                file.seek(at + len(value) // 2)
                byte = file.read(1)[0]
                file.seek(at + len(value) // 2)
                file.write(bytes([byte ^ 0x10]))
                return
    raise AssertionError("%s has that value in no file" % node)


class Damage(unittest.TestCase):
    def fill(self, cluster):
        for i in range(KEYS):
            self.assertEqual(cluster[i % 3].call("SET", "d:%d" % i, value_of(i)), "OK")
        cluster.wait_hints_drained()
        node = cluster[1]
        node.kill9()  # what it had only in its log is in a file of the store once it is back
        node.start()
        cluster.wait_formed()
        cluster.wait_hints_drained()

    def scrub(self, node):
        return node.status()["scrub"]

    def test_a_flipped_bit_is_not_shown_and_is_healed_when_it_is_read(self):
        with Cluster(3) as cluster:
            self.fill(cluster)
            node = cluster[1]
            flip_bit(node, value_of(7))
            for client in cluster:
                for _ in range(3):
                    self.assertEqual(client.call("GET", "d:7"), value_of(7))
            wait_until(lambda: self.scrub(node)["healed"] == 1, 30, "the record is healed")
            status = self.scrub(node)
            self.assertEqual((status["damaged"], status["lost"]), (1, 0))
            wait_until(lambda: ", 1 made whole" in node.log_tail(200), 10, "its log says so")

    def test_a_flipped_bit_that_nobody_reads_is_found_and_healed(self):
        often = {"timing.scrub-round": "1s", "timing.sync-round": "500ms"}
        with Cluster(3, settings=often) as cluster:
            self.fill(cluster)
            node = cluster[1]
            flip_bit(node, value_of(11))
            wait_until(lambda: self.scrub(node)["healed"] >= 1, 60, "the record is found and healed")
            self.assertEqual(self.scrub(node)["lost"], 0)
            self.assertGreaterEqual(self.scrub(node)["gaps"], 1)
            for client in cluster:
                for i in range(KEYS):
                    self.assertEqual(client.call("GET", "d:%d" % i), value_of(i))


if __name__ == "__main__":
    unittest.main()
