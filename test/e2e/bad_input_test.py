#!/usr/bin/python3
"""Bad input from clients and from peers: one clear line each, that names the thing and the remedy. Nothing crashes, hangs
or is lost: after each the nodes still serve, and what was there is there. (What is wrong before a node runs, its
configuration and its directory, is bad_start_test.py's.)"""

import base64
import contextlib
import hashlib
import hmac
import os
import random
import re
import socket
import struct
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import (HOST, ROOT, Cluster, Disconnected, Node, ReplyError, Resp, encode, free_ports,  # noqa: E402
                     release_ports)

MIB = 1 << 20
CANARIES = {"canary:%d" % i: "value %d" % i for i in range(20)}


class WithCluster(unittest.TestCase):
    """Three nodes for the whole class, with data that must outlive everything that is done to them."""
    engine = "memory"
    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3, engine=cls.engine, settings=cls.settings)
        try:
            cls.cluster.start()
            for key, value in CANARIES.items():
                cls.cluster[0].call("SET", key, value)
        except BaseException:
            cls.cluster.close(check=False)
            raise

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def tearDown(self):
        self.assert_serves()

    def assert_serves(self):
        """Every node lives, has the data, and takes more."""
        for node in self.cluster:
            node.check_alive()
            with node.connect() as client:
                self.assertEqual(client.call("MGET", *CANARIES), [value.encode() for value in CANARIES.values()])
                client.call("SET", "after:%d" % node.index, "x")
                self.assertEqual(client.call("GET", "after:%d" % node.index), b"x")

    def assert_error(self, pattern, node, *args):
        with self.assertRaisesRegex(ReplyError, pattern) as caught:
            node.call(*args)
        text = str(caught.exception)
        self.assertTrue(text.isprintable(), "not one line: %r" % text)
        return text

    def stats(self, node):
        text = node.call("INFO", "stats").decode()
        return {name: int(value) for name, value in re.findall(r"^(\w+):(\d+)\r$", text, re.MULTILINE)}


# -- what is not RESP ------------------------------------------------------------------------------------------------

# (bytes, the error line that they get, whether the connection ends after it)
BROKEN = [
    (b"*1\r\n+PING\r\n", r"ERR Protocol error: expected '\$', got '\+'"),
    (b"*2\r\n$3\r\nGET\r\n:1\r\n", r"ERR Protocol error: expected '\$', got ':'"),
    (b"*2\r\n$3\r\nGET\r\n\0", r"ERR Protocol error: expected '\$', got '\?'"),
    (b"*abc\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*+1\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*1\n$4\nPING\n", "ERR Protocol error: invalid multibulk length"),
    (b"*1048577\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*99999999999999999999999\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$4x\r\nPING\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$99999999999999999999\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$4\r\nPINGxx", "ERR Protocol error: a bulk string does not end where its length says"),
    (b'SET a "b\r\n', "ERR Protocol error: unbalanced quotes in request"),
    (b"SET a 'b\r\n", "ERR Protocol error: unbalanced quotes in request"),
    (b'SET a "b"c\r\n', "ERR Protocol error: unbalanced quotes in request"),
    (b"x" * 65536, "ERR Protocol error: too big inline request"),
    (b"x" * 100000 + b"\r\nPING\r\n", "ERR Protocol error: too big inline request"),
]
STRANGE = [  # these are answered, and the connection goes on
    (b"*0\r\n", None),
    (b"*-1\r\n", None),
    (b"\r\n\r\n \r\n", None),
    (b"*1\r\n$0\r\n\r\n", "ERR unknown command ''"),
    (b"\0\0\0\r\n", "ERR unknown command"),
    (b"\xff\xfe\xfd\r\n", "ERR unknown command"),
    (b"*1\r\n$11\r\nFOO\r\n+OK\r\nX\r\n", "ERR unknown command 'FOO"),
    (b"*2\r\n$3\r\nFOO\r\n$7\r\n\r\n+OK\r\n\r\n", "ERR unknown command 'FOO'"),
    (b"*1026\r\n" + b"$1\r\na\r\n" * 1026, "TOOBIG command has 1025 arguments, the limit is 1024"),
    (b"*100000\r\n" + b"$0\r\n\r\n" * 100000, "TOOBIG command has 99999 arguments, the limit is 1024"),
    (b"GET " + b"a " * 1025 + b"\r\n", "TOOBIG command has more than 1024 arguments"),
]


