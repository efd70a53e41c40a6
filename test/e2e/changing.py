"""Clusters whose members come and go, and clients that check what they read meanwhile: for the tests of growing and
shrinking, and for their benchmark."""

import collections
import json
import os
import random
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import Cluster, HOST, Node, ReplyError, START_SECONDS, free_ports  # noqa: E402

MOVE_SECONDS = 180


class ChangingCluster(Cluster):
    """`nodes` are those that should be members; `others` wait to be added, or have been removed."""

    def __init__(self, *args, **options):
        self.others = []
        self.shop = None  # whose clients are to stop before the nodes do
        self.made = 0
        super().__init__(*args, **options)
        self.made = len(self.nodes)

    def close(self, check=True):
        if self.shop is not None:
            self.shop.dismiss()
        self.nodes = self.nodes + self.others
        self.others = []
        super().close(check)

    def make_newcomer(self, **cluster_options):
        """One more node, its seeds all members; not started."""
        self.made += 1
        name = "node-%d" % self.made
        port, peer_port = free_ports(2)
        self._ports += [port, peer_port]
        directory = os.path.join(self.directory, name)
        settings = {section: dict(options) for section, options in self.nodes[0].settings.items()}
        settings["node"].update({"name": name, "dir": directory, "port": port, "peer-port": peer_port})
        settings["cluster"]["seeds"] = ",".join("%s:%d" % (HOST, node.peer_port) for node in self.nodes)
        settings["cluster"].update(cluster_options)
        node = Node(self.made - 1, directory, port, peer_port, settings)
        self.others.append(node)
        return node

    def newcomer(self):
        """One more node, which waits to be added and is known to wait."""
        node = self.make_newcomer()
        node.start().wait_answers()
        self.wait_candidate(node)
        return node

    def wait_candidate(self, node):
        self.wait_until(lambda: node.address in [c["address"] for c in self.nodes[0].status()["candidates"]],
                        START_SECONDS, "%s waits to be added" % node)

    def stage(self, *words):
        return json.loads(self.nodes[0].call("DYNAMO.CLUSTER", "PLAN", *words))

    def commit(self, *changes):
        """Stages the changes, each a tuple of words, and issues them."""
        for words in changes:
            plan = self.stage(*words)
        self.nodes[0].call("DYNAMO.CLUSTER", "COMMIT", plan["plan_id"])
        return plan

    def add(self, *newcomers):
        plan = self.commit(*[("ADD", node.address) for node in newcomers])
        for node in newcomers:
            self.comes(node)
        return plan

    def remove(self, node):
        assert node is not self.nodes[0], "it is the one that is asked"
        plan = self.commit(("REMOVE", node.name))
        self.leaves(node)
        return plan

    def replace(self, old, newcomer):
        if old is self.nodes[0]:
            self.nodes.append(self.nodes.pop(0))
        plan = self.commit(("REPLACE", old.name, newcomer.address))
        self.leaves(old)
        self.comes(newcomer)
        return plan

    def comes(self, node):
        self.others.remove(node)
        self.nodes.append(node)

    def leaves(self, node):
        self.nodes.remove(node)
        self.others.append(node)

    def wait_member(self, node):
        """Until it serves clients."""
        self.wait_until(lambda: node.status()["node"]["member"], MOVE_SECONDS, "%s is a member" % node)

    def wait_moving(self, least=1):
        """Until some partitions have come and others have not: the middle of a change."""
        def moving():
            change = self.nodes[0].status()["change"]
            assert change is not None, "the change was over before it was looked at: the test has lost its teeth"
            return least <= change["partitions_held"] < change["partitions_wanted"] and change
        return self.wait_until(moving, MOVE_SECONDS, "partitions move")

    def wait_all_up(self):
        """Until all members serve and see each other, whatever moves."""
        def up():
            statuses = [node.status() for node in self.nodes]
            return all(status["node"]["member"] and self._sees_members(status) for status in statuses)
        return self.wait_until(up, START_SECONDS, "all members are up")

    def _sees_members(self, status):
        names = sorted(member["name"] for member in status["members"])
        return names == sorted(node.name for node in self.nodes) and status["totals"]["members_down"] == 0

    def wait_moved(self, seconds=MOVE_SECONDS):
        """Until all members write and read by the ring of just the members. Former owners may still hand over what is left."""
        def moved():
            for node in self.nodes:
                node.check_alive()
                status = node.status()
                change = status["change"]
                if not self._sees_members(status) or change is not None and (change["moving"] or change["another_waits"]):
                    return False
            return True
        return self.wait_until(moved, seconds, "partitions have moved")

    def wait_settled(self, seconds=MOVE_SECONDS):
        """As wait_moved, and nothing is left where it does not belong: no hints, nothing on former owners, in the cluster or
        removed from it."""
        def settled():
            for node in self.nodes:
                node.check_alive()
                status = node.status()
                if not self._sees_members(status) or status["change"] is not None or status["totals"]["hints"] > 0:
                    return False
            return all(node.status()["node"]["handed_over"] for node in self.others
                       if node.alive and node.status()["node"]["removed"])
        return self.wait_until(settled, seconds, "the change of members is through")

    def wait_seen_down(self, down):
        def seen():
            return all(not member["up"] for node in self.nodes if node.alive
                       for member in node.status()["members"] if member["name"] == down.name)
        return self.wait_until(seen, START_SECONDS, "%s is seen as down" % down)

    def set_bucket(self, name, **properties):
        words = [word for pair in properties.items() for word in pair]
        self.nodes[0].call("DYNAMO.BUCKET", name, "SET", *words)

        def spread():
            for node in self.nodes:
                flat = [word.decode() if isinstance(word, bytes) else word for word in node.call("DYNAMO.BUCKET", name, "GET")]
                now = dict(zip(flat[::2], flat[1::2]))
                if any(now[key] != value for key, value in properties.items()):
                    return False
            return True
        self.wait_until(spread, START_SECONDS, "the properties of bucket %s are everywhere" % name)


