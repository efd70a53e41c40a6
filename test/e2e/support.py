"""Real nodes for end-to-end tests: processes, sockets, disk. Python's standard library only.

    with Cluster(3) as cluster:                # started, formed, every member up
        cluster[0].call("SET", "cart:42", "milk")
        cluster[2].kill9()
        cluster.wait_down(2)                   # the others have noticed
        cluster[2].start()
        cluster.wait_formed()
        cluster.wait_hints_drained()

Every wait polls for a stated condition and fails with the tail of each node's log when its time is over: no test sleeps and
hopes. Leaving the `with` stops the nodes cleanly and fails when one did not end with status 0 (a sanitizer's report is
such an end), unless the test itself is failing already.

Environment: GRAMME names the program (default: build/gramme of this tree); GRAMME_TEST_PORTS the range of ports that may be
used ("21200-21399"); GRAMME_KEEP=1 keeps the directories.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOST = "127.0.0.1"
POLL_SECONDS = 0.05
# Generous: a sanitized build on a busy machine must pass too. A test that passes never waits as long as this.
START_SECONDS = 60
STOP_SECONDS = 30
REPLY_SECONDS = 15


def program():
    """The gramme under test, as an absolute path."""
    return os.path.abspath(os.environ.get("GRAMME") or os.path.join(ROOT, "build", "gramme"))


# -- ports ---------------------------------------------------------------------------------------------------------------

_ports_given = set()


def port_is_free(port):
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server does; a listener still conflicts
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_ports(count, consecutive=False):
    """Ports of the range that nobody listens on and that this process has not handed out. The start is random, so that two
    runs at one time seldom meet."""
    low, high = (int(end) for end in os.environ.get("GRAMME_TEST_PORTS", "21200-21399").split("-"))
    ports = list(range(low, high + 1))
    turn = random.randrange(len(ports))
    if not consecutive:
        ports = ports[turn:] + ports[:turn]
    starts = range(len(ports)) if not consecutive else [(turn + i) % len(ports) for i in range(len(ports))]
    found = []
    for start in starts:
        candidates = ports[start:start + count] if consecutive else ports[start:start + 1]
        if (not consecutive or len(candidates) == count) and all(
                port not in _ports_given and port_is_free(port) for port in candidates):
            found += candidates
        if len(found) >= count:
            _ports_given.update(found)
            return found
    raise RuntimeError("no %d free ports in %d-%d" % (count, low, high))


def release_ports(ports):
    _ports_given.difference_update(ports)


# -- waiting -----------------------------------------------------------------------------------------------------------------

class WaitTimeout(AssertionError):
    pass


def wait_until(condition, seconds, what):
    """Polls until `condition()` is true and returns what it returned. OSError and ReplyError count as not yet."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            result = condition()
            if result:
                return result
            last = None
        except (OSError, ReplyError, ValueError) as error:
            last = error
        if time.monotonic() >= deadline:
            raise WaitTimeout("not within %g s: %s%s" % (seconds, what, " (%s)" % last if last else ""))
        time.sleep(POLL_SECONDS)


# -- RESP ----------------------------------------------------------------------------------------------------------------------

class ReplyError(Exception):
    """A RESP error reply. `code` is its first word."""

    def __init__(self, text):
        super().__init__(text)
        self.code = text.split(" ", 1)[0]


class Disconnected(ConnectionError):
    """The server closed the connection."""