class NotResp(WithCluster):
    def test_broken_protocol_is_named_and_ends_the_connection(self):
        for number, (data, error) in enumerate(BROKEN):
            with self.subTest(data[:40]), self.cluster[number % 3].connect() as client:
                client.send_raw(encode("GET", "canary:1") + data)
                self.assertEqual(client.read_reply(), CANARIES["canary:1"].encode())
                reply = client.read_reply()
                self.assertIsInstance(reply, ReplyError)
                self.assertRegex(str(reply), "^%s$" % error)
                self.assertTrue(client.is_closed_by_server())

    def test_strange_requests_are_refused_and_the_connection_survives(self):
        for number, (data, error) in enumerate(STRANGE):
            with self.subTest(data[:40]), self.cluster[number % 3].connect() as client:
                client.send_raw(data + encode("PING"))
                if error is not None:
                    reply = client.read_reply()
                    self.assertIsInstance(reply, ReplyError)
                    self.assertRegex(str(reply), "^" + error)
                self.assertEqual(client.read_reply(), "PONG")

    def test_the_same_in_single_bytes(self):
        for data, error in BROKEN + [(data, error) for data, error in STRANGE if error is not None]:
            if len(data) > 100:
                continue
            with self.subTest(data), self.cluster[0].connect() as client:
                with contextlib.suppress(ConnectionError):  # it may be closed before the last byte is out
                    for i in range(len(data)):
                        client.send_raw(data[i:i + 1])
                self.assertRegex(str(client.read_reply()), "^" + error)

    def test_http_is_not_taken_for_commands(self):
        with self.cluster[0].connect() as client:
            client.send_raw(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nSET canary:1 stolen\r\n")
            self.assertTrue(client.is_closed_by_server())
        with self.cluster[0].connect() as client:
            client.send_raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nSET canary:1 stolen\r\n")
            self.assertRegex(str(client.read_reply()), "wrong number of arguments for 'get'")
            self.assertTrue(client.is_closed_by_server())

    def test_requests_cut_short(self):
        whole = encode("SET", "canary:1", "stolen") + encode("DYNAMO.PUT", "canary:1", "stolen")
        for size in range(1, len(encode("SET", "canary:1", "stolen"))):
            with self.cluster[size % 3].connect() as client:
                client.send_raw(whole[:size])

    def test_random_garbage(self):
        seed = random.SystemRandom().getrandbits(32)
        print("seed %d" % seed)
        dice = random.Random(seed)
        pieces = [b"*1\r\n", b"*3\r\n", b"$3\r\n", b"$-1\r\n", b"\r\n", b"GOT", b"MAKE", b"\0", b"$", b"*", b"\"", b"'",
                  b"$100\r\n", b"*2\r\n$4\r\nECHO\r\n", b"\xff", b" ", b":1\r\n", b"$5\r\nhello\r\n", b"99999"]
        for i in range(300):
            data = b"".join(dice.choice(pieces) for _ in range(dice.randrange(1, 60)))
            with self.cluster[i % 3].connect(timeout=60) as client:
                with contextlib.suppress(ConnectionError):
                    client.send_raw(data)
                    client.socket.shutdown(socket.SHUT_WR)
                    self.assertTrue(client.is_closed_by_server(60), "seed %d, connection %d" % (seed, i))

    def test_half_a_request_does_not_hold_up_others(self):
        with contextlib.ExitStack() as stack:
            for i in range(30):
                client = stack.enter_context(self.cluster[0].connect())
                client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\nhalf" % (1000 + i))
            self.assert_serves()


# -- sizes and words ---------------------------------------------------------------------------------------------------

class Limits(WithCluster):
    def test_keys(self):
        longest = "k" * 65535
        for node in self.cluster:
            self.assertEqual(node.call("SET", longest, "v"), "OK")
            self.assertEqual(node.call("GET", longest), b"v")
            for command in (("GET",), ("SET",), ("DEL",), ("STRLEN",), ("DYNAMO.GET",), ("DYNAMO.EXPLAIN",),
                            ("DYNAMO.PUT",), ("GETDEL",), ("MGET", "a"), ("DYNAMO.DEL",)):
                value = ("v",) if command[0] in ("SET", "DYNAMO.PUT") else ()
                self.assert_error("^TOOBIG key is 65536 bytes, the limit is 65535$", node, *command, longest + "k",
                                  *value)
        self.assert_error("^TOOBIG key is 70000 bytes", self.cluster[0], "MSET", "a", "b", "k" * 70000, "c")

    def test_the_empty_key_and_binary_ones_are_keys(self):
        for key in (b"", b"\0", b"\r\n", bytes(range(256)), b":", b"a:\xff"):
            self.cluster[0].call("SET", key, key + b"!")
            self.assertEqual(self.cluster[2].call("GET", key), key + b"!")

    def test_values(self):
        too_big = "^TOOBIG value is %d bytes, the limit is %d \\(max-value\\)$" % (MIB + 1, MIB)
        for node in self.cluster:
            self.assertEqual(node.call("SET", "big", b"v" * MIB), "OK")
            for command in (("SET", "big"), ("DYNAMO.PUT", "big"), ("GETSET", "big"), ("SETEX", "big", 9), ("MSET", "big")):
                self.assert_error(too_big, node, *command, b"w" * (MIB + 1))
            self.assertEqual(node.call("GET", "big"), b"v" * MIB)

    def test_the_connection_survives_a_value_that_is_too_big(self):
        with self.cluster[1].connect() as client:
            replies = client.pipeline([
                ("SET", "order", "1"), ("SET", "canary:2", b"w" * (20 * MIB)), ("GET", "order"),
                ("MSET", "order", "2", "other", b"w" * (2 * MIB)), ("GET", "order"), ("PING",)])
        self.assertEqual([replies[0], replies[2], replies[4], replies[5]], ["OK", b"1", b"1", "PONG"])
        self.assertRegex(str(replies[1]), "^TOOBIG value is 20971520 bytes")
        self.assertRegex(str(replies[3]), "^TOOBIG value is 2097152 bytes")

    def test_memory_stays_while_a_huge_value_passes(self):
        node = self.cluster[2]
        before = node.rss_bytes()
        with node.connect() as client:
            client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (64 * MIB))
            for _ in range(64):
                client.send_raw(b"x" * MIB)
            grown = node.rss_bytes() - before
            client.send_raw(b"\r\n")
            self.assertRegex(str(client.read_reply()), "^TOOBIG value is 67108864 bytes")
            self.assertEqual(client.call("PING"), "PONG")
        self.assertLess(grown, 40 * MIB)

    def test_replies_near_the_output_limit(self):
        """A client with half of the limit unsent is not read for the while, and for no longer."""
        node, value = self.cluster[0], os.urandom(800000)
        node.call("SET", "large", value)
        node.call("CONFIG", "SET", "client-output-limit", "1mb")
        try:
            with node.connect() as client:
                for _ in range(20):
                    self.assertEqual(client.call("GET", "large"), value)
        finally:
            node.call("CONFIG", "SET", "client-output-limit", "32mb")

    def test_the_limit_follows_its_option(self):
        for node in self.cluster:
            self.assertEqual(node.call("CONFIG", "SET", "max-value", "2mb"), "OK")
        try:
            self.cluster[0].call("SET", "big2", b"v" * (2 * MIB))
            self.assertEqual(self.cluster[1].call("GET", "big2"), b"v" * (2 * MIB))
            self.assert_error("^TOOBIG value is 2097153 bytes, the limit is 2097152", self.cluster[0], "SET", "big2",
                              b"v" * (2 * MIB + 1))
        finally:
            for node in self.cluster:
                self.assertEqual(node.call("CONFIG", "SET", "max-value", "1mb"), "OK")
        self.assertEqual(self.cluster[2].call("STRLEN", "big2"), 2 * MIB)

    def test_too_many_siblings(self):
        node = self.cluster[0]
        node.call("DYNAMO.BUCKET", "few", "SET", "sibling_max", 4)
        for i in range(4):
            node.call("DYNAMO.PUT", "few:a", "v%d" % i)
        self.assert_error("^SIBLINGS the key is at its bucket's sibling_max: DYNAMO.GET it, and put one value with its context$",
                          node, "DYNAMO.PUT", "few:a", "one more")
        context, values = node.dynamo_get("few:a")
        self.assertEqual(sorted(values), [b"v0", b"v1", b"v2", b"v3"])
        node.dynamo_put("few:a", "merged", context)
        self.assertEqual(node.dynamo_get("few:a")[1], [b"merged"])
        self.assertEqual(node.call("SET", "few:a", "x"), "OK")

    def test_numbers_and_words(self):
        node = self.cluster[0]
        for args, error in [
                (("SET", "a", "b", "EX", 0), "ERR invalid expire time in 'set' command"),
                (("SET", "a", "b", "PX", -1), "ERR invalid expire time in 'set' command"),
                (("SET", "a", "b", "EX", "9223372036854775807"), "ERR invalid expire time in 'set' command"),
                (("SET", "a", "b", "EX", "soon"), "ERR value is not an integer or out of range"),
                (("SET", "a", "b", "EX", 1, "PX", 1), "ERR syntax error"),
                (("SET", "a", "b", "NX"), "ERR NX is not offered: .*DYNAMO.PUT with its context"),
                (("SET", "a", "b", "XX"), "ERR XX is not offered: "),
                (("DYNAMO.PUT", "a", "b", "W", 0), r"ERR W must be a number from 1 to 3: bucket 'default' keeps N=3"),
                (("DYNAMO.PUT", "cart:a", "b", "W", 4), r"ERR W must be a number from 1 to 3: bucket 'cart' keeps N=3"),
                (("DYNAMO.PUT", "a", "b", "PW", 4), "ERR PW must be a number from 0 to 3"),
                (("DYNAMO.PUT", "a", "b", "W", 2, "DW", 3), "ERR DW must be between 0 and W"),
                (("DYNAMO.PUT", "a", "b", "W", "two"), "ERR W must be a number"),
                (("DYNAMO.PUT", "a", "b", "W"), "ERR syntax error"),
                (("DYNAMO.PUT", "a", "b", "R", 1), "ERR syntax error"),
                (("DYNAMO.PUT", "a", "b", "W", 1, "W", 1), "ERR syntax error"),
                (("DYNAMO.PUT", "a", "b", "CONTEXT"), "ERR syntax error"),
                (("DYNAMO.GET", "a", "R", 4), "ERR R must be a number from 1 to 3"),
                (("DYNAMO.GET", "a", "PR", 4), "ERR PR must be a number from 0 to 3"),
                (("DYNAMO.BUCKET", "a:b"), "ERR a bucket's name has 1 to 64 bytes and no ':'"),
                (("DYNAMO.BUCKET", "x" * 65), "ERR a bucket's name has 1 to 64 bytes"),
                (("DYNAMO.BUCKET", "b", "SET", "n", 8), "ERR n is a number from 1 to 7"),
                (("DYNAMO.BUCKET", "b", "SET", "r", 4), "ERR r must be from 1 to n: lower r or raise n"),
                (("DYNAMO.BUCKET", "b", "SET", "size", 4), "ERR no such property; there are n, r, w, "),
                (("DYNAMO.BUCKET", "b", "SET", "ttl", "5"), "ERR ttl is a number with a unit"),
                (("DYNAMO.BUCKET", "b", "SET", "resolve", "vote"), "ERR resolve is 'siblings' .* or 'lww'"),
                (("DYNAMO.BUCKET", "b", "SET", "n"), "ERR syntax error"),
                (("CONFIG", "SET", "max-value", "1"), "ERR CONFIG SET failed .*'max-value' must be from 1kb to 16mb"),
                (("CONFIG", "SET", "hedge", "5"), "ERR CONFIG SET failed .*a duration with its unit, such as 250ms"),
                (("CONFIG", "SET", "port", "1"), "ERR CONFIG SET failed .*'port' can not change while the node runs"),
                (("CONFIG", "SET", "prot", "1"), "ERR Unknown option or number of arguments for CONFIG SET - 'prot'"),
                (("CONFIG", "SET", "client-output-limit", "64kb"), "ERR CONFIG SET failed .*smaller than 'max-value'"),
                (("SELECT", 1), "ERR SELECT is not allowed in cluster mode"),
                (("HELLO", 9), "NOPROTO unsupported protocol version"),
                (("FLUSHALL",), "ERR unknown command 'FLUSHALL'"),
                (("INCR", "a"), "ERR unknown command 'INCR', with args beginning with: 'a'"),
                (("CLUSTER", "FORGET", "x"), r"ERR unknown subcommand 'FORGET'. Try CLUSTER HELP\."),
                (("DYNAMO.CLUSTER", "PLAN", "x"), "ERR PLAN takes ADD host:port"),
                (("DYNAMO.CLUSTER", "WAITSYNC", "x"), "ERR syntax error"),
                (("DYNAMO.CLUSTER", "WAITSYNC", "TIMEOUT", 0), "ERR TIMEOUT is in milliseconds, from 1 to 86400000"),
                (("CONFIG", "SET", "background-rate", "0"), "ERR CONFIG SET failed .*'background-rate'"),
        ]:
            with self.subTest(args):
                self.assert_error("^" + error, node, *args)

    def test_wrong_arity_of_every_command(self):
        node = self.cluster[0]
        tried = 0
        for entry in node.call("COMMAND"):
            name, arity = entry[0], entry[1]
            for count in {abs(arity) - 1, 0 if arity < 0 else arity + 1}:
                if 1 <= count and (count < abs(arity) or 0 < arity != count):
                    tried += 1
                    self.assert_error("^ERR (wrong number of arguments for '%s|unknown subcommand)" % name.decode(),
                                      node, name, *["x"] * (count - 1))
        self.assertGreater(tried, 30)

    def test_an_option_that_was_refused_is_as_it_was(self):
        node = self.cluster[0]
        before = node.call("CONFIG", "GET", "client-output-limit")
        self.assert_error("^ERR", node, "CONFIG", "SET", "client-output-limit", "64kb")
        self.assertEqual(node.call("CONFIG", "GET", "client-output-limit"), before)