# -- who keeps what ----------------------------------------------------------------------------------------------------

def misplaced(cluster, key, n=3):
    """What is wrong with where the copies of a key lie, in words; None when all is as it should be: the same object on
    each of its owners, in the eyes of every member, nothing of it on any other, and no hint."""
    owners = None
    for node in cluster:
        told = node.explain(key)
        named = [entry["name"] for entry in told["preference"] if entry["role"] == "replica"]
        holders = [entry for entry in told["replicas"] if entry["siblings"] is not None]
        if len(told["replicas"]) != len(cluster) or not all(entry["answered"] for entry in told["replicas"]):
            return "%s: %s has not heard of all members" % (key, node)
        if len(set(named)) != n or owners not in (None, named):
            return "%s: its owners are %s for %s, and were %s" % (key, named, node, owners)
        if sorted(entry["name"] for entry in holders) != sorted(named):
            return "%s: owned by %s, held by %s" % (key, named, [entry["name"] for entry in holders])
        if any(entry["hints"] for entry in told["replicas"]):
            return "%s: there are hints" % key
        if any((entry["clock"], entry["siblings"]) != (holders[0]["clock"], holders[0]["siblings"]) for entry in holders):
            return "%s: its copies differ" % key
        owners = named
    return None


def wait_in_place(cluster, keys, n=3):
    """Until each key lies on just its owners. Replicas may still be on their way to agreement when a change is through."""
    left = collections.deque(keys)
    why = None

    def in_place():
        nonlocal why
        while left:
            why = misplaced(cluster, left[0], n)
            if why:
                left.rotate(-1)
                return False
            left.popleft()
        return True
    try:
        cluster.wait_until(in_place, 60, "each key is where it belongs")
    except AssertionError as error:
        raise AssertionError("%s\n%d keys, one of them: %s" % (error, len(left), why)) from None


# -- clients that check --------------------------------------------------------------------------------------------------

CARTS = 20
THINK_SECONDS = 0.01  # between two requests of a client, on average: the nodes and their clients share one machine
IN_DOUBT = object()  # instead of a reply
ADDS_OF_A_ROUND = 1600  # then other carts, so that none grows without end


