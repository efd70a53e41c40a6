#!/usr/bin/python3
"""What keeps a node from starting: its configuration, its directory, its ports. One line on standard error that names the
thing and the remedy, status 1 (2 for a flag), and nothing of what was there is changed."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import HOST, Cluster, free_ports, program, release_ports, run  # noqa: E402

START = 30  # a node that should not have started would run for ever


class Start(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="gramme-e2e-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.ports = free_ports(2)
        self.addCleanup(release_ports, self.ports)
        self.data = os.path.join(self.directory, "data")
        self.path = os.path.join(self.directory, "gramme.conf")

    def write(self, text):
        with open(self.path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def config(self, more=""):
        """A good configuration, and what is wrong with it."""
        self.write("[node]\ndir = %s\nport = %d\npeer-port = %d\n%s" % (self.data, *self.ports, more))

    def refused(self, pattern, *flags, status=1, config=True):
        done = run("server", *(("--config", self.path) if config else ()), *flags, timeout=START)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        lines = done.stderr.splitlines()
        if status == 2:  # how to ask for help follows
            self.assertIn("--help", lines.pop())
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertRegex(lines[0], "^gramme( server)?: ")
        self.assertRegex(lines[0], pattern)
        return lines[0]

    def fingerprint(self):
        """Every file of the data directory, but for what says which process uses it."""
        found = {}
        for folder, _, names in os.walk(self.data):
            for name in names:
                path = os.path.join(folder, name)
                if name not in ("pid", "lock"):
                    with open(path, "rb") as file:
                        found[path] = file.read()
        return found

    def starts(self):
        """It does start now, alone, and stops."""
        process = subprocess.Popen([program(), "server", "--config", self.path], stderr=subprocess.PIPE, text=True)
        try:
            for line in process.stderr:
                if "ready: " in line:
                    break
            else:
                self.fail("it did not start")
        finally:
            process.terminate()
            process.stderr.close()
            self.assertEqual(process.wait(START), 0)

    # -- the configuration

    def test_settings(self):
        for text, line, why in [
                ("[node]\nprot = 1\n", 2, "unknown option 'prot'; did you mean 'port'?"),
                ("[node]\nxyzzy = 1\n", 2, "unknown option 'xyzzy'; .*print-config"),
                ("[node]\nport = http\n", 2, "option 'port' must be a whole number, from 1 to 65535; it is 'http'"),
                ("[node]\nport = 70000\n", 2, "option 'port' must be from 1 to 65535; it is 70000"),
                ("[node]\nport = -1\n", 2, "option 'port' must be a whole number, from 1 to 65535; it is '-1'"),
                ("[node]\nport = 1.5\n", 2, "option 'port' must be a whole number"),
                ("[node]\nport =\n", 2, "option 'port' must be a whole number"),
                ("[node]\n\n# weight\nweight = 0\n", 4, "option 'weight' must be from 1 to 1000; it is 0"),
                ("[node]\nmax-value = 1mib\n", 2, "option 'max-value' must be a size such as 64kb, .*it is '1mib'"),
                ("[node]\nmax-value = 17mb\n", 2, "option 'max-value' must be from 1kb to 16mb; it is 17mb"),
                ("[node]\nvalue-memory = 99999999999999999999gb\n", 2, "option 'value-memory' must be a size"),
                ("[timing]\nhedge = 100\n", 2, "option 'hedge' must be a duration with its unit, such as 250ms or 3s"),
                ("[timing]\nhedge = 1d\n", 2, "option 'hedge' must be a duration with its unit"),
                ("[node]\nname = a b\n", 2, r"option 'name' may hold letters, digits, '\.', '_' and '-' only; it is 'a b'"),
                ("[node]\nname = %s\n" % ("x" * 33), 2, "option 'name' must have 0 to 32 characters; it has 33"),
                ("[node]\nname = \x01\n", 2, "option 'name' holds a control character"),
                ("[node]\nengine = lmdb\n", 2, "option 'engine' must be 'rocksdb' or 'memory'; it is 'lmdb'"),
                ("[node]\ndir =\n", 2, "option 'dir' may not be empty"),
                ("[cluster]\ncluster-name =\n", 2, "option 'cluster-name' may not be empty"),
                ("[cluster]\ncluster-name = a/b\n", 2, "option 'cluster-name' may hold letters, "),
                ("[cluster]\npartitions = 1000\n", 2, "option 'partitions' must be a power of two, .*it is 1000"),
                ("[cluster]\nseeds = a:1, host\n", 2, "option 'seeds' must be host:peer-port, .*'host' is not"),
                ("[cluster]\nseeds = a:99999\n", 2, "option 'seeds' must be host:peer-port, .*'a:99999' is not"),
                ("[nodes]\nport = 1\n", 2, r"unknown section \[nodes\]; there are \[node\], \[cluster\], "),
                ("[node]\nsecret = x\n", 2, r"option 'secret' belongs in section \[cluster\], not \[node\]"),
                ("port = 1\n", 1, r"option 'port' belongs in section \[node\], not before any section"),
                ("[node]\nport = 7600\nport = 7601\n", 3, "option 'port' is already set on line 2"),
                ("[node]\nport 7600\n", 2, r"this is neither a \[section\] nor name = value"),
                ("[node\nport = 7600\n", 1, r"this is neither a \[section\] nor name = value"),
                ("[node]\nname = %s\n" % ("x" * 9000), 2, "the line is longer than "),
                (b"\x7fELF\x02\x01\x01\0\0\0\n", 1, "the line holds a NUL byte: this is not a text file"),
        ]:
            with self.subTest(text[:60]):
                self.write(text)
                self.refused(r"gramme\.conf:%d: %s" % (line, why))
        self.assertFalse(os.path.exists(self.data))

    def test_settings_that_contradict_each_other(self):
        for text, why in [
                ("[timing]\npeer-timeout = 100ms\n", "'peer-timeout' must be longer than 'heartbeat'"),
                ("[node]\nmax-value = 16mb\nclient-output-limit = 1mb\n", "'client-output-limit' is smaller than"),
                ("[node]\nhints = 0\n[timing]\nsync-round = 0ms\n", "'hints' 0 with 'sync-round' 0: nothing would bring"),
                ("[node]\nport = 60000\n", r"port 60000 \+ 10000 is 70000, beyond 65535: choose a port below 55536, or"),
                ("[node]\nport = 7600\npeer-port = 7600\n", "'port' and 'peer-port' are both 7600: they must differ"),
        ]:
            with self.subTest(text):
                self.write(text)
                self.refused("gramme.conf: " + why)

    def test_nobody_listens_beyond_loopback_without_password_and_secret(self):
        for listen in ("0.0.0.0", "::", "10.1.2.3", "192.0.2.1", "myhost"):
            for given in ("", "requirepass = x\n", "[cluster]\nsecret = y\n"):
                with self.subTest((listen, given)):
                    self.write("[node]\nlisten = %s\n%s" % (listen, given))
                    self.refused("'listen' is %s, which others can reach: set 'requirepass' and 'secret' first, or "
                                 "listen on 127.0.0.1" % listen)
        self.write("[node]\nlisten = 0.0.0.0\nrequirepass = x\n[cluster]\nsecret = y\n")
        self.refused("'listen' is 0.0.0.0: set 'announce' to the address at which others reach this node")

    def test_addresses_that_are_none_of_this_machine(self):
        self.config("listen = 192.0.2.1\nrequirepass = x\n[cluster]\nsecret = y\n")
        self.refused("192.0.2.1 is not an address of this machine; set listen to one that is")
        self.config("listen = no.such.host.invalid\nrequirepass = x\n[cluster]\nsecret = y\n")
        self.refused("can not look up no.such.host.invalid: .*; set listen to an address of this machine")

    def test_files_and_flags(self):
        self.refused("/nonexistent.conf: No such file or directory", "--config", "/nonexistent.conf", config=False)
        self.refused("Is a directory", "--config", self.directory, config=False)
        self.refused("unrecognized option '--prot'", "--prot", "1", status=2, config=False)
        self.refused("option 'port' must be a whole number", "--port", "http", status=2, config=False)
        self.refused("--set wants NAME=VALUE; it is 'port'", "--set", "port", status=2, config=False)
        self.refused("unknown option 'prot'; did you mean 'port'", "--set", "prot=1", status=2, config=False)
        self.refused("server takes no arguments; a file goes with --config", "gramme.conf", status=2, config=False)

    # -- the data directory

    def test_directories_that_can_not_be_used(self):
        self.config()
        for path, why in [
                ("/proc/gramme", "data directory /proc/gramme: .*; let this user write there, or set another 'dir'"),
                (self.path, "Not a directory; set 'dir' to a directory"),
                (self.path + "/data", "Not a directory; set 'dir' to a directory"),
                ("/" + "x" * 300, "File name too long; set a shorter 'dir'"),
        ]:
            with self.subTest(path):
                self.refused(why, "--dir", path)

    def test_a_directory_of_another_cluster(self):
        self.config("[cluster]\ncluster-name = one\n")
        self.starts()
        before = self.fingerprint()
        self.config("[cluster]\ncluster-name = two\n")
        self.refused('gramme.format belongs to the cluster "one", not "two"; set cluster-name to it, or use another dir')
        self.assertEqual(self.fingerprint(), before)
        self.config("[cluster]\ncluster-name = one\n")
        self.starts()

    def test_a_format_file_that_is_newer_damaged_or_missing(self):
        self.config()
        self.starts()
        path = os.path.join(self.data, "gramme.format")
        with open(path, "rb") as file:
            good = file.read()
        self.assertIn(b"format 1\n", good)
        damaged = "gramme.format is damaged; put it back from a copy of this very directory, or start with an empty dir"
        cases = [(good.replace(b"format 1\n", b"format 2\n"),
                  "gramme.format has format 2, this version reads up to 1; run the newer version that wrote it"),
                 (b"gramme data directory\nformat 7\nand what it pleases", "has format 7, this version reads up to 1"),
                 (good.replace(b"cluster gramme", b"cluster grumme"), damaged),
                 (good[:-5], damaged), (good[:20], damaged), (good + b"x", damaged), (b"", damaged), (b"\0" * 100, damaged),
                 (b"#" * 5000, damaged)]
        for i in range(len(good)):
            if i % 7 == 0:
                cases.append((good[:i] + bytes([good[i] ^ 1]) + good[i + 1:], "is damaged|has format|belongs to"))
        for content, why in cases:
            with self.subTest(content[:60]):
                with open(path, "wb") as file:
                    file.write(content)
                before = self.fingerprint()
                self.refused(why)
                self.assertEqual(self.fingerprint(), before)
        os.unlink(path)
        self.refused("gramme.format is missing though there is data beside it; put it back from a copy, or use another dir")
        self.assertFalse(os.path.exists(path))
        with open(path, "wb") as file:
            file.write(good)
        self.starts()

    def test_another_engine_than_the_directorys(self):
        for used, other in (("rocksdb", "memory"), ("memory", "rocksdb")):
            self.data = os.path.join(self.directory, used)
            self.config("engine = %s\n" % used)
            self.starts()
            before = self.fingerprint()
            self.config("engine = %s\n" % other)
            self.refused('was used with the engine "%s", not "%s"; set engine to it, or use another dir' % (used, other))
            self.assertEqual(self.fingerprint(), before)
            self.config("engine = %s\n" % used)
            self.starts()

    def test_a_damaged_file_of_the_memory_engine(self):
        """It keeps who the cluster's members are, and nothing else."""
        self.config("engine = memory\n")
        self.starts()
        path = os.path.join(self.data, "meta")
        with open(path, "rb") as file:
            good = file.read()
        for content in (b"", b"garbage", good[:-1], good + b"x", good[:40] + b"\xff" + good[41:]):
            with self.subTest(content[:20]), open(path, "wb") as file:
                file.write(content)
                file.flush()
                self.refused("/meta can not be used .*: restore it, or start with an empty dir")
        with open(path, "wb") as file:
            file.write(good)
        self.starts()

    def test_a_damaged_store(self):
        self.config()
        self.starts()
        current = os.path.join(self.data, "rocksdb", "CURRENT")
        with open(current, "rb") as file:
            good = file.read()
        for content in (b"", b"garbage\n", b"MANIFEST-999999\n"):
            with self.subTest(content):
                with open(current, "wb") as file:
                    file.write(content)
                self.refused("/data/rocksdb can not be opened: move the store away and start again: what the other replicas have comes back")
        with open(current, "wb") as file:
            file.write(good)
        self.starts()

    def test_a_directory_in_use(self):
        with Cluster(1, engine="rocksdb") as cluster:
            node = cluster[0]
            self.data = node.directory
            self.config("[cluster]\ncluster-name = e2e\n")
            self.refused("data directory %s is in use by process %d: stop it first, or give another 'dir'" % (
                node.directory, node.pid))
            node.check_alive()
            node.call("DYNAMO.BUCKET", "default", "SET", "n", 1, "r", 1, "w", 1)
            node.call("SET", "a", "b")
            self.assertEqual(node.call("GET", "a"), b"b")

    # -- ports

    def test_a_port_in_use(self):
        for which, option in ((0, "port"), (1, "peer-port")):
            with self.subTest(option), contextlib.closing(socket.create_server((HOST, self.ports[which]))):
                self.config()
                self.refused("127.0.0.1:%d is in use by another program; stop that one or set another %s$" % (
                    self.ports[which], option))
        self.config()
        self.starts()

    def test_a_running_nodes_ports(self):
        with Cluster(1, engine="memory") as cluster:
            node = cluster[0]
            for ports, option in (((node.port, self.ports[1]), "port"), ((self.ports[0], node.peer_port), "peer-port")):
                self.config("[cluster]\ncluster-name = e2e\n")
                self.refused(":%d is in use by another program; stop that one or set another %s$" % (
                    node.port if option == "port" else node.peer_port, option),
                    "--port", str(ports[0]), "--peer-port", str(ports[1]))
            self.assertEqual(node.call("PING"), "PONG")


if __name__ == "__main__":
    unittest.main(verbosity=2)