# -- contexts ------------------------------------------------------------------------------------------------------------

BADCONTEXT = "^BADCONTEXT the context is damaged, forged or of another key; DYNAMO.GET the key again$"


class Contexts(WithCluster):
    def setUp(self):
        self.node = self.cluster[0]
        self.key = "cart:%s" % self.id().rsplit("_", 1)[-1]
        self.context = self.node.dynamo_put(self.key, "good")

    def refused(self, context, key=None):
        for node in self.cluster:
            self.assert_error(BADCONTEXT, node, "DYNAMO.PUT", key or self.key, "evil", "CONTEXT", context)
            self.assert_error(BADCONTEXT, node, "DYNAMO.DEL", key or self.key, "CONTEXT", context)
        self.assertEqual(self.node.dynamo_get(self.key)[1], [b"good"])

    def test_garbage(self):
        for context in ("", "x", "!", "====", "A" * 44, "A" * 80000, b"\0\xff\r\n", self.context + b"A",
                        self.context + b"\n", b" " + self.context, self.context.upper(),
                        base64.urlsafe_b64encode(os.urandom(200)).rstrip(b"="), "garbage garbage"):
            with self.subTest(context[:50]):
                self.refused(context)
        self.assert_error("^TOOBIG argument is 100000 bytes", self.node, "DYNAMO.PUT", self.key, "evil", "CONTEXT",
                          "A" * 100000)

    def test_every_byte_flipped_and_every_length_cut(self):
        raw = base64.urlsafe_b64decode(self.context + b"=" * (-len(self.context) % 4))
        text = lambda data: base64.urlsafe_b64encode(bytes(data)).rstrip(b"=")  # noqa: E731
        self.assertEqual(text(raw), self.context)
        with self.node.connect() as client:
            for i in range(len(raw)):
                for bit in (1, 128):
                    flipped = bytearray(raw)
                    flipped[i] ^= bit
                    reply = client.pipeline([("DYNAMO.PUT", self.key, "evil", "CONTEXT", text(flipped))])[0]
                    self.assertRegex(str(reply), BADCONTEXT, "byte %d" % i)
                reply = client.pipeline([("DYNAMO.PUT", self.key, "evil", "CONTEXT", text(raw[:i]))])[0]
                self.assertRegex(str(reply), BADCONTEXT, "cut to %d" % i)
        self.assertEqual(self.node.dynamo_get(self.key)[1], [b"good"])

    def test_of_another_key(self):
        other = self.node.dynamo_put(self.key + "2", "other")
        self.refused(other)
        # An absent key has a context as well, and that is its own.
        absent, values = self.node.dynamo_get(self.key + "3")
        self.assertEqual(values, [])
        self.refused(absent)
        # Same hash slot, another key.
        tagged = self.node.dynamo_put("{tag}1", "1")
        self.refused(tagged, "{tag}2")

    def test_of_another_cluster(self):
        for name in ("e2e", "another"):
            with Cluster(1, engine="memory", settings={"cluster.cluster-name": name}) as other:
                other[0].call("DYNAMO.BUCKET", "cart", "SET", "n", 1, "r", 1, "w", 1)
                self.refused(other[0].dynamo_put(self.key, "foreign"))

    def test_an_old_one_stays_good(self):
        """It never expires: it has seen less, and that is what it says."""
        self.node.dynamo_put(self.key, "better", self.context)
        self.node.dynamo_put(self.key, "sibling", self.context)
        self.assertEqual(sorted(self.node.dynamo_get(self.key)[1]), [b"better", b"sibling"])


