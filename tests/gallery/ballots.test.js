import assert from "node:assert/strict";
import { test } from "node:test";
import { field } from "./made.js";
import { load } from "./scripts.js";

const { ballots, again } = load("codec", "dom", "format", "opinions", "say", "ballots", "again");

/** @type {Voter} */
const ANN = {
  voter: "a1",
  name: "Ann; \"A\"",
  opinions: { "p1": { rating: 4, at: 5 }, "=p2": { pick: "rejected", note: "<b>too\nloud</b>, -x", at: 6 } },
  votes: [{ a: "p1", b: "=p2", better: "a", at: 7 }, { a: "p1", b: "p3", better: "same", at: 8 }, { a: "p3", b: "p1", better: "b", at: 9 }],
};

/** @param {unknown} voters */
const file = (voters) => JSON.stringify({ format: "nst-votes", version: 1, voters });

test("the interval is Wilson's: of 8 of 10 from 0.490 to 0.943, of none of none all", () => {
  // R: binom::binom.confint(8, 10, methods = "wilson"), and Newcombe 1998, table I: 81 of 263, 15 of 148.
  const rounded = (/** @type {number} */ wins, /** @type {number} */ count) => {
    const { low, high } = ballots.wilson(wins, count);
    return [low.toFixed(4), high.toFixed(4)];
  };
  assert.deepEqual(rounded(8, 10), ["0.4902", "0.9433"]);
  assert.deepEqual(rounded(81, 263), ["0.2553", "0.3662"]);
  assert.deepEqual(rounded(15, 148), ["0.0624", "0.1605"]);
  assert.deepEqual(rounded(0, 20), ["0.0000", "0.1611"]);
  assert.deepEqual(ballots.wilson(0, 0), { share: 0, low: 0, high: 1 });
});

test("a vote for neither is half a win of both, and votes that do not differ in the field are counted apart", () => {
  const values = new Map([["p1", "x"], ["=p2", "y"], ["p3", "y"]]);
  const votes = [...ANN.votes, { a: "=p2", b: "p3", better: /** @type {const} */ ("a"), at: 1 }, { a: "p1", b: "gone", better: /** @type {const} */ ("a"), at: 1 }];
  const { tallies, others } = ballots.tally(votes, (id) => values.get(id));
  assert.equal(others, 2);
  assert.deepEqual(tallies.map(({ value, wins, ties, count }) => [value, wins, ties, count]), [["x", 2, 1, 3], ["y", 0, 1, 3]]);
  assert.equal(tallies[0].share, 2.5 / 3);
});

test("what is saved as JSON or CSV is read as it was", () => {
  assert.deepEqual(ballots.parse(file([ANN])), { me: "", voters: [ANN] });
  assert.deepEqual(ballots.parse("\ufeff" + ballots.toCsv([ANN])), { me: "", voters: [ANN] });
  // As a spreadsheet of another country saves it, where no cell has a separator in it.
  const plain = { ...ANN, name: "Ann", opinions: { p1: { rating: 4, at: 5 } } };
  assert.deepEqual(ballots.parse(ballots.toCsv([plain]).replaceAll(",", ";")), { me: "", voters: [plain] });
});

test("a file says who saved it, and not of somebody who is not in it", () => {
  const saved = (/** @type {string} */ me) => ballots.parse(JSON.stringify({ format: "nst-votes", version: 1, me, voters: [{ ...ANN, voter: "b2" }, ANN] })).me;
  assert.equal(saved("a1"), "a1");
  assert.equal(saved("c3"), "");
});

