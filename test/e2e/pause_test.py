#!/usr/bin/python3
"""A node that stops answering without being dead (SIGSTOP: its connections stand, nothing comes back), under load, and goes on
some seconds later. Functional, not timed: bench/pause.py measures what it costs."""

import collections
import os
import random
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, ReplyError  # noqa: E402

SHARED = 20  # keys that all clients read, change and write
PAUSE = 4  # seconds: longer than the failure detector needs, so that both its phases are seen


class Client(threading.Thread):
    """Reads, updates and sets through one node until it is told to stop. `acked` are the values of its own keys; `added` what
    it has put into the shared sets."""

    def __init__(self, node, number):
        super().__init__(daemon=True)
        self.node = node
        self.number = number
        self.random = random.Random(number)
        self.stopping = threading.Event()
        self.acked = {}
        self.doubtful = set()  # keys of which a write failed: it may stand beside what follows, whenever it comes
        self.added = collections.defaultdict(set)
        self.errors = []  # (command, what was said)
        self.done = 0
        self.longest = 0.0

    def call(self, client, *args):
        start = time.monotonic()
        try:
            reply = client.call(*args)
        except ReplyError as error:
            self.errors.append((args[0], str(error)))
            return None
        finally:
            self.longest = max(self.longest, time.monotonic() - start)
        self.done += 1
        return reply

    def run(self):
        with self.node.connect(timeout=60) as client:
            i = 0
            while not self.stopping.is_set():
                i += 1
                own, value = "own:%d:%d" % (self.number, i % 200), "%d" % i
                if self.call(client, "SET", own, value):
                    self.acked[own] = value
                else:
                    self.acked.pop(own, None)
                    self.doubtful.add(own)
                key, item = "set:%d" % self.random.randrange(SHARED), "%d-%d" % (self.number, i)
                seen = self.call(client, "DYNAMO.GET", key)
                if seen:
                    items = set(b" ".join(seen[1]).decode().split()) | {item}
                    if self.call(client, "DYNAMO.PUT", key, " ".join(sorted(items)), "CONTEXT", seen[0]):
                        self.added[key].add(item)
                if self.acked:
                    key = self.random.choice(sorted(self.acked))
                    got = self.call(client, "GET", key)
                    if got is not None and key not in self.doubtful and got.decode() != self.acked[key]:
                        self.errors.append(("GET", "%s is %r, not %r" % (key, got, self.acked[key])))