# -- quorums that can not be reached ---------------------------------------------------------------------------------------

class Quorums(unittest.TestCase):
    def refused(self, pattern, node, *args):
        with self.assertRaisesRegex(ReplyError, pattern):
            node.call(*args)

    def test_one_and_two_of_three_are_down(self):
        with Cluster(3) as cluster:
            one, two, three = cluster
            for key, value in CANARIES.items():
                one.dynamo_put(key, value, None, "W", 3)
            three.kill9()
            cluster.wait_down(2)
            self.refused(r"^QUORUM wanted R=3, 2 answered \(node-3 is down\)$", one, "DYNAMO.GET", "a", "R", 3)
            self.refused(r"^QUORUM wanted PR=3, 2 answered \(node-3 is down\)$", one, "DYNAMO.GET", "a", "PR", 3)
            self.refused(r"^QUORUM wanted W=3, 2 answered \(node-3 is down\)$", two, "DYNAMO.PUT", "a", "b", "W", 3)
            self.refused(r"^QUORUM wanted PW=3, 2 answered \(node-3 is down\)$", two, "DYNAMO.PUT", "a", "b", "PW", 3)
            one.call("SET", "with two", "x")
            self.assertEqual(two.call("GET", "with two"), b"x")
            two.kill9()
            cluster.wait_down(1)
            down = r"\(node-\d is down, node-\d is down\)$"
            self.refused("^QUORUM wanted W=2, 1 answered " + down, one, "SET", "canary:1", "refused")
            self.refused("^QUORUM wanted W=2, 1 answered " + down, one, "DYNAMO.PUT", "canary:1", "refused")
            self.refused("^QUORUM wanted W=2, 1 answered " + down, one, "MSET", "canary:1", "refused", "b", "c")
            self.refused("^QUORUM wanted R=2, 1 answered " + down, one, "DEL", "canary:1")
            self.refused("^QUORUM wanted R=2, 1 answered " + down, one, "GET", "canary:1")
            self.refused("^QUORUM wanted R=2, 1 answered " + down, one, "MGET", "canary:1", "canary:2")
            self.refused("^QUORUM wanted PW=2, 1 answered " + down, one, "DYNAMO.PUT", "a", "b", "W", 1, "PW", 2)
            # Who asks for less gets it.
            self.assertEqual(one.dynamo_get("canary:1", "R", 1)[1], [CANARIES["canary:1"].encode()])
            context = one.dynamo_put("alone", "x", None, "W", 1)
            self.assertTrue(context)
            explained = one.explain("canary:1")
            self.assertEqual([r["answered"] for r in explained["replicas"] if r["role"] == "replica"].count(False), 2)
            two.start()
            three.start()
            cluster.wait_formed()
            cluster.wait_hints_drained()
            for node in cluster:
                self.assertEqual(node.dynamo_get("alone", "R", 3)[1], [b"x"])
                for key, value in CANARIES.items():
                    # What was refused supersedes nothing: it may stand beside the value, which is there.
                    self.assertIn(value.encode(), node.dynamo_get(key, "R", 3)[1])

    def test_more_copies_than_nodes(self):
        with Cluster(1, engine="memory") as cluster:
            self.refused(r"^QUORUM wanted W=2, 1 answered \(the cluster has 1 member: add nodes, or lower n, r, w with DYNAMO\.BUCKET\)$", cluster[0], "SET", "a", "b")
            self.refused(r"^QUORUM wanted R=2, 1 answered \(the cluster has 1 member: add nodes, or lower n, r, w with DYNAMO\.BUCKET\)$", cluster[0], "GET", "a")
            cluster[0].call("DYNAMO.BUCKET", "default", "SET", "n", 1, "r", 1, "w", 1)
            self.assertEqual(cluster[0].call("SET", "a", "b"), "OK")
            self.assertEqual(cluster[0].call("GET", "a"), b"b")


