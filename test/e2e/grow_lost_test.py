#!/usr/bin/python3
"""A data directory is lost in the middle of a transfer: that of a member which gives, emptied or put back to an old copy from
before the change, and that of the node that joins. The change goes on and ends, and nothing acknowledged is lost."""

import os
import shutil
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from changing import MOVE_SECONDS, MovingCase, wait_in_place  # noqa: E402

SHOPPERS = 4


class GrowLost(MovingCase):
    def lose(self, node, how):
        """While the others serve, and the change waits for it."""
        self.shop.excused = node
        self.shop.say_goodbye(node)
        node.process.kill()
        node.kill9()
        how()
        self.cluster.wait_seen_down(node)
        self.shop.wait_done(100)
        self.assertTrue(self.cluster[0].status()["change"]["moving"])
        node.start().wait_answers()

    def empty(self, node):
        shutil.rmtree(os.path.join(node.directory, "rocksdb"))

    def loss_of(self, node, other):
        member, = [m for m in other.status()["members"] if m["name"] == node.name]
        return member["loss"]

    def end(self, loser):
        self.hurry()
        self.cluster.wait_settled()
        for other in self.cluster:
            self.cluster.wait_until(lambda other=other: self.loss_of(loser, other) is None, MOVE_SECONDS,
                                    "%s has all again" % loser)
        self.shop.wait_done(100)
        self.shop.stop()
        self.shop.report()
        self.shop.judge()
        wait_in_place(self.cluster, self.shop.keys(old_step=20))
        self.failed = False

    def test_a_member_that_gives_loses_its_store(self):
        self.begin()
        joiner, giver = self.cluster.newcomer(), self.cluster[2]
        self.shop.start(SHOPPERS)
        self.cluster.add(joiner)
        self.wait_middle(joiner)
        self.lose(giver, lambda: self.empty(giver))
        self.cluster.wait_until(lambda: "is empty, and was not" in giver.log_tail(400), what="%s says so" % giver)
        self.end(giver)

    def test_a_member_that_gives_comes_back_with_an_old_copy(self):
        self.begin()
        joiner, giver = self.cluster.newcomer(), self.cluster[2]
        copy = giver.directory + ".copy"
        self.assertEqual(giver.stop(), 0)
        shutil.copytree(giver.directory, copy)
        giver.start().wait_answers()
        self.cluster.wait_all_up()
        self.shop.start(SHOPPERS)
        self.shop.wait_done(100)
        self.cluster.add(joiner)
        self.wait_middle(joiner)

        def put_back():
            shutil.rmtree(giver.directory)
            os.rename(copy, giver.directory)

        self.lose(giver, put_back)
        self.cluster.wait_until(lambda: "is an old copy" in giver.log_tail(400), what="%s says so" % giver)
        self.end(giver)

    def test_the_node_that_joins_loses_its_store(self):
        self.begin()
        joiner = self.cluster.newcomer()
        self.shop.start(SHOPPERS)
        self.cluster.add(joiner)
        self.wait_middle(joiner)
        self.lose(joiner, lambda: self.empty(joiner))
        self.end(joiner)


if __name__ == "__main__":
    unittest.main(verbosity=2)
