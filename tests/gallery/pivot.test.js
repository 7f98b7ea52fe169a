import assert from "node:assert/strict";
import { test } from "node:test";
import { column, spine } from "./made.js";
import { pick, random } from "./random.js";
import { load } from "./scripts.js";

const { pivot } = load("codec", "pivot", "arrange");

/** A view as lines of items, -1 where there is none. @param {View} view */
const table = (view) =>
  Array.from({ length: view.numLines }, (_, line) => view.columns.map((_, place) => view.at(line, place)));

/** @param {View} view */
const firsts = (view) => Array.from({ length: view.numLines }, (_, line) => view.starts(line));

test("rows come in the order of their first item, columns in that of their values", () => {
  const made = pivot.pivot([column(["a", "b", "a", "b", "a"])], column([2, 1, 1, 2, 2]), null);
  assert.deepEqual(made.columns, [1, 2]);
  assert.deepEqual(table(made), [
    [2, 0],
    [-1, 4],
    [1, 3],
  ]);
  assert.deepEqual(firsts(made), [true, false, true]);
  assert.equal(made.numRows, 2);
});

test("items without a value have a column of their own, the last", () => {
  const made = pivot.pivot([column(["a", "a"])], column([null, 1]), null);
  assert.deepEqual(made.columns, [1, null]);
  assert.deepEqual(table(made), [[1, 0]]);
});

test("masked items leave neither row nor column behind", () => {
  const made = pivot.pivot([column(["a", "b", "b"])], column(["x", "y", "x"]), Uint8Array.of(0, 0, 1));
  assert.deepEqual(made.columns, ["x"]);
  assert.deepEqual(table(made), [[2]]);
  assert.deepEqual([made.shown, made.total], [1, 3]);
  const none = pivot.pivot([column(["a"])], column(["x"]), Uint8Array.of(0));
  assert.deepEqual([none.numLines, none.numRows, none.shown], [0, 0, 0]);
});

test("columns have the order that is given", () => {
  const made = pivot.pivot([column(["a", "a"])], column(["vgg19", "resnet50"]), null, ["vgg19", "resnet50"]);
  assert.deepEqual(made.columns, ["vgg19", "resnet50"]);
  assert.deepEqual(table(made), [[0, 1]]);
});

test("the spine alone gives the rows that its fields would give", () => {
  const view = pivot.initial(
    spine({ num_items: 5, columns: ["p", "q"], patterns: [[0, 1], [0, 0, 1]], row_patterns: Uint8Array.of(0, 1) }),
    null,
  );
  const same = pivot.pivot([column(["a", "a", "b", "b", "b"])], column(["p", "q", "p", "p", "q"]), null);
  assert.deepEqual(table(view), table(same));
  assert.deepEqual(table(view), [
    [0, 1],
    [2, 4],
    [3, -1],
  ]);
});

test("sorting goes by the best of a row, and rows without any come last either way", () => {
  const rows = column(["a", "a", "b", "c", "d"]);
  const by = column([3, 9, 1, null, 5]);
  const view = pivot.pivot([rows], column(["x", "y", "x", "x", "x"]), null);
  const up = pivot.sorted(view, by, false);
  assert.deepEqual(table(up), [[2, -1], [0, 1], [4, -1], [3, -1]]);
  const down = pivot.sorted(view, by, true);
  assert.deepEqual(table(down), [[0, 1], [4, -1], [2, -1], [3, -1]]);
  assert.deepEqual(firsts(down), [true, true, true, true]);
});

test("every shown item stands in one place, of random tables too", () => {
  const next = random(7);
  for (let round = 0; round < 200; round++) {
    const count = 1 + Math.floor(next() * 60);
    const some = (/** @type {number} */ kinds) =>
      column(Array.from({ length: count }, () => pick(next, [null, ...Array(kinds).keys()])));
    const [a, b, x, by] = [some(3), some(4), some(5), some(9)];
    const mask = Uint8Array.from({ length: count }, () => (next() < 0.7 ? 1 : 0));
    const plain = pivot.pivot([a, b], x, mask);
    for (const view of [plain, pivot.sorted(plain, by, next() < 0.5)]) {
      const found = table(view).flat().filter((item) => item >= 0);
      assert.deepEqual(found.sort((p, q) => p - q), [...mask.keys()].filter((item) => mask[item]));
      assert.equal(view.shown, found.length);
      for (let line = 0; line < view.numLines; line++) {
        const row = pivot.rowOf(view.rows, line);
        for (let place = 0; place < view.columns.length; place++) {
          const item = view.at(line, place);
          if (item < 0) continue;
          const first = view.items[view.lines[view.rows[row]]];
          assert.equal(a.codes[item], a.codes[first]);
          assert.equal(b.codes[item], b.codes[first]);
          assert.equal(x.values[x.codes[item]] ?? null, view.columns[place]);
        }
      }
    }
  }
});