# -- passwords -----------------------------------------------------------------------------------------------------------

class Passwords(WithCluster):
    settings = {"node.requirepass": "right"}

    def test_nothing_without_the_right_one(self):
        node = self.cluster[0]
        with Resp(node.port) as client:
            for command in (("GET", "canary:1"), ("SET", "canary:1", "x"), ("INFO",), ("DYNAMO.CLUSTER", "STATUS"),
                            ("CONFIG", "GET", "*"), ("COMMAND",), ("PING",), ("CLUSTER", "SLOTS")):
                with self.assertRaisesRegex(ReplyError, r"^NOAUTH Authentication required\.$"):
                    client.call(*command)
            for args in (("AUTH", "wrong"), ("AUTH", "default", "wrong"), ("AUTH", "nobody", "right"), ("AUTH", ""),
                         ("AUTH", "right "), ("AUTH", "righ"), ("AUTH", "right\0"), ("HELLO", 3, "AUTH", "default", "x")):
                with self.assertRaisesRegex(ReplyError, "^WRONGPASS "):
                    client.call(*args)
            with self.assertRaisesRegex(ReplyError, "^NOAUTH"):
                client.call("GET", "canary:1")
            self.assertEqual(client.call("AUTH", "right"), "OK")
            self.assertEqual(client.call("GET", "canary:1"), b"value 1")
        self.assertGreater(self.stats(node)["auth_failures"], 5)

    def test_strangers_can_not_make_it_remember_much(self):
        with Resp(self.cluster[0].port) as client:
            client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n")
            self.assertRegex(str(client.read_reply()), "^ERR Protocol error: unauthenticated bulk length$")
            self.assertTrue(client.is_closed_by_server())
        with Resp(self.cluster[0].port) as client:
            client.send_raw(b"*1000\r\n")
            self.assertRegex(str(client.read_reply()), "^ERR Protocol error: unauthenticated multibulk length$")
            self.assertTrue(client.is_closed_by_server())

    def test_secrets_are_not_shown(self):
        secret = self.cluster[0].settings["cluster"]["secret"]
        shown = repr(self.cluster[0].call("CONFIG", "GET", "*")) + repr(self.cluster[0].call("INFO", "all"))
        self.assertIn("****", shown)
        self.assertNotIn(secret, shown)
        self.assertNotIn("right", shown)
        with open(self.cluster[0].log_path, encoding="utf-8") as log:
            text = log.read()
        self.assertNotIn(secret, text)


