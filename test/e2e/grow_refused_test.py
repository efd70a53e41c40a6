#!/usr/bin/python3
"""Who may not join and which plans may not be committed: each is told why, and nothing has changed."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from changing import ChangingCluster  # noqa: E402
from support import HOST, ReplyError  # noqa: E402


class Refused(unittest.TestCase):
    def setUp(self):
        self.cluster = ChangingCluster(3)
        self.cluster.start()
        self.addCleanup(lambda: self.cluster.close())
        self.cluster[0].call("SET", "cart:1", "milk")  # from now on a node that comes has to be added
        self.digest = self.cluster[0].status()["cluster"]["history_digest"]

    def wait_logged(self, node, text):
        def logged():
            with open(node.log_path, encoding="utf-8") as log:
                return text in log.read()
        self.cluster.wait_until(logged, what="%s says: %s" % (node, text))

    def assert_refused(self, pattern, *words, node=None):
        with self.assertRaisesRegex(ReplyError, pattern):
            (node or self.cluster[0]).call("DYNAMO.CLUSTER", *words)

    def assert_unchanged(self):
        for node in self.cluster:
            status = node.status()
            self.assertEqual(status["cluster"]["history_digest"], self.digest)
            self.assertEqual(len(status["members"]), 3)
            self.assertEqual(node.call("GET", "cart:1"), b"milk")

    def assert_can_not_be_added(self, node):
        self.assert_refused("^ERR no node at %s waits to be added" % node.address, "PLAN", "ADD", node.address)
        for member in self.cluster:
            self.assertNotIn(node.address, [candidate["address"] for candidate in member.status()["candidates"]])
        self.assert_unchanged()

    def test_a_node_of_a_cluster_of_another_name(self):
        node = self.cluster.make_newcomer(**{"cluster-name": "other"})
        node.start().wait_answers()
        self.wait_logged(node, "it belongs to another cluster; check cluster-name")
        self.wait_logged(self.cluster[0], "it belongs to another cluster; check cluster-name (its: other, ours: e2e)")
        with self.assertRaisesRegex(ReplyError, "^NOTMEMBER"):
            node.call("GET", "cart:1")
        self.assert_can_not_be_added(node)
        # Its directory is of that cluster from now on: another name in the configuration does not make it one of ours.
        self.assertEqual(node.stop(), 0)
        node.settings["cluster"]["cluster-name"] = "e2e"
        node.start()
        self.assertEqual(node.process.wait(30), 1)
        self.assertRegex(node.log_tail(1), 'belongs to the cluster "other", not "e2e"; set cluster-name to it, or use another dir')
        self.cluster.others.remove(node)

    def test_a_node_with_another_secret(self):
        node = self.cluster.make_newcomer(secret="0123456789abcdef0123456789abcdef")
        node.start().wait_answers()
        self.wait_logged(node, "its secret is another one; set the same secret on all nodes")
        self.wait_logged(self.cluster[0], "its secret is another one; set the same secret on all nodes")
        self.assert_can_not_be_added(node)

    def test_a_node_with_data_of_a_cluster_of_its_own(self):
        """Of the same name, with the same secret: it was set up without seeds by mistake. The two do not become one."""
        node = self.cluster.make_newcomer(seeds="")
        node.start().wait_answers()
        self.cluster.wait_until(lambda: node.call("DYNAMO.BUCKET", "default", "SET", "n", 1, "r", 1, "w", 1),
                                what="%s is a cluster of its own" % node)
        self.cluster.wait_until(lambda: node.call("SET", "cart:1", "beer") == "OK", what="%s takes a put" % node)
        self.assertEqual(node.stop(), 0)
        node.settings["cluster"]["seeds"] = ",".join("%s:%d" % (HOST, member.peer_port) for member in self.cluster)
        node.start().wait_answers()
        for told in [node, *self.cluster]:
            self.wait_logged(told, "has the data of another cluster, though of the same name: nothing is exchanged with it; if "
                                   "it is to join this one, start it with an empty data directory")
        self.assertEqual([member["name"] for member in node.status()["members"]], [node.name])
        self.assertEqual(node.call("GET", "cart:1"), b"beer")
        self.assert_can_not_be_added(node)

    def test_a_node_that_was_removed_comes_back_with_what_it_had(self):
        node = self.cluster.newcomer()
        self.cluster.add(node)
        self.cluster.wait_settled()
        self.cluster.remove(node)
        self.cluster.wait_settled()
        self.assertEqual(node.stop(), 0)
        self.digest = self.cluster[0].status()["cluster"]["history_digest"]
        node.start().wait_answers()
        removed = "this node was removed from its cluster"
        told = self.cluster.wait_until(lambda: node.status()["node"]["join_refusal"], what="it is told why it is out")
        self.assertIn(removed + "; to add it as a new node, start it with an empty data directory", told)
        with self.assertRaisesRegex(ReplyError, "^NOTMEMBER " + removed):
            node.call("SET", "cart:1", "beer")
        self.assert_can_not_be_added(node)
        # What it is told to do works.
        self.assertEqual(node.stop(), 0)
        node.wipe()
        node.start().wait_answers()
        self.cluster.wait_candidate(node)
        self.cluster.add(node)
        self.cluster.wait_settled()
        self.assertEqual(node.call("GET", "cart:1"), b"milk")

    def test_a_commit_when_the_ring_has_changed(self):
        one, two, _ = self.cluster
        node = self.cluster.newcomer()
        plan = self.cluster.stage("ADD", node.address)
        two.call("DYNAMO.CLUSTER", "PLAN", "REWEIGH", "node-3", 50)
        two.call("DYNAMO.CLUSTER", "COMMIT")
        self.digest = two.status()["cluster"]["history_digest"]
        self.cluster.wait_until(lambda: one.status()["cluster"]["history_digest"] == self.digest, what="the news has spread")
        self.assert_refused("^REFUSED the ring has changed since the plan was made", "COMMIT", plan["plan_id"])
        self.assert_refused("^REFUSED", "COMMIT")
        self.assert_unchanged()
        # Looked at anew it is another plan; the first is not to be had any more.
        again = self.cluster.stage()
        self.assertNotEqual(again["plan_id"], plan["plan_id"])
        self.assertEqual(again["history_digest"], self.digest)
        self.assert_refused("^REFUSED the plan that is staged here is " + again["plan_id"], "COMMIT", plan["plan_id"])
        one.call("DYNAMO.CLUSTER", "COMMIT", again["plan_id"])
        self.cluster.comes(node)
        self.cluster.wait_settled()

    def test_what_is_aborted_is_not_issued(self):
        node = self.cluster.newcomer()
        plan = self.cluster.stage("ADD", node.address)
        self.cluster.stage("REWEIGH", "node-2", 50)
        self.cluster[0].call("DYNAMO.CLUSTER", "ABORT")
        self.assertEqual(self.cluster.stage()["changes"], [])
        self.assert_refused("^ERR nothing is staged", "COMMIT", plan["plan_id"])
        self.assert_unchanged()
        self.cluster.wait_candidate(node)  # it still waits, and may be added
        self.cluster.add(node)
        self.cluster.wait_settled()


if __name__ == "__main__":
    unittest.main(verbosity=2)
