// node-redis, plain and cluster, RESP2 and RESP3. Not with a node killed: it asks for the slots anew only when it is told
// MOVED, so what it would send to a node that is gone waits for that node.

import assert from "node:assert/strict";
import { createClient, createCluster, RESP_TYPES } from "redis";
import { eventually, host, main, password, ports } from "./check.mjs";

const KEYS = 300;
const BINARY = Buffer.from([0, 255, 13, 10, 128, 0]);

async function strings(redis, p) {
  assert.equal(await redis.set(`${p}a`, "1"), "OK");
  assert.equal(await redis.get(`${p}a`), "1");
  assert.equal(await redis.get(`${p}none`), null);
  assert.equal(await redis.set(`${p}a`, "2", { expiration: { type: "EX", value: 100 } }), "OK");
  assert.equal(await redis.set(`${p}a`, "3", { expiration: "KEEPTTL", GET: true }), "2");
  assert.equal(await redis.set(`${p}a`, "4", { expiration: { type: "PXAT", value: Date.now() + 100000 } }), "OK");
  assert.equal(await redis.setEx(`${p}b`, 100, "b"), "OK");
  assert.equal(await redis.pSetEx(`${p}c`, 100000, "c"), "OK");
  assert.equal(await redis.getSet(`${p}b`, "bb"), "b");
  assert.equal(await redis.getDel(`${p}c`), "c");
  assert.equal(await redis.exists([`${p}a`, `${p}b`, `${p}c`]), 2);
  assert.equal(await redis.strLen(`${p}b`), 2);
  assert.equal(await redis.type(`${p}b`), "string");
  assert.equal(await redis.mSet([[`${p}m1`, "x"], [`${p}m2`, "y"]]), "OK");
  assert.deepEqual(await redis.mGet([`${p}m1`, `${p}c`, `${p}m2`]), ["x", null, "y"]);
  assert.equal(await redis.del([`${p}m1`, `${p}m2`, `${p}none`]), 2);
  assert.equal(await redis.unlink(`${p}b`), 1);
  assert.equal(await redis.set(`${p}bin`, BINARY), "OK");
  const binary = redis.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  assert.deepEqual(await binary.get(`${p}bin`), BINARY);
  assert.equal(await redis.set(`${p}brief`, "x", { expiration: { type: "PX", value: 300 } }), "OK");
  await eventually(null, () => redis.get(`${p}brief`));
  await assert.rejects(redis.set(`${p}a`, "6", { condition: "NX" }), /ERR NX is not offered/);
  await assert.rejects(redis.lPush(`${p}l`, "1"), /ERR unknown command 'LPUSH'/);
}

// On one connection a get that follows a set in the pipeline sees it; to another node it may only follow its reply.
async function pipelines(redis, p, oneConnection) {
  const replies = await Promise.all(Array.from({ length: KEYS }, async (_, i) => {
    const set = redis.set(`${p}p${i}`, `v${i}`);
    await (oneConnection || set);
    return [await redis.get(`${p}p${i}`), await set];
  }));
  replies.forEach((pair, i) => assert.deepEqual(pair, [`v${i}`, "OK"]));
}

async function plain(port, RESP) {
  const redis = createClient({ socket: { host, port }, password, RESP, name: "ours" });
  redis.on("error", (error) => { throw error; });
  await redis.connect();
  const p = `nr:${port}:${RESP}:`;
  assert.equal(await redis.ping(), "PONG");
  assert.equal(await redis.echo("said"), "said");
  assert.equal(await redis.clientGetName(), "ours");
  assert.ok((await redis.clientInfo()).id > 0);
  assert.ok((await redis.dbSize()) >= 0);
  assert.deepEqual({ ...(await redis.configGet("port")) }, { port: String(port) });
  assert.ok((await redis.commandCount()) === (await redis.command()).length);
  const slots = await redis.clusterSlots();
  assert.equal(slots.reduce((sum, { from, to }) => sum + to - from + 1, 0), 16384);
  await strings(redis, p);
  await pipelines(redis, p, true);
  const many = redis.multi();
  for (let i = 0; i < KEYS; i++) {
    many.get(`${p}p${i}`);
  }
  (await many.execAsPipeline()).forEach((reply, i) => assert.equal(reply, `v${i}`));
  const context = await redis.sendCommand(["DYNAMO.PUT", `${p}d`, "one"]);
  await redis.sendCommand(["DYNAMO.PUT", `${p}d`, "two"]);
  const [both, values] = await redis.sendCommand(["DYNAMO.GET", `${p}d`]);
  assert.deepEqual(values.sort(), ["one", "two"]);
  assert.notEqual(both, context);
  await redis.sendCommand(["DYNAMO.PUT", `${p}d`, "three", "CONTEXT", both]);
  assert.deepEqual((await redis.sendCommand(["DYNAMO.GET", `${p}d`]))[1], ["three"]);
  await redis.close();
}

async function cluster(port, RESP, useReplicas) {
  const redis = createCluster({ rootNodes: [{ socket: { host, port } }], defaults: { password }, RESP, useReplicas });
  redis.on("error", (error) => { throw error; });
  await redis.connect();
  return redis;
}

async function clustered(port, RESP, useReplicas) {
  const redis = await cluster(port, RESP, useReplicas);
  const p = `{nr-cluster:${port}:${RESP}}`;
  await strings(redis, p);
  await pipelines(redis, p, false);
  for (let i = 0; i < KEYS; i++) {
    assert.equal(await redis.set(`nr-c:${port}:${i}`, `v${i}`), "OK");
  }
  const values = await Promise.all(Array.from({ length: KEYS }, (_, i) => redis.get(`nr-c:${port}:${i}`)));
  values.forEach((value, i) => assert.equal(value, `v${i}`));
  assert.equal(new Set(redis.slots.map((shard) => shard.master.address)).size, ports.length);
  await redis.close();
}

await main(async () => {
  for (const port of ports) {
    for (const RESP of [2, 3]) {
      await plain(port, RESP);
      await clustered(port, RESP, RESP === 3);
    }
  }
});