class Shop:
    """What all shoppers know together. Carts of bucket `strict` are written and read by real replicas alone (pw, pr): what
    is acknowledged there must be in whatever is read later, wherever. Those of bucket `loose` have the properties that are
    the default: stand-ins count, so what was acknowledged must only be there in the end."""

    def __init__(self, cluster, old_keys=0, old_size=0):
        self.cluster = cluster
        self.lock = threading.Lock()
        self.serving = list(cluster)  # whom the shoppers talk to
        self.leaving = set()  # who may say that it is no member any more
        self.excused = None  # who may fail, and puts forwarded to it
        self.all_excused = False
        self.adds = 0
        self.done = 0
        self.acked = collections.defaultdict(set)
        self.tried = collections.defaultdict(set)
        self.doubtful = 0
        self.sent_away = 0
        self.stale_loose = 0
        self.faults = []
        self.old_size = old_size
        self.old_keys = ["old:%d" % i for i in range(old_keys)]
        self.shoppers = []

    def old_value(self, key):
        return ("%s " % key * (self.old_size // 4 + 1))[:self.old_size].encode()

    def open(self):
        """The buckets, and what is there before anything changes."""
        self.cluster.set_bucket("default", pr=2, pw=2)
        self.cluster.set_bucket("loose", pr=0, pw=0)
        with self.cluster[0].connect(timeout=60) as client:
            for start in range(0, len(self.old_keys), 200):
                replies = client.pipeline([("SET", key, self.old_value(key)) for key in self.old_keys[start:start + 200]])
                assert set(replies) == {"OK"}, replies
        return self

    def start(self, count):
        self.cluster.shop = self
        first = len(self.shoppers)
        self.shoppers += [Shopper(self, first + i) for i in range(count)]
        for shopper in self.shoppers[first:]:
            shopper.start()

    def say_goodbye(self, node):
        """Nobody turns to it any more."""
        with self.lock:
            if node in self.serving:
                self.serving.remove(node)

    def wait_done(self, more, seconds=90):
        """Until so many more requests have been answered, of them all."""
        goal = self.done + more
        self.cluster.wait_until(lambda: self.done >= goal or self.faults, seconds, "%d more requests" % more)
        self.check()

    def dismiss(self):
        for shopper in self.shoppers:
            shopper.stopping.set()
        for shopper in self.shoppers:
            shopper.join(30)

    def dismiss_when(self, what):
        """All stop when something is done that fails them all: what they have in hand is in doubt."""
        self.all_excused = True
        what()
        self.stop()
        self.all_excused = False

    def stop(self):
        self.dismiss()
        assert not any(shopper.is_alive() for shopper in self.shoppers), "a shopper is stuck"
        self.check()

    def check(self):
        if self.faults:
            counts = "\n".join("%s: %s" % (node.name, self.counts(node)) for node in self.cluster.nodes)
            raise AssertionError("%d faults, the first:\n%s\n%s" % (len(self.faults), "\n".join(self.faults[:5]), counts))

    @staticmethod
    def counts(node):
        """What a node has counted, for the report of a failure."""
        try:
            lines = node.call("INFO", "stats").decode().split()
        except (ReplyError, OSError) as error:
            return str(error)
        return " ".join(line for line in lines if ":" in line and not line.endswith(":0"))

    def judge(self):
        """What was acknowledged is there, on all replicas; nothing is there that nobody put; what was there before still is."""
        for number, cart in enumerate(sorted(self.tried)):
            node = self.cluster.nodes[number % len(self.cluster)]
            values = node.dynamo_get(cart, "R", 3)[1]
            items = set().union(*(json.loads(value) for value in values))
            assert not self.acked[cart] - items, "acknowledged and lost from %s: %s" % (cart, self.acked[cart] - items)
            assert not items - self.tried[cart], "never put into %s: %s" % (cart, items - self.tried[cart])
        clients = [node.connect() for node in self.cluster]
        for start in range(0, len(self.old_keys), 200):
            part = self.old_keys[start:start + 200]
            values = clients[start // 200 % len(clients)].pipeline([("GET", key) for key in part])
            for key, value in zip(part, values):
                assert value == self.old_value(key), "%s is %r" % (key, value)
        for client in clients:
            client.close()

    def keys(self, old_step=10):
        return sorted(self.tried) + self.old_keys[::old_step]

    def report(self):
        acked = sum(len(items) for items in self.acked.values())
        print("%d requests, %d adds acknowledged, %d in doubt; %d times sent away by a node that had left; %d reads by "
              "stand-ins were stale" % (self.done, acked, self.doubtful, self.sent_away, self.stale_loose))


class Shopper(threading.Thread):
    """Reads carts, unites the siblings, adds an item of its own and writes with the context; reads what was there before."""

    def __init__(self, shop, number):
        super().__init__(daemon=True)
        self.shop = shop
        self.bucket = "loose" if number % 3 == 2 else "strict"
        self.number = number
        self.random = random.Random(number)
        self.stopping = threading.Event()
        self.connections = {}
        self.added = 0

    def run(self):
        try:
            while not self.stopping.is_set():
                chance = self.random.random()
                if chance < 0.25 and self.shop.old_keys:
                    self.read_old(self.random.choice(self.shop.old_keys))
                else:
                    self.add()
                self.stopping.wait(self.random.random() * 2 * THINK_SECONDS)
        except Exception as error:  # pylint: disable=broad-except
            self.fault("%s: %s" % (type(error).__name__, error))
        finally:
            for client in self.connections.values():
                client.close()

    def fault(self, text):
        with self.shop.lock:
            self.shop.faults.append("%s shopper %d: %s" % (time.strftime("%H:%M:%S"), self.number, text))

    def call(self, *args):
        """The reply of a node that serves, or IN_DOUBT. One that has left sends us on."""
        shop = self.shop
        while True:
            node = self.random.choice(shop.serving)
            try:
                client = self.connections.get(node.index)
                if client is None:
                    client = self.connections[node.index] = node.connect(timeout=60)
                reply = client.call(*args)
                with shop.lock:
                    shop.done += 1
                return reply
            except ReplyError as error:
                if error.code == "NOTMEMBER" and node in shop.leaving:
                    with shop.lock:
                        shop.sent_away += 1
                        if node in shop.serving:
                            shop.serving.remove(node)
                    continue
                forwarded = shop.excused is not None and error.code == "TIMEOUT" and args[0] == "DYNAMO.PUT"
                if forwarded or shop.all_excused:
                    return IN_DOUBT
                self.fault("%s of %s at %s: %s" % (args[0], args[1], node, error))
                return IN_DOUBT
            except OSError as error:
                client = self.connections.pop(node.index, None)
                if client is not None:
                    client.close()
                if node is not shop.excused and not shop.all_excused:
                    self.fault("%s of %s at %s: %s" % (args[0], args[1], node, error))
                return IN_DOUBT

    def read_cart(self, cart):
        """(context, items), checked against what had been acknowledged before; None when there was no answer."""
        shop = self.shop
        with shop.lock:
            before = set(shop.acked[cart])
        got = self.call("DYNAMO.GET", cart)
        if got is IN_DOUBT:
            return None
        items = set().union(*(json.loads(value) for value in got[1]))
        missing = before - items
        if missing and self.bucket == "strict":
            self.fault("a stale read of %s: %s had been acknowledged" % (cart, sorted(missing)))
        elif missing:
            with shop.lock:
                shop.stale_loose += 1
        return got[0], items

    def add(self):
        shop = self.shop
        with shop.lock:
            shop.adds += 1
            this_round = shop.adds // ADDS_OF_A_ROUND
        cart = "%s:%d-%d" % (self.bucket, this_round, self.random.randrange(CARTS))
        item = "%d-%d" % (self.number, self.added)
        self.added += 1
        seen = self.read_cart(cart)
        if seen is None:
            return
        with shop.lock:
            shop.tried[cart].add(item)
        put = self.call("DYNAMO.PUT", cart, json.dumps(sorted(seen[1] | {item})), "CONTEXT", seen[0])
        with shop.lock:
            if put is IN_DOUBT:
                shop.doubtful += 1
            else:
                shop.acked[cart].add(item)
        if put is not IN_DOUBT and self.random.random() < 0.3:
            self.read_cart(cart)

    def read_old(self, key):
        value = self.call("GET", key)
        if value is not IN_DOUBT and value != self.shop.old_value(key):
            self.fault("%s is %r" % (key, value and value[:60]))


class MovingCase(unittest.TestCase):
    """Transfers so slow that there is a middle, with time for something to happen in it."""

    OLD_KEYS = 1500
    OLD_SIZE = 1000
    MIDDLE = 25  # partitions that are to have come, of some 192
    SETTINGS = {"node.background-rate": "100kb", "cluster.partitions": "256", "timing.request-timeout": "5s"}

    def begin(self, count=3):
        self.cluster = ChangingCluster(count, settings=self.SETTINGS)
        self.failed = True
        self.addCleanup(self.clean_up)
        self.cluster.start()
        self.shop = Shop(self.cluster, self.OLD_KEYS, self.OLD_SIZE).open()

    def clean_up(self):
        self.cluster.close(check=not self.failed)

    def held(self, node):
        """(partitions that have come, that are wanted) as the node itself says."""
        change = node.status()["change"]
        if change is None:
            return None
        own = [member for member in change["members"] if member["name"] == node.name]
        return own and (own[0]["partitions_held"], own[0]["partitions_wanted"])

    def wait_middle(self, node, least=MIDDLE):
        """Until the node has taken so many partitions, and not all."""
        def middle():
            held = self.held(node)
            self.assertTrue(held is None or held[1] == 0 or held[0] < held[1], "all came too soon: there was no middle")
            return held and least <= held[0] and held[0]
        return self.cluster.wait_until(middle, MOVE_SECONDS, "%s has taken some" % node)

    def hurry(self):
        for node in self.cluster:
            node.call("CONFIG", "SET", "background-rate", "64mb")
