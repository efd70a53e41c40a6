#!/usr/bin/python3
"""1,000 idle and 200 slow clients on one node: its memory stays below the bound of docs/limits.md, slow readers are closed
and counted, and everybody else is served meanwhile."""

import os
import resource
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, encode  # noqa: E402

IDLE = 1000
SLOW = 200
VALUES = 16
VALUE_BYTES = 256 * 1024
WANTED = 200  # values that each slow client asks for and does not read: 50 MiB
MIB = 1 << 20
IDLE_BYTES = 16 * MIB      # docs/limits.md: 1,000 idle clients
CROWD_BYTES = 512 * MIB    # docs/limits.md: with the slow ones


def is_sanitized(node):
    with open("/proc/%d/maps" % node.pid, encoding="ascii") as maps:
        return "libasan" in maps.read()


def info(node, name):
    for line in node.call("INFO").decode().splitlines():
        if line.startswith(name + ":"):
            return int(line.split(":")[1])
    raise AssertionError("INFO has no %s" % name)


class Crowd(unittest.TestCase):
    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * (IDLE + SLOW)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard > 0 else wanted, hard))

    def serve_others(self, client, round_number):
        for i in range(20):
            key, value = "other:%d" % i, "v%d-%d" % (round_number, i)
            self.assertEqual(client.call("SET", key, value), "OK")
            self.assertEqual(client.call("GET", key), value.encode())

    def test_idle_and_slow_clients_cost_no_more_than_is_written(self):
        with Cluster(1, engine="memory") as cluster:
            node = cluster[0]
            node.call("DYNAMO.BUCKET", "default", "SET", "n", 1, "r", 1, "w", 1)
            for i in range(VALUES):
                node.call("SET", "big:%d" % i, b"x" * VALUE_BYTES)
            sanitized = is_sanitized(node)
            before = node.rss_bytes()
            crowd = [node.connect() for _ in range(IDLE)]
            try:
                for client in crowd:
                    self.assertEqual(client.call("PING"), "PONG")
                idle = node.rss_bytes() - before
                self.assertLess(idle, IDLE_BYTES * (4 if sanitized else 1), "1,000 idle clients")
                closed_before = info(node, "clients_closed_output")
                peak = 0
                other = node.connect()
                crowd.append(other)
                question = b"".join(encode("GET", "big:%d" % (i % VALUES)) for i in range(WANTED))
                for number in range(SLOW):
                    slow = node.connect()
                    crowd.append(slow)
                    slow.send_raw(question)
                    if number % 10 == 0:
                        self.serve_others(other, number)
                        peak = max(peak, node.rss_bytes())
                for number in range(20):
                    self.serve_others(other, SLOW + number)
                    peak = max(peak, node.rss_bytes())
                # A sanitizer keeps freed memory in quarantine (256 MiB) and guards around each block.
                self.assertLess(peak, CROWD_BYTES + (1024 * MIB if sanitized else 0), "1,000 idle and 200 slow clients")
                cluster.wait_until(lambda: info(node, "clients_closed_output") > closed_before, 60,
                                   "a slow reader is closed and counted")
                self.assertEqual(crowd[0].call("PING"), "PONG")
                print("%.1f MiB before, %.1f MiB for 1,000 idle, %.0f MiB at the most with 200 slow, %d closed%s" % (
                    before / MIB, idle / MIB, peak / MIB,
                    info(node, "clients_closed_output") - closed_before,
                    " (sanitized)" if sanitized else ""))
            finally:
                for client in crowd:
                    client.close()
            with node.connect() as last:
                self.serve_others(last, 1000)


if __name__ == "__main__":
    unittest.main(verbosity=2)
