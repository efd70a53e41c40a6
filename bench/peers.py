"""What the benchmarks drive: Redis as the peer, Gramme in its shapes; and redis-benchmark as the one client of them all."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "test", "e2e"))
from support import HOST, Cluster, Resp, free_ports, release_ports, wait_until  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of all its threads so far."""
    with open("/proc/%d/stat" % pid, encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Redis:
    """A redis-server of our own: `always` appends to a file and syncs each write, otherwise nothing is persisted."""

    def __init__(self, always):
        self.name = "redis, appendfsync always" if always else "redis, no persistence"
        self.directory = tempfile.mkdtemp(prefix="gramme-bench-")
        self.ports = free_ports(1)
        self.port = self.ports[0]
        options = ["--appendonly", "yes", "--appendfsync", "always"] if always else ["--appendonly", "no"]
        self.process = subprocess.Popen(
            ["redis-server", "--bind", HOST, "--port", str(self.port), "--save", "", "--dir", self.directory, *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: Resp(self.port).call("PING") == "PONG", 20, "redis answers")

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def close(self):
        self.process.terminate()
        self.process.wait()
        release_ports(self.ports)
        shutil.rmtree(self.directory, ignore_errors=True)


class Gramme:
    """A cluster of `count` nodes on this machine, driven through its first node."""

    def __init__(self, name, count, engine, props):
        self.name = name
        self.cluster = Cluster(count, engine=engine)
        self.cluster.__enter__()
        flat = [part for pair in props.items() for part in pair]
        self.cluster[0].call("DYNAMO.BUCKET", "default", "SET", *flat)

        def spread():
            return all(str(dict_of(node.call("DYNAMO.BUCKET", "default", "GET"))["w"]) == str(props["w"])
                       for node in self.cluster)
        wait_until(spread, 20, "the properties of the bucket are everywhere")
        self.port = self.cluster[0].port

    def cpu_seconds(self):
        return sum(cpu_seconds(node.pid) for node in self.cluster if node.alive)

    def close(self):
        self.cluster.close()


def dict_of(flat):
    text = [part.decode() if isinstance(part, bytes) else part for part in flat]
    return dict(zip(text[0::2], text[1::2]))


class Run:
    """One run of redis-benchmark: requests a second, latencies in ms, and whether the server sent errors."""

    def __init__(self, port, test, requests, clients=50, pipeline=1, size=100, keys=100000, extra=()):
        command = ["redis-benchmark", "-h", HOST, "-p", str(port), "-t", test, "-n", str(requests), "-c", str(clients),
                   "-P", str(pipeline), "-d", str(size), "-r", str(keys), "-e", *extra]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        self.output = done.stdout + done.stderr
        if done.returncode != 0:
            raise RuntimeError("redis-benchmark failed:\n" + self.output)
        self.errors = re.findall(r"(?m)^(?:Error|-)[^\n]*", self.output)
        self.per_second = float(re.search(r"throughput summary: ([0-9.]+)", self.output).group(1))
        points = [(float(p), float(ms)) for p, ms in re.findall(r"([0-9.]+)% <= ([0-9.]+) milliseconds", self.output)]
        self.p50 = self.percentile(points, 50)
        self.p99 = self.percentile(points, 99)
        self.p999 = self.percentile(points, 99.9)

    @staticmethod
    def percentile(points, wanted):
        return next((ms for percent, ms in points if percent >= wanted), points[-1][1] if points else float("nan"))
