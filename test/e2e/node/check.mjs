// What the scripts beside this one share: the ports of the nodes, the conversation with clients_test.py, and the end.
//
// Each script is told the ports of all nodes in GRAMME_PORTS, and ends with status 0 when all its checks have passed. One
// that calls ready() prints "ready" when those with every node up have, and reads one line: by then the last node has been
// killed.

import assert from "node:assert/strict";
import readline from "node:readline";

export const ports = process.env.GRAMME_PORTS.split(",").map(Number);
export const password = process.env.GRAMME_PASSWORD;
export const host = "127.0.0.1";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export async function ready() {
  console.log("ready");
  assert.equal((await lines.next()).done, false, "the test has gone");
}

// Polls until the answer of `ask` is `wanted`.
export async function eventually(wanted, ask, seconds = 10) {
  const end = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < end) {
    last = await ask();
    if (last === wanted) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(last, wanted, `not within ${seconds} s`);
}

// Tries again what a client gives up while it finds out that a node has gone.
export async function insist(attempt, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() >= end) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

export async function main(checks) {
  try {
    await checks();
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
  process.exit(0);
}
