import assert from "node:assert/strict";
import { test } from "node:test";
import { column, field } from "./made.js";
import { load } from "./scripts.js";

const { lines } = load("codec", "dom", "format", "export").export;

/** @param {(Value | null)[]} values @param {number[]} [order] */
const made = (values, order = values.map((_, i) => i)) => [...lines([field("x")], [column(values)], order)];

test("every field of the items in the order asked for, with a line of names before them", () => {
  const fields = [field("content"), field("ssim")];
  const columns = [column(["b.jpg", "a.jpg", "c.jpg"]), column([0.5, null, -1])];
  assert.deepEqual([...lines(fields, columns, [2, 0, 1])], ["content,ssim\r\n", "c.jpg,-1\r\n", "b.jpg,0.5\r\n", "a.jpg,\r\n"]);
});

test("what a spreadsheet would run is text, and separators are quoted", () => {
  assert.deepEqual(made(["=1+1", "@x", "+x", "-x", "\tx"]).slice(1), ["'=1+1\r\n", "'@x\r\n", "'+x\r\n", "'-x\r\n", "'\tx\r\n"]);
  assert.deepEqual(made(['a "b", c', "d\ne"]).slice(1), ['"a ""b"", c"\r\n', '"d\ne"\r\n']);
});

test("a gallery without items has only the names", () => {
  assert.deepEqual(made([]), ["x\r\n"]);
});
