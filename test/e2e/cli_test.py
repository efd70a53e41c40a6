#!/usr/bin/python3
"""The command line, as a person or a script meets it: help, usage errors, exit codes, what is printed, and `gramme dev`."""

import base64
import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import (Cluster, HOST, Resp, START_SECONDS, STOP_SECONDS, free_ports, port_is_free, program, release_ports,  # noqa: E402
                     run, wait_until)

COMMANDS = ["dev", "server", "status", "wait-sync", "ring", "plan", "commit", "abort", "get", "put", "del", "explain", "help"]


class CliCase(unittest.TestCase):
    def assert_done(self, result):
        self.assertEqual((result.returncode, result.stderr), (0, "" if isinstance(result.stdout, str) else b""))

    def assert_failed(self, result, *parts):
        """Exit code 1, and one line on standard error that begins with the program's name and holds these."""
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, r"\Agramme: [^\n]+\n\Z")
        for part in parts:
            self.assertIn(part, result.stderr)

    def assert_usage(self, result, *parts):
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("gramme"), result.stderr)
        for part in parts:
            self.assertIn(part, result.stderr)


class Usage(CliCase):
    def test_help_lists_every_command(self):
        result = run("help")
        self.assert_done(result)
        for command in COMMANDS:
            self.assertRegex(result.stdout, r"(?m)^  %s +\S" % command)
        self.assertEqual(run("--help").stdout, result.stdout)
        self.assertEqual(run("-h").stdout, result.stdout)

    def test_every_command_has_help(self):
        for command in COMMANDS[:-1]:
            by_flag = run(command, "--help")
            self.assert_done(by_flag)
            self.assertIn("Usage: gramme %s" % command, by_flag.stdout)
            self.assertEqual(run("help", command).stdout, by_flag.stdout)

    def test_every_topic_that_help_names_is_there(self):
        topics = re.findall(r"(?m)^  (\w+)", run("help").stdout.split("topics:")[1])
        self.assertGreaterEqual(len(topics), 3)
        for topic in topics:
            result = run("help", topic)
            self.assert_done(result)
            self.assertGreater(len(result.stdout), 100)

    def test_an_unknown_topic_or_command_is_a_usage_error_that_says_what_there_is(self):
        self.assert_usage(run("help", "nonsense"), "no command or topic 'nonsense'")
        self.assert_usage(run("nonsense"), "no command 'nonsense'", ", ".join(COMMANDS))

    def test_no_command_prints_help_and_is_a_usage_error(self):
        result = run()
        self.assertEqual(result.returncode, 2)
        self.assertIn("gramme dev", result.stdout)

    def test_version(self):
        result = run("--version")
        self.assert_done(result)
        self.assertRegex(result.stdout, r"\Agramme \d+\.\d+\.\d+\n\Z")

    def test_wrong_arguments_are_usage_errors_that_name_what_is_wrong(self):
        for arguments, part in [
                (["get"], "a KEY is wanted"),
                (["put", "k"], "a KEY and a VALUE"),
                (["put", "k", "a", "b"], "'b' is one argument too many"),
                (["get", "k", "l"], "'l' is one argument too many"),
                (["get", "k", "--r", "0"], "--r must be a number from 1 to 7"),
                (["get", "k", "--r", "x"], "it is 'x'"),
                (["put", "k", "v", "--w", "-1"], "--w must be"),
                (["put", "k", "v", "--new", "--context", "c"], "give one of them"),
                (["get", "k", "-p", "0"], "--port must be a number from 1 to 65535"),
                (["get", "k", "-p", "65536"], "it is '65536'"),
                (["status", "x"], "takes no arguments"),
                (["ring", "x"], "--key"),
                (["status", "--nonsense"], "--nonsense"),
                (["explain"], "a KEY is wanted"),
                (["plan", "grow", "x"], "'grow' is no change; there are: add HOST:PORT"),
                (["plan", "add"], "add takes 1 argument"),
                (["plan", "replace", "a"], "replace takes 2 arguments"),
                (["plan", "reweigh", "a", "0"], "WEIGHT must be a number from 1 to 1000"),
                (["plan", "add", "a", "--weight", "1001"], "--weight must be"),
                (["plan", "remove", "a", "--zone", "z"], "--weight and --zone go with add"),
                (["plan", "a", "b", "c", "d", "e"], "'e' is one argument too many"),
                (["commit", "a", "b"], "'b' is one argument too many"),
                (["abort", "x"], "'x' is one argument too many"),
                (["dev", "--add", "--nodes", "2"], "--add goes with --dir alone"),
                (["dev", "--nodes", "0"], "--nodes must be"),
                (["dev", "--nodes", "33"], "from 1 to 32"),
                (["dev", "x"], "takes no arguments"),
                (["server", "x"], "takes no arguments"),
                (["server", "--set", "port"], "NAME=VALUE"),
                (["server", "--set", "prot=1"], "did you mean 'port'"),
                (["server", "--port", "0"], "from 1 to 65535"),
                (["server", "--hedge", "5"], "with its unit"),
        ]:
            with self.subTest(arguments=arguments):
                self.assert_usage(run(*arguments), part)

    def test_output_that_can_not_be_written_is_a_failure(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            result = subprocess.run([program(), "help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("standard output", result.stderr)


class Configuration(CliCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="gramme-cli-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.config = os.path.join(self.directory, "gramme.conf")

    def serve(self, text, *flags):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)
        return run("server", "--config", self.config, "--dir", os.path.join(self.directory, "data"), *flags)

    def test_a_fault_in_the_file_stops_the_start_with_file_line_and_reason(self):
        for text, part in [
                ("[node]\nprot = 1\n", ":2: unknown option 'prot'; did you mean 'port'?"),
                ("[node]\n\nport = 70000\n", ":3: option 'port' must be from 1 to 65535; it is 70000"),
                ("[timing]\nhedge = soon\n", ":2: option 'hedge' must be a duration"),
                ("[nodes]\nport = 1\n", ":2: unknown section [nodes]"),
                ("[node]\nrubbish\n", ":2: this is neither"),
        ]:
            with self.subTest(text=text):
                self.assert_failed(self.serve(text), self.config + part)

    def test_settings_that_contradict_each_other_stop_the_start(self):
        self.assert_failed(self.serve("[cluster]\npartitions = 1000\n"), "power of two")
        self.assert_failed(self.serve("[node]\nlisten = 0.0.0.0\n"), "requirepass")
        self.assert_failed(self.serve("", "--port", "60000"), "beyond 65535")

    def test_a_file_that_is_not_there_is_named(self):
        self.assert_failed(run("server", "--config", "/no/such.conf"), "/no/such.conf: No such file",
                           "`gramme server --print-config > FILE` makes one")

    def test_a_data_directory_that_can_not_be_made_is_named(self):
        self.assert_failed(run("server", "--dir", "/proc/gramme"), "/proc/gramme")

    def test_the_sample_configuration_names_every_flag(self):
        sample = run("server", "--print-config")
        self.assert_done(sample)
        names = re.findall(r"(?m)^#([a-z-]+) =", sample.stdout)
        self.assertGreater(len(names), 20)
        help_text = run("server", "--help").stdout
        for name in names:
            self.assertIn("--%s=VALUE" % name, help_text)


# -- against a server that answers as it is told ------------------------------------------------------------------------------

class Fake:
    """A RESP server that answers each command with what `answers` says: bytes by the command's first words."""

    def __init__(self, answers, otherwise=b"-ERR unknown command\r\n"):
        fake = self
        self.commands = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                with contextlib.suppress(ConnectionError, ValueError):
                    while True:
                        line = self.rfile.readline()
                        if not line:
                            return
                        words = []
                        for _ in range(int(line[1:])):
                            size = int(self.rfile.readline()[1:])
                            words.append(self.rfile.read(size + 2)[:-2])
                        fake.commands.append(words)
                        self.wfile.write(fake.answer(words))

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.answers = answers
        self.otherwise = otherwise
        self.port = free_ports(1)[0]
        self.server = Server((HOST, self.port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def answer(self, words):
        for count in (2, 1):
            name = b" ".join(words[:count]).decode(errors="replace").upper()
            if name in self.answers:
                return self.answers[name]
        return self.otherwise

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        release_ports([self.port])

    def run(self, *args, **options):
        return run(*args, "-p", str(self.port), **options)


def bulk(data):
    data = data if isinstance(data, bytes) else data.encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


def got(context, *values):
    return b"*2\r\n" + bulk(context) + b"*%d\r\n" % len(values) + b"".join(bulk(value) for value in values)


MEMBERS = [
    {"id": "0000000a", "name": "ada", "address": "127.0.0.1:7600", "peer_address": "127.0.0.1:17600", "zone": "east",
     "weight": 100, "partitions": 342, "up": True, "self": True, "last_heard_ms": None, "hints": 1234,
     "oldest_hint_age_ms": 75000, "keys": 1000000, "nospace": False},
    {"id": "0000000b", "name": "bob", "address": "127.0.0.1:7601", "peer_address": "127.0.0.1:17601", "zone": "",
     "weight": 100, "partitions": 341, "up": False, "self": False, "last_heard_ms": 13000, "hints": 0,
     "oldest_hint_age_ms": 0, "keys": 5, "nospace": False},
]
STATUS = {
    "cluster": {"name": "shop", "partitions": 1024, "members": 2, "history_digest": "00ff", "forming": False},
    "node": {"id": "0000000a", "name": "ada", "address": "127.0.0.1:7600", "peer_address": "127.0.0.1:17600",
             "engine": "rocksdb", "dir": "/data", "uptime_seconds": 3700, "incarnation": "1" * 16, "member": True,
             "join_refusal": None, "nospace": False, "keys": 1000000, "bytes": 5 << 20, "clients": 3},
    "members": MEMBERS,
    "totals": {"hints": 1234, "oldest_hint_age_ms": 75000, "members_down": 1},
}
RING = {"partitions": 4, "digest": "00ff",
        "members": [{"id": "0000000a", "name": "ada", "zone": "east", "weight": 300, "partitions": 3},
                    {"id": "0000000b", "name": "bob", "zone": "", "weight": 100, "partitions": 1}],
        "owners": [0, 0, 1, 0]}
DOT = {"node": "0000000a", "name": "ada", "incarnation": "1" * 16, "time": str((1700000000000 << 16) + 2),
       "at": "2023-11-14T22:13:20.000Z"}
EXPLAIN = {
    "key": "cart:42", "bucket": "cart", "slot": 77, "position": "ab" * 16, "partition": 2,
    "props": {"n": 3, "r": 2, "w": 2, "pr": 0, "pw": 0, "dw": "all", "resolve": "siblings", "ttl_ms": 0, "sibling_max": 64},
    "preference": [{"node": "0000000a", "name": "ada", "address": "127.0.0.1:7600", "role": "replica", "up": True},
                   {"node": "0000000b", "name": "bob", "address": "127.0.0.1:7601", "role": "replica", "up": False}],
    "replicas": [
        {"node": "0000000a", "name": "ada", "answered": True, "role": "replica", "clock": {"pairs": [DOT], "dots": []},
         "siblings": [{"dot": DOT, "size": 4, "tombstone": False, "expires_at_ms": 0},
                      {"dot": DOT, "size": 0, "tombstone": True, "expires_at_ms": 0}],
         "hints": [{"owner": "0000000b", "owner_name": "bob", "clock": {"pairs": [], "dots": [DOT]}, "siblings": []}]},
        {"node": "0000000b", "name": "bob", "answered": False, "role": "replica", "clock": None, "siblings": None,
         "hints": []},
    ],
}


class AgainstAFake(CliCase):
    def test_one_value_is_printed_as_it_is(self):
        value = bytes(range(256)) + b"\r\n"
        with Fake({"DYNAMO.GET": got("ctx", value)}) as fake:
            result = fake.run("get", "k", stdin=b"")
            self.assert_done(result)
            self.assertEqual(result.stdout, value)
            self.assertEqual(fake.commands, [[b"DYNAMO.GET", b"k"]])

    def test_siblings_are_listed_with_the_context_that_merges_them(self):
        with Fake({"DYNAMO.GET": got("ctx", "milk", b"br\"e\xffad\n")}) as fake:
            result = fake.run("get", "cart:42", "--r", "3", "--pr", "0")
            self.assert_done(result)
            self.assertIn("cart:42 has 2 siblings", result.stdout)
            self.assertIn('1  "milk"\n', result.stdout)
            self.assertIn('2  "br\\"e\\xffad\\n"\n', result.stdout)
            self.assertIn("gramme put cart:42 VALUE --context ctx\n", result.stdout)
            self.assertEqual(fake.commands, [[b"DYNAMO.GET", b"cart:42", b"R", b"3", b"PR", b"0"]])

    def test_get_as_json_holds_any_bytes(self):
        with Fake({"DYNAMO.GET": got("ctx", "mil\u00e9k", b"\xff\x00\x01")}) as fake:
            result = fake.run("get", "k", "--json")
            self.assert_done(result)
            document = json.loads(result.stdout)
            self.assertEqual(document["key"], {"text": "k"})
            self.assertEqual(document["context"], "ctx")
            self.assertEqual(document["values"][0], {"text": "mil\u00e9k"})
            self.assertEqual(base64.b64decode(document["values"][1]["base64"]), b"\xff\x00\x01")

    def test_the_context_alone_is_for_scripts(self):
        with Fake({"DYNAMO.GET": got("ctx", "milk", "bread")}) as fake:
            self.assertEqual(fake.run("get", "k", "--context-only").stdout, "ctx\n")

    def test_a_key_without_a_value_is_exit_code_1(self):
        with Fake({"DYNAMO.GET": got("ctx")}) as fake:
            self.assert_failed(fake.run("get", "k"), "k has no value")
            result = fake.run("get", "k", "--json")
            self.assertEqual((result.returncode, json.loads(result.stdout)["values"]), (1, []))

    def test_put_without_a_context_reads_first_and_replaces_what_it_found(self):
        with Fake({"DYNAMO.GET": got("seen", "old"), "DYNAMO.PUT": bulk("after")}) as fake:
            result = fake.run("put", "k", "v", "--w", "3", "--px", "60000")
            self.assert_done(result)
            self.assertEqual(result.stdout, "after\n")
            self.assertEqual(fake.commands, [[b"DYNAMO.GET", b"k"], [
                b"DYNAMO.PUT", b"k", b"v", b"CONTEXT", b"seen", b"W", b"3", b"PX", b"60000"]])

    def test_put_with_a_context_or_as_new_does_not_read(self):
        with Fake({"DYNAMO.PUT": bulk("after")}) as fake:
            self.assert_done(fake.run("put", "k", "v", "--context", "c"))
            self.assert_done(fake.run("put", "k", "v", "--new"))
            self.assertEqual(fake.commands, [[b"DYNAMO.PUT", b"k", b"v", b"CONTEXT", b"c"], [b"DYNAMO.PUT", b"k", b"v"]])

    def test_put_takes_a_value_from_standard_input_byte_for_byte(self):
        value = bytes(range(256)) * 1000
        with Fake({"DYNAMO.PUT": bulk("after")}) as fake:
            result = fake.run("put", "k", "-", "--new", stdin=value)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(fake.commands[0][2], value)

    def test_a_value_that_can_never_fit_is_refused_before_it_is_sent(self):
        with Fake({}) as fake:
            result = fake.run("put", "k", "-", "--new", stdin=b"x" * ((16 << 20) + 1))
            self.assertEqual((result.returncode, result.stderr[:8]), (1, b"gramme: "))
            self.assertEqual(fake.commands, [])

    def test_del_prints_the_context_and_hands_over_the_one_it_was_given(self):
        with Fake({"DYNAMO.DEL": bulk("after")}) as fake:
            result = fake.run("del", "k", "--json")
            self.assert_done(result)
            self.assertEqual(json.loads(result.stdout), {"key": {"text": "k"}, "context": "after"})
            self.assert_done(fake.run("del", "k", "--context", "c", "--dw", "0"))
            self.assertEqual(fake.commands, [[b"DYNAMO.DEL", b"k"], [
                b"DYNAMO.DEL", b"k", b"CONTEXT", b"c", b"DW", b"0"]])

    def test_an_error_reply_is_told_as_it_is(self):
        error = "QUORUM wanted W=2, 1 answered (bob is down)"
        with Fake({"DYNAMO.GET": got("c"), "DYNAMO.PUT": b"-%s\r\n" % error.encode()}) as fake:
            self.assert_failed(fake.run("put", "k", "v"), error)

    def test_status_shows_who_is_down_and_what_waits(self):
        with Fake({"DYNAMO.CLUSTER STATUS": bulk(json.dumps(STATUS))}) as fake:
            result = fake.run("status")
            self.assert_done(result)
            self.assertRegex(result.stdout, r"cluster +shop +2 members, 1 down")
            self.assertRegex(result.stdout, r"(?m)^\* ada +127\.0\.0\.1:7600 +up +east +100 +342 +1,000,000 +1,234 +1m 15s +-$")
            self.assertRegex(result.stdout, r"(?m)^  bob +127\.0\.0\.1:7601 +DOWN +- +100 +341 +5 +0 +- +13s$")
            self.assertIn("1,234 hints wait for a node that did not answer, the oldest for 1m 15s", result.stdout)
            self.assertIn("5.0 MB", result.stdout)
            self.assertNotIn("\033", result.stdout)

    def status_of(self, **changes):
        document = {**STATUS, **changes, "totals": {**STATUS["totals"], **changes.get("totals", {})}}
        with Fake({"DYNAMO.CLUSTER STATUS": bulk(json.dumps(document))}) as fake:
            result = fake.run("status")
            self.assert_done(result)
            return result.stdout

    def test_status_tells_how_equal_replicas_are(self):
        differences = [{"partition": 7, "id": "0000000b", "name": "bob", "keys": 3},
                       {"partition": 9, "id": "0000000b", "name": "bob", "keys": None}]
        out = self.status_of(differences=differences, differences_count=2, totals={
            "keys_differ": 3, "compared_age_ms": 75000, "mend_bytes_to_go": 5 << 20, "mend_eta_seconds": 90})
        self.assertIn("3 keys are known to differ between replicas, about 5.0 MB to go, 1m 30s left, "
                      "all were compared within 1m 15s", out)
        self.assertIn("partition 7 differs from bob's in 3 keys\n", out)
        self.assertIn("partition 9 differs from bob's\n", out)
        out = self.status_of(differences=differences[1:], differences_count=1, totals={"keys_differ": 0})
        self.assertIn("1 partition is known to differ, the keys not counted yet, not all have been compared yet", out)
        self.assertIn("no key is known to differ between replicas, not all have been compared yet", self.status_of())

    def test_status_tells_what_is_lost_damaged_or_waits_to_be_forgotten(self):
        lost = {**MEMBERS[1], "loss": "its data directory is an old copy",
                "resynced": {"held": 3, "partitions": 768, "keys": 1200, "bytes": 1}}
        out = self.status_of(members=[MEMBERS[0], lost], totals={"tombstones": 2, "floor_age_ms": 13000},
                             scrub={"running": True, "per_mille": 125, "left_seconds": 90, "damaged": 4, "healed": 3,
                                    "lost": 1, "gaps": 0})
        self.assertIn("bob: its data directory is an old copy", out)
        self.assertIn("3 of 768 partitions, 1,200 keys", out)
        self.assertIn("4 records found damaged here, 3 made whole from other replicas, 1 lost; check the device", out)
        self.assertIn("what is stored here is read again: 12.5 %, 1m 30s left of this round", out)
        self.assertIn("2 copies of deletions, kept until every replica has them; all have what is older than 13s", out)

    def test_status_tells_why_a_node_was_not_taken_in(self):
        status = {**STATUS, "node": {**STATUS["node"], "member": False, "join_refusal": "the cluster holds data"}}
        with Fake({"DYNAMO.CLUSTER STATUS": bulk(json.dumps(status))}) as fake:
            self.assertIn("not yet a member: the cluster holds data", fake.run("status").stdout)

    def test_documents_are_passed_through_as_json(self):
        with Fake({"DYNAMO.CLUSTER STATUS": bulk(json.dumps(STATUS)), "DYNAMO.CLUSTER RING": bulk(json.dumps(RING)),
                   "DYNAMO.EXPLAIN": bulk(json.dumps(EXPLAIN))}) as fake:
            for arguments, document in ([["status"], STATUS], [["ring"], RING], [["explain", "cart:42"], EXPLAIN]):
                result = fake.run(*arguments, "--json")
                self.assert_done(result)
                self.assertEqual(json.loads(result.stdout), document)

    def test_ring_shows_shares_and_on_demand_the_map_and_a_key(self):
        with Fake({"DYNAMO.CLUSTER RING": bulk(json.dumps(RING)), "DYNAMO.EXPLAIN": bulk(json.dumps(EXPLAIN))}) as fake:
            result = fake.run("ring", "--map", "--key", "cart:42", environment={"LC_ALL": "C"})
            self.assert_done(result)
            self.assertRegex(result.stdout, r"(?m)^A +ada +east +300 +3 +75\.0 % +#{40}$")
            self.assertRegex(result.stdout, r"(?m)^B +bob +- +100 +1 +25\.0 % +#{13}$")
            self.assertRegex(result.stdout, r"(?m)^ +0  AABA$")
            self.assertRegex(result.stdout, r"(?m)^ +2  bob +127\.0\.0\.1:7601 +replica +DOWN$")

    def test_explain_shows_place_clocks_siblings_and_hints(self):
        with Fake({"DYNAMO.EXPLAIN": bulk(json.dumps(EXPLAIN))}) as fake:
            result = fake.run("explain", "cart:42")
            self.assert_done(result)
            for part in ["cart:42", "ab" * 16, "slot 77", "partition 2", "N=3 R=2 W=2", "DW=all", "resolve siblings",
                         "ada  replica  2 versions", "2023-11-14T22:13:20.000Z+2   4 bytes", "deletion", "hint for bob",
                         "bob  replica  no answer"]:
                self.assertIn(part, result.stdout)

    def test_damaged_or_foreign_documents_do_not_hurt(self):
        for text in ["", "{", "[]", "{}", '"x"', '{"members": 1, "cluster": [], "owners": {}}',
                     '{"members": [1, null, {}], "owners": [9, "x", null], "replicas": [3, {"hints": 7}], "preference": 1}']:
            with Fake({"DYNAMO.CLUSTER STATUS": bulk(text), "DYNAMO.CLUSTER RING": bulk(text), "DYNAMO.EXPLAIN": bulk(text)}) as fake:
                for arguments in ["status"], ["ring", "--map"], ["explain", "k"]:
                    with self.subTest(text=text, arguments=arguments):
                        self.assertIn(fake.run(*arguments).returncode, (0, 1))

    def test_a_password_comes_from_the_flag_or_the_environment(self):
        with Fake({"AUTH": b"+OK\r\n", "DYNAMO.GET": got("c", "v")}) as fake:
            self.assert_done(fake.run("get", "k", "-a", "hunter2"))
            self.assert_done(fake.run("get", "k", environment={"GRAMME_PASSWORD": "hunter3"}))
            self.assertEqual(fake.commands[0], [b"AUTH", b"hunter2"])
            self.assertEqual(fake.commands[2], [b"AUTH", b"hunter3"])

    def test_a_wrong_or_missing_password_is_told_with_the_remedy(self):
        with Fake({"AUTH": b"-WRONGPASS no\r\n", "DYNAMO.GET": b"-NOAUTH Authentication required.\r\n"}) as fake:
            self.assert_failed(fake.run("get", "k", "-a", "x"), "does not take the password", "WRONGPASS")
            self.assert_failed(fake.run("get", "k"), "wants a password", "GRAMME_PASSWORD")

    def test_a_plain_redis_is_told_apart(self):
        with Fake({}, otherwise=b"-ERR unknown command 'DYNAMO.GET', with args beginning with: 'k' \r\n") as fake:
            self.assert_failed(fake.run("get", "k"), "not a Gramme node", "Redis")

    def test_what_speaks_no_resp_is_told(self):
        for answer in b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*-2\r\n", b"$99999999999\r\n", b"*1\r\n" * 20, b"$1\r\nabcdef", b":x\r\n":
            with self.subTest(answer=answer), Fake({}, otherwise=answer) as fake:
                self.assert_failed(fake.run("get", "k"), "does not speak RESP")

    def test_an_answer_of_another_form_is_told(self):
        for answer in b"+OK\r\n", b"*1\r\n$1\r\nx\r\n", b"*2\r\n$1\r\nc\r\n*1\r\n:1\r\n", b"$-1\r\n":
            with self.subTest(answer=answer), Fake({}, otherwise=answer) as fake:
                self.assert_failed(fake.run("get", "k"), "in a form that is not known")

    def test_nothing_on_the_port_says_how_to_start_a_node(self):
        ports = free_ports(1)
        self.addCleanup(release_ports, ports)
        for command in ["status"], ["ring"], ["get", "k"], ["put", "k", "v"], ["del", "k"], ["explain", "k"]:
            result = run(*command, "-p", str(ports[0]))
            self.assert_failed(result)
            self.assertEqual(result.stderr, "gramme: nothing answers on 127.0.0.1:%d (connection refused): is a node running? "
                             "start one with: gramme dev\n" % ports[0])

    def test_an_unknown_host_is_named(self):
        self.assert_failed(run("status", "-h", "no-such-host.invalid"), "cannot find host 'no-such-host.invalid'")

    def test_colours_only_on_a_terminal_and_not_with_no_color(self):
        def on_a_terminal(environment):
            master, slave = pty.openpty()
            try:
                child = subprocess.Popen([program(), "status", "-p", str(fake.port)], stdout=slave, stdin=slave,
                                         env={**os.environ, "TERM": "xterm", **environment})
                os.close(slave)
                output = b""
                with contextlib.suppress(OSError):  # the terminal's other end is closed
                    while True:
                        data = os.read(master, 65536)
                        if not data:
                            break
                        output += data
                self.assertEqual(child.wait(30), 0)
                return output
            finally:
                os.close(master)

        with Fake({"DYNAMO.CLUSTER STATUS": bulk(json.dumps(STATUS))}) as fake:
            self.assertIn(b"\033[31m", on_a_terminal({"NO_COLOR": ""}))
            self.assertNotIn(b"\033", on_a_terminal({"NO_COLOR": "1"}))
            self.assertNotIn(b"\033", on_a_terminal({"NO_COLOR": "", "TERM": "dumb"}))


# -- gramme dev ------------------------------------------------------------------------------------------------------------

class Dev:
    """A running `gramme dev`, whose output is read as it comes."""

    def __init__(self, directory, *flags):
        self.directory = directory
        self.output = ""
        self.process = subprocess.Popen([program(), "dev", "--dir", directory, *flags], stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def read_until(self, text, seconds=2 * START_SECONDS):
        """Until the output since the last call holds the text; returns that output."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            left = deadline - time.monotonic()
            ready = select.select([self.process.stdout], [], [], max(left, 0))[0]
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not data:
                raise AssertionError("no '%s' in:\n%s" % (text, self.output))
            self.output += data.decode()
        result, self.output = self.output, ""
        return result

    def wait_up(self):
        return self.read_until("Ctrl-C stops the nodes")

    def pid(self, number):
        with open(os.path.join(self.directory, "node-%d" % number, "pid"), encoding="ascii") as file:
            return int(file.read())

    def stop(self, number=signal.SIGINT):
        """The exit status, and what was still printed."""
        self.process.send_signal(number)
        rest = self.process.communicate(timeout=STOP_SECONDS)[0].decode()
        return self.process.returncode, self.output + rest

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.stdout.close()
        self.process.wait()


def process_is_gone(pid):
    """Gone, or only waiting for whoever inherited it to take notice."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


class DevCluster(CliCase):
    def setUp(self):
        self.base = tempfile.mkdtemp(prefix="gramme-dev-")
        self.addCleanup(shutil.rmtree, self.base, ignore_errors=True)
        self.directory = os.path.join(self.base, "d")
        self.ports = free_ports(4, consecutive=True)  # the last is for one more
        self.addCleanup(release_ports, self.ports)

    def start(self, *flags):
        dev = Dev(self.directory, *flags)
        self.addCleanup(dev.close)
        return dev

    def assert_stops(self, dev, number=signal.SIGINT):
        """Cleanly; else what it said and what the nodes' logs say."""
        code, rest = dev.stop(number)
        if code != 0:
            for node in sorted(os.listdir(self.directory)):
                with open(os.path.join(self.directory, node, "log"), encoding="utf-8", errors="replace") as log:
                    rest += "-- %s\n%s" % (node, log.read()[-3000:])
        self.assertEqual(code, 0, rest)

    def start_up(self, *flags):
        dev = self.start("--port", str(self.ports[0]), *flags)
        return dev, dev.wait_up()

    def test_it_starts_shows_what_to_type_and_stops_on_ctrl_c(self):
        dev, screen = self.start_up()
        for part in ["redis-cli -p %d SET cart:42 milk" % self.ports[0], "explain cart:42 -p %d" % self.ports[0],
                     "status --watch", "kill -9 $(cat %s/node-3/pid)" % self.directory,
                     "server --config %s/node-3/gramme.conf" % self.directory]:
            self.assertIn(part, screen)
        pids = [dev.pid(number) for number in (1, 2, 3)]
        self.assertEqual(os.stat(os.path.join(self.directory, "node-1", "gramme.conf")).st_mode & 0o777, 0o600)
        code, rest = dev.stop()
        self.assertEqual(code, 0, rest)
        self.assertTrue(rest.endswith("stopped\n"), rest)
        self.assertTrue(all(process_is_gone(pid) for pid in pids))
        self.assertTrue(all(port_is_free(port) for port in self.ports))

    def test_a_second_start_finds_the_data_again(self):
        dev, _ = self.start_up()
        with Resp(self.ports[1]) as client:
            client.call("SET", "cart:42", "milk")
        self.assert_stops(dev, signal.SIGTERM)
        dev = self.start()  # ports and number of nodes are the directory's
        self.assertIn("found again", dev.wait_up())
        with Resp(self.ports[2]) as client:
            self.assertEqual(client.call("GET", "cart:42"), b"milk")
        self.assert_stops(dev)

    def test_a_node_more_is_made_added_and_found_again(self):
        self.assert_failed(run("dev", "--add", "--dir", self.directory), "there is no cluster in", "gramme dev")
        dev, screen = self.start_up()
        self.assertIn("dev --add --dir %s" % self.directory, screen)
        with Resp(self.ports[0]) as client:
            client.call("SET", "cart:42", "milk")
        one_more = subprocess.Popen([program(), "dev", "--add", "--dir", self.directory], stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(lambda: (one_more.kill(), one_more.wait(), one_more.stdout.close()))
        told = ""
        while "Start it again with" not in told:
            line = one_more.stdout.readline()
            self.assertTrue(line, told)
            told += line
        port = int(re.search(r"plan add 127\.0\.0\.1:(\d+) -p %d" % self.ports[0], told).group(1))
        self.assertEqual(port, self.ports[0] + 3)
        with Resp(self.ports[0]) as client:
            wait_until(lambda: client.json("DYNAMO.CLUSTER", "STATUS")["candidates"], START_SECONDS, "it waits")
            for words in [("plan", "add", "127.0.0.1:%d" % port), ("commit",)]:
                self.assert_done(run(*words, "-p", str(self.ports[0])))

            def settled():
                status = client.json("DYNAMO.CLUSTER", "STATUS")
                return status["change"] is None and len(status["members"]) == 4
            wait_until(settled, START_SECONDS, "it has been taken in")
        one_more.terminate()
        self.assertEqual(one_more.wait(STOP_SECONDS), 0)
        self.assert_stops(dev)
        dev = self.start()
        self.assertIn("4 nodes are up", dev.wait_up())
        with Resp(port) as client:
            self.assertEqual(client.call("GET", "cart:42"), b"milk")
        self.assert_stops(dev)

    def test_a_second_start_that_contradicts_the_first_is_refused(self):
        dev, _ = self.start_up("--nodes", "2")
        self.assert_failed(run("dev", "--dir", self.directory), "is running already (process %d)" % dev.pid(1))
        self.assert_stops(dev)
        self.assert_failed(run("dev", "--dir", self.directory, "--nodes", "3"), "holds 2 nodes, not 3", "--nodes 2")
        self.assert_failed(run("dev", "--dir", self.directory, "--port", "1234"), "start it without --port")
        self.assert_failed(run("dev", "--dir", self.directory, "--memory"), "start it without --memory")

    def test_a_killed_node_is_reported_the_others_go_on_and_it_can_be_started_again(self):
        dev, _ = self.start_up()
        os.kill(dev.pid(3), signal.SIGKILL)
        told = dev.read_until("gramme.conf")
        self.assertIn("node-3 was killed by signal 9", told)
        self.assertIn("the others go on", told)
        with Resp(self.ports[0]) as client:
            client.call("SET", "cart:42", "milk")
        config = os.path.join(self.directory, "node-3", "gramme.conf")
        node = subprocess.Popen([program(), "server", "--config", config], stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (node.kill(), node.wait()))

        def back():
            with Resp(self.ports[2]) as client:
                return client.call("GET", "cart:42") == b"milk"
        wait_until(back, START_SECONDS, "node-3 serves again")
        wait_until(lambda: dev.pid(3) == node.pid, START_SECONDS, "its pid file names it")
        code, rest = dev.stop()
        self.assertEqual(code, 0, rest)
        self.assertIn("node-3 was started by hand (process %d) and goes on" % node.pid, rest)
        node.terminate()
        self.assertEqual(node.wait(STOP_SECONDS), 0)

    def test_nodes_do_not_outlive_a_killed_parent(self):
        dev, _ = self.start_up("--memory", "--nodes", "2")
        pids = [dev.pid(number) for number in (1, 2)]
        dev.process.kill()
        dev.process.wait()
        wait_until(lambda: all(process_is_gone(pid) for pid in pids), STOP_SECONDS, "the nodes have ended")

    def test_when_all_nodes_have_ended_so_does_it(self):
        dev, _ = self.start_up("--memory", "--nodes", "1")
        os.kill(dev.pid(1), signal.SIGKILL)
        rest = dev.process.communicate(timeout=STOP_SECONDS)[0].decode()
        self.assertEqual(dev.process.returncode, 1)
        self.assertIn("gramme: all nodes have ended", rest)

    def test_ports_in_use_are_named_before_anything_starts(self):
        with Fake({}) as fake:
            result = run("dev", "--dir", self.directory, "--port", str(fake.port), "--nodes", "1")
            self.assert_failed(result, "port %d, for node-1, is in use" % fake.port, "--port")

    def test_ports_of_peers_beyond_the_last_are_refused(self):
        self.assert_failed(run("dev", "--dir", self.directory, "--port", "55536", "--nodes", "1"), "65536", "at most 55535")
        self.assertFalse(os.path.exists(self.directory))

    def test_a_fault_in_a_nodes_file_is_told_before_anything_starts(self):
        dev, _ = self.start_up("--nodes", "2", "--memory")
        self.assert_stops(dev)
        with open(os.path.join(self.directory, "node-2", "gramme.conf"), "a", encoding="ascii") as file:
            file.write("[node]\nengine = memory\n")
        self.assert_failed(run("dev", "--dir", self.directory), "node-2/gramme.conf:", "option 'engine' is already set on line")

    def test_a_node_that_fails_to_start_is_shown_with_its_log_and_the_others_are_stopped(self):
        dev, _ = self.start_up("--nodes", "2", "--memory")
        self.assert_stops(dev)
        config = os.path.join(self.directory, "node-2", "gramme.conf")
        with open(config, encoding="ascii") as file:
            text = file.read()
        with open(config, "w", encoding="ascii") as file:
            file.write(re.sub("cluster-name = .*", "cluster-name = another", text))
        result = run("dev", "--dir", self.directory, timeout=2 * START_SECONDS)
        self.assertEqual(result.returncode, 1)
        self.assertIn("gramme: node-2 ended with status 1 before the cluster was up", result.stderr)
        self.assertIn("    gramme: ", result.stderr)
        self.assertTrue(all(port_is_free(port) for port in self.ports))

    def test_a_directory_that_was_moved_is_told(self):
        dev, _ = self.start_up("--nodes", "1", "--memory")
        self.assert_stops(dev)
        moved = os.path.join(self.base, "moved")
        os.rename(self.directory, moved)
        self.assert_failed(run("dev", "--dir", moved), "was the directory moved?")

    def test_a_making_that_was_cut_short_is_begun_anew(self):
        dev, _ = self.start_up("--nodes", "2", "--memory")
        self.assert_stops(dev)
        os.remove(os.path.join(self.directory, "node-1", "gramme.conf"))
        for number in (1, 2):
            for name in os.listdir(os.path.join(self.directory, "node-%d" % number)):
                if name not in ("gramme.conf",):
                    path = os.path.join(self.directory, "node-%d" % number, name)
                    (shutil.rmtree if os.path.isdir(path) else os.remove)(path)
        dev, _ = self.start_up("--nodes", "2", "--memory")
        self.assert_stops(dev)


# -- against real nodes --------------------------------------------------------------------------------------------------------

class AgainstNodes(CliCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3, engine="memory", settings={"node.requirepass": "hunter2"})
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def run_on(self, index, *args, **options):
        return run(*args, "-p", str(self.cluster[index].port), "-a", "hunter2", **options)

    def test_a_value_goes_round(self):
        self.assert_done(self.run_on(0, "put", "round:1", "milk"))
        result = self.run_on(1, "get", "round:1")
        self.assert_done(result)
        self.assertEqual(result.stdout, "milk")
        self.assert_done(self.run_on(2, "put", "round:1", "bread"))
        self.assertEqual(self.run_on(0, "get", "round:1").stdout, "bread")
        self.assert_done(self.run_on(1, "del", "round:1"))
        self.assert_failed(self.run_on(2, "get", "round:1"), "round:1 has no value")

    def test_siblings_arise_and_merge(self):
        self.assert_done(self.run_on(0, "put", "cart:1", "milk", "--new"))
        self.assert_done(self.run_on(1, "put", "cart:1", "bread", "--new"))
        document = json.loads(self.run_on(2, "get", "cart:1", "--json").stdout)
        self.assertEqual(sorted(value["text"] for value in document["values"]), ["bread", "milk"])
        self.assertIn("cart:1 has 2 siblings", self.run_on(2, "get", "cart:1").stdout)
        self.assert_done(self.run_on(0, "put", "cart:1", "bread,milk", "--context", document["context"]))
        self.assertEqual(self.run_on(1, "get", "cart:1").stdout, "bread,milk")

    def test_a_foreign_context_is_refused(self):
        context = self.run_on(0, "put", "a:1", "x").stdout.strip()
        self.assert_failed(self.run_on(0, "put", "a:2", "x", "--context", context), "BADCONTEXT")
        self.assert_failed(self.run_on(0, "put", "a:2", "x", "--context", "rubbish"), "BADCONTEXT")

    def test_a_quorum_that_can_not_be_is_refused(self):
        self.assert_failed(self.run_on(0, "put", "a:3", "x", "--new", "--w", "7"), "ERR")

    def test_status_ring_and_explain(self):
        status = self.run_on(0, "status")
        self.assert_done(status)
        self.assertIn("3 members, 0 down", status.stdout)
        document = json.loads(self.run_on(1, "status", "--json").stdout)
        self.assertEqual(sorted(member["name"] for member in document["members"]), ["node-1", "node-2", "node-3"])
        ring = self.run_on(2, "ring", "--map", "--key", "cart:9")
        self.assert_done(ring)
        self.assertIn("1024 partitions, 3 members", ring.stdout)
        self.assertEqual(len(re.findall(r"[ABC]{64}$", ring.stdout, re.M)), 16)
        self.assert_done(self.run_on(0, "put", "cart:9", "milk"))

        def on_all_three():
            explained = self.run_on(0, "explain", "cart:9").stdout
            return len(re.findall(r"node-\d  replica  1 version", explained)) == 3
        wait_until(on_all_three, START_SECONDS, "explain shows the version on all three")

    def test_without_the_password_it_says_so(self):
        self.assert_failed(run("status", "-p", str(self.cluster[0].port)), "wants a password")

    def test_a_second_process_on_the_same_directory_is_refused(self):
        node = self.cluster[0]
        self.assert_failed(run("server", "--config", node.config_path), "in use by process %d" % node.pid)


if __name__ == "__main__":
    if len(sys.argv) > 1 and os.path.sep in sys.argv[1]:
        os.environ["GRAMME"] = sys.argv.pop(1)
    unittest.main(verbosity=1)
