#!/usr/bin/python3
"""Carts under failure: what was acknowledged is there at the end. Real processes, kill -9, real disk."""

import json
import os
import random
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, ReplyError  # noqa: E402

CLIENTS = 50
CARTS = 20
ADDS = 30  # of each client


class Shopper(threading.Thread):
    """Adds items of its own to shared carts: reads with DYNAMO.GET, unites the siblings, writes with the context.

    `acked` holds what was acknowledged. An error or a lost connection leaves the item in doubt: it is not tried again."""

    def __init__(self, number, cluster, progress):
        super().__init__(daemon=True)
        self.number = number
        self.cluster = cluster
        self.progress = progress
        self.random = random.Random(number)
        self.connections = {}
        self.acked = []
        self.doubtful = []
        self.failure = None

    def run(self):
        try:
            for i in range(ADDS):
                self.add("cart:%d" % self.random.randrange(CARTS), "%d-%d" % (self.number, i))
                self.progress.release()
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error
            for _ in range(ADDS):
                self.progress.release()
        finally:
            for client in self.connections.values():
                client.close()

    def add(self, cart, item):
        node = self.random.choice(list(self.cluster))
        try:
            client = self.connections.get(node.index) or node.connect()
            self.connections[node.index] = client
            context, values = client.call("DYNAMO.GET", cart)
            items = set().union(*(json.loads(value) for value in values)) | {item}
            client.call("DYNAMO.PUT", cart, json.dumps(sorted(items)), "CONTEXT", context)
            self.acked.append((cart, item))
        except ReplyError:
            self.doubtful.append((cart, item))
        except OSError:
            self.doubtful.append((cart, item))
            client = self.connections.pop(node.index, None)
            if client is not None:
                client.close()


def merged(node, cart):
    _, values = node.call("DYNAMO.GET", cart, "R", 3)
    return set().union(*(json.loads(value) for value in values))


class Carts(unittest.TestCase):
    def shop(self, cluster, interrupt):
        """Runs all shoppers; `interrupt` maps a number of adds done to what happens then."""
        progress = threading.Semaphore(0)
        shoppers = [Shopper(i, cluster, progress) for i in range(CLIENTS)]
        for shopper in shoppers:
            shopper.start()
        for done in range(CLIENTS * ADDS):
            if done in interrupt:
                interrupt[done]()
            self.assertTrue(progress.acquire(timeout=120), "the shoppers are stuck\n" + cluster.logs())
        for shopper in shoppers:
            shopper.join(60)
            self.assertFalse(shopper.is_alive())
            self.assertIsNone(shopper.failure)
        return shoppers

    def judge(self, cluster, shoppers):
        acked = [entry for shopper in shoppers for entry in shopper.acked]
        doubtful = sum(len(shopper.doubtful) for shopper in shoppers)
        self.assertGreater(len(acked), CLIENTS * ADDS // 3, "%d of the adds were in doubt" % doubtful)
        tried = {entry for shopper in shoppers for entry in shopper.acked + shopper.doubtful}
        for number in range(CARTS):
            cart = "cart:%d" % number
            items = merged(cluster[number % len(cluster)], cart)
            lost = {item for where, item in acked if where == cart} - items
            self.assertEqual(lost, set(), "acknowledged and lost from %s" % cart)
            self.assertEqual(items - {item for where, item in tried if where == cart}, set(), "never put into %s" % cart)
        print("%d adds acknowledged, %d in doubt, none lost" % (len(acked), doubtful))

    def test_one_node_killed_and_started_again_under_read_modify_write(self):
        with Cluster(3) as cluster:
            total = CLIENTS * ADDS
            shoppers = self.shop(cluster, {
                total // 4: cluster[2].kill9,
                total * 3 // 4: cluster[2].start,
            })
            cluster.wait_formed()
            kept = cluster[0].call("INFO", "stats") + cluster[1].call("INFO", "stats")
            self.assertRegex(kept, rb"hints_kept:[1-9]", "no hint was ever kept: the test has lost its teeth")
            cluster.wait_hints_drained()
            self.judge(cluster, shoppers)

    def test_all_three_killed_at_once_under_load(self):
        with Cluster(3) as cluster:
            stop = threading.Event()

            def kill_all():
                for node in cluster:
                    node.process.kill()
                for node in cluster:
                    node.kill9()
                for node in cluster:
                    node.start()
                stop.set()
            shoppers = self.shop(cluster, {CLIENTS * ADDS // 2: kill_all})
            self.assertTrue(stop.is_set())
            cluster.wait_formed()
            cluster.wait_hints_drained()
            self.judge(cluster, shoppers)

    def test_blind_sets_acknowledged_before_all_are_killed_are_there(self):
        """Keys written once: each acknowledged SET is read back as it was written, from any node."""
        with Cluster(3) as cluster:
            acked = {}
            lock = threading.Lock()
            many = threading.Event()

            def write(number):
                with cluster[number % 3].connect() as client:
                    for i in range(100000):
                        key, value = "set:%d-%d" % (number, i), "v%d" % i
                        try:
                            client.call("SET", key, value)
                        except (OSError, ReplyError):
                            return
                        with lock:
                            acked[key] = value
                            if len(acked) >= 1500:
                                many.set()
            writers = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(12)]
            for writer in writers:
                writer.start()
            self.assertTrue(many.wait(120), cluster.logs())
            for node in cluster:
                node.process.kill()
            for node in cluster:
                node.kill9()
            for writer in writers:
                writer.join(60)
                self.assertFalse(writer.is_alive())
            for node in cluster:
                node.start()
            cluster.wait_formed()
            readers = [node.connect() for node in cluster]
            keys = sorted(acked)
            for start in range(0, len(keys), 500):
                part = keys[start:start + 500]
                values = readers[start // 500 % 3].pipeline([("GET", key) for key in part])
                for key, value in zip(part, values):
                    self.assertEqual(value, acked[key].encode(), key)
            for reader in readers:
                reader.close()
            print("%d acknowledged sets, all there" % len(keys))


if __name__ == "__main__":
    unittest.main(verbosity=2)
