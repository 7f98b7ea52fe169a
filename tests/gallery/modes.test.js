import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./scripts.js";

const { layout, pair, shown, toggled } = load("codec", "dom", "modes").modes;

const NAMES = ["a", "b", "c", "d", "e", "f", "g", "h"];

test("the first six that are there, until others are asked for", () => {
  assert.deepEqual(shown([], NAMES, NAMES, "a"), ["a", "b", "c", "d", "e", "f"]);
  assert.deepEqual(shown([], NAMES, ["b", "d", "h"], "d"), ["b", "d", "h"]);
  assert.deepEqual(shown(["g", "c"], NAMES, NAMES, "c"), ["c", "g"]);
  assert.deepEqual(shown(["unknown"], NAMES, ["a", "b"], "a"), ["a", "b"]);
});

test("the current one is always among them", () => {
  assert.deepEqual(shown([], NAMES, NAMES, "h"), ["a", "b", "c", "d", "e", "h"]);
  assert.deepEqual(shown(["a", "b"], NAMES, NAMES, "h"), ["a", "b", "h"]);
  assert.equal(shown(NAMES, NAMES, NAMES, "h").length, 6);
});

test("two to six stand side by side", () => {
  assert.deepEqual(toggled(["a", "b"], "c"), ["a", "b", "c"]);
  assert.deepEqual(toggled(["a", "b", "c"], "a"), ["b", "c"]);
  assert.equal(toggled(["a", "b"], "a"), null);
  assert.equal(toggled(["a", "b", "c", "d", "e", "f"], "g"), null);
});

test("a picture is compared with its content until the link says otherwise", () => {
  assert.deepEqual(pair({ a: "", b: "" }, NAMES, "c"), { a: "c", b: "content" });
  assert.deepEqual(pair({ a: "content", b: "" }, NAMES, "c"), { a: "content", b: "c" });
  assert.deepEqual(pair({ a: "d", b: "style" }, NAMES, "c"), { a: "d", b: "style" });
  assert.deepEqual(pair({ a: "gone", b: "gone" }, NAMES, "c"), { a: "c", b: "content" });
});

test("pictures are laid out as large as they can be", () => {
  const room = { width: 1000, height: 600, gap: 20, caption: 40 };
  assert.deepEqual(layout(1, 1.5, room), { columns: 1, height: 560 });
  assert.equal(layout(2, 0.5, room).columns, 2);
  assert.equal(layout(2, 4, room).columns, 1);
  assert.equal(layout(6, 1.5, room).columns, 3);
  for (let count = 1; count <= 6; count++) {
    for (const ratio of [0.3, 1, 1.78, 5]) {
      const { columns, height } = layout(count, ratio, room);
      const rows = Math.ceil(count / columns);
      assert.ok(columns * height * ratio + (columns - 1) * 20 <= 1000);
      assert.ok(rows * (height + 40) + (rows - 1) * 20 <= 600);
    }
  }
});
