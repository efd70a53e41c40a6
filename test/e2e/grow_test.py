#!/usr/bin/python3
"""A cluster grows from 3 to 5 nodes, shrinks to 4, and has a live and a dead node replaced, while clients read, change and
write carts through all its nodes: nothing that was acknowledged is lost or overlooked, no request is refused, and in the end
each key lies on its owners and nowhere else.

    GRAMME_SHOPPERS=16 test/e2e/grow_test.py        as many clients as you like (default: 50)
"""

import os
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from changing import ChangingCluster, Shop, wait_in_place  # noqa: E402
from support import HOST, ReplyError  # noqa: E402

SHOPPERS = int(os.environ.get("GRAMME_SHOPPERS", "50"))
OLD_KEYS = 1500
OLD_SIZE = 1000
# A newcomer takes some 1 MB: a few seconds, in which the shoppers come past often enough.
SETTINGS = {"node.background-rate": "400kb", "timing.request-timeout": "10s"}
LEAST = 150  # requests during each change, else it was none under load


class Grow(unittest.TestCase):
    def during(self, what, until):
        """A change that has been issued, up to when it is read by; the shoppers must have come past meanwhile."""
        before, start = self.shop.done, time.monotonic()
        until()
        self.cluster.wait_moved()
        self.shop.check()
        done = self.shop.done - before
        print("%s: %.1f s, %d requests meanwhile" % (what, time.monotonic() - start, done), flush=True)
        self.assertGreater(done, LEAST, "the change was over too soon: the test has lost its teeth")

    def comes(self, *newcomers):
        """Clients talk to newcomers as soon as they are members, before all that is theirs has come."""
        self.cluster.wait_moving()
        for node in newcomers:
            self.cluster.wait_member(node)
        self.shop.serving.extend(newcomers)

    def grow(self):
        newcomers = [self.cluster.newcomer(), self.cluster.newcomer()]
        plan = self.cluster.add(*newcomers)
        self.assertEqual(plan["violations"], {"nodes": 0, "zones": 0})
        self.during("3 -> 5 nodes", lambda: self.comes(*newcomers))

    def shrink(self, node):
        self.shop.leaving.add(node)
        self.cluster.remove(node)
        self.during("5 -> 4 nodes", self.cluster.wait_moving)
        self.shop.say_goodbye(node)

    def replace_live(self, node):
        newcomer = self.cluster.newcomer()
        self.shop.leaving.add(node)
        self.cluster.replace(node, newcomer)
        self.during("a live node replaced", lambda: self.comes(newcomer))
        self.shop.say_goodbye(node)

    def replace_dead(self, node):
        newcomer = self.cluster.newcomer()
        self.shop.excused = node
        self.shop.say_goodbye(node)
        node.kill9()
        self.cluster.wait_seen_down(node)
        self.shop.wait_done(LEAST)
        self.cluster.replace(node, newcomer)
        self.during("a dead node replaced", lambda: self.comes(newcomer))
        self.shop.excused = None

    def has_left(self, node):
        """It has handed over all that it had and dropped it, and may be stopped."""
        told = node.status()["node"]
        self.assertEqual((told["member"], told["removed"], told["strays"], told["hints"]), (False, True, 0, 0))
        self.cluster.wait_until(lambda: node.status()["node"]["keys"] == 0, what="%s has dropped all" % node)
        with self.assertRaisesRegex(ReplyError, "^NOTMEMBER"):
            node.call("GET", "old:0")
        self.assertEqual(node.stop(), 0)

    def test_the_cluster_changes_its_size_and_shape_under_load(self):
        with ChangingCluster(3, settings=SETTINGS) as self.cluster:
            one, two, three = self.cluster
            self.shop = Shop(self.cluster, OLD_KEYS, OLD_SIZE).open()
            self.shop.start(SHOPPERS)
            self.shop.wait_done(LEAST)
            self.grow()
            self.shrink(two)
            self.replace_live(three)
            self.replace_dead(one)
            self.shop.wait_done(LEAST)
            self.shop.stop()
            self.cluster.wait_settled()
            self.shop.report()
            self.shop.judge()
            wait_in_place(self.cluster, self.shop.keys())
            self.assertEqual([node.status()["node"]["strays"] for node in self.cluster], [0] * 4)
            for node in (two, three):
                self.has_left(node)

    def test_a_node_that_was_away_while_all_others_were_replaced_hears_of_it_from_its_seeds(self):
        """It knows nobody who is still there; who took the others' places, only its configuration says."""
        with ChangingCluster(3, settings={"cluster.partitions": "64"}) as cluster:
            one, two, three = cluster
            one.call("SET", "cart:1", "milk")
            three.kill9()
            cluster.wait_seen_down(three)
            for old in (three, two, one):
                cluster.replace(old, cluster.newcomer())
                cluster.wait_settled()
                if old.alive:
                    self.assertEqual(old.stop(), 0)
            three.settings["cluster"]["seeds"] = ",".join("%s:%d" % (HOST, node.peer_port) for node in cluster)
            three.start().wait_answers()
            cluster.wait_until(lambda: three.status()["node"]["removed"], what="%s hears that it was removed" % three)
            cluster.wait_until(lambda: three.status()["node"]["handed_over"], what="%s has handed over what it had" % three)
            with self.assertRaisesRegex(ReplyError, "^NOTMEMBER"):
                three.call("GET", "cart:1")
            self.assertEqual([node.call("GET", "cart:1") for node in cluster], [b"milk"] * 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
