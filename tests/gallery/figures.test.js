import assert from "node:assert/strict";
import { test } from "node:test";
import { column, field } from "./made.js";
import { load } from "./scripts.js";

const { figures, pivot } = load("codec", "format", "pivot", "arrange", "figures");

/** @param {Record<string, Value>} values @returns {any} */
const item = (values) => ({ get: (/** @type {string} */ name) => values[name] ?? null, failed: false });

/** An app whose row is of these items. @param {Field[]} fields @param {string[]} y @param {any[]} items @returns {any} */
const app = (fields, y, items) => ({
  state: { y, sort: "" },
  store: {
    fields,
    field: (/** @type {string} */ name) => fields.find((each) => each.name === name),
    peek: (/** @type {number} */ index) => items[index],
  },
  rowOf: () => ({ items: Int32Array.from(items.keys()), columns: new Set() }),
});

const LOSS = field("style_loss", { role: "metric", kind: "number", better: -1 });
const SEED = field("seed");
const BACKBONE = field("backbone", { role: "backbone", decisive: true });

test("the best is of the whole row, where all that decides the measure is the row's own", () => {
  const items = [item({ style_loss: 0.5 }), item({ style_loss: 0.25 }), item({ style_loss: 0.75 })];
  assert.equal(figures.best(app([LOSS, SEED, BACKBONE], ["content", "backbone"], items), 2).get("style_loss"), 0.25);
  assert.equal(figures.best(app([LOSS, SEED, BACKBONE], ["content"], items), 2).size, 0);
  assert.equal(figures.best(app([LOSS, SEED], ["content"], items.slice(0, 1)), 0).size, 0);
});

test("there is no best until the whole row is known, nor under other weights of the network", () => {
  const items = [item({ style_loss: 0.5 }), null];
  assert.equal(figures.best(app([LOSS, SEED], ["content"], items), 0).size, 0);
  const digest = field("weights_digest", { role: "provenance", decisive: true });
  const some = [item({ style_loss: 0.5, weights_digest: "a" }), item({ style_loss: 0.25, weights_digest: "b" })];
  assert.equal(figures.best(app([LOSS, digest], ["content"], some), 0).size, 0);
});

test("a column has the mean, the least and the largest of its items that are shown", () => {
  const rows = column(["a", "a", "b", "b", "c"]);
  const view = pivot.pivot([rows], column(["x", "y", "x", "y", "x"]), Uint8Array.of(1, 1, 1, 1, 0));
  assert.deepEqual(pivot.spans(view, column([1, null, 3, null, 100])), [[2, 1, 3], null]);
});
