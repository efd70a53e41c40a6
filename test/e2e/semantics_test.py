#!/usr/bin/python3
"""What get and put mean, end to end: siblings, contexts, deletions, last write wins, expiry, quorums, properties of buckets,
large values, read repair. Three real nodes; each writer goes through another one."""

import os
import shutil
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, ReplyError, wait_until  # noqa: E402

MIB = 1 << 20


class Semantics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.cluster.start()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def setUp(self):
        self.a, self.b, self.c = self.cluster
        self.key = "%s:1" % self.id().rsplit(".test_", 1)[-1][:60]  # a bucket of the test's own
        self.bucket = self.key.rsplit(":", 1)[0]

    def values(self, node=None, key=None):
        return sorted((node or self.a).dynamo_get(key or self.key, "R", 3)[1])

    def replicas(self, key=None, node=None):
        return {r["name"]: r for r in (node or self.a).explain(key or self.key)["replicas"] if r["role"] == "replica"}

    def agreed(self, key=None, node=None):
        """The one state that all three replicas hold, once they do."""
        def same():
            states = [(r["clock"], r["siblings"]) for r in self.replicas(key, node).values() if r["answered"]]
            return states[0] if len(states) == 3 and states.count(states[0]) == 3 else None
        return wait_until(same, 30, "three replicas hold the same of %s" % (key or self.key))

    def set_bucket(self, *pairs):
        self.assertEqual(self.a.call("DYNAMO.BUCKET", self.bucket, "SET", *pairs), "OK")
        wanted = self.a.call("DYNAMO.BUCKET", self.bucket)
        for node in self.cluster:
            wait_until(lambda: node.call("DYNAMO.BUCKET", self.bucket) == wanted, 30, "the bucket reaches %s" % node)

    # -- siblings and contexts

    def test_writers_who_have_seen_nothing_stand_side_by_side(self):
        for number, node in enumerate(self.cluster):
            node.dynamo_put(self.key, "v%d" % number)
        for node in self.cluster:
            self.assertEqual(self.values(node), [b"v0", b"v1", b"v2"])
        # The same writer twice, the same value twice: still nobody has seen anything.
        self.a.dynamo_put(self.key, "v0")
        self.assertEqual(self.values(), [b"v0", b"v0", b"v1", b"v2"])

    def test_a_plain_get_shows_the_latest_and_removes_none(self):
        for number, node in enumerate((self.a, self.b, self.c, self.a, self.b)):
            node.dynamo_put(self.key, "v%d" % number)
        for node in self.cluster:
            self.assertEqual(node.call("GET", self.key), b"v4")
            self.assertEqual(node.call("MGET", self.key, "none"), [b"v4", None])
            self.assertEqual(node.call("STRLEN", self.key), 2)
        self.assertEqual(len(self.values()), 5)

    def test_a_merge_with_the_context_replaces_all_that_was_seen(self):
        self.a.dynamo_put(self.key, "milk")
        self.b.dynamo_put(self.key, "bread")
        context, values = self.c.dynamo_get(self.key)
        self.assertEqual(sorted(values), [b"bread", b"milk"])
        after = self.c.dynamo_put(self.key, "milk, bread", context)
        for node in self.cluster:
            self.assertEqual(self.values(node), [b"milk, bread"])
        self.a.dynamo_put(self.key, "milk, bread, tea", after)  # what a put returns is as good as what a get does
        self.assertEqual(self.values(self.b), [b"milk, bread, tea"])

    def test_a_put_replaces_just_what_its_context_has_seen(self):
        first = self.a.dynamo_put(self.key, "1")
        second = self.b.dynamo_put(self.key, "2", first)
        self.assertEqual(self.values(), [b"2"])
        self.c.dynamo_put(self.key, "from 1", first)  # its writer has not seen 2
        self.assertEqual(self.values(), [b"2", b"from 1"])
        self.a.dynamo_put(self.key, "from 2", second)  # nor this one "from 1"
        self.assertEqual(self.values(), [b"from 1", b"from 2"])

    def test_a_blind_puts_context_covers_its_own_value_only(self):
        self.a.dynamo_put(self.key, "theirs")
        mine = self.b.dynamo_put(self.key, "mine")
        self.b.dynamo_put(self.key, "mine again", mine)
        self.assertEqual(self.values(), [b"mine again", b"theirs"])

    def test_two_writers_with_one_context_become_siblings(self):
        context = self.a.dynamo_put(self.key, "base")
        self.b.dynamo_put(self.key, "left", context)
        self.c.dynamo_put(self.key, "right", context)
        self.assertEqual(self.values(), [b"left", b"right"])

    def test_the_same_put_twice_is_one_value_the_second_time_round(self):
        """A context that a put itself returned has seen that put: repeating an update leaves no trail."""
        context = self.a.dynamo_put(self.key, "0")
        for i in range(30):
            context = self.cluster[i % 3].dynamo_put(self.key, "%d" % i, context)
        self.assertEqual(self.values(), [b"29"])
        clock, siblings = self.agreed()
        self.assertEqual(len(siblings), 1)
        self.assertEqual(len(clock["pairs"]), 3, "one entry for each node, not one for each put")

    def test_a_plain_set_overwrites_what_its_coordinator_knows(self):
        self.a.dynamo_put(self.key, "1")
        self.b.dynamo_put(self.key, "2")
        self.agreed()
        self.assertEqual(self.c.call("SET", self.key, "3"), "OK")
        self.assertEqual(self.values(), [b"3"])
        for i in range(10):
            self.cluster[i % 3].call("SET", self.key, "s%d" % i)
            self.agreed()
        self.assertEqual(self.values(), [b"s9"])

    def test_an_absent_key_has_a_context_too(self):
        context, values = self.a.dynamo_get(self.key)
        self.assertEqual(values, [])
        self.b.dynamo_put(self.key, "1", context)
        self.c.dynamo_put(self.key, "2", context)
        self.assertEqual(self.values(), [b"1", b"2"])

    # -- deletions

    def test_a_deletion_leaves_its_context(self):
        self.a.call("SET", self.key, "x")
        self.assertEqual(self.b.call("DEL", self.key), 1)
        for node in self.cluster:
            self.assertIsNone(node.call("GET", self.key))
            self.assertEqual(node.call("EXISTS", self.key), 0)
            self.assertEqual(node.call("TYPE", self.key), "none")
            context, values = node.dynamo_get(self.key)
            self.assertEqual(values, [])
        _, siblings = self.agreed()
        self.assertEqual([s["tombstone"] for s in siblings], [True])
        self.assertEqual(self.c.call("DEL", self.key), 0, "nothing is there to be deleted")
        # Who has seen the deletion replaces it: no tombstone stays.
        self.c.dynamo_put(self.key, "again", context)
        self.assertEqual(self.values(), [b"again"])
        _, siblings = self.agreed()
        self.assertEqual([s["tombstone"] for s in siblings], [False])

    def test_who_has_not_seen_the_deletion_stands_beside_it(self):
        before = self.a.dynamo_put(self.key, "x")
        self.a.call("DEL", self.key)
        self.b.dynamo_put(self.key, "late", before)
        self.assertEqual(self.values(), [b"late"])
        _, siblings = self.agreed()
        self.assertEqual(sorted(s["tombstone"] for s in siblings), [False, True])
        self.assertEqual(self.c.call("GET", self.key), b"late")

    def test_a_deletion_and_a_put_at_the_same_time(self):
        context = self.a.dynamo_put(self.key, "base")
        gone = self.b.call("DYNAMO.DEL", self.key, "CONTEXT", context)
        self.c.dynamo_put(self.key, "kept", context)
        self.assertEqual(self.values(), [b"kept"])
        # The deletion's writer has not seen "kept": its next word does not touch it.
        self.b.call("DYNAMO.DEL", self.key, "CONTEXT", gone)
        self.assertEqual(self.values(), [b"kept"])
        self.assertEqual(self.a.call("DEL", self.key), 1)
        self.assertEqual(self.values(), [])
        _, siblings = self.agreed()
        self.assertEqual([s["tombstone"] for s in siblings], [True], "one deletion has taken the place of both")

    def test_dynamo_del_without_a_context_deletes_what_a_get_finds(self):
        self.a.dynamo_put(self.key, "1")
        self.b.dynamo_put(self.key, "2")
        self.agreed()
        context = self.c.call("DYNAMO.DEL", self.key)
        self.assertEqual(self.values(), [])
        self.a.dynamo_put(self.key, "3", context)
        self.assertEqual(self.values(), [b"3"])
        self.assertTrue(self.c.call("DYNAMO.DEL", "%s:never" % self.bucket))

    def test_del_of_several(self):
        self.a.call("MSET", *[word for i in range(20) for word in ("%s:%d" % (self.bucket, i), i)])
        keys = ["%s:%d" % (self.bucket, i) for i in range(20)]
        self.assertEqual(self.b.call("MGET", *keys), [b"%d" % i for i in range(20)])
        self.assertEqual(self.c.call("EXISTS", *keys, *keys), 40)
        self.assertEqual(self.c.call("DEL", *keys[:15], keys[0], "%s:none" % self.bucket), 15)
        self.assertEqual(self.a.call("UNLINK", *keys), 5)
        self.assertEqual(self.b.call("EXISTS", *keys), 0)

    # -- last write wins

    def test_last_write_wins(self):
        self.set_bucket("resolve", "lww")
        for i in range(9):
            self.cluster[i % 3].dynamo_put(self.key, "v%d" % i)
        for node in self.cluster:
            self.assertEqual(self.values(node), [b"v8"])
        _, siblings = self.agreed()
        self.assertEqual(len(siblings), 1)
        stale = self.a.dynamo_put(self.key, "x")
        self.b.dynamo_put(self.key, "y", stale)
        self.c.dynamo_put(self.key, "z", stale)
        self.assertEqual(self.values(), [b"z"])
        self.c.call("DEL", self.key)
        self.assertEqual(self.values(), [])

    def test_siblings_become_one_when_their_bucket_changes(self):
        self.a.dynamo_put(self.key, "1")
        self.b.dynamo_put(self.key, "2")
        self.set_bucket("resolve", "lww")
        self.assertEqual(self.values(self.c), [b"2"])

    # -- expiry

    def test_expiry(self):
        soon = 3000
        name = lambda what: "%s:%s" % (self.bucket, what)  # noqa: E731
        start = time.time()
        self.a.call("SET", name("ex"), "v", "EX", 3)
        self.b.call("SET", name("px"), "v", "PX", soon)
        self.c.call("SET", name("exat"), "v", "EXAT", int(start) + 4)
        self.a.call("SET", name("pxat"), "v", "PXAT", int(start * 1000) + soon)
        self.b.call("SETEX", name("setex"), 3, "v")
        self.c.call("PSETEX", name("psetex"), soon, "v")
        self.a.dynamo_put(name("put"), "v", None, "PX", soon)
        self.a.call("SET", name("keep"), "v", "PX", soon)
        self.b.call("SET", name("keep"), "w", "KEEPTTL")
        self.a.call("SET", name("two"), "v", "PX", soon)
        self.a.dynamo_put(name("two"), "stays")
        mortal = [name(what) for what in ("ex", "px", "exat", "pxat", "setex", "psetex", "put", "keep")]
        immortal = {name("two"): b"stays", name("again"): b"w", name("getset"): b"w"}
        for what in ("again", "getset"):
            self.a.call("SET", name(what), "v", "PX", soon)
        self.b.call("SET", name("again"), "w")  # as Redis: a plain SET takes the expiry away
        self.assertEqual(self.b.call("GETSET", name("getset"), "w"), b"v")
        self.c.call("SET", name("past"), "v", "PXAT", 1)
        self.assertIsNone(self.c.call("GET", name("past")))
        seen = self.c.call("MGET", *mortal)
        if time.time() < start + 2:  # else the machine is too slow to tell
            self.assertEqual(seen, [b"v"] * 7 + [b"w"])
            self.assertEqual(len(self.values(key=name("two"))), 2)
        for node in self.cluster:
            wait_until(lambda: node.call("MGET", *mortal) == [None] * len(mortal), 30, "all have expired at %s" % node)
            self.assertEqual(node.call("EXISTS", *mortal), 0)
            self.assertEqual(node.dynamo_get(name("put"))[1], [])
            for key, value in immortal.items():
                self.assertEqual(self.values(node, key), [value])
        self.assertGreaterEqual(time.time(), start + 2.9, "something expired too soon")
        self.assertEqual(self.a.call("DEL", *mortal), 0)
        self.a.call("SET", mortal[0], "new")
        self.assertEqual(self.b.call("GET", mortal[0]), b"new")

    def test_a_buckets_ttl(self):
        self.set_bucket("ttl", "2s")
        start = time.time()
        self.a.call("SET", self.key, "v")
        self.b.call("SET", self.bucket + ":long", "v", "EX", 3600)
        self.assertEqual(self.a.explain(self.key)["props"]["ttl_ms"], 2000)
        wait_until(lambda: self.c.call("GET", self.key) is None, 30, "it has expired")
        self.assertGreaterEqual(time.time(), start + 1.9)
        self.assertEqual(self.c.call("GET", self.bucket + ":long"), b"v", "an expiry of its own goes first")
        self.set_bucket("ttl", "0")
        self.a.call("SET", self.key, "for ever")
        _, siblings = self.agreed()
        self.assertFalse(siblings[0]["expires_at_ms"])

    # -- commands that look first

    def test_commands_that_return_what_was_there(self):
        self.assertIsNone(self.a.call("GETSET", self.key, "1"))
        self.assertEqual(self.b.call("GETSET", self.key, "2"), b"1")
        self.assertEqual(self.c.call("SET", self.key, "3", "GET"), b"2")
        self.assertEqual(self.a.call("SET", self.key, "4", "GET", "EX", 1000), b"3")
        self.assertEqual(self.b.call("GETDEL", self.key), b"4")
        self.assertIsNone(self.c.call("GETDEL", self.key))
        self.assertIsNone(self.c.call("SET", self.key, "5", "GET"))
        self.assertEqual(self.values(), [b"5"])

    def test_a_pipeline_reads_its_own_writes(self):
        with self.a.connect() as client:
            replies = client.pipeline([("SET", self.key, "0")] + [
                command for i in range(1, 100) for command in (("GETSET", self.key, i), ("GET", self.key))])
        self.assertEqual(replies[1::2], [b"%d" % i for i in range(99)])
        self.assertEqual(replies[2::2], [b"%d" % i for i in range(1, 100)])
        self.assertEqual(self.values(), [b"99"])

    # -- quorums

    def test_quorums_of_one_request(self):
        for options in (("W", 1), ("W", 3), ("W", 3, "PW", 3), ("W", 1, "DW", 0), ("W", 3, "DW", 1), ("PW", 1, "DW", 2),
                        ("W", 2, "PW", 2, "DW", 2), ("w", 3, "dw", 3)):
            context, _ = self.a.dynamo_get(self.key)
            self.cluster[len(options) % 3].dynamo_put(self.key, repr(options), context, *options)
            for wanted in ((), ("R", 3), ("R", 3, "PR", 3), ("pr", 1)):
                if wanted or options != ("W", 1):
                    self.assertIn(repr(options).encode(), self.b.dynamo_get(self.key, "R", 3, *wanted[2:])[1])
        self.agreed()
        self.assertTrue(self.c.call("DYNAMO.DEL", self.key, "W", 3, "PW", 3, "DW", 3))
        self.assertEqual(self.c.dynamo_get(self.key, "R", 1)[1], [])

    def test_a_bucket_with_one_copy(self):
        self.set_bucket("n", 1, "r", 1, "w", 1)
        keys = ["%s:%d" % (self.bucket, i) for i in range(30)]
        for i, key in enumerate(keys):
            self.cluster[i % 3].call("SET", key, i)
        homes = set()
        for i, key in enumerate(keys):
            self.assertEqual(self.cluster[(i + 1) % 3].call("GET", key), b"%d" % i)
            explained = self.a.explain(key)
            holders = [r["name"] for r in explained["replicas"] if r["siblings"]]
            self.assertEqual(holders, [p["name"] for p in explained["preference"] if p["role"] == "replica"])
            homes.update(holders)
        self.assertEqual(len(homes), 3, "thirty keys lie on all three nodes")

    # -- large values

    def test_large_values(self):
        for size in (0, 1, 16 * 1024, 16 * 1024 + 1, MIB - 1, MIB):
            value = os.urandom(size)
            self.a.call("SET", self.key, value)
            for node in self.cluster:
                self.assertEqual(node.call("GET", self.key), value)
        first, second = os.urandom(MIB), os.urandom(MIB)
        context = self.a.dynamo_put(self.key + "s", first)
        self.b.dynamo_put(self.key + "s", second)
        self.assertEqual(self.values(self.c, self.key + "s"), sorted([first, second]))
        self.c.dynamo_put(self.key + "s", "small", context)
        self.assertEqual(self.values(self.a, self.key + "s"), sorted([b"small", second]))


