#!/usr/bin/python3
"""Adding, removing, replacing and reweighing nodes, as an administrator meets it: plan, commit, abort, status."""

import json
import os
import re
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, HOST, Node, ReplyError, START_SECONDS, free_ports, release_ports, run  # noqa: E402

MOVE_SECONDS = 120


def one_more(cluster, **node_options):
    """A node beside a running cluster: the same secret, the members as seeds; not started."""
    index = len(cluster.nodes)
    port, peer_port = free_ports(2)
    first = cluster[0].settings
    directory = os.path.join(cluster.directory, "node-%d" % (index + 1))
    settings = {
        "node": {**first["node"], "name": "node-%d" % (index + 1), "dir": directory, "port": port,
                 "peer-port": peer_port, **node_options},
        "cluster": {**first["cluster"], "seeds": ",".join("%s:%d" % (HOST, node.peer_port) for node in cluster.nodes)},
        "timing": dict(first["timing"]),
        "storage": dict(first["storage"]),
    }
    cluster._ports.extend([port, peer_port])
    return Node(index, directory, port, peer_port, settings)


class PlanCase(unittest.TestCase):
    def assert_done(self, result):
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def assert_failed(self, result, *parts):
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertRegex(result.stderr, r"\Agramme: [^\n]+\n\Z")
        for part in parts:
            self.assertIn(part, result.stderr)

    def cli(self, *words, node=None):
        return run(*words, "-p", str((node or self.cluster[0]).port))

    def wait_candidate(self, node):
        """Until node-1 knows that it waits."""
        return self.cluster.wait_until(
            lambda: [c for c in self.cluster[0].status()["candidates"] if c["address"] == node.address],
            START_SECONDS, "%s waits to be added" % node)

    def wait_settled(self, members):
        """Until no node sees anything move any more, and all see these members."""
        def settled():
            for node in members:
                node.check_alive()
                status = node.status()
                if status["change"] is not None or status["totals"]["hints"] > 0:
                    return False
                if sorted(m["name"] for m in status["members"]) != sorted(n.name for n in members):
                    return False
            return True
        self.cluster.wait_until(settled, MOVE_SECONDS, "partitions have moved")


