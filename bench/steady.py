"""A steady load on a cluster whose members come and go: so many requests a second, whatever the answers take. Latency counts from
when a request was due, so a server that stands still for a second is seen by all that were due meanwhile."""

import collections
import heapq
import multiprocessing
import os
import random
import selectors
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "test", "e2e"))
from support import HOST, encode  # noqa: E402

CONNECTIONS = 4  # to each node
WAIT_SECONDS = 30  # for what is still on its way, at the end


class Connection:
    """Requests in flight are answered in order."""

    def __init__(self, port, selector):
        self.port = port
        self.socket = socket.create_connection((HOST, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.waiting = collections.deque()  # (phase, kind, due)
        selector.register(self.socket, selectors.EVENT_READ, self)

    def replies(self):
        """First bytes of the replies that are there whole; errors are bytes with their text."""
        self.buffer += self.socket.recv(1 << 20)
        at = 0
        while True:
            end = self.buffer.find(b"\r\n", at)
            if end < 0:
                break
            line = self.buffer[at:end]
            after = end + 2
            if line[:1] == b"$" and line != b"$-1":
                after += int(line[1:]) + 2
                if len(self.buffer) < after:
                    break
            yield line
            at = after
        self.buffer = self.buffer[at:]


class Phase:
    def __init__(self):
        self.latencies = {"set": [], "get": []}
        self.errors = {"set": collections.Counter(), "get": collections.Counter()}


def drive(pipe, rate, keys, size, seed):
    """The process of the load: does what it is told ("ports", ...), ("phase", name), ("stop",), and answers with its figures."""
    prng = random.Random(seed)
    selector = selectors.DefaultSelector()
    selector.register(pipe, selectors.EVENT_READ, None)
    value = b"x" * size
    connections, rested = [], []  # those that are used, and all others
    phases = collections.OrderedDict()
    phase = None
    due = time.monotonic()
    stop = None
    while stop is None or (any(c.waiting for c in connections + rested) and time.monotonic() < stop + WAIT_SECONDS):
        for key, _ in selector.select(max(0.0, due - time.monotonic()) if stop is None else 0.1):
            if key.data is None:
                words = pipe.recv()
                if words[0] == "ports":
                    rested += connections
                    connections = [c for c in rested if c.port in words[1]]
                    rested = [c for c in rested if c.port not in words[1]]
                    fresh = set(words[1]) - {c.port for c in connections}
                    connections += [Connection(port, selector) for port in fresh for _ in range(CONNECTIONS)]
                elif words[0] == "phase":
                    phase = phases.setdefault(words[1], Phase())
                else:
                    stop = time.monotonic()
                continue
            for line in key.data.replies():
                entry, kind, since = key.data.waiting.popleft()
                entry.latencies[kind].append(time.monotonic() - since)
                if line[:1] == b"-":
                    entry.errors[kind][line.decode()] += 1
        now = time.monotonic()
        while stop is None and due <= now:
            if phase is not None and connections:
                connection = prng.choice(connections)
                name = "key:%d" % prng.randrange(keys)
                kind = prng.choice(("set", "get"))
                connection.waiting.append((phase, kind, due))
                connection.socket.sendall(encode("SET", name, value) if kind == "set" else encode("GET", name))
            due += prng.expovariate(rate)
    lost = sum(len(c.waiting) for c in connections + rested)
    pipe.send(([(name, entry.latencies, entry.errors) for name, entry in phases.items()], lost))


class Steady:
    def __init__(self, rate, keys, size, seed=1):
        self.pipe, end = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=drive, args=(end, rate, keys, size, seed), daemon=True)
        self.process.start()

    def ports(self, nodes):
        self.pipe.send(("ports", [node.port for node in nodes]))

    def phase(self, name):
        self.pipe.send(("phase", name))

    def stop(self):
        """([(phase, {"set": [seconds], "get": [seconds]}, the same of {error: count})], requests that were never answered)"""
        self.pipe.send(("stop",))
        result = self.pipe.recv()
        self.process.join()
        return result


def percentile(values, wanted):
    """Of a list that need not be sorted; NaN of an empty one."""
    if not values:
        return float("nan")
    above = max(1, int(len(values) * (100 - wanted) / 100))
    return heapq.nlargest(above, values)[-1]
