#!/usr/bin/python3
"""kill -9 in the middle of a transfer: of the node that joins, of one that gives, of one that leaves, of all. Partitions that
had come are not copied again, the change goes on and ends, and nothing is lost."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from changing import MovingCase, wait_in_place  # noqa: E402

SHOPPERS = 6


class GrowKill(MovingCase):
    def kill(self, *nodes):
        """All at once."""
        for node in nodes:
            node.process.kill()
        for node in nodes:
            node.kill9()

    def assert_goes_on(self, node, before):
        """What had come before is not copied again: most of it counts as soon as the node has looked through its table."""
        def looked():
            held = self.held(node)
            return held and held[1] > 0 and held
        held = self.cluster.wait_until(looked, what="%s says how far it is" % node)
        self.assertGreaterEqual(held[0], before * 3 // 4, "%d partitions had come" % before)
        self.assertLess(held[0], held[1], "it was over at once: it had not been in the middle")

    def end(self, *gone):
        self.hurry()
        self.cluster.wait_settled()
        self.shop.stop()
        self.shop.report()
        self.shop.judge()
        wait_in_place(self.cluster, self.shop.keys(old_step=20))
        for node in gone:
            self.assertEqual(node.status()["node"]["handed_over"], True)
            self.cluster.wait_until(lambda node=node: node.status()["node"]["keys"] == 0, what="%s has dropped all" % node)
        self.failed = False

    def test_the_node_that_joins_is_killed(self):
        self.begin()
        joiner = self.cluster.newcomer()
        self.shop.start(SHOPPERS)
        self.cluster.add(joiner)
        before = self.wait_middle(joiner)
        self.kill(joiner)
        self.cluster.wait_seen_down(joiner)
        self.shop.wait_done(100)  # it holds the change up, and nothing else
        change = self.cluster[0].status()["change"]
        self.assertEqual((change["moving"], change["waiting_for"]), (True, [joiner.name]))
        joiner.start().wait_answers()
        self.assert_goes_on(joiner, before)
        self.end()

    def test_a_node_that_gives_is_killed(self):
        self.begin()
        joiner = self.cluster.newcomer()
        giver = self.cluster[2]
        self.shop.start(SHOPPERS)
        self.cluster.add(joiner)
        self.wait_middle(joiner)
        self.shop.excused = giver
        self.shop.say_goodbye(giver)
        self.kill(giver)
        self.cluster.wait_seen_down(giver)
        self.shop.wait_done(100)
        self.assertTrue(self.cluster[0].status()["change"]["moving"])
        giver.start().wait_answers()
        self.cluster.wait_until(lambda: giver.status()["node"]["member"], what="%s is a member again" % giver)
        self.end()

    def test_a_node_that_leaves_is_killed(self):
        """While it is down it is not waited for; when it comes back it hands over what it has."""
        self.begin(4)
        leaver, taker = self.cluster[1], self.cluster[2]
        self.shop.start(SHOPPERS)
        self.shop.leaving.add(leaver)
        self.cluster.remove(leaver)
        self.wait_middle(taker, self.MIDDLE // 3)
        self.shop.excused = leaver
        self.shop.say_goodbye(leaver)
        self.kill(leaver)
        self.shop.wait_done(100)
        self.hurry()
        self.cluster.wait_moved()
        leaver.start().wait_answers()
        self.end(leaver)

    def test_all_are_killed_at_once(self):
        self.begin()
        joiner = self.cluster.newcomer()
        self.shop.start(SHOPPERS)
        self.cluster.add(joiner)
        before = self.wait_middle(joiner)
        self.shop.dismiss_when(lambda: self.kill(*self.cluster))
        for node in self.cluster:
            node.start()
        for node in self.cluster:
            node.wait_answers()
        self.assert_goes_on(joiner, before)
        self.cluster.wait_all_up()
        self.shop.start(SHOPPERS)
        self.shop.wait_done(100)
        self.end()


if __name__ == "__main__":
    unittest.main(verbosity=2)
