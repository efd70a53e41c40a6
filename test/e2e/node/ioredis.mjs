// ioredis, plain and Cluster.

import assert from "node:assert/strict";
import { Cluster, Redis } from "ioredis";
import { eventually, host, insist, main, password, ports, ready } from "./check.mjs";

const KEYS = 300;
const BINARY = Buffer.from([0, 255, 13, 10, 128, 0]);

async function strings(redis, p) {
  assert.equal(await redis.set(`${p}a`, "1"), "OK");
  assert.equal(await redis.get(`${p}a`), "1");
  assert.equal(await redis.get(`${p}none`), null);
  assert.equal(await redis.set(`${p}a`, "2", "EX", 100), "OK");
  assert.equal(await redis.set(`${p}a`, "3", "KEEPTTL", "GET"), "2");
  assert.equal(await redis.set(`${p}a`, "4", "PXAT", Date.now() + 100000), "OK");
  assert.equal(await redis.set(`${p}a`, "5", "EXAT", Math.floor(Date.now() / 1000) + 100), "OK");
  assert.equal(await redis.setex(`${p}b`, 100, "b"), "OK");
  assert.equal(await redis.psetex(`${p}c`, 100000, "c"), "OK");
  assert.equal(await redis.getset(`${p}b`, "bb"), "b");
  assert.equal(await redis.getdel(`${p}c`), "c");
  assert.equal(await redis.exists(`${p}a`, `${p}b`, `${p}c`), 2);
  assert.equal(await redis.strlen(`${p}b`), 2);
  assert.equal(await redis.type(`${p}b`), "string");
  assert.equal(await redis.type(`${p}c`), "none");
  assert.equal(await redis.mset(`${p}m1`, "x", `${p}m2`, "y"), "OK");
  assert.deepEqual(await redis.mget(`${p}m1`, `${p}c`, `${p}m2`), ["x", null, "y"]);
  assert.equal(await redis.del(`${p}m1`, `${p}m2`, `${p}none`), 2);
  assert.equal(await redis.unlink(`${p}b`), 1);
  assert.equal(await redis.set(`${p}bin`, BINARY), "OK");
  assert.deepEqual(await redis.getBuffer(`${p}bin`), BINARY);
  assert.equal(await redis.set(`${p}brief`, "x", "PX", 300), "OK");
  await eventually(null, () => redis.get(`${p}brief`));
  await assert.rejects(redis.set(`${p}a`, "6", "NX"), /^ReplyError: ERR NX is not offered/);
  await assert.rejects(redis.lpush(`${p}l`, "1"), /^ReplyError: ERR unknown command 'lpush'/);
}

async function dynamo(redis, p) {
  const context = await redis.call("DYNAMO.PUT", `${p}d`, "one");
  assert.equal(typeof context, "string");
  await redis.call("DYNAMO.PUT", `${p}d`, "two");
  const [both, values] = await redis.call("DYNAMO.GET", `${p}d`);
  assert.deepEqual(values.sort(), ["one", "two"]);
  await redis.call("DYNAMO.PUT", `${p}d`, "three", "CONTEXT", both, "W", 3);
  assert.deepEqual((await redis.call("DYNAMO.GET", `${p}d`, "R", 3))[1], ["three"]);
  assert.equal(JSON.parse(await redis.call("DYNAMO.EXPLAIN", `${p}d`)).preference.length, 3);
  await redis.call("DYNAMO.DEL", `${p}d`);
  assert.deepEqual((await redis.call("DYNAMO.GET", `${p}d`))[1], []);
}

async function pipelines(redis, p) {
  const pipeline = redis.pipeline();
  for (let i = 0; i < KEYS; i++) {
    pipeline.set(`${p}p${i}`, `v${i}`).get(`${p}p${i}`);
  }
  const replies = await pipeline.exec();
  replies.forEach(([error, reply], i) => assert.deepEqual([error, reply], [null, i % 2 === 0 ? "OK" : `v${(i - 1) / 2}`]));
}

async function server(redis, port) {
  assert.equal(await redis.ping(), "PONG");
  assert.equal(await redis.echo("said"), "said");
  assert.equal(await redis.client("SETNAME", "ours"), "OK");
  assert.equal(await redis.client("GETNAME"), "ours");
  assert.match(await redis.client("LIST"), /name=ours/);
  assert.ok((await redis.client("ID")) > 0);
  assert.deepEqual(await redis.config("GET", "port"), ["port", String(port)]);
  assert.ok((await redis.dbsize()) >= 0);
  assert.match(await redis.info("server"), /redis_version:/);
  assert.equal((await redis.command("COUNT")), (await redis.command()).length);
  assert.deepEqual(await redis.command("GETKEYS", "MSET", "a", "1", "b", "2"), ["a", "b"]);
  assert.equal(await redis.select(0), "OK");
  await assert.rejects(redis.select(1), /ReplyError: ERR/);
  const slots = await redis.cluster("SLOTS");
  assert.equal(slots.reduce((sum, [first, last]) => sum + last - first + 1, 0), 16384);
  assert.equal(await redis.cluster("KEYSLOT", "{tag}x"), await redis.cluster("KEYSLOT", "tag"));
  assert.match(await redis.cluster("INFO"), /cluster_state:ok/);
}

async function plain(port) {
  const redis = new Redis({ host, port, password });
  const p = `io:${port}:`;
  await server(redis, port);
  await strings(redis, p);
  await dynamo(redis, p);
  await pipelines(redis, p);
  await redis.quit();
  const batched = new Redis({ host, port, password, enableAutoPipelining: true, keyPrefix: `${p}prefix:` });
  const values = await Promise.all(Array.from({ length: KEYS }, async (_, i) => {
    await batched.set(`k${i}`, i);
    return batched.get(`k${i}`);
  }));
  values.forEach((value, i) => assert.equal(value, String(i)));
  await batched.quit();
}

function cluster(port) {
  return new Cluster([{ host, port }], { redisOptions: { password }, scaleReads: "all" });
}

async function clustered(port) {
  const redis = cluster(port);
  const p = `{io-cluster:${port}}`;
  await strings(redis, p);
  await dynamo(redis, p);
  await pipelines(redis, p);
  assert.equal(redis.nodes("master").length, ports.length);
  for (let i = 0; i < KEYS; i++) {
    assert.equal(await redis.set(`io-c:${port}:${i}`, `v${i}`), "OK");
  }
  const values = await Promise.all(Array.from({ length: KEYS }, (_, i) => redis.get(`io-c:${port}:${i}`)));
  values.forEach((value, i) => assert.equal(value, `v${i}`));
  assert.equal(await redis.del(`io-c:${port}:0`), 1);
  await redis.quit();
}

await main(async () => {
  for (const port of ports) {
    await plain(port);
    await clustered(port);
  }
  const survivor = cluster(ports[0]);
  for (let i = 0; i < KEYS; i++) {
    await survivor.set(`io-s:${i}`, `v${i}`);
  }
  await ready();
  for (let i = 0; i < KEYS; i++) {
    assert.equal(await insist(() => survivor.get(`io-s:${i}`)), `v${i}`);
    assert.equal(await insist(() => survivor.set(`io-s:${i}`, `w${i}`)), "OK");
  }
  await survivor.quit();
});
