import assert from "node:assert/strict";
import { test } from "node:test";
import { column } from "./made.js";
import { load } from "./scripts.js";

const { filters, plot, pivot } = load("codec", "dom", "format", "query", "pivot", "arrange", "filters", "plot");

test("a long list shows what is chosen, then the first forty that a search finds", () => {
  const values = Array.from({ length: 100 }, (_, i) => "great-wave-" + i);
  const found = filters.matching(values, "", (value) => value === "great-wave-99");
  assert.deepEqual([found.codes.length, found.codes[0], found.more], [40, 99, 60]);
  assert.deepEqual(filters.matching(values, " Great wave 7", () => false).codes, [7, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79]);
  assert.deepEqual(filters.matching(values, "x", () => false), { codes: [], more: 0 });
});

test("a histogram counts every item once, in bins between the least and the largest", () => {
  const found = filters.binned([0, 1, 2, 24], Uint32Array.of(2, 3, 0, 1, 9));
  assert.equal(found.bins.length, 24);
  assert.deepEqual([found.bins[0], found.bins[1], found.bins[2], found.bins[23]], [2, 3, 0, 1]);
  assert.deepEqual([found.total, found.mean, found.low, found.high], [6, 4.5, 0, 24]);
  assert.deepEqual(found.quartiles, [0, 1]);
  assert.deepEqual(filters.binned([5], Uint32Array.of(4)).bins[0], 4);
});

test("a range takes the place of the one before and leaves the rest of the search", () => {
  const text = 'note="a b" ssim>=0.1 ssim<=0.9 wave';
  assert.equal(filters.ranged(text, "ssim", "0.3", ""), 'note="a b" wave ssim>=0.3');
  assert.equal(filters.ranged("", "ssim", "0.3", "0.4"), "ssim>=0.3 ssim<=0.4");
  assert.equal(filters.limit(text, "ssim", "<="), "0.9");
  assert.equal(filters.limit(text, "lpips", "<="), "");
  const labelled = filters.ranged(text, "label_how far", "2", "");
  assert.equal(labelled, text + ' "label_how far">=2');
  assert.equal(filters.limit(labelled, "label_how far", ">="), "2");
});

test("a wall has the items one after the other, ordered by a column, those without a value last", () => {
  const view = pivot.pivot([column(["a", "b", "c", "d", "e"])], column(["x", "y", "x", "y", "x"]), null);
  const by = column([3, null, 1, 2, 3]);
  const plain = pivot.wall(view, 2, null, false);
  assert.deepEqual([...plain.items], [0, 1, 2, 3, 4]);
  assert.deepEqual([plain.numLines, plain.at(1, 1), plain.at(2, 0), plain.at(2, 1)], [3, 3, 4, -1]);
  assert.deepEqual([...pivot.wall(view, 2, by, false).items], [2, 3, 0, 4, 1]);
  assert.deepEqual([...pivot.wall(view, 2, by, true).items], [0, 4, 3, 2, 1]);
});

test("dots are the items with both values, those of the view first", () => {
  const view = pivot.pivot([column(["a", "b", "c", "d"])], column(["x", "y", "x", "y"]), Uint8Array.of(0, 1, 1, 1));
  const points = plot.pointsOf(view, column([1, 2, null, 4]), column([10, 20, 30, 40]), 4);
  assert.deepEqual([...points.items], [1, 3, 0]);
  assert.deepEqual([...points.places], [1, 1, -1]);
  assert.deepEqual([[...points.x], [...points.y], points.numShown], [[2, 4, 1], [20, 40, 10], 2]);
});

test("an axis goes by logarithms where values are of different orders, and back", () => {
  const plain = plot.scaleOf(Float64Array.of(2, 4));
  const log = plot.scaleOf(Float64Array.of(0.01, 10));
  assert.deepEqual([plain.isLog, log.isLog], [false, true]);
  assert.deepEqual(log.ticks, [0.01, 0.1, 1, 10]);
  for (const scale of [plain, log]) assert.ok(Math.abs(scale.value(scale.place(3)) - 3) < 1e-9);
  assert.ok(plain.place(2) > 0 && plain.place(4) < 1);
  assert.deepEqual(plot.ticks(0, 1, false), [0, 0.2, 0.4, 0.6, 0.8, 1]);
});
