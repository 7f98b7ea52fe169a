import assert from "node:assert/strict";
import { test } from "node:test";
import { column, field } from "./made.js";
import { load } from "./scripts.js";

const { query } = load("codec", "query");
const FIELDS = [
  field("content", { role: "input" }),
  field("backbone", { role: "backbone" }),
  field("ssim", { role: "metric", kind: "number", title: "SSIM" }),
  field("status", { role: "status" }),
  field("style_weight", { kind: "number" }),
  field("label_my note", { role: "label", title: "my note" }),
  field('label_"a", b>1', { role: "label", title: '"a", b>1' }),
];
/** @type {Record<string, Column>} */
const COLUMNS = {
  content: column(["in/great-wave.jpg", "in/Harbour.png", "in/harbour 2.png", "x.png"]),
  backbone: column(["vgg16", "vgg19", "vgg16", null]),
  ssim: column([0.25, 0.5, null, 0.75]),
  status: column(["ok", "ok", "failed", "ok"]),
  style_weight: column([1, 2, 1, 0.5]),
  "label_my note": column(['see "here", now', "dawn", null, '"']),
  'label_"a", b>1': column(["x", "y", "x y", null]),
};

/** The numbers of the items that a query lets in. @param {string} text */
function found(text) {
  const parsed = query.parse(text, FIELDS);
  assert.deepEqual(parsed.problems, []);
  const columns = new Map(query.fieldsOf(parsed, FIELDS).map((name) => [name, COLUMNS[name]]));
  return Array.from(query.mask(parsed, columns, FIELDS, 4).entries()).flatMap(([i, shown]) => (shown ? [i] : []));
}

test("words are searched in names, in any case, as written and as shown", () => {
  assert.deepEqual(found("harbour"), [1, 2]);
  assert.deepEqual(found('"great wave"'), [0]);
  assert.deepEqual(found("great-wave"), [0]);
  assert.deepEqual(found("harbour vgg16"), [2]);
  assert.deepEqual(found("-harbour"), [0, 3]);
  assert.deepEqual(found("0.25"), []);
});

test("fields are compared", () => {
  assert.deepEqual(found("ssim>0.25"), [1, 3]);
  assert.deepEqual(found("ssim>=0.25"), [0, 1, 3]);
  assert.deepEqual(found("SSIM<0.5"), [0]);
  assert.deepEqual(found("-ssim<=0.5"), [2, 3]);
  assert.deepEqual(found("backbone=vgg16,vgg19"), [0, 1, 2]);
  assert.deepEqual(found("backbone:19"), [1]);
  assert.deepEqual(found('content="in/harbour 2.png"'), [2]);
  assert.deepEqual(found("style_weight=1"), [0, 2]);
  assert.deepEqual(found("ssim:none"), [2]);
  assert.deepEqual(found("-ssim:none"), [0, 1, 3]);
  assert.deepEqual(found("is:failed"), [2]);
  assert.deepEqual(found("-is:failed harbour"), [1]);
  assert.deepEqual(found(""), [0, 1, 2, 3]);
});

test("what cannot be understood is said", () => {
  assert.deepEqual(query.parse("painter:x", FIELDS).problems, ["there is no field painter"]);
  assert.deepEqual(query.parse("ssim>high", FIELDS).problems, ["ssim>high expects a number"]);
  assert.deepEqual(query.parse("content>1", FIELDS).problems, ["content>1 expects a number"]);
  assert.deepEqual(query.parse('"painter:x"', FIELDS).problems, []);
});

test("values are toggled and the rest of the query stays", () => {
  const one = query.toggled('wave "a b"', "backbone", "vgg16");
  assert.equal(one, 'wave "a b" backbone=vgg16');
  const two = query.toggled(one, "backbone", "a, b");
  assert.equal(two, 'wave "a b" backbone=vgg16,"a, b"');
  assert.ok(query.has(two, "backbone", "a, b"));
  assert.ok(!query.has(two, "backbone", "b"));
  assert.equal(query.toggled(query.toggled(two, "backbone", "vgg16"), "backbone", "a, b"), 'wave "a b"');
});

test("labels of any name and values with quotation marks are found by what a filter writes", () => {
  for (const name of ["label_my note", 'label_"a", b>1']) {
    const { values, codes } = COLUMNS[name];
    values.forEach((value, code) => {
      const text = query.toggled("", name, String(value));
      assert.deepEqual(found(text), [...codes.keys()].filter((item) => codes[item] === code), text);
      assert.ok(query.has(text, name, String(value)));
      assert.equal(query.toggled("wave " + text, name, String(value)), "wave");
    });
  }
  assert.deepEqual(found('-"label_my note"=dawn'), [0, 2, 3]);
  assert.deepEqual(found('my_note:"here, now"'), [0]);
  // A field's own name comes before another's title.
  const named = query.parse("my_note:x", [...FIELDS, field("my_note", { role: "opinion" })]);
  assert.equal(named.terms[0].field, "my_note");
  assert.deepEqual(query.parse('"a b"=c', FIELDS), { terms: [{ field: "", not: false, op: "has", values: ["a b=c"] }], problems: [] });
});
