#!/usr/bin/python3
"""What cluster clients are told (CLUSTER SLOTS, SHARDS, NODES) against where keys really lie (DYNAMO.EXPLAIN): five nodes, three
replicas of each key."""

import binascii
import os
import random
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster  # noqa: E402

KEYS = 1000
SLOTS = 16384


def slot_of(key):
    """The hash slot as the specification of Redis Cluster has it."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1) if start >= 0 else -1
    return binascii.crc_hqx(key[start + 1:end] if end > start + 1 else key, 0) % SLOTS


def random_keys(seed):
    """Printable keys, half of them with something like a hash tag: whole, empty, unclosed, or one of several."""
    draw = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789:._-"

    def word(least):
        return "".join(draw.choice(letters) for _ in range(draw.randint(least, 12)))
    shapes = ["%s{%s}%s", "%s{}%s%s", "%s{%s%s", "%s}%s{%s}", "%s{%s}{%s}", "{{%s}%s}%s"]
    keys = [word(1) for _ in range(KEYS // 2)]
    keys += [draw.choice(shapes) % (word(0), word(1), word(0)) for _ in range(KEYS - len(keys))]
    return [key.encode() for key in keys]


def ports_by_slot(node):
    """[(port of the master, ports of the replicas)] for each slot, as CLUSTER SLOTS says."""
    table = [None] * SLOTS
    for first, last, master, *replicas in node.call("CLUSTER", "SLOTS"):
        for slot in range(first, last + 1):
            assert table[slot] is None, "slot %d is told twice" % slot
            table[slot] = (master[1], [replica[1] for replica in replicas])
    assert None not in table, "slot %d is not told" % table.index(None)
    return table


class Routing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(5, engine="memory")
        cls.addClassCleanup(cls.cluster.close)
        cls.cluster.__enter__()

    def check_keys(self, nodes, seed):
        """The master of each key's slot is the first that is up of its replicas, and all of these are named. Returns how many
        keys each is the master of."""
        masters = {}
        table = ports_by_slot(nodes[0])
        for node in nodes[1:]:
            self.assertEqual(ports_by_slot(node), table)
        for number, key in enumerate(random_keys(seed)):
            node = nodes[number % len(nodes)]
            slot = node.call("CLUSTER", "KEYSLOT", key)
            self.assertEqual(slot, slot_of(key), key)
            explained = node.explain(key)
            self.assertEqual(explained["slot"], slot)
            replicas = [entry for entry in explained["preference"] if entry["role"] == "replica"]
            self.assertEqual(len(replicas), 3)
            wanted = [int(entry["address"].rsplit(":", 1)[1]) for entry in replicas if entry["up"]]
            master, others = table[slot]
            self.assertEqual([master, *others], wanted, key)
            masters[master] = masters.get(master, 0) + 1
        return masters

    def test_the_master_of_every_key_is_a_replica_of_it(self):
        masters = self.check_keys(list(self.cluster), seed=1)
        self.assertEqual(set(masters), {node.port for node in self.cluster})
        self.assertGreater(min(masters.values()), KEYS // 5 // 2)

    def test_a_node_that_is_down_is_told_to_nobody(self):
        down = self.cluster[3]
        down.kill9()
        self.cluster.wait_down(3)
        alive = [node for node in self.cluster if node is not down]
        try:
            masters = self.check_keys(alive, seed=2)
            self.assertEqual(set(masters), {node.port for node in alive})
            self.assertIn(b"master,fail", self.line_of(alive[0], down))
        finally:
            down.start()
            self.cluster.wait_formed()
        self.check_keys(list(self.cluster), seed=3)

    def line_of(self, node, other):
        lines = node.call("CLUSTER", "NODES").splitlines()
        return next(line for line in lines if b":%d@" % other.port in line)

    def test_shards_and_nodes_say_the_same_as_slots(self):
        for node in self.cluster:
            table = [master for master, _ in ports_by_slot(node)]
            by_nodes = [None] * SLOTS
            for line in node.call("CLUSTER", "NODES").decode().splitlines():
                words = line.split()
                port = int(words[1].split(":")[1].split("@")[0])
                self.assertEqual("myself" in words[2], port == node.port)
                for span in words[8:]:
                    first, _, last = span.partition("-")
                    by_nodes[int(first):int(last or first) + 1] = [port] * (int(last or first) - int(first) + 1)
            self.assertEqual(by_nodes, table)
            by_shards = [None] * SLOTS
            for shard in node.call("CLUSTER", "SHARDS"):
                fields = dict(zip(shard[::2], shard[1::2]))
                members = [dict(zip(member[::2], member[1::2])) for member in fields[b"nodes"]]
                self.assertEqual([member[b"role"] for member in members], [b"master", b"replica", b"replica"])
                spans = fields[b"slots"]
                for first, last in zip(spans[::2], spans[1::2]):
                    by_shards[first:last + 1] = [members[0][b"port"]] * (last + 1 - first)
            self.assertEqual(by_shards, table)
            self.assertEqual(node.call("CLUSTER", "MYID"), self.line_of(node, node).split()[0])

    def test_a_client_that_follows_the_slots_makes_nobody_forward(self):
        forwards = self.forwards()
        table = ports_by_slot(self.cluster[0])
        by_port = {node.port: node for node in self.cluster}
        keys = random_keys(4)[:300]
        for key in keys:
            by_port[table[slot_of(key)][0]].call("SET", key, "straight")
        self.assertEqual(self.forwards(), forwards)
        for number, key in enumerate(keys):
            self.cluster[number % 5].call("SET", key, "round about")
        forwarded = self.forwards() - forwards
        # Two of five nodes keep no copy of a key.
        self.assertGreater(forwarded, len(keys) * 2 // 5 // 2)
        self.assertLess(forwarded, len(keys) * 2 // 5 * 2)
        for number, key in enumerate(keys):
            self.assertEqual(self.cluster[(number + 2) % 5].call("GET", key), b"round about")

    def forwards(self):
        return sum(int(line.split(b":")[1]) for node in self.cluster
                   for line in node.call("INFO", "stats").splitlines() if line.startswith(b"forwards:"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
