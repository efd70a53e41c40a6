#!/usr/bin/python3
"""A node's data directory is emptied, or put back to an old copy, while it is down and the others are written to: it is
noticed and said, nothing acknowledged is lost or missed by a read, and the node comes back complete (paper 4.7, 4.8)."""

import os
import shutil
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, ReplyError, wait_until  # noqa: E402

KEYS = 300


class Writer(threading.Thread):
    """Writes one key after the other through one node, and remembers what was acknowledged."""

    def __init__(self, node, prefix):
        super().__init__()
        self.node = node
        self.prefix = prefix
        self.acknowledged = []
        self.done = threading.Event()

    def run(self):
        with self.node.connect() as client:
            at = 0
            while not self.done.is_set():
                key = "%s:%d" % (self.prefix, at)
                try:
                    client.call("SET", key, "value of " + key)
                    self.acknowledged.append(key)
                except ReplyError:
                    pass  # too few replicas: not acknowledged
                at += 1

    def stop(self):
        self.done.set()
        self.join()
        return self.acknowledged


class Amnesia(unittest.TestCase):
    def fill(self, cluster, prefix):
        with cluster[0].connect() as client:
            commands = [("SET", "%s:%d" % (prefix, i), "value of %s:%d" % (prefix, i)) for i in range(KEYS)]
            for reply in client.pipeline(commands):
                self.assertEqual(reply, "OK")
        cluster.wait_hints_drained()
        return ["%s:%d" % (prefix, i) for i in range(KEYS)]

    def member_of(self, node, other):
        member, = [m for m in other.status()["members"] if m["name"] == node.name]
        return member

    def loss_of(self, node, other):
        return self.member_of(node, other)["loss"]

    def wait_whole(self, cluster, node):
        for other in cluster:
            wait_until(lambda other=other: self.loss_of(node, other) is None, 120, "%s has all again" % node)
        cluster.wait_hints_drained()

    def assert_complete(self, cluster, node, keys):
        """All keys are read through it, and many are looked for on the node itself."""
        for key in keys:
            self.assertEqual(node.call("GET", key), b"value of " + key.encode())
        with node.connect() as client:
            for key in keys[:: max(1, len(keys) // 400)]:
                replicas = client.json("DYNAMO.EXPLAIN", key)["replicas"]
                own, = [r for r in replicas if r["name"] == node.name]
                self.assertIsNotNone(own["clock"], key)

    def lose(self, cluster, node, how):
        """Under load; what was acknowledged meanwhile."""
        writer = Writer(cluster[0], "load")
        writer.start()
        try:
            self.assertEqual(node.stop(), 0)
            how()
            node.start()
            cluster.wait_formed()
            wait_until(lambda: self.loss_of(node, cluster[0]) is None and "it answers for nothing" in node.log_tail(400),
                       40, "it has noticed, and has all again")
        finally:
            keys = writer.stop()
        self.assertGreater(len(keys), 0)
        return keys

    def test_an_emptied_store_comes_back_complete(self):
        with Cluster(3) as cluster:
            keys = self.fill(cluster, "a")
            node = cluster[1]
            keys += self.lose(cluster, node, lambda: shutil.rmtree(os.path.join(node.directory, "rocksdb")))
            self.wait_whole(cluster, node)
            self.assertIn("is empty, and was not", node.log_tail(400))
            self.assert_complete(cluster, node, keys)

    def test_an_emptied_directory_comes_back_complete_with_its_node_id(self):
        with Cluster(3) as cluster:
            keys = self.fill(cluster, "b")
            node = cluster[2]
            node_id = node.status()["node"]["id"]

            def empty():
                shutil.rmtree(node.directory)
                node.settings["node"]["node-id"] = node_id

            keys += self.lose(cluster, node, empty)
            self.wait_whole(cluster, node)
            self.assertEqual(node.status()["node"]["id"], node_id)
            self.assert_complete(cluster, node, keys)

    def test_an_old_copy_is_noticed_and_comes_back_complete(self):
        with Cluster(3) as cluster:
            keys = self.fill(cluster, "c")
            node = cluster[1]
            copy = node.directory + ".copy"
            self.assertEqual(node.stop(), 0)
            shutil.copytree(node.directory, copy)
            node.start()
            cluster.wait_formed()
            writer = Writer(cluster[0], "later")
            writer.start()
            wrote = node.status()["node"]["wrote"]
            for other in (cluster[0], cluster[2]):
                wait_until(lambda other=other: self.member_of(node, other)["wrote"] > wrote, 30, "its mark is raised and told")
            keys += writer.stop()

            def put_back():
                shutil.rmtree(node.directory)
                os.rename(copy, node.directory)

            keys += self.lose(cluster, node, put_back)
            self.wait_whole(cluster, node)
            self.assertIn("is an old copy", node.log_tail(400))
            self.assert_complete(cluster, node, keys)


if __name__ == "__main__":
    unittest.main()