def encode(*args):
    """A command as an array of bulk strings. str, int and bytes."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class Resp:
    """A raw RESP client: one blocking connection. Bulk strings come back as bytes, nil as None, errors are raised as
    ReplyError (inside arrays and pipelines they are returned instead)."""

    def __init__(self, port, host=HOST, timeout=REPLY_SECONDS, password=None):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.at = 0
        if password is not None:
            self.call("AUTH", password)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def call(self, *args):
        self.send_raw(encode(*args))
        reply = self.read_reply()
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def pipeline(self, commands):
        """Sends all commands in one go; the list of replies, errors among them as ReplyError values."""
        self.send_raw(b"".join(encode(*command) for command in commands))
        return [self.read_reply() for _ in commands]

    def json(self, *args):
        return json.loads(self.call(*args))

    def send_raw(self, data):
        self.socket.sendall(data)

    def _fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise Disconnected("the server closed the connection")
        self.buffer = self.buffer[self.at:] + data
        self.at = 0

    def _line(self):
        while True:
            end = self.buffer.find(b"\r\n", self.at)
            if end >= 0:
                line = self.buffer[self.at:end]
                self.at = end + 2
                return line
            self._fill()

    def _exactly(self, size):
        if len(self.buffer) - self.at < size + 2:
            parts = [self.buffer[self.at:]]
            have = len(parts[0])
            while have < size + 2:
                data = self.socket.recv(max(65536, size + 2 - have))
                if not data:
                    raise Disconnected("the server closed the connection")
                parts.append(data)
                have += len(data)
            self.buffer = b"".join(parts)
            self.at = 0
        data = self.buffer[self.at:self.at + size]
        self.at += size + 2
        return data

    def read_reply(self):
        """One reply of RESP2 or RESP3. Errors are returned, not raised."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ReplyError(rest.decode(errors="replace"))
        if kind in (b":", b"("):
            return int(rest)
        if kind in (b"$", b"=", b"!"):
            if rest == b"-1":
                return None
            data = self._exactly(int(rest))
            data = data[4:] if kind == b"=" else data  # a verbatim string begins with its format, "txt:"
            return ReplyError(data.decode(errors="replace")) if kind == b"!" else data
        if kind in (b"*", b"~", b">"):
            return None if rest == b"-1" else [self.read_reply() for _ in range(int(rest))]
        if kind == b"%":
            return {_hashable(self.read_reply()): self.read_reply() for _ in range(int(rest))}
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        raise ValueError("not RESP: %r" % line)

    def is_closed_by_server(self, seconds=REPLY_SECONDS):
        """True when the server closes within that time; what it still sends is thrown away."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


# -- nodes ---------------------------------------------------------------------------------------------------------------------

class NodeDied(AssertionError):
    pass


class Node:
    """One `gramme server` process, which may be started and ended again and again on one directory."""

    def __init__(self, index, directory, port, peer_port, settings, wrapper=(), environment=None):
        self.index = index
        self.name = "node-%d" % (index + 1)
        self.directory = directory
        self.port = port
        self.peer_port = peer_port
        self.settings = settings  # {section: {option: value}}, written to the file at each start
        self.wrapper = list(wrapper)  # what stands before the command, such as ["faketime", "-f", "+1h"]
        self.environment = environment or {}
        self.process = None
        self.stopped = False  # by SIGSTOP
        self.told_to_stop = False
        self.config_path = os.path.join(directory, "gramme.conf")
        self.log_path = os.path.join(directory, "log")
        self._client = None

    def __repr__(self):
        return "%s (port %d)" % (self.name, self.port)

    @property
    def address(self):
        return "%s:%d" % (HOST, self.port)

    @property
    def password(self):
        return self.settings["node"].get("requirepass") or None

    @property
    def pid(self):
        return self.process.pid if self.process else None

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def write_config(self):
        os.makedirs(self.directory, exist_ok=True)
        with open(self.config_path, "w", encoding="utf-8") as file:
            for section, options in self.settings.items():
                file.write("[%s]\n" % section)
                for name, value in options.items():
                    file.write("%s = %s\n" % (name, value))

    def start(self, *flags):
        """Starts the process; does not wait for it to answer (wait_answers, Cluster.wait_formed)."""
        assert not self.alive, "%s runs already" % self
        self.write_config()
        command = self.wrapper + [program(), "server", "--config", self.config_path, *flags]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **self.environment})
        self.stopped = False
        self.told_to_stop = False
        return self

    def wait_answers(self, seconds=START_SECONDS):
        """Until it answers STATUS; at once an error when the process ends first."""
        def answers():
            self.check_alive()
            return self.status()
        return wait_until(answers, seconds, "%s answers\n%s" % (self, self.log_tail()))

    def check_alive(self):
        if not self.alive:
            raise NodeDied("%s ended with status %s; its log ends:\n%s" % (
                self, self.process.returncode if self.process else None, self.log_tail()))

    def signal(self, number):
        self.process.send_signal(number)

    def kill9(self):
        """Ends the process at once, and waits until it is gone."""
        self._close()
        if self.alive:
            self.signal(signal.SIGKILL)
        self.process.wait()
        self.stopped = False

    def sigstop(self):
        self.signal(signal.SIGSTOP)
        self.stopped = True

    def sigcont(self):
        self.signal(signal.SIGCONT)
        self.stopped = False

    def tell_to_stop(self):
        """SIGTERM, once: a second one would mean that it should not finish its work."""
        if self.alive and not self.told_to_stop:
            if self.stopped:
                self.sigcont()
            self.told_to_stop = True
            self.signal(signal.SIGTERM)

    def stop(self, seconds=STOP_SECONDS):
        """SIGTERM; returns the exit status. A node that does not end in time is killed and that is an error."""
        self._close()
        if self.process is None:
            return 0
        self.tell_to_stop()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("%s did not stop within %g s; its log ends:\n%s" % (self, seconds, self.log_tail()))

    def restart(self):
        """A clean stop and a start."""
        status = self.stop()
        assert status == 0, "%s stopped with status %d; its log ends:\n%s" % (self, status, self.log_tail())
        return self.start()

    def wipe(self):
        """Takes all data away: the node comes back as a new one."""
        assert not self.alive
        shutil.rmtree(self.directory)

    # -- talking to it

    def connect(self, timeout=REPLY_SECONDS):
        """A new connection, the caller's own."""
        return Resp(self.port, timeout=timeout, password=self.password)

    def call(self, *args):
        """On a connection kept with the node, opened again when it broke."""
        if self._client is None:
            self._client = self.connect()
        try:
            return self._client.call(*args)
        except (OSError, ValueError):
            self._close()
            raise

    def _close(self):
        if self._client is not None:
            self._client.close()
            self._client = None

    def status(self):
        return json.loads(self.call("DYNAMO.CLUSTER", "STATUS"))

    def ring(self):
        return json.loads(self.call("DYNAMO.CLUSTER", "RING"))

    def explain(self, key):
        return json.loads(self.call("DYNAMO.EXPLAIN", key))

    def dynamo_get(self, key, *options):
        """(context, [values])"""
        context, values = self.call("DYNAMO.GET", key, *options)
        return context, values

    def dynamo_put(self, key, value, context=None, *options):
        """The new context."""
        given = ("CONTEXT", context) if context else ()
        return self.call("DYNAMO.PUT", key, value, *given, *options)

    def log_tail(self, lines=15):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return "".join("    " + line for line in log.readlines()[-lines:])
        except OSError:
            return "    (no log)"

    def rss_bytes(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS")


class Cluster:
    """N nodes in a temporary directory: the first founds, the others join through all the others.

    engine    "memory" or "rocksdb"
    settings  {"section.option": value} for every node, e.g. {"timing.hedge": "50ms", "node.requirepass": "x"}
    zones     one zone name a node
    wrapper, environment   for every process, see Node
    """

    def __init__(self, count=3, engine="rocksdb", settings=None, zones=None, wrapper=(), environment=None, start=True):
        self.directory = tempfile.mkdtemp(prefix="gramme-e2e-")
        ports = free_ports(2 * count)
        self._ports = ports
        pairs = [(ports[2 * i], ports[2 * i + 1]) for i in range(count)]
        secret = "%032x" % random.SystemRandom().getrandbits(128)
        self.nodes = []
        self.start_at_once = start
        for i, (port, peer_port) in enumerate(pairs):
            directory = os.path.join(self.directory, "node-%d" % (i + 1))
            seeds = ",".join("%s:%d" % (HOST, peer) for j, (_, peer) in enumerate(pairs) if j != i and i != 0)
            sections = {
                "node": {"name": "node-%d" % (i + 1), "dir": directory, "engine": engine, "listen": HOST, "port": port,
                         "peer-port": peer_port},
                "cluster": {"cluster-name": "e2e", "secret": secret, "seeds": seeds},
                "timing": {},
                "storage": {},
            }
            if zones:
                sections["node"]["zone"] = zones[i]
            for name, value in (settings or {}).items():
                section, option = name.split(".", 1)
                sections[section][option] = value
            self.nodes.append(Node(i, directory, port, peer_port, sections, wrapper, environment))

    def __getitem__(self, index):
        return self.nodes[index]

    def __len__(self):
        return len(self.nodes)

    def __iter__(self):
        return iter(self.nodes)

    def __enter__(self):
        if self.start_at_once:
            try:
                self.start()
            except BaseException:
                self.close(check=False)
                raise
        return self

    def __exit__(self, kind, *_):
        self.close(check=kind is None)

    def start(self):
        """All nodes, and waits until they are one cluster."""
        for node in self.nodes:
            node.start()
        self.wait_formed()
        return self

    def close(self, check=True):
        """Stops what runs. With `check`, a node that did not end well is an error."""
        faults = []
        for node in self.nodes:
            died = node.process is not None and not node.alive and node.process.returncode not in (0, -signal.SIGKILL)
            if died:
                faults.append("%s had ended with status %d; its log ends:\n%s" % (
                    node, node.process.returncode, node.log_tail()))
        for node in self.nodes:  # all at once, so that the slowest decides
            node.tell_to_stop()
        for node in self.nodes:
            try:
                status = node.stop()
                if status not in (0, -signal.SIGKILL) and not any(str(node) in fault for fault in faults):
                    faults.append("%s stopped with status %d; its log ends:\n%s" % (node, status, node.log_tail()))
            except AssertionError as error:
                faults.append(str(error))
        release_ports(self._ports)
        if not check:
            sys.stderr.write(self.logs())
        if not os.environ.get("GRAMME_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            sys.stderr.write("kept: %s\n" % self.directory)
        if check and faults:
            raise AssertionError("\n".join(faults))

    def logs(self):
        return "".join("-- %s\n%s" % (node, node.log_tail()) for node in self.nodes)

    # -- waiting for the cluster

    def wait_until(self, condition, seconds=START_SECONDS, what="the condition"):
        try:
            return wait_until(condition, seconds, what)
        except WaitTimeout as error:
            raise WaitTimeout("%s\n%s" % (error, self.logs())) from None

    def wait_formed(self, seconds=START_SECONDS):
        """Until every running node sees every node of the cluster as a member and every running one as up."""
        running = [node for node in self.nodes if node.alive]
        assert running, "no node runs"

        def formed():
            for node in running:
                node.check_alive()
                status = node.status()
                up = {member["name"] for member in status["members"] if member["up"]}
                if not status["node"]["member"]:
                    return False
                if len(status["members"]) != len(self.nodes) or not {other.name for other in running} <= up:
                    return False
                if len(running) == len(self.nodes) and status["change"] is not None:
                    return False  # the ring of all of them is not yet the one that is written and read by
            return True
        return self.wait_until(formed, seconds, "%d nodes are one cluster" % len(self.nodes))

    def wait_down(self, index, seconds=START_SECONDS):
        """Until every other running node has noticed that this one is down."""
        name = self.nodes[index].name

        def noticed():
            return all(not member["up"] for node in self.nodes if node.alive and not node.stopped and node.name != name
                       for member in node.status()["members"] if member["name"] == name)
        return self.wait_until(noticed, seconds, "%s is seen as down" % name)

    def hints(self):
        """Hints now kept, summed over what each running node says of itself."""
        return sum(member["hints"] for node in self.nodes if node.alive for member in node.status()["members"]
                   if member["self"])

    def wait_hints_drained(self, seconds=START_SECONDS):
        return self.wait_until(lambda: self.hints() == 0, seconds, "all hints are delivered")


# -- the program ------------------------------------------------------------------------------------------------------------

def run(*args, stdin=None, timeout=60, environment=None, cwd=None):
    """Runs `gramme ARGS...` to its end; a CompletedProcess with text output, its returncode unchecked."""
    clean = {name: value for name, value in os.environ.items() if name != "GRAMME_PASSWORD"}
    return subprocess.run([program(), *args], input=stdin, capture_output=True, text=not isinstance(stdin, bytes),
                          timeout=timeout, env={**clean, **(environment or {})}, cwd=cwd, check=False)
