import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./scripts.js";

const { kindsOf, logTicks, plot, ticks, words } = load("codec", "dom", "format", "curve").curve;

/** @param {number} evaluation @param {number} total @returns {CurvePoint} */
const point = (evaluation, total) => ({ evaluation, total, content: 0, style: total / 2, tv: 0, detail: 0 });

test("only losses that are above 0 somewhere can be chosen", () => {
  assert.deepEqual(kindsOf([{ name: "a", points: [point(1, 1)] }]), ["total", "style"]);
  assert.deepEqual(kindsOf([{ name: "a", points: [] }]), []);
});

test("equal ratios of the loss are equally far apart", () => {
  const { lines } = plot([{ name: "a", points: [point(1, 4), point(2, 2), point(3, 1)] }], "total");
  const ys = [...lines[0].path.matchAll(/ ([\d.]+)/g)].map((found) => Number(found[1]));
  assert.ok(Math.abs(ys[1] - ys[0] - (ys[2] - ys[1])) < 0.02);
  assert.ok(ys.every((y) => y > 0 && y < 100));
  assert.match(lines[0].path, /^M0 .*L50 .*L100 /);
});

test("what has no logarithm is a gap", () => {
  const { lines } = plot([{ name: "a", points: [point(1, 4), point(2, 0), point(3, 1)] }], "total");
  assert.match(lines[0].path, /^M[\d. ]+M[\d. ]+$/);
});

test("nothing, one point and a flat curve are drawn too", () => {
  assert.deepEqual(plot([{ name: "a", points: [] }], "total"), { lines: [{ path: "", marks: "" }], x: [], y: [] });
  for (const points of [[point(1, 3)], [point(1, 3), point(9, 3)]]) {
    const { lines, x, y } = plot([{ name: "a", points }], "total");
    assert.doesNotMatch(lines[0].path, /NaN|Infinity/);
    assert.ok(x.length && y.length);
  }
});

test("a scale has two to seven round numbers within it", () => {
  for (const [low, high] of [[1, 300], [1, 2], [0.001, 900], [3, 3.1], [1e-9, 1e9], [0.95, 21], [1.2, 1.21]]) {
    for (const made of [ticks(low, high), logTicks(low, high)]) {
      assert.ok(made.length >= 2 && made.length <= 7, `${low} ${high}: ${made}`);
      assert.ok(made.every((value) => value > low - 1e-6 * high && value < high * 1.001), String(made));
    }
  }
});

test("a line is told by its first, last and lowest loss", () => {
  const points = [point(1, 0.9), point(40, 0.04), point(50, 0.0512)];
  assert.equal(
    words({ name: "vgg19", points }, "total"),
    "vgg19: first 0.9 at evaluation 1, last 0.0512 at evaluation 50, lowest 0.04 at evaluation 40",
  );
  assert.equal(words({ name: "vgg19", points }, "tv"), "vgg19: no total variation");
});