class WithFailures(unittest.TestCase):
    """Clusters of their own: nodes go away and come back."""

    def replicas(self, node, key):
        return {r["name"]: [s["dot"] for s in r["siblings"] or []] for r in node.explain(key)["replicas"]
                if r["role"] == "replica" and r["answered"]}

    def assert_mended(self, node, key):
        def same():
            states = list(self.replicas(node, key).values())
            return len(states) == 3 and states.count(states[0]) == 3
        wait_until(same, 30, "three replicas hold the same of %s" % key)

    def test_reads_repair_what_an_old_directory_has_missed(self):
        """A node comes back with an old copy of its directory: nobody keeps a hint for what it has lost."""
        with Cluster(3, settings={"storage.small-value": "1kb"}) as cluster:
            one, two, three = cluster
            sizes = {"small": 10, "large": 100000, "huge": MIB}
            old = {name: os.urandom(size) for name, size in sizes.items()}
            new = {name: os.urandom(size) for name, size in sizes.items()}
            contexts = {name: one.dynamo_put(name, value, None, "W", 3) for name, value in old.items()}
            self.assertEqual(three.stop(), 0)
            copy = three.directory + ".copy"
            shutil.copytree(three.directory, copy)
            three.start()
            cluster.wait_formed()
            for name, value in new.items():
                two.dynamo_put(name, value, contexts[name], "W", 3)
                two.dynamo_put("only " + name, value, None, "W", 3)
            cluster.wait_hints_drained()  # one that took its time was hinted too
            self.assertEqual(three.stop(), 0)
            shutil.rmtree(three.directory)
            os.rename(copy, three.directory)
            three.start()
            cluster.wait_formed()
            cluster.wait_hints_drained()
            for name in sizes:
                held = self.replicas(one, name)
                self.assertEqual(held["node-1"], held["node-2"])
                self.assertNotEqual(held["node-1"], held["node-3"], "the old copy knows nothing of the new value")
                self.assertEqual(self.replicas(one, "only " + name)["node-3"], [])
            for name in sizes:
                # The stale node answers as one of two, and can not hide what the other knows.
                self.assertEqual(three.dynamo_get(name)[1], [new[name]])
                self.assertEqual(three.dynamo_get("only " + name)[1], [new[name]])
                self.assert_mended(one, name)
                self.assert_mended(one, "only " + name)
            repairs = sum(int(line.split(b":")[1]) for node in cluster for line in node.call("INFO", "stats").splitlines()
                          if line.startswith(b"read_repairs:"))
            self.assertGreaterEqual(repairs, 6)
            # It issues no name twice: what it writes now is new to everybody.
            for name in sizes:
                three.dynamo_put(name, "blind")
                self.assertEqual(sorted(one.dynamo_get(name, "R", 3)[1]), sorted([b"blind", new[name]]))

    def test_replicas_that_differ_are_merged_by_a_get(self):
        """A large value that only two of three have, beside another that only the third has heard of."""
        with Cluster(3, settings={"storage.small-value": "1kb"}) as cluster:
            first, second = os.urandom(MIB), os.urandom(MIB)
            cluster[0].dynamo_put("before", "x", None, "W", 3)  # a cluster that is in use
            cluster[2].kill9()
            cluster.wait_down(2)
            cluster[0].dynamo_put("a", first)
            cluster[2].start()
            cluster.wait_formed()
            cluster[2].dynamo_put("a", second)
            self.assertEqual(sorted(cluster[1].dynamo_get("a", "R", 3)[1]), sorted([first, second]))
            cluster.wait_hints_drained()
            self.assert_mended(cluster[0], "a")
            for node in cluster:
                self.assertEqual(sorted(node.dynamo_get("a", "R", 1)[1]), sorted([first, second]))

    def test_a_deletion_while_a_node_is_away_stays_a_deletion(self):
        with Cluster(3) as cluster:
            cluster[0].dynamo_put("a", "x", None, "W", 3)
            cluster[2].kill9()
            cluster.wait_down(2)
            self.assertEqual(cluster[0].call("DEL", "a"), 1)
            cluster[2].start()
            cluster.wait_formed()
            for node in cluster:
                self.assertIsNone(node.call("GET", "a"))
            cluster.wait_hints_drained()
            self.assert_mended(cluster[0], "a")
            self.assertEqual(cluster[2].dynamo_get("a", "R", 1)[1], [])

    def test_bucket_properties_reach_all_and_outlive_restarts(self):
        with Cluster(3) as cluster:
            def props(node, bucket):
                listed = node.call("DYNAMO.BUCKET", bucket)
                return {name.decode(): value.decode() if isinstance(value, bytes) else value
                        for name, value in zip(listed[::2], listed[1::2])}
            default = {"n": 3, "r": 2, "w": 2, "pr": 0, "pw": 0, "dw": "all", "resolve": "siblings", "ttl": "0",
                       "ttl_ms": 0, "sibling_max": 64}
            self.assertEqual(props(cluster[0], "cart"), default)
            cluster[0].dynamo_put("before", "x", None, "W", 3)  # a cluster that is in use
            cluster[2].kill9()
            cluster.wait_down(2)
            cluster[0].call("DYNAMO.BUCKET", "cart", "SET", "w", 3, "dw", 1, "ttl", "1h")
            cluster[1].call("DYNAMO.BUCKET", "session", "SET", "resolve", "lww", "sibling_max", 7)
            cart = {**default, "w": 3, "dw": 1, "ttl": "1h", "ttl_ms": 3600000}
            session = {**default, "resolve": "lww", "sibling_max": 7}
            cluster[2].start()
            cluster.wait_formed()

            def spread():
                return all(props(node, "cart") == cart and props(node, "session") == session for node in cluster)
            cluster.wait_until(spread, 30, "all know the properties")
            for node in cluster:
                node.process.kill()
            for node in cluster:
                node.kill9()
            for node in cluster:
                node.start()
            cluster.wait_formed()
            self.assertTrue(spread())
            # A property that stands for all buckets that have none of their own.
            cluster[2].call("DYNAMO.BUCKET", "default", "SET", "r", 3)
            cluster.wait_until(lambda: all(props(node, "other")["r"] == 3 for node in cluster), 30, "all know the default")
            self.assertTrue(spread())
            cluster[1].kill9()
            cluster.wait_down(1)
            with self.assertRaisesRegex(ReplyError, "^QUORUM wanted W=3, 2 answered"):
                cluster[0].call("SET", "cart:1", "x")
            with self.assertRaisesRegex(ReplyError, "^QUORUM wanted R=3, 2 answered"):
                cluster[0].call("GET", "other:1")
            self.assertEqual(cluster[0].call("SET", "session:1", "x"), "OK")
            self.assertEqual(cluster[0].call("GET", "session:1"), b"x")


if __name__ == "__main__":
    unittest.main(verbosity=2)
