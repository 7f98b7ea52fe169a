import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./scripts.js";

const { format } = load("codec", "format");

test("names are read as people say them", () => {
  assert.equal(format.readable("in/great-wave.jpg"), "great wave");
  assert.equal(format.readable("s3://b/k/old_harbour%202.tar.png"), "old harbour 2.tar");
  assert.equal(format.readable("waves.jpg | in/night.jpg"), "waves + night");
  assert.equal(format.readable(".hidden"), ".hidden");
  assert.equal(format.readable("folder/"), "folder");
  assert.equal(format.readable("100%.png"), "100%");
  assert.equal(format.readable("---.png"), "---.png");
});

test("numbers have three digits that count, whole ones all of theirs", () => {
  assert.equal(format.short(0.04312), "0.0431");
  assert.equal(format.short(12.345), "12.3");
  assert.equal(format.short(123456), "123456");
  assert.equal(format.short(0.000012345), "0.0000123");
  assert.equal(format.short(null), "–");
  assert.equal(format.full(0.04312), "0.04312");
  assert.equal(format.count(1, "row"), "1 row");
  assert.equal(format.count(100000, "row"), "100,000 rows");
});

test("no cell of a CSV file is a formula, and all can be read back", () => {
  for (const start of ["=", "+", "-", "@", "\t", "\r"]) {
    assert.match(format.csvCell(start + "1+1"), /^"?'/);
  }
  assert.equal(format.csvCell('say "a", b'), '"say ""a"", b"');
  assert.equal(format.csvCell("two\nlines"), '"two\nlines"');
  assert.equal(format.csvCell(-0.5), "-0.5");
  assert.equal(format.csvCell(null), "");
});
