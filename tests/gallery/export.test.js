import assert from "node:assert/strict";
import { test } from "node:test";
import { column, field } from "./made.js";
import { load } from "./scripts.js";

const { lines } = load("codec", "dom", "format", "export").export;

/** @param {(Value | null)[]} values @param {number[]} [order] */
const made = (values, order = values.map((_, i) => i)) => [...lines([field("x")], [column(values)], new Map(), order)];

test("every field of the items in the order asked for, with a line of names before them", () => {
  const fields = [field("content"), field("ssim")];
  const columns = [column(["b.jpg", "a.jpg", "c.jpg"]), column([0.5, null, -1])];
  const paths = new Map([[0, "images/b, 1.png"], [2, "images/c.png"]]);
  assert.deepEqual(
    [...lines(fields, columns, paths, [2, 0, 1])],
    ["content,ssim,picture\r\n", "c.jpg,-1,images/c.png\r\n", 'b.jpg,0.5,"images/b, 1.png"\r\n', "a.jpg,,\r\n"],
  );
});

test("what a spreadsheet would run is text, and separators are quoted", () => {
  assert.deepEqual(made(["=1+1", "@x", "+x", "-x", "\tx"]).slice(1), ["'=1+1,\r\n", "'@x,\r\n", "'+x,\r\n", "'-x,\r\n", "'\tx,\r\n"]);
  assert.deepEqual(made(['a "b", c', "d\ne", "f;g"]).slice(1), ['"a ""b"", c",\r\n', '"d\ne",\r\n', '"f;g",\r\n']);
});

test("a gallery without items has only the names", () => {
  assert.deepEqual(made([]), ["x,picture\r\n"]);
});