class Staging(PlanCase):
    """What is staged, shown, refused: nothing is issued."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3, engine="memory")
        cls.addClassCleanup(cls.cluster.close)  # also when it does not start
        cls.cluster.start()
        cls.cluster[0].call("SET", "cart:1", "milk")  # sealed: from now on a node that comes has to be added

    def setUp(self):
        self.cluster[0].call("DYNAMO.CLUSTER", "ABORT")

    def refused(self, pattern, *words):
        with self.assertRaisesRegex(ReplyError, pattern):
            self.cluster[0].call("DYNAMO.CLUSTER", *words)

    def test_nothing_is_staged_at_first(self):
        plan = json.loads(self.cluster[0].call("DYNAMO.CLUSTER", "PLAN"))
        self.assertEqual((plan["empty"], plan["plan_id"], plan["changes"]), (True, None, []))
        self.assertIn("nothing is staged on node-1", self.assert_done(self.cli("plan")))
        self.assertEqual(self.assert_done(self.cli("abort")), "nothing was staged\n")
        self.assert_failed(self.cli("commit"), "nothing is staged on this node")

    def test_a_plan_is_shown_in_figures_and_words(self):
        out = self.assert_done(self.cli("plan", "reweigh", "node-2", "50"))
        identity = re.match(r"plan ([0-9a-f]{16}), staged on node-1 ", out).group(1)
        self.assertIn("reweigh  node-2 (%s)   weight 100 -> 50" % self.cluster[1].address, out)
        self.assertRegex(out, r"(?m)^  node-2 +stays ")
        self.assertRegex(out, r"(?m)^  balance   \d\.\d{3} -> \d\.\d{3} ")
        self.assertIn("each partition's 3 copies lie on distinct nodes", out)
        self.assertRegex(out, r"(?m)^  time      about ")
        self.assertIn("gramme commit %s -p %d\n" % (identity, self.cluster[0].port), out)
        again = self.assert_done(self.cli("plan"))
        self.assertEqual(again, out)
        as_json = json.loads(self.assert_done(self.cli("plan", "--json")))
        self.assertEqual(as_json["plan_id"], identity)
        self.assertEqual(self.assert_done(self.cli("abort")), "dropped 1 staged change; the cluster is as it was\n")

    def test_what_is_staged_on_one_node_is_not_on_another(self):
        self.assert_done(self.cli("plan", "reweigh", "node-2", "50"))
        self.assertIn("nothing is staged on node-2", self.assert_done(self.cli("plan", node=self.cluster[1])))

    def test_violations_are_said(self):
        out = self.assert_done(self.cli("plan", "remove", "node-3"))
        self.assertIn("remove   node-3", out)
        self.assertIn("1024 of 1024 partitions have fewer than 3 copies on distinct nodes", out)
        self.assertIn("3 copies are wanted of each key (n of bucket default), and there will be 2 nodes", out)

    def test_what_can_not_be_is_refused_and_says_what_to_do(self):
        self.assert_failed(self.cli("plan", "add", "127.0.0.1:1"),
                           "no node at 127.0.0.1:1 waits to be added: start it first, with --seeds")
        self.assert_failed(self.cli("plan", "add", self.cluster[1].address), "(node-2) is a member already")
        self.assert_failed(self.cli("plan", "remove", "node-9"), "there is no member 'node-9'")
        self.assert_failed(self.cli("plan", "reweigh", "node-1", "100"), "node-1 has weight 100 already")
        self.refused("^ERR PLAN takes ADD", "PLAN", "GROW")
        self.refused("^ERR wrong number of arguments", "COMMIT", "a", "b")
        self.refused("^ERR nothing is staged", "COMMIT")

    def test_another_plan_than_the_one_that_was_shown_is_not_committed(self):
        before = self.cluster[0].status()["cluster"]["history_digest"]
        self.assert_done(self.cli("plan", "reweigh", "node-2", "50"))
        self.assert_failed(self.cli("commit", "0123456789abcdef"), "REFUSED the plan that is staged here is ")
        self.assertEqual(self.cluster[0].status()["cluster"]["history_digest"], before)


class Growing(PlanCase):
    """3 nodes become 4, one of them is replaced, one removed."""

    def setUp(self):
        self.cluster = Cluster(3, engine="memory")
        self.addCleanup(lambda: self.cluster.close())
        self.cluster.start()
        for i in range(300):
            self.cluster[i % 3].call("SET", "cart:%d" % i, "v%d" % i)

    def check_data(self, nodes):
        for i in range(300):
            self.assertEqual(nodes[i % len(nodes)].call("GET", "cart:%d" % i), b"v%d" % i)

    def start_one_more(self):
        node = one_more(self.cluster)
        self.cluster.nodes.append(node)
        node.start().wait_answers()
        self.wait_candidate(node)
        return node

    def commit(self, *words):
        out = self.assert_done(self.cli("plan", *words))
        identity = re.match(r"plan ([0-9a-f]{16})", out).group(1)
        self.assertIn("committed plan %s" % identity, self.assert_done(self.cli("commit", identity)))
        return out

    def test_a_cluster_grows_replaces_and_shrinks(self):
        four = self.start_one_more()
        status = four.status()
        self.assertFalse(status["node"]["member"])
        self.assertIn("waits to be added", status["node"]["join_refusal"])
        with self.assertRaisesRegex(ReplyError, "^NOTMEMBER .*waits to be added"):
            four.call("GET", "cart:1")
        self.assertIn("waits to be added: node-4: gramme plan add %s" % four.address,
                      self.assert_done(self.cli("status")))
        out = self.commit("add", four.address)
        self.assertRegex(out, r"(?m)^  node-4 +joins +- +0 -> 100 +0 -> 256 ")
        self.wait_settled(list(self.cluster))
        self.check_data(list(self.cluster))
        self.assertEqual({m["name"]: m["partitions"] for m in four.status()["members"]},
                         {node.name: 256 for node in self.cluster})
        # A commit on a ring that is no longer the one that was planned on.
        self.assert_done(self.cli("plan", "reweigh", "node-1", "50"))
        self.assert_done(self.cli("plan", "reweigh", "node-2", "50", node=four))
        self.assert_done(self.cli("commit", node=four))
        self.cluster.wait_until(
            lambda: self.cluster[0].status()["cluster"]["history_digest"] ==
            four.status()["cluster"]["history_digest"], what="the change has spread")
        self.assert_failed(self.cli("commit"), "the ring has changed since the plan was made; look at it again with PLAN")
        self.assert_done(self.cli("abort"))
        self.wait_settled(list(self.cluster))
        # A live one leaves: it hands over, and says when it is done.
        self.commit("remove", "node-3")
        rest = [node for node in self.cluster if node.name != "node-3"]
        self.wait_settled(rest)
        three = self.cluster[2]
        self.cluster.wait_until(lambda: "it may be stopped" in three.log_tail(40), MOVE_SECONDS, "node-3 says so")
        self.assertTrue(three.status()["node"]["removed"])
        self.assertIn("was removed from the cluster, and has handed over all it had: it may be stopped",
                      self.assert_done(self.cli("status", node=three)))
        self.assertEqual(three.stop(), 0)
        self.check_data(rest)
        # A dead one is replaced.
        self.cluster[1].kill9()
        self.cluster.wait_until(
            lambda: not [m for m in self.cluster[0].status()["members"] if m["name"] == "node-2"][0]["up"],
            what="node-2 is seen as down")
        five = self.start_one_more()
        out = self.commit("replace", "node-2", five.address)
        self.assertIn("node-2 is down: what only it holds is lost with it", out)
        rest = [self.cluster[0], four, five]
        self.wait_settled(rest)
        self.check_data(rest)


if __name__ == "__main__":
    unittest.main()
