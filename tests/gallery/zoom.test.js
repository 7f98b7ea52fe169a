import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "./random.js";
import { load } from "./scripts.js";

const { clamped, zoomed, moved, pinched } = load("codec", "zoom").zoom;

/** Where a point of the picture is seen, in shares of the window. @param {Place} place @param {Point} point */
const seen = ({ zoom, cx, cy }, { x, y }) => ({ x: 0.5 + (x - cx) * zoom, y: 0.5 + (y - cy) * zoom });

/** @param {number} a @param {number} b */
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-9, `${a} is not ${b}`);

/** @param {Place} place */
function fills(place) {
  const [start, end] = [seen(place, { x: 0, y: 0 }), seen(place, { x: 1, y: 1 })];
  assert.ok(place.zoom >= 1 && place.zoom <= 16);
  assert.ok(Math.max(start.x, start.y) < 1e-9 && Math.min(end.x, end.y) > 1 - 1e-9);
}

test("a whole picture lies in the middle", () => {
  assert.deepEqual(clamped({ zoom: 1, cx: 0.9, cy: 0.1 }), { zoom: 1, cx: 0.5, cy: 0.5 });
  // A small one at its own size.
  assert.deepEqual(clamped({ zoom: 0.2, cx: 0.9, cy: 0.1 }), { zoom: 0.2, cx: 0.5, cy: 0.5 });
});

test("whatever is done, the picture fills its window", () => {
  const next = random(1);
  let place = { zoom: 1, cx: 0.5, cy: 0.5 };
  for (let i = 0; i < 1000; i++) {
    place = next() < 0.5 ? zoomed(place, 0.5 + 20 * next(), next(), next()) : moved(place, next() - 0.5, next() - 0.5);
    fills(place);
  }
});

test("the point at the pointer stays there while it is zoomed in", () => {
  const place = { zoom: 2, cx: 0.4, cy: 0.6 };
  const pointer = { x: 0.8, y: 0.3 };
  const point = { x: place.cx + (pointer.x - 0.5) / 2, y: place.cy + (pointer.y - 0.5) / 2 };
  const after = seen(zoomed(place, 7, pointer.x, pointer.y), point);
  near(after.x, pointer.x);
  near(after.y, pointer.y);
});

test("a drag moves the picture as far as the pointer", () => {
  const place = { zoom: 4, cx: 0.5, cy: 0.5 };
  const after = seen(moved(place, 0.1, -0.2), { x: 0.5, y: 0.5 });
  near(after.x, 0.6);
  near(after.y, 0.3);
});

test("both fingers keep what they hold", () => {
  const place = { zoom: 3, cx: 0.5, cy: 0.5 };
  const before = [{ x: 0.4, y: 0.5 }, { x: 0.6, y: 0.5 }];
  const after = [{ x: 0.3, y: 0.45 }, { x: 0.6, y: 0.45 }];
  const held = before.map(({ x, y }) => ({ x: place.cx + (x - 0.5) / 3, y: place.cy + (y - 0.5) / 3 }));
  const next = pinched(place, before, after);
  near(next.zoom, 4.5);
  held.forEach((point, i) => {
    near(seen(next, point).x, after[i].x);
    near(seen(next, point).y, after[i].y);
  });
});

test("fingers on one spot do no harm", () => {
  const spot = [{ x: 0.5, y: 0.5 }, { x: 0.5, y: 0.5 }];
  fills(pinched({ zoom: 2, cx: 0.5, cy: 0.5 }, spot, spot));
});
