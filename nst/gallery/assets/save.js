// @ts-check
// The large view as one picture: what is on the stage, at the zoom that it has, with the names.
(function () {
  "use strict";

  const SIDE_PX = 900;
  const GAP_PX = 16;
  const TEXT_PX = 20;

  /** The part of an image that the zoom shows. @param {HTMLImageElement} image @param {Place} place */
  function seen(image, { zoom, cx, cy }) {
    const share = Math.min(1, 1 / zoom);
    const [width, height] = [image.naturalWidth * share, image.naturalHeight * share];
    return { x: image.naturalWidth * cx - width / 2, y: image.naturalHeight * cy - height / 2, width, height };
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {HTMLElement | undefined} pane @param {Place} place
   * @param {{x: number, y: number, width: number, height: number}} box
   */
  function paint(context, pane, place, box) {
    const image = /** @type {HTMLImageElement | null} */ (pane?.querySelector("img:last-of-type") ?? null);
    if (!image?.naturalWidth) return;
    const from = seen(image, place);
    // As `object-fit: contain` lays it.
    const scale = Math.min(box.width / from.width, box.height / from.height);
    const [width, height] = [from.width * scale, from.height * scale];
    context.drawImage(image, from.x, from.y, from.width, from.height, box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height);
  }

  /** @param {LargeView} view */
  async function save({ stage, scene, app, say }) {
    if (!scene) return;
    const { state } = app;
    const panes = /** @type {HTMLElement[]} */ ([...stage.querySelectorAll(scene.mode === "side" ? ".results .pane" : ".pair .picture")]);
    if (!panes.length) return say("There is no picture to save.");
    const columns = scene.mode === "side" ? panes.length : 1;
    const [wide, high] = [SIDE_PX, Math.round(SIDE_PX / scene.ratio)];
    const head = TEXT_PX * 2.5;
    const canvas = NST.dom.make("canvas", { width: columns * (wide + GAP_PX) + GAP_PX, height: high + 2 * head + GAP_PX });
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const write = (/** @type {string} */ text, /** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ width) => {
      context.fillStyle = "#222";
      context.font = TEXT_PX + "px system-ui, sans-serif";
      context.fillText(text, x, y, width);
    };
    write([scene.content + " × " + scene.style, ...scene.facts].join(" · "), GAP_PX, head * 0.65, canvas.width - 2 * GAP_PX);
    const box = (/** @type {number} */ column) => ({ x: GAP_PX + column * (wide + GAP_PX), y: head, width: wide, height: high });
    const name = (/** @type {string} */ value) => NST.scene.titleOf(scene, value);
    if (scene.mode === "side") {
      panes.forEach((pane, i) => {
        paint(context, pane, state, box(i));
        write(name(scene.shown[i]), box(i).x, head + high + TEXT_PX * 1.4, wide);
      });
    } else {
      over(context, panes, state, box(0), scene.mode);
      const words = scene.mode === "flip" ? name(state.flipped ? scene.b : scene.a) : name(scene.a) + "  |  " + name(scene.b);
      write(words, GAP_PX, head + high + TEXT_PX * 1.4, wide);
    }
    const blob = await new Promise((resolve, reject) => {
      try {
        canvas.toBlob(resolve, "image/png");
      } catch {
        // A page from a disk may show its pictures, and not read them.
        reject(new Error("a browser lets no page that is opened from a disk save its pictures: open the gallery with nst gallery OUTPUT --serve, or make a sheet with nst sheet OUTPUT"));
      }
    });
    NST.export.save(/** @type {Blob} */ (blob), "view.png");
    say("Saved as view.png.");
  }

  /**
   * Two pictures as the mode lays them over each other.
   * @param {CanvasRenderingContext2D} context @param {HTMLElement[]} panes @param {State} state
   * @param {{x: number, y: number, width: number, height: number}} box @param {State["mode"]} mode
   */
  function over(context, [a, b], state, box, mode) {
    if (mode === "flip") return paint(context, state.flipped ? b : a, state, box);
    context.save();
    if (mode === "difference") {
      context.fillStyle = "#000";
      context.fillRect(box.x, box.y, box.width, box.height);
      context.filter = "brightness(" + state.brightness + ")";
      const both = NST.dom.make("canvas", { width: box.width, height: box.height });
      const inner = /** @type {CanvasRenderingContext2D} */ (both.getContext("2d"));
      const whole = { ...box, x: 0, y: 0 };
      paint(inner, a, state, whole);
      inner.globalCompositeOperation = "difference";
      paint(inner, b, state, whole);
      context.drawImage(both, box.x, box.y);
      return context.restore();
    }
    paint(context, a, state, box);
    context.beginPath();
    const at = mode === "slider" ? state.at / 100 : 0;
    context.rect(box.x + box.width * at, box.y, box.width * (1 - at), box.height);
    context.clip();
    if (mode === "onion") context.globalAlpha = state.opacity / 100;
    else {
      context.fillStyle = "#fff";
      context.fillRect(box.x + box.width * at, box.y, box.width, box.height);
    }
    paint(context, b, state, box);
    context.restore();
  }

  NST.save = { save, seen };
})();
