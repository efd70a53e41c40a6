#!/usr/bin/python3
"""Five nodes and three replicas of each key, on both engines: whichever node is asked, a replica of the key or not; and with one
replica killed, its stand-ins."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, ReplyError, wait_until  # noqa: E402

KEYS = 60


def roles(explained):
    """{node name: "replica" or "stand-in"}"""
    return {entry["name"]: entry["role"] for entry in explained["preference"]}


def shown(object_):
    """What a clock and its siblings come to, as something that can be compared."""
    pairs = sorted((pair["node"], pair["time"]) for pair in object_["clock"]["pairs"])
    return pairs, sorted(sibling["dot"]["time"] for sibling in object_["siblings"])


class FiveNodes:
    engine = None

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(5, engine=cls.engine)
        cls.addClassCleanup(cls.cluster.close)
        cls.cluster.__enter__()

    def away_from(self, key):
        """The nodes that keep no copy of the key."""
        found = [node for node in self.cluster if roles(self.cluster[0].explain(key))[node.name] == "stand-in"]
        self.assertEqual(len(found), 2)
        return found

    def test_every_command_through_every_node(self):
        for number, node in enumerate(self.cluster):
            following = self.cluster[(number + 1) % 5]
            for i in range(KEYS):
                key = "all:%d:%d" % (number, i)
                self.assertEqual(node.call("SET", key, "a"), "OK")
                self.assertEqual(following.call("GET", key), b"a")
                self.assertEqual(following.call("GETSET", key, "b"), b"a")
                self.assertEqual(node.call("SET", key, "c", "EX", 1000, "GET"), b"b")
                self.assertEqual(following.call("EXISTS", key), 1)
                self.assertEqual(node.call("DEL", key), 1)
                self.assertIsNone(following.call("GET", key))
            keys = ["many:%d:%d" % (number, i) for i in range(KEYS)]
            self.assertEqual(node.call("MSET", *(word for key in keys for word in (key, "v-" + key))), "OK")
            self.assertEqual(following.call("MGET", *keys), [b"v-" + key.encode() for key in keys])
            self.assertEqual(node.call("UNLINK", *keys), KEYS)
            self.assertEqual(following.call("MGET", *keys), [None] * KEYS)

    def test_the_dynamo_commands_from_nodes_that_keep_no_copy(self):
        for i in range(KEYS // 4):
            key = "cart:%d" % i
            one, two = self.away_from(key)
            seen = one.dynamo_put(key, "milk")
            self.assertEqual(two.dynamo_get(key)[1], [b"milk"])
            two.dynamo_put(key, "bread", seen)
            self.assertEqual(one.dynamo_get(key)[1], [b"bread"])
            one.dynamo_put(key, "beer", seen)  # it has not seen the bread
            both, values = two.dynamo_get(key)
            self.assertEqual(sorted(values), [b"beer", b"bread"])
            # PW: three of the replicas themselves, from a node that is none.
            one.dynamo_put(key, "beer, bread", both, "W", 3, "PW", 3)
            for node in self.cluster:
                self.assertEqual(node.dynamo_get(key, "R", 3, "PR", 3)[1], [b"beer, bread"])
            explained = two.explain(key)
            states = [shown(replica) for replica in explained["replicas"] if replica["role"] == "replica"]
            self.assertEqual((len(states), states.count(states[0])), (3, 3))
            dots = {sibling["dot"]["name"] for replica in explained["replicas"] for sibling in replica["siblings"] or []}
            self.assertTrue(dots <= {name for name, role in roles(explained).items() if role == "replica"},
                            "a node that keeps no copy stamped a put")
            context = two.call("DYNAMO.DEL", key)
            self.assertEqual(one.dynamo_get(key)[1], [])
            one.dynamo_put(key, "tea", context)
            self.assertEqual(two.dynamo_get(key)[1], [b"tea"])

    def test_contexts_are_judged_wherever_they_arrive(self):
        key, other = "ctx:a", "ctx:b"
        one, _ = self.away_from(key)
        context = one.dynamo_put(key, "x")
        one.dynamo_put(other, "y")
        for node in self.cluster:
            with self.assertRaisesRegex(ReplyError, "^BADCONTEXT"):
                node.dynamo_put(other, "z", context)
            with self.assertRaisesRegex(ReplyError, "^BADCONTEXT"):
                node.dynamo_put(key, "z", b"AAAA" + context[4:])
            self.assertEqual(node.dynamo_get(other)[1], [b"y"])

    def test_with_one_replica_killed_writes_go_on_and_stand_ins_keep_hints(self):
        # Last by name: the memory engine's node comes back without its old data.
        cluster, down = self.cluster, self.cluster[4]
        down.kill9()
        cluster.wait_down(4)
        alive = [node for node in cluster if node is not down]
        keys = ["down:%d" % i for i in range(KEYS)]
        for i, key in enumerate(keys):
            for node in alive:
                self.assertEqual(node.call("SET", key, "v%d from %s" % (i, node.name)), "OK")
        wanted = ["v%d from %s" % (i, alive[-1].name) for i in range(KEYS)]
        for node in alive:
            self.assertEqual(node.call("MGET", *keys), [value.encode() for value in wanted])
        hinted = [key for key in keys if roles(alive[0].explain(key))[down.name] == "replica"]
        self.assertGreater(len(hinted), KEYS * 3 // 5 // 2)
        # PW wants replicas themselves: with one of three gone, three can not be had.
        with self.assertRaisesRegex(ReplyError, "^QUORUM.*%s" % down.name):
            alive[0].dynamo_put(hinted[0], "x", None, "W", 3, "PW", 3)
        refused = hinted[0]  # it may be there all the same, as a sibling
        for number, key in enumerate(hinted):
            self.assert_hint_is_explained(alive[number % 4], key, down)
        for key in set(keys) - set(hinted):
            self.assertEqual([hint for replica in alive[0].explain(key)["replicas"] for hint in replica["hints"]], [])
        cluster.wait_until(lambda: cluster.hints() >= len(hinted), what="STATUS counts the hints")
        down.start()
        cluster.wait_formed()
        cluster.wait_hints_drained()
        for key in hinted:
            explained = down.explain(key)
            self.assertEqual([hint for replica in explained["replicas"] for hint in replica["hints"]], [])
            states = {replica["name"]: shown(replica) for replica in explained["replicas"] if replica["role"] == "replica"}
            self.assertEqual(set(states), {name for name, role in roles(explained).items() if role == "replica"})
            self.assertEqual(len(set(map(str, states.values()))), 1, "%s: %s" % (key, states))
        for key, value in zip(keys, wanted):
            self.assertTrue(value.encode() in down.dynamo_get(key)[1] if key == refused else down.call("GET", key) == value.encode())

    def assert_hint_is_explained(self, node, key, owner):
        """A stand-in keeps for its owner what the replicas hold. A hint is kept after the reply: so it is waited for."""
        def kept():
            explained = node.explain(key)
            replicas = [replica for replica in explained["replicas"] if replica["role"] == "replica" and replica["answered"]]
            self.assertEqual(len(replicas), 2)
            hints = {replica["name"]: hint for replica in explained["replicas"] for hint in replica["hints"]
                     if hint["owner_name"] == owner.name}
            return hints and [hint for name, hint in hints.items() if roles(explained)[name] == "stand-in"
                              and shown(hint) == shown(replicas[0])]
        wait_until(kept, 20, "a stand-in's hint of %s is as new as its replicas" % key)


class Memory(FiveNodes, unittest.TestCase):
    engine = "memory"


class RocksDB(FiveNodes, unittest.TestCase):
    engine = "rocksdb"


if __name__ == "__main__":
    unittest.main(verbosity=2)