class Pause(unittest.TestCase):
    def load(self, nodes, each):
        clients = [Client(node, i) for i, node in enumerate(list(nodes) * each)]
        for client in clients:
            client.start()
        return clients

    def wait_progress(self, cluster, clients, more):
        goal = [client.done + more for client in clients]
        cluster.wait_until(lambda: all(client.done >= wanted or not client.is_alive()
                                       for client, wanted in zip(clients, goal)), 90, "%d more requests of each" % more)
        for client in clients:
            self.assertTrue(client.is_alive(), "a client's connection broke: %s" % client.errors[-1:])

    def pause(self, cluster, paused, clients):
        """Stops one node under the clients' load, for a while; then all goes on."""
        self.wait_progress(cluster, clients, 20)
        others = [client for client in clients if client.node is not paused]
        for client in clients:
            client.longest = 0.0
        paused.sigstop()
        until = time.monotonic() + PAUSE
        self.wait_progress(cluster, others, 30)
        cluster.wait_down(paused.index)
        self.wait_progress(cluster, others, 100)
        while time.monotonic() < until:
            self.wait_progress(cluster, others, 1)
        paused.sigcont()
        cluster.wait_formed()
        self.wait_progress(cluster, clients, 50)
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.join(90)
            self.assertFalse(client.is_alive())

    def assert_all_hold_the_same(self, cluster, clients):
        cluster.wait_hints_drained()
        keys = sorted({key for client in clients for key in client.acked})[::7] + ["set:%d" % i for i in range(SHARED)]
        different = keys

        def agreed():
            nonlocal different
            different = [key for key in different if not self.same(cluster, key)]
            return not different
        cluster.wait_until(agreed, 60, "all replicas hold the same")

    def same(self, cluster, key):
        replicas = [r for r in cluster[0].explain(key)["replicas"] if r["role"] == "replica"]
        states = [(r["clock"], r["siblings"]) for r in replicas if r["answered"]]
        hints = [hint for r in cluster[0].explain(key)["replicas"] for hint in r["hints"] or []]
        return len(states) == 3 and states.count(states[0]) == 3 and not hints

    def assert_nothing_lost(self, cluster, clients):
        for client in clients:
            for key, value in list(client.acked.items())[::5]:
                for node in cluster:
                    values = node.dynamo_get(key, "R", 1)[1]
                    self.assertIn(value.encode(), values)
                    self.assertTrue(len(values) == 1 or key in client.doubtful, "%s has siblings: %s" % (key, values))
        for i in range(SHARED):
            key = "set:%d" % i
            acked = set().union(*(client.added[key] for client in clients))
            for node in cluster:
                held = set(b" ".join(node.dynamo_get(key, "R", 1)[1]).decode().split())
                self.assertEqual(acked - held, set(), "lost from %s" % key)

    def report(self, clients):
        by_node = collections.defaultdict(lambda: [0, 0, 0.0])
        for client in clients:
            entry = by_node[client.node.name]
            entry[0] += client.done
            entry[1] += len(client.errors)
            entry[2] = max(entry[2], client.longest)
        for name, (done, errors, longest) in sorted(by_node.items()):
            print("%s: %d requests, %d errors, the longest took %.2f s" % (name, done, errors, longest))

    def test_one_of_three(self):
        with Cluster(3) as cluster:
            clients = self.load(cluster, 4)
            self.pause(cluster, cluster[2], clients)
            self.report(clients)
            for client in clients:
                if client.node is not cluster[2]:
                    self.assertEqual(client.errors, [], "a client of %s saw an error" % client.node)
            self.assert_all_hold_the_same(cluster, clients)
            self.assert_nothing_lost(cluster, clients)

    def test_again_and_again(self):
        """Each in turn, for a moment that the failure detector hardly notices."""
        with Cluster(3) as cluster:
            clients = self.load(cluster, 3)
            self.wait_progress(cluster, clients, 20)
            for turn in range(6):
                paused = cluster[turn % 3]
                others = [client for client in clients if client.node is not paused]
                before = {client: len(client.errors) for client in others}
                paused.sigstop()
                self.wait_progress(cluster, others, 15)
                paused.sigcont()
                cluster.wait_formed()
                self.wait_progress(cluster, clients, 10)
                for client in others:
                    self.assertEqual(client.errors[before[client]:], [], "a client of %s saw an error" % client.node)
            for client in clients:
                client.stopping.set()
            for client in clients:
                client.join(90)
            self.report(clients)
            self.assert_all_hold_the_same(cluster, clients)
            self.assert_nothing_lost(cluster, clients)

    def test_one_of_five(self):
        """Here nodes forward puts, and one that was forwarded to a node that falls silent is in doubt: TIMEOUT, and nothing
        else (docs/adr/0004). Gets see nothing of it."""
        with Cluster(5) as cluster:
            clients = self.load(cluster, 2)
            self.pause(cluster, cluster[4], clients)
            self.report(clients)
            errors = collections.Counter()
            for client in clients:
                if client.node is not cluster[4]:
                    errors.update(client.errors)
            for (command, text), count in errors.items():
                print("%d times %s: %s" % (count, command, text))
                self.assertIn(command, ("SET", "DYNAMO.PUT"))
                self.assertRegex(text, "^TIMEOUT .*may (have taken|still take) effect")
            self.assert_all_hold_the_same(cluster, clients)
            self.assert_nothing_lost(cluster, clients)


if __name__ == "__main__":
    unittest.main(verbosity=2)
