import assert from "node:assert/strict";
import { test } from "node:test";
import { spine } from "./made.js";
import { pick, random } from "./random.js";
import { load } from "./scripts.js";

const { link } = load("codec", "usual", "link");
const SPINE = spine();
const NAMES = SPINE.fields.map((field) => field.name);
const TEXTS = ["", "a", "is:failed ssim>0.3", "ä&=#%+ \u202e\"'<script>", "a,b\\,c", "\\", "0", "日本 語"];

test("a view comes back from its link, of 1,000 random ones", () => {
  const next = random(3);
  const text = () => pick(next, TEXTS);
  const share = () => Number(next().toFixed(4));
  for (let round = 0; round < 1000; round++) {
    /** @type {State} */
    const state = {
      x: pick(next, NAMES),
      y: [...new Set([pick(next, NAMES), pick(next, NAMES), pick(next, NAMES)])],
      q: text(),
      sort: pick(next, ["", "ssim", "-ssim", "label_a,b"]),
      page: 1 + Math.floor(next() * 9),
      left: Math.floor(next() * 9),
      size: pick(next, ["s", "m", "l"]),
      layout: pick(next, ["table", "wall"]),
      plot: next() < 0.5,
      px: pick(next, ["", "ssim"]),
      py: pick(next, ["", "style_weight"]),
      id: text(),
      mode: pick(next, ["side", "slider", "flip", "onion", "difference"]),
      a: text(),
      b: text(),
      show: [text(), text()].filter(Boolean),
      zoom: Number((1 + 15 * next()).toFixed(4)),
      cx: share(),
      cy: share(),
      at: Math.floor(101 * next()),
      opacity: Number((100 * next()).toFixed(1)),
      brightness: 1 + Math.floor(10 * next()),
      flipped: next() < 0.5,
      all: next() < 0.5,
    };
    assert.deepEqual(link.parse(link.write(state, SPINE), SPINE), state);
  }
});

test("a link of very many values is read too", () => {
  const state = { ...link.defaults(SPINE), q: "content=" + Array.from({ length: 1000 }, (_, i) => "picture-" + i).join(",") };
  assert.deepEqual(link.parse(link.write(state, SPINE), SPINE), state);
});

test("what goes without saying is not said", () => {
  assert.equal(link.write(link.defaults(SPINE), SPINE), "");
  assert.equal(link.write({ ...link.defaults(SPINE), size: "l" }, SPINE), "#v=1&size=l");
});

test("what is wrong in a link is left out and the rest is followed", () => {
  const usual = link.defaults(SPINE);
  const odd = "#v=9&x=painter&y=painter,style&sort=-painter&p=-3&left=1e9&size=xl&m=strobe&z=1e9,NaN,2&new=1&all=yes&at=101x&bright=-1&q=wave";
  assert.deepEqual(link.parse(odd, SPINE), { ...usual, y: ["style"], q: "wave" });
  assert.deepEqual(link.parse("#z=99,-1,2", SPINE), { ...usual, zoom: 16, cx: 0, cy: 1 });
  assert.deepEqual(link.parse("#q=" + "a".repeat(70000), SPINE), usual);
  assert.deepEqual(link.parse("#%E0%A4%A", SPINE), usual);
  assert.deepEqual(link.parse("", SPINE), usual);
});
