#!/usr/bin/python3
"""Stock clients against every node of three: redis-cli, redis-benchmark, redis-py, ioredis and node-redis, plain and cluster.

ioredis and node-redis come from the npm registry, in the versions of node/package-lock.json, into build/e2e-node."""

import csv
import fcntl
import hashlib
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import redis  # noqa: E402  Debian's python3-redis
from redis.cluster import ClusterNode, RedisCluster  # noqa: E402
from support import Cluster, HOST, ROOT, encode, wait_until  # noqa: E402

COMMAND_SECONDS = 60
logging.getLogger("redis.cluster").setLevel(logging.CRITICAL)  # it logs error replies that are looked for here
NODE_SOURCE = os.path.join(ROOT, "test", "e2e", "node")
NODE_PLACE = os.path.join(ROOT, "build", "e2e-node")


def command(*args, stdin=None):
    """Runs a client to its end; what it printed. An exit status other than 0 is a failure."""
    result = subprocess.run([str(arg) for arg in args], input=stdin, capture_output=True, timeout=COMMAND_SECONDS, check=False)
    output = result.stdout.decode()
    assert result.returncode == 0, "%s ended with status %d\n%s%s" % (args, result.returncode, output, result.stderr.decode())
    return output


def node_place():
    """The folder with the scripts of node/ and the packages that they need, installed when it is not yet."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise RuntimeError("%s is missing; `tools/setup test` installs it" % program)
    os.makedirs(NODE_PLACE, exist_ok=True)
    with open(os.path.join(NODE_PLACE, "lock"), "w", encoding="ascii") as lock, \
            open(os.path.join(NODE_SOURCE, "package-lock.json"), "rb") as wanted:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in os.listdir(NODE_SOURCE):
            shutil.copy(os.path.join(NODE_SOURCE, name), NODE_PLACE)
        digest = hashlib.sha256(wanted.read()).hexdigest()
        stamp = os.path.join(NODE_PLACE, "installed-" + digest)
        if not os.path.exists(stamp):
            install = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"],
                                     cwd=NODE_PLACE, capture_output=True, text=True, timeout=300, check=False)
            assert install.returncode == 0, "npm ci failed: is the registry within reach?\n%s%s" % (
                install.stdout, install.stderr)
            with open(stamp, "w", encoding="ascii"):
                pass
    return NODE_PLACE


def documented_commands():
    """The commands that docs/commands.md lists, in lower case: "get", "client id", "dynamo.cluster ring"."""
    with open(os.path.join(ROOT, "docs", "commands.md"), encoding="utf-8") as file:
        text = file.read().split("## Errors")[0]
    quoted = re.findall(r"(?m)^\| (`(?:\\\||[^|])*) \|", text) + re.findall(r"(?m)^(`CLUSTER [^`]*`|`READONLY`.*)", text)
    found = set()
    for cell in quoted:
        for quote in re.findall(r"`([^`]+)`", cell.replace("\\|", "|")):
            words = re.match(r"[A-Z.]+(?: [A-Z]+(?:(?:, | \| )[A-Z]+)*)?", quote)
            if words is None:
                continue  # a property of a bucket, a limit
            name, _, subcommands = words.group().lower().partition(" ")
            found.add(name)
            found.update("%s %s" % (name, sub) for sub in re.split(r", | \| ", subcommands) if sub)
    return found


class Clients(unittest.TestCase):
    """On one cluster, as every client is to find it: with the keys of the others in it."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.addClassCleanup(cls.cluster.close)
        cls.cluster.__enter__()

    def ports(self):
        return [node.port for node in self.cluster]