# -- the peer port ---------------------------------------------------------------------------------------------------------

MAGIC = b"GRAMMEP\n"
HELLO, PROOF, REFUSE = 1, 2, 3
OLDER, NEWER, CLUSTER, SECRET, TWIN, MALFORMED = 2, 3, 4, 5, 7, 8  # why
with open(os.path.join(ROOT, "src", "base", "limits.h"), encoding="utf-8") as limits:
    FRAME_HEADER = int(re.search(r"#define FRAME_HEADER_BYTES (\d+)u", limits.read()).group(1))


class Peer:
    """What another node would say on the peer port (src/os/handshake.h), and what none should."""

    def __init__(self, target, cluster_name="e2e", secret=None, node=0x0BADCAFE, version=1, instance=7):
        self.socket = target if isinstance(target, socket.socket) else \
            socket.create_connection((HOST, target.peer_port), timeout=20)
        self.cluster_name = cluster_name.encode()
        self.secret = (secret or "").encode()
        self.node = node
        self.version = version
        self.instance = instance
        self.nonce = os.urandom(32)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def record(self, kind, body):
        self.send(MAGIC + struct.pack("<HBBH", self.version, kind, 0, len(body)) + body)

    def hello(self):
        self.record(HELLO, struct.pack("<IQ", self.node, self.instance) + self.nonce +
                    struct.pack("<I", len(self.cluster_name)) + self.cluster_name)

    def exactly(self, size):
        while len(self.buffer) < size:
            data = self.socket.recv(65536)
            if not data:
                raise Disconnected("the node closed the connection")
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_record(self):
        head = self.exactly(14)
        assert head[:8] == MAGIC, head
        _, kind, _, size = struct.unpack("<HBBH", head[8:])
        return kind, self.exactly(size)

    def proof(self, theirs, of_dialler=True):
        node, instance = struct.unpack("<IQ", theirs[:12])
        text = b"gramme node proof" + struct.pack("<HB", self.version, 1 if of_dialler else 2)
        text += struct.pack("<IIQQ", self.node, node, self.instance, instance) + self.nonce + theirs[12:44]
        text += struct.pack("<I", len(self.cluster_name)) + self.cluster_name
        return hmac.new(self.secret, text, hashlib.sha256).digest()

    def shake_hands(self):
        self.hello()
        kind, theirs = self.read_record()
        assert kind == HELLO, kind
        self.record(PROOF, self.proof(theirs))
        kind, proof = self.read_record()
        assert kind == PROOF and proof == self.proof(theirs, False), (kind, proof)

    def rest(self):
        """All that the node still says until it closes; an error when it does not."""
        with contextlib.suppress(ConnectionResetError):
            while True:
                data = self.socket.recv(65536)
                if not data:
                    break
                self.buffer += data
        return self.buffer