test("a cell that a spreadsheet would run is text in the CSV", () => {
  assert.match(ballots.toCsv([ANN]), /,'=p2,/);
});

for (const [what, text, reason] of /** @type {[string, string, RegExp][]} */ ([
  ["JSON that is cut short", file([ANN]).slice(0, -3), /damaged or cut short/],
  ["other JSON", '{"a": 1}', /found other JSON/],
  ["a picture's CSV", "id,ssim\r\np1,0.5\r\n", /without the column kind/],
  ["a rating of 9", file([{ ...ANN, opinions: { p1: { rating: 9, at: 1 } } }]), /voter 1: expected a rating from 1 to 5 of p1/],
  ["a vote for nobody", file([{ ...ANN, votes: [{ a: "p1", b: "p2", better: "c" }] }]), /better: a, b or same/],
  ["a note without end", file([{ ...ANN, opinions: { p1: { note: "x".repeat(2001), at: 1 } } }]), /at most 2000 characters/],
  ["no voter", file([null]), /voter 1: expected an object with a voter/],
])) {
  test("refuses " + what, () => {
    assert.throws(() => ballots.parse(text), reason);
  });
}

test("files of one voter merge: the later opinion, each vote once", () => {
  const later = { ...ANN, opinions: { p1: { rating: 2, at: 50 }, p9: { rating: 1, at: 1 } }, votes: [ANN.votes[0], { a: "p8", b: "p9", better: /** @type {const} */ ("b"), at: 99 }] };
  const earlier = { ...ANN, opinions: { p1: { rating: 1, at: 1 } }, votes: [] };
  const [made, ...others] = ballots.merged(ballots.merged([ANN], [later]), [earlier]);
  assert.deepEqual(others, []);
  assert.deepEqual(made.opinions, { ...ANN.opinions, ...later.opinions });
  assert.deepEqual(made.votes.map(({ at }) => at), [7, 8, 9, 99]);
});

test("pairs are of one line, two different ones, each as likely in either order", () => {
  const view = { numLines: 3, lines: Int32Array.of(0, 1, 3, 6), items: Int32Array.of(10, 20, 21, 30, 31, 32) };
  const seen = new Map();
  let state = 1;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  for (let i = 0; i < 6000; i++) {
    const pair = ballots.drawn(view, random);
    const key = JSON.stringify(pair && [pair.a, pair.b]);
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }
  const pairs = [[20, 21], [21, 20], [30, 31], [30, 32], [31, 30], [31, 32], [32, 30], [32, 31]];
  assert.deepEqual([...seen.keys()].sort(), pairs.map((pair) => JSON.stringify(pair)).sort());
  assert.ok(seen.get("[20,21]") > 1350 && seen.get("[20,21]") < 1650);
  assert.ok(seen.get("[32,31]") > 400 && seen.get("[32,31]") < 600);
  assert.equal(ballots.drawn({ numLines: 1, lines: Int32Array.of(0, 1), items: Int32Array.of(1) }, random), null);
});

test("only pictures that are made are drawn, however few of many columns there are", () => {
  const view = { numLines: 3, lines: Int32Array.of(0, 500, 1000, 1001), items: Int32Array.from({ length: 1001 }, (_, i) => i) };
  const codes = new Uint8Array(1001).fill(1);
  for (const item of [3, 700, 900, 1000]) codes[item] = 0;
  const made = ballots.made(view, { values: ["ok", "waiting"], codes });
  assert.deepEqual([...made.lines], [0, 1, 3, 4]);
  for (const value of [0, 0.999]) assert.deepEqual(Object.values(ballots.drawn(made, () => value) ?? {}).sort(), [700, 900]);
  // A field that is the same for all is not stored for each.
  assert.deepEqual([...ballots.made(view, { values: ["ok"], codes: new Uint8Array(1001) }).items], [...view.items]);
});

test("a manifest has what made the pictures, larger, and no more than the largest size", () => {
  const fields = [field("content", { role: "input" }), field("start", { role: "input" }), field("size"), field("init"), field("mask", { role: "input" }), field("ssim", { role: "metric" })];
  /** @param {Record<string, Value>} values */
  const item = (values) => ({ get: (/** @type {string} */ name) => values[name] ?? null });
  const items = [item({ content: "a, b.jpg", size: 512, init: "picture", start: "s.png", ssim: 1 }), item({ content: "#c.jpg", size: 3000, init: "noise" })];
  assert.equal(again.manifest(fields, items, 4), 'content,size,init\r\n"a, b.jpg",2048,s.png\r\n"#c.jpg",8192,noise\r\n');
});
