import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./scripts.js";

const { store } = load("codec", "store");

test("curves come back from differences of logarithms", () => {
  const values = [4, 2, 1, 0.5, 1e-9, 0];
  const logs = values.map((value) => (value > 0 ? Math.round(256 * Math.log2(value)) : -32768));
  const steps = Int16Array.from(logs, (value, i) => value - (i ? logs[i - 1] : 0));
  const before = Int16Array.of(7, 7);
  const packed = {
    counts: Uint8Array.of(2, 6, 0),
    evaluations: Uint32Array.of(1, 2, 1, 2, 3, 40, 49, 50),
    curves: { total: Int16Array.from([...before, ...steps]) },
  };
  const curve = store.decodeCurve(packed, 1);
  assert.deepEqual(curve.map((point) => point.evaluation), [1, 2, 3, 40, 49, 50]);
  curve.forEach((point, i) => assert.ok(Math.abs(point.total - values[i]) <= 0.0014 * values[i]));
  assert.equal(curve[0].style, 0);
  assert.deepEqual(store.decodeCurve(packed, 2), []);
});