class PeerPort(WithCluster):
    def setUp(self):
        self.node = self.cluster[0]
        self.secret = self.node.settings["cluster"]["secret"]
        self.before = self.stats(self.node)

    def log_since(self, node, start):
        with open(node.log_path, encoding="utf-8", errors="replace") as log:
            log.seek(start)
            return log.read()

    def assert_logged(self, pattern, node=None, start=0):
        node = node or self.node
        self.cluster.wait_until(lambda: re.search(pattern, self.log_since(node, start)), 20, "the log says: " + pattern)

    def assert_refused(self, peer, why):
        kind, body = peer.read_record()
        self.assertEqual((kind, body), (REFUSE, bytes([why])))
        peer.rest()

    def test_garbage(self):
        for data in (b"PING\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\0" * 100, b"GRAMMEP\r", b"x"):
            with self.subTest(data), Peer(self.node) as peer:
                peer.send(data)
                self.assertEqual(peer.rest(),
                                 b"-ERR this port is for other gramme nodes; clients connect to the client port\r\n")
        self.assert_logged("refused the connection from .*: it does not speak the protocol between nodes")

    def test_records_that_make_no_sense(self):
        hello = struct.pack("<IQ", 5, 7) + b"n" * 32
        for kind, body in [(HELLO, b""), (HELLO, b"\0" * 48), (HELLO, hello + struct.pack("<I", 99) + b"e2e"),
                           (HELLO, hello + struct.pack("<I", 33) + b"x" * 33), (PROOF, b"\0" * 32), (9, b""), (0, b"x")]:
            with self.subTest((kind, body)), Peer(self.node) as peer:
                peer.record(kind, body)
                self.assert_refused(peer, MALFORMED)
        with Peer(self.node) as peer:
            peer.send(MAGIC + struct.pack("<HBBH", 1, HELLO, 0, 65535))
            self.assert_refused(peer, MALFORMED)

    def test_silence_ends_after_a_while(self):
        with Peer(self.node) as peer:
            peer.send(MAGIC[:4])
            self.assertEqual(peer.rest(), b"")
        self.assert_logged("refused the connection from .*: it did not finish the handshake in time")

    def test_other_versions(self):
        with Peer(self.node, secret=self.secret, version=0) as peer:
            peer.hello()
            self.assert_refused(peer, OLDER)
        self.assert_logged("refused the connection from .*: it runs an older version; upgrade it")
        with Peer(self.node, secret=self.secret, version=2) as peer:
            peer.hello()
            self.assert_refused(peer, NEWER)
        self.assert_logged("refused the connection from .*: it runs a newer version; upgrade this node")
        self.assertGreater(self.stats(self.node)["peers_refused"], self.before["peers_refused"] + 1)

    def test_another_clusters_name(self):
        with Peer(self.node, cluster_name="elsewhere", secret=self.secret) as peer:
            peer.hello()
            self.assert_refused(peer, CLUSTER)
        self.assert_logged("refused the connection from .*: it belongs to another cluster; check cluster-name.*elsewhere")

    def test_a_wrong_secret(self):
        for secret in ("", "guess", self.secret + "0", self.secret[:-1]):
            with Peer(self.node, secret=secret) as peer:
                peer.hello()
                kind, theirs = peer.read_record()
                self.assertEqual(kind, HELLO)
                peer.record(PROOF, peer.proof(theirs))
                self.assert_refused(peer, SECRET)
        self.assert_logged("refused the connection from .*: its secret is another one; set the same secret on all nodes")

    def test_a_proof_reflected_or_replayed(self):
        with Peer(self.node) as peer, Peer(self.node) as other:
            peer.hello()
            _, theirs = peer.read_record()
            peer.nonce = theirs[12:44]  # our nonce is theirs
            other.nonce = theirs[12:44]
            other.hello()
            _, again = other.read_record()
            self.assertNotEqual(again[12:44], theirs[12:44], "a nonce was used twice")
            peer.record(PROOF, b"\0" * 32)
            self.assert_refused(peer, SECRET)
            # A real proof of another connection.
            with Peer(self.node, secret=self.secret) as good:
                good.hello()
                _, hello = good.read_record()
                proof = good.proof(hello)
            other.record(PROOF, proof)
            self.assert_refused(other, SECRET)

    def test_its_own_id(self):
        own = int(self.node.status()["node"]["id"], 16)
        with Peer(self.node, secret=self.secret, node=own) as peer:
            peer.hello()
            self.assert_refused(peer, TWIN)
        self.assert_logged("it has the id of this node; one of the two data directories is a copy: empty the copy")

    def test_bad_frames_of_one_who_knows_the_secret(self):
        seed = random.SystemRandom().getrandbits(32)
        print("seed %d" % seed)
        dice = random.Random(seed)
        head = FRAME_HEADER - 4  # behind the body's size
        frames = [b"\xff" * 64, b"\0" * FRAME_HEADER, struct.pack("<I", 0xFFFFFFFF) + b"\0" * head,
                  struct.pack("<I", (65 << 20) + 1) + b"\0" * head, struct.pack("<I", 10) + b"\0" * head + b"0123456789"]
        for _ in range(10):  # whole ones
            size = dice.randrange(2000)
            frames.append(struct.pack("<I", size) + dice.randbytes(head + size))
        for number, frame in enumerate(frames):
            # Each as another stranger.
            with self.subTest(frame[:40]), Peer(self.node, secret=self.secret, node=0x0BAD0000 + number) as peer:
                peer.shake_hands()
                peer.send(frame)
                peer.rest()
        self.assert_logged("a damaged frame from node 0bad.* at .*: the connection is closed")

    def test_half_a_frame_holds_nobody_up(self):
        with Peer(self.node, secret=self.secret) as peer:
            peer.shake_hands()
            peer.send(struct.pack("<I", 60 << 20) + b"\0" * 1000)
            self.assert_serves()

    def test_many_strangers_at_once(self):
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                with contextlib.suppress(ConnectionError):
                    stack.enter_context(Peer(self.node)).send(MAGIC[:1])
            self.assert_serves()
        with Peer(self.node, secret=self.secret) as peer:
            self.cluster.wait_until(lambda: peer.shake_hands() or True, 20, "a node gets in again")


