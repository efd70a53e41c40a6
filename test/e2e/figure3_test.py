#!/usr/bin/python3
"""The paper's Figure 3, end to end: D1 to D5 on three real nodes, the clocks as DYNAMO.EXPLAIN shows them."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, wait_until  # noqa: E402

KEY = "cart:figure3"


class Figure3(unittest.TestCase):
    def clocks(self, cluster):
        """What every replica holds, once all three hold the same: ({node: rank of its time}, number of siblings)."""
        def agreed():
            replicas = [r for r in cluster[0].explain(KEY)["replicas"] if r["role"] == "replica"]
            states = [(r["clock"], r["siblings"]) for r in replicas]
            return states[0] if len(states) == 3 and states.count(states[0]) == 3 and states[0][0] else None
        return wait_until(agreed, 30, "three replicas hold the same of %s" % KEY)

    def pairs(self, cluster):
        """{node name: time} and the number of siblings. No dots: a coordinator claims all that it issued."""
        clock, siblings = self.clocks(cluster)
        self.assertEqual(clock["dots"], [])
        pairs = {pair["name"]: int(pair["time"]) for pair in clock["pairs"]}
        self.assertEqual(len(pairs), len(clock["pairs"]), "one entry for each node")
        return pairs, siblings

    def test_d1_to_d5(self):
        with Cluster(3) as cluster:
            sx, sy, sz = cluster
            # D1 ([Sx,1]): a client writes, Sx coordinates.
            d1 = sx.dynamo_put(KEY, "D1")
            clock1, siblings = self.pairs(cluster)
            self.assertEqual(set(clock1), {"node-1"})
            self.assertEqual(len(siblings), 1)
            # D2 ([Sx,2]): the same client updates it, Sx again; D2 descends from D1 and overwrites it.
            d2 = sx.dynamo_put(KEY, "D2", d1)
            clock2, siblings = self.pairs(cluster)
            self.assertEqual(set(clock2), {"node-1"})
            self.assertGreater(clock2["node-1"], clock1["node-1"])
            self.assertEqual(len(siblings), 1)
            # D3 ([Sx,2],[Sy,1]): the client updates D2 through Sy.
            sy.dynamo_put(KEY, "D3", d2)
            clock3, siblings = self.pairs(cluster)
            self.assertEqual(set(clock3), {"node-1", "node-2"})
            self.assertEqual(clock3["node-1"], clock2["node-1"])
            self.assertEqual(len(siblings), 1)
            # D4 ([Sx,2],[Sz,1]): another client had read D2 as well, and updates it through Sz: concurrent with D3.
            sz.dynamo_put(KEY, "D4", d2)
            clock4, siblings = self.pairs(cluster)
            self.assertEqual(set(clock4), {"node-1", "node-2", "node-3"})
            self.assertEqual((clock4["node-1"], clock4["node-2"]), (clock3["node-1"], clock3["node-2"]))
            self.assertEqual({sibling["dot"]["name"] for sibling in siblings}, {"node-2", "node-3"})
            # A client reads both, with a context that sums up their clocks.
            for node in cluster:
                context, values = node.dynamo_get(KEY)
                self.assertEqual(sorted(values), [b"D3", b"D4"])
            # D5 ([Sx,3],[Sy,1],[Sz,1]): it reconciles them through Sx.
            sx.dynamo_put(KEY, "D5", context)
            clock5, siblings = self.pairs(cluster)
            self.assertGreater(clock5["node-1"], clock4["node-1"])
            self.assertEqual((clock5["node-2"], clock5["node-3"]), (clock4["node-2"], clock4["node-3"]))
            self.assertEqual([sibling["dot"]["name"] for sibling in siblings], ["node-1"])
            self.assertEqual(sy.dynamo_get(KEY)[1], [b"D5"])
            print("D1 %s\nD2 %s\nD3 %s\nD3|D4 %s\nD5 %s" % (clock1, clock2, clock3, clock4, clock5))


if __name__ == "__main__":
    unittest.main(verbosity=2)
