import assert from "node:assert/strict";
import { test } from "node:test";
import { field } from "./made.js";
import { load } from "./scripts.js";

const { best, byLayer, differing, stepsOf } = load("codec", "dom", "format", "figures", "facts").facts;

/** @param {Record<string, Value>} values */
const item = (values) => ({ get: (/** @type {string} */ name) => values[name] ?? null });

const FIELDS = [field("steps"), field("size", { hash: undefined, value: 512 }), field("seed"), field("mask")];

test("only what differs is told of several pictures, a missing value being one too", () => {
  const items = [item({ steps: 100, seed: 1, size: 512 }), item({ steps: 300, seed: 1, size: 512, mask: "m.png" })];
  assert.deepEqual(differing(FIELDS, items).map((each) => each.name), ["steps", "mask"]);
});

test("of one picture that is told which others have otherwise", () => {
  assert.deepEqual(differing(FIELDS, [item({})]).map((each) => each.name), ["steps", "seed", "mask"]);
});

test("the best is the least or the largest, of at least two that differ, ties all", () => {
  assert.deepEqual(best([2, 2, null], -1), [false, false, false]);
  assert.deepEqual(best([3, 1, null, 1], -1), [false, true, false, true]);
  assert.deepEqual(best([3, 1, null], 1), [true, false, false]);
  assert.deepEqual(best([3, 1], 0), [false, false]);
  assert.deepEqual(best([3, null], 1), [false, false]);
});

test("layers of different backbones stand below each other", () => {
  const made = byLayer([[["relu1_1", 0.1], ["relu2_1", 0.2]], [["relu1_1", 0.3], ["mixed_5", 0.4]], []]);
  assert.deepEqual(made, [
    { name: "relu1_1", values: [0.1, 0.3, null] },
    { name: "relu2_1", values: [0.2, null, null] },
    { name: "mixed_5", values: [null, 0.4, null] },
  ]);
});

test("a picture's steps are found beside the folder of pictures, wherever the output is", () => {
  assert.deepEqual(stepsOf("images/one.two.jpg", "0010.png 12000.png"), [
    { evaluation: "10", href: "steps/one.two/0010.png" },
    { evaluation: "12000", href: "steps/one.two/12000.png" },
  ]);
  assert.equal(stepsOf("../images/out/images/z%C3%BC-x.png", "0005.webp")[0].href, "../images/out/steps/z%C3%BC-x/0005.webp");
});