# -- nodes that do not belong ------------------------------------------------------------------------------------------------

class Joining(WithCluster):
    def stranger(self, **changes):
        """A node beside the cluster that tries to join it; "section_option" changes its settings."""
        port, peer_port = free_ports(2)
        self.addCleanup(release_ports, [port, peer_port])
        model = self.cluster[0]
        settings = {
            "node": {**model.settings["node"], "name": "stranger", "port": port, "peer-port": peer_port,
                     "dir": os.path.join(self.cluster.directory, "stranger-%s" % self.id().rsplit(".", 1)[-1])},
            "cluster": {**model.settings["cluster"], "seeds": "%s:%d" % (HOST, model.peer_port)},
        }
        for name, value in changes.items():
            section, option = name.split("_", 1)
            settings[section][option.replace("_", "-")] = value
        node = Node(9, settings["node"]["dir"], port, peer_port, settings)
        self.addCleanup(self.end, node)
        return node

    def end(self, node):
        if node.process is not None:
            self.assertEqual(node.stop(), 0, node.log_tail())

    def assert_log(self, node, pattern):
        def said():
            node.check_alive()
            with open(node.log_path, encoding="utf-8", errors="replace") as log:
                return re.search(pattern, log.read())
        return self.cluster.wait_until(said, 30, "%s logs: %s\n%s" % (node, pattern, node.log_tail()))

    def assert_outside(self, node):
        """It runs, belongs to nothing, and says so to its clients."""
        node.wait_answers()
        status = node.status()
        self.assertFalse(status["node"]["member"])
        self.assert_error("^NOTMEMBER ", node, "GET", "canary:1")
        self.assert_error("^NOTMEMBER ", node, "SET", "canary:1", "x")
        self.assertEqual(len(self.cluster[0].status()["members"]), 3)

    def test_a_cluster_that_holds_data_takes_nobody_in_by_itself(self):
        node = self.stranger().start()
        reason = "the node waits to be added: type gramme plan add %s and then gramme commit" % node.address
        self.assert_log(node, "not yet in the cluster: " + reason)
        self.assertEqual(node.status()["node"]["join_refusal"], reason)
        self.assert_outside(node)

    def test_another_cluster_name(self):
        node = self.stranger(cluster_cluster_name="elsewhere").start()
        self.assert_log(node, "refused the connection to .*it (belongs to another cluster|refused this node)")
        self.assert_log(self.cluster[0], "refused the connection from .*: it belongs to another cluster; check cluster-name")
        self.assert_outside(node)

    def test_another_secret(self):
        node = self.stranger(cluster_secret="another").start()
        self.assert_log(node, "refused the connection to .*secret is another one")
        self.assert_log(self.cluster[0], "refused the connection from .*secret is another one")
        self.assert_outside(node)

    def test_a_seed_that_is_a_client_port(self):
        node = self.stranger(cluster_seeds=self.cluster[0].address).start()
        self.assert_log(node, "refused the connection to .*seeds and members take peer ports, not client ports")
        self.assert_outside(node)

    def test_a_seed_where_nobody_is(self):
        [port] = free_ports(1)
        self.addCleanup(release_ports, [port])
        node = self.stranger(cluster_seeds="%s:%d" % (HOST, port)).start()
        self.assert_log(node, "can not reach 127.0.0.1:%d .*trying again until it answers" % port)
        self.assert_outside(node)

    def test_a_seed_of_an_older_version(self):
        with contextlib.closing(socket.create_server((HOST, free_ports(1)[0]))) as listener:
            def answer():
                with contextlib.suppress(OSError):
                    while True:
                        with Peer(listener.accept()[0], version=0) as peer:
                            peer.hello()
                            peer.rest()
            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            node = self.stranger(cluster_seeds="%s:%d" % listener.getsockname()).start()
            self.assert_log(node, "refused the connection to .*: it runs an older version; upgrade it")
            self.assert_outside(node)
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    def test_a_copy_of_a_members_directory(self):
        member = self.cluster[1]
        node = self.stranger()
        os.makedirs(node.directory)
        with open(os.path.join(member.directory, "gramme.format"), "rb") as original, \
                open(os.path.join(node.directory, "gramme.format"), "wb") as copy:
            copy.write(original.read())
        node.settings["cluster"]["seeds"] = "%s:%d" % (HOST, member.peer_port)
        node.start()
        self.assert_log(node, "one of the two data directories is a copy: empty the copy")
        self.assert_log(member, "one of the two data directories is a copy: empty the copy")
        node.wait_answers()
        self.assertFalse(node.status()["node"]["member"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