class RedisCli(Clients):
    def test_plain_and_cluster_mode_and_resp3(self):
        for port in self.ports():
            for mode in ([], ["-c"], ["-c", "-3"]):
                cli = ["redis-cli", "-p", port, *mode]
                key = "cli:%d:%s" % (port, "".join(mode))
                self.assertEqual(command(*cli, "PING"), "PONG\n")
                self.assertEqual(command(*cli, "SET", key, "milk", "EX", 100), "OK\n")
                self.assertEqual(command(*cli, "GET", key), "milk\n")
                self.assertEqual(command(*cli, "--no-raw", "MGET", key, key + "no"), '1) "milk"\n2) (nil)\n')
                self.assertEqual(command(*cli, "DEL", key, key + "no"), "1\n")
                self.assertEqual(command(*cli, "--no-raw", "EXISTS", key), "(integer) 0\n")
                self.assertEqual(command(*cli, "-x", "SET", key, stdin=b"from stdin\r\n\0"), "OK\n")
                self.assertEqual(command(*cli, "STRLEN", key), "13\n")

    def test_a_script_on_stdin_and_a_repeated_command(self):
        for port in self.ports():
            script = b"SET cli:script 'two words'\nGET cli:script\nNONSENSE\nPING\n"
            self.assertRegex(command("redis-cli", "-p", port, stdin=script),
                             r"\AOK\ntwo words\nERR unknown command 'NONSENSE'[^\n]*\n+PONG\n\Z")
            self.assertEqual(command("redis-cli", "-p", port, "-r", 5, "GET", "cli:script"), "two words\n" * 5)

    def test_mass_insertion(self):
        for port in self.ports():
            keys = 2000
            data = b"".join(encode("SET", "pipe:%d:%d" % (port, i), "v%d" % i) for i in range(keys))
            self.assertIn("errors: 0, replies: %d" % keys, command("redis-cli", "-p", port, "--pipe", stdin=data))
            for i in (0, keys // 2, keys - 1):
                self.assertEqual(self.cluster[0].call("GET", "pipe:%d:%d" % (port, i)), b"v%d" % i)

    def test_cluster_check_info_and_call(self):
        for port in self.ports():
            address = "%s:%d" % (HOST, port)
            check = command("redis-cli", "--cluster", "check", address)
            self.assertIn("[OK] All nodes agree about slots configuration.", check)
            self.assertIn("[OK] All 16384 slots covered.", check)
            info = command("redis-cli", "--cluster", "info", address)
            slots = re.findall(r"\| (\d+) slots \|", info)
            self.assertEqual((len(slots), sum(map(int, slots))), (3, 16384), info)
            self.assertEqual(command("redis-cli", "--cluster", "call", address, "PING").count(": PONG"), 3)

    def test_what_an_operator_looks_at(self):
        for port in self.ports():
            cli = ["redis-cli", "-p", port]
            self.assertIn("redis_mode:cluster", command(*cli, "INFO", "server"))
            self.assertRegex(command(*cli, "CLIENT", "LIST"), r"\bid=\d+ addr=127\.0\.0\.1:\d+ ")
            self.assertEqual(command(*cli, "CONFIG", "GET", "port"), "port\n%d\n" % port)
            self.assertRegex(command(*cli, "COMMAND", "DOCS", "set"), r"\bsummary\b")
            self.assertRegex(command(*cli, "--latency", "--raw", "-i", 1), r"\A\d+ \d+ [\d.]+ \d+")


class RedisBenchmark(Clients):
    def benchmark(self, port, *options):
        """Every figure that it prints: {test: requests a second}. It ends with an error at the first error reply."""
        output = command("redis-benchmark", "-p", port, "-e", "-t", "set,get", "-c", 20, "-r", 1000, "--csv", *options)
        self.assertNotIn("rror", output)
        rows = csv.reader(io.StringIO(output[output.index('"test"'):]))
        return {row[0]: float(row[1]) for row in rows if row and row[0] in ("SET", "GET")}

    def test_set_and_get(self):
        for port in self.ports():
            for pipeline, requests in ((1, 1000), (16, 4000)):
                figures = self.benchmark(port, "-P", pipeline, "-n", requests)
                self.assertEqual(set(figures), {"SET", "GET"})
                print("redis-benchmark P=%d: %s" % (pipeline, figures))

    def test_set_and_get_in_cluster_mode(self):
        for port in self.ports():
            for pipeline, requests in ((1, 1000), (16, 4000)):
                figures = self.benchmark(port, "--cluster", "-P", pipeline, "-n", requests)
                self.assertEqual(set(figures), {"SET", "GET"})


class RedisPy(Clients):
    def check_strings(self, r, p):
        """`r` has decode_responses. Keys begin with `p`, a hash tag in a cluster."""
        self.assertIs(r.set(p + "a", 1), True)
        self.assertEqual(r.get(p + "a"), "1")
        self.assertIsNone(r.get(p + "none"))
        self.assertEqual(r.set(p + "a", 2, ex=100, get=True), "1")
        self.assertIs(r.set(p + "a", 3, keepttl=True), True)
        self.assertIs(r.set(p + "a", 4, exat=4102444800), True)
        self.assertIs(r.set(p + "a", 5, pxat=4102444800000), True)
        self.assertIs(r.setex(p + "b", 100, "b"), True)
        self.assertIs(r.psetex(p + "c", 100000, "c"), True)
        self.assertEqual(r.getset(p + "b", "bb"), "b")
        self.assertEqual(r.getdel(p + "c"), "c")
        self.assertEqual(r.exists(p + "a", p + "b", p + "c"), 2)
        self.assertEqual(r.strlen(p + "b"), 2)
        self.assertEqual((r.type(p + "b"), r.type(p + "c")), ("string", "none"))
        self.assertIs(r.mset({p + "m1": "x", p + "m2": "y"}), True)
        self.assertEqual(r.mget(p + "m1", p + "c", p + "m2"), ["x", None, "y"])
        self.assertEqual(r.delete(p + "m1", p + "m2", p + "none"), 2)
        self.assertEqual(r.unlink(p + "b"), 1)
        self.assertIs(r.set(p + "brief", "x", px=300), True)
        wait_until(lambda: r.get(p + "brief") is None, 10, "a value expires")
        with self.assertRaisesRegex(redis.ResponseError, "NX is not offered"):
            r.set(p + "a", 6, nx=True)
        with self.assertRaisesRegex(redis.RedisError, "unknown command|command doesn't exist"):
            r.lpush(p + "l", 1)

    def check_dynamo(self, r, p):
        r.execute_command("DYNAMO.PUT", p + "d", "one")
        r.execute_command("DYNAMO.PUT", p + "d", "two")
        both, values = r.execute_command("DYNAMO.GET", p + "d")
        self.assertEqual(sorted(values), ["one", "two"])
        r.execute_command("DYNAMO.PUT", p + "d", "three", "CONTEXT", both)
        self.assertEqual(r.execute_command("DYNAMO.GET", p + "d", "R", 3)[1], ["three"])
        r.execute_command("DYNAMO.DEL", p + "d")
        self.assertEqual(r.execute_command("DYNAMO.GET", p + "d")[1], [])

    def test_plain(self):
        for port in self.ports():
            with redis.Redis(HOST, port, decode_responses=True, client_name="ours") as r:
                p = "py:%d:" % port
                self.assertIs(r.ping(), True)
                self.assertEqual(r.echo("said"), "said")
                self.assertEqual(r.client_getname(), "ours")
                self.assertIn("ours", [client["name"] for client in r.client_list()])
                self.assertGreater(r.client_id(), 0)
                self.assertEqual(r.client_info()["name"], "ours")
                self.assertEqual(r.config_get("port"), {"port": str(port)})
                self.assertEqual(r.info("server")["redis_mode"], "cluster")
                self.assertGreaterEqual(r.dbsize(), 0)
                self.assertEqual(len(r.command()), r.command_count())
                self.assertEqual(r.command_getkeys("MSET", "a", 1, "b", 2), ["a", "b"])
                self.check_strings(r, p)
                self.check_dynamo(r, p)

    def test_values_are_bytes(self):
        every = bytes(range(256)) * 256
        for port in self.ports():
            with redis.Redis(HOST, port) as r:
                r.set(b"py:\0\r\n\xff", every)
                self.assertEqual(r.get(b"py:\0\r\n\xff"), every)
                r.set("py:empty", b"")
                self.assertEqual(r.get("py:empty"), b"")

    def test_pipeline(self):
        for port in self.ports():
            with redis.Redis(HOST, port) as r:
                pipeline = r.pipeline(transaction=False)
                for i in range(500):
                    pipeline.set("py:p%d" % i, i).get("py:p%d" % i)
                replies = pipeline.execute()
                self.assertEqual(replies, [reply for i in range(500) for reply in (True, b"%d" % i)])
                pipeline.set("py:p0", "kept").lpush("py:p0", 1).get("py:p0")
                kept, error, value = pipeline.execute(raise_on_error=False)
                self.assertEqual((kept, value), (True, b"kept"))
                self.assertIsInstance(error, redis.ResponseError)
                with self.assertRaisesRegex(redis.ResponseError, "unknown command '(MULTI|EXEC)'"):
                    r.pipeline(transaction=True).set("py:p0", "x").execute()

    def test_a_pool_of_connections_shared_by_threads(self):
        for port in self.ports():
            pool = redis.BlockingConnectionPool(host=HOST, port=port, max_connections=4, timeout=30)
            r = redis.Redis(connection_pool=pool)
            faults = []

            def work(number, r=r, faults=faults):
                for i in range(50):
                    key, value = "py:pool:%d:%d" % (number, i), b"%d" % i
                    if r.set(key, value) is not True or r.get(key) != value:
                        faults.append(key)
            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(faults, [])
            pool.disconnect()

    def test_cluster(self):
        for port in self.ports():
            for replicas in (False, True):
                r = RedisCluster(HOST, port, decode_responses=True, read_from_replicas=replicas)
                p = "{py-cluster:%d:%d}" % (port, replicas)
                self.assertEqual(len(r.get_nodes()), 3)
                self.check_strings(r, p)
                self.check_dynamo(r, p)
                keys = ["pyc:%d:%d" % (port, i) for i in range(200)]
                for key in keys:
                    r.set(key, key)
                    self.assertEqual(r.get(key), key)
                self.assertEqual(r.mget_nonatomic(keys + ["pyc:none"]), keys + [None])
                self.assertTrue(r.mset_nonatomic({key: "new " + key for key in keys}))
                self.assertEqual(r.mget_nonatomic(keys), ["new " + key for key in keys])
                self.assertEqual(r.exists(*keys), len(keys))
                pipeline = r.pipeline()
                for key in keys:
                    pipeline.get(key)
                self.assertEqual(pipeline.execute(), ["new " + key for key in keys])
                self.assertEqual(r.delete(*keys), len(keys))
                self.assertEqual(r.keyslot("{tag}x"), r.execute_command("CLUSTER KEYSLOT", "tag"))
                r.close()


class Documented(Clients):
    def test_every_documented_command_is_there_and_every_command_is_documented(self):
        documented = documented_commands()
        self.assertIn("dynamo.cluster members", documented)  # the reading of the document works
        self.assertIn("client setinfo", documented)
        for node in self.cluster:
            entries = node.call("COMMAND")
            names = {entry[0].decode() for entry in entries}
            names |= {sub[0].decode().replace("|", " ") for entry in entries for sub in entry[9]}
            self.assertEqual(documented - names, set())
            self.assertEqual({name for name in names if " " not in name} - documented, set())


class WithPassword(unittest.TestCase):
    """The clients that take a password with them when they go from node to node; and ioredis with a node killed."""

    PASSWORD = "open 'sesame'"

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3, settings={"node.requirepass": cls.PASSWORD})
        cls.addClassCleanup(cls.cluster.close)
        cls.cluster.__enter__()

    def start(self, script):
        ports = ",".join(str(node.port) for node in self.cluster)
        return subprocess.Popen(["node", script], cwd=node_place(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True,
                                env={**os.environ, "GRAMME_PORTS": ports, "GRAMME_PASSWORD": self.PASSWORD})

    def test_redis_cli(self):
        for node in self.cluster:
            cli = ["redis-cli", "-c", "-p", node.port]
            self.assertEqual(command(*cli, "GET", "a"), "NOAUTH Authentication required.\n\n")
            self.assertEqual(command(*cli, "--no-auth-warning", "-a", self.PASSWORD, "SET", "auth:cli", "in"), "OK\n")
            self.assertEqual(command(*cli, "--no-auth-warning", "--user", "default", "--pass", self.PASSWORD, "GET",
                                     "auth:cli"), "in\n")

    def test_redis_py(self):
        for node in self.cluster:
            with self.assertRaises(redis.AuthenticationError):
                redis.Redis(HOST, node.port).get("a")
            with self.assertRaisesRegex(redis.ResponseError, "WRONGPASS|invalid username-password pair"):
                redis.Redis(HOST, node.port, password="wrong").get("a")
            for name in (None, "default"):
                with redis.Redis(HOST, node.port, username=name, password=self.PASSWORD) as r:
                    self.assertIs(r.set("auth:py", "in"), True)
            r = RedisCluster(startup_nodes=[ClusterNode(HOST, node.port)], password=self.PASSWORD)
            self.assertEqual([r.set("auth:py:%d" % i, i) for i in range(50)], [True] * 50)
            r.close()

    def test_node_redis(self):
        process = self.start("node-redis.mjs")
        output, _ = process.communicate(timeout=COMMAND_SECONDS)
        self.assertEqual(process.returncode, 0, output)

    def test_ioredis_and_its_cluster_client_goes_on_when_a_node_is_killed(self):
        process = self.start("ioredis.mjs")
        line = process.stdout.readline()
        if line == "ready\n":
            self.cluster[2].kill9()
        output, _ = process.communicate("killed\n", timeout=COMMAND_SECONDS)
        self.assertEqual((line, process.returncode), ("ready\n", 0), output)
        self.cluster[2].start()
        self.cluster.wait_formed()


if __name__ == "__main__":
    unittest.main(verbosity=2)
