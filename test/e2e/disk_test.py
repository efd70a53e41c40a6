#!/usr/bin/python3
"""Disks that fail and disks that are slow: a library put before the C library's (disk_shim.c) makes a node's syncs do as they
are told. A failed sync ends the node with a named error and status 1, and nothing that was acknowledged is lost; a slow one
is nobody's trouble but its own node's."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import START_SECONDS, Cluster, ReplyError, wait_until  # noqa: E402

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "disk_shim.c")
FAILED = r"gramme: node-%d: storage failed \(.+\); stopping: check the device of .*, then start the node again"


class Writer(threading.Thread):
    """Sets keys of its own through one node, one after the other, until told to stop or an error."""

    def __init__(self, node, number, go_on=False):
        super().__init__(daemon=True)
        self.node = node
        self.number = number
        self.go_on = go_on  # after errors, on a new connection
        self.stopping = threading.Event()
        self.acked = {}
        self.errors = []
        self.seconds = []  # of each write that was acknowledged

    def run(self):
        client = None
        i = 0
        while not self.stopping.is_set():
            i += 1
            key, value = "w%d:%d" % (self.number, i), "value %d" % i
            try:
                client = client or self.node.connect()
                start = time.monotonic()
                client.call("SET", key, value)
                self.seconds.append(time.monotonic() - start)
                self.acked[key] = value
            except (OSError, ReplyError) as error:
                self.errors.append(error)
                if isinstance(error, OSError) and client is not None:
                    client.close()
                    client = None
                if not self.go_on:
                    break
                self.stopping.wait(0.05)
        if client is not None:
            client.close()


class Disks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="gramme-e2e-shim-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.shim = os.path.join(cls.directory, "shim.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", cls.shim, SOURCE], check=True)

    def cluster(self):
        """Three nodes, each with a file that says how its syncs go (`tell`)."""
        cluster = Cluster(3, start=False)
        # A sanitizer's library wants to be the first; here it need not be.
        asan = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
        for node in cluster:
            node.environment = {"LD_PRELOAD": self.shim, "GRAMME_DISK_SHIM": self.control(cluster, node),
                                "ASAN_OPTIONS": asan}
        cluster.start_at_once = True  # by `with`
        return cluster

    def control(self, cluster, node):
        return os.path.join(cluster.directory, node.name + ".disk")

    def tell(self, cluster, node, word):
        path = self.control(cluster, node)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(word)
        os.rename(path + ".new", path)

    def load(self, nodes, go_on=()):
        writers = [Writer(node, i, node in go_on) for i, node in enumerate(nodes)]
        for writer in writers:
            writer.start()
        return writers

    def wait_writes(self, cluster, writers, more):
        """Until each of them has had so many more writes acknowledged."""
        goal = [len(writer.acked) + more for writer in writers]
        cluster.wait_until(lambda: all(len(writer.acked) >= wanted or not writer.is_alive()
                                       for writer, wanted in zip(writers, goal)), 60, "%d more writes" % more)
        for writer in writers:
            self.assertTrue(writer.is_alive(), writer.errors)

    def finish(self, writers):
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(60)
            self.assertFalse(writer.is_alive())
        return {key: value for writer in writers for key, value in writer.acked.items()}

    def wait_died(self, node):
        """Until it has ended by itself, as it should."""
        wait_until(lambda: not node.alive, START_SECONDS, "%s stops" % node)
        self.assertEqual(node.process.returncode, 1, node.log_tail())
        with open(node.log_path, encoding="utf-8") as log:
            last = log.read().splitlines()[-1]
        self.assertRegex(last, FAILED % (node.index + 1))
        node.kill9()  # it is gone: forgets the connection
        node.process.returncode = 0  # and that was right

    def assert_all_there(self, cluster, acked):
        keys = sorted(acked)
        for number, node in enumerate(cluster):
            for start in range(0, len(keys), 300):
                part = keys[start:start + 300]
                self.assertEqual(node.call("MGET", *part), [acked[key].encode() for key in part])
            for key in keys[number::30]:
                self.assertEqual(node.dynamo_get(key, "R", 3)[1], [acked[key].encode()])

    def test_a_failing_sync_stops_the_node_and_only_that(self):
        with self.cluster() as cluster:
            one, two, three = cluster
            writers = self.load([one, two, three, one, two, three], go_on=(three,))
            self.wait_writes(cluster, writers, 30)
            self.tell(cluster, three, "fail")
            self.wait_died(three)
            others = [writer for writer in writers if writer.node is not three]
            self.wait_writes(cluster, others, 200)
            # While it is down the device is mended, or not: it does not start on a disk that still fails.
            three.start()
            wait_until(lambda: not three.alive, START_SECONDS, "it ends again")
            self.assertEqual(three.process.returncode, 1)
            with open(three.log_path, encoding="utf-8") as log:
                self.assertRegex(log.read().splitlines()[-1], "^gramme: node-3: .*rocksdb.* check its device")
            self.tell(cluster, three, "ok")
            three.start()
            cluster.wait_formed()
            self.wait_writes(cluster, writers, 30)
            acked = self.finish(writers)
            for writer in others:
                self.assertEqual(writer.errors, [], "a client of %s saw an error" % writer.node)
            cluster.wait_hints_drained()
            self.assert_all_there(cluster, acked)
            print("%d writes acknowledged, all there; %d errors at the node that stopped" % (
                len(acked), sum(len(writer.errors) for writer in writers)))

    def test_all_three_fail(self):
        """Not at one time: each after so many syncs. Whatever was acknowledged until then is there."""
        with self.cluster() as cluster:
            writers = self.load(list(cluster) * 3)
            self.wait_writes(cluster, writers, 20)
            one, two, three = cluster
            self.tell(cluster, one, "fail-after 20")
            self.tell(cluster, two, "fail-after 40")
            self.wait_died(one)
            self.wait_died(two)
            acked = self.finish(writers)
            cluster.wait_down(0)
            cluster.wait_down(1)
            three.dynamo_put("alone", "x", None, "W", 1)
            acked["alone"] = "x"
            self.tell(cluster, three, "fail-after 0")
            with self.assertRaises(ConnectionError):
                three.dynamo_put("lost", "x", None, "W", 1)
            self.wait_died(three)
            for node in cluster:
                self.tell(cluster, node, "ok")
                node.start()
            cluster.wait_formed()
            cluster.wait_hints_drained()
            self.assert_all_there(cluster, acked)
            print("%d writes acknowledged, all there" % len(acked))

    def test_a_slow_disk_is_nobody_elses_trouble(self):
        slow_ms = 200
        with self.cluster() as cluster:
            one, two, three = cluster
            writers = self.load([one, two, one, two, three])
            self.wait_writes(cluster, writers, 20)
            self.tell(cluster, three, "delay %d" % slow_ms)
            for writer in writers:
                writer.seconds.clear()
            self.wait_writes(cluster, writers[:4], 300)
            medians = {}
            for writer in writers:
                medians.setdefault(writer.node.name, []).extend(writer.seconds)
            medians = {name: statistics.median(seconds) * 1000 for name, seconds in medians.items() if seconds}
            print("median ms of a write: %s" % ", ".join("%s %.1f" % item for item in sorted(medians.items())))
            self.assertLess(medians["node-1"], slow_ms / 2)
            self.assertLess(medians["node-2"], slow_ms / 2)
            for node in (one, two):
                start = time.monotonic()
                for i in range(50):
                    self.assertEqual(node.call("GET", "w0:%d" % (i + 1)), writers[0].acked["w0:%d" % (i + 1)].encode())
                self.assertLess((time.monotonic() - start) * 1000, 50 * slow_ms / 2)
            acked = self.finish(writers)
            for writer in writers:
                self.assertEqual(writer.errors, [])
            # Slow is not dead: it is up, and what it has missed reaches it, slow as it is.
            self.assertTrue(all(member["up"] for member in one.status()["members"]))
            cluster.wait_hints_drained()
            self.assert_all_there(cluster, acked)


if __name__ == "__main__":
    unittest.main(verbosity=2)
