// @ts-check
// Two results of one row without their names, in random order: which is better? Nothing on the screen,
// in the elements or in the link tells which is which: the pictures are painted into canvases.
(function () {
  "use strict";

  const { make } = NST.dom;

  // Pairs that were judged are drawn again while there are others.
  const MAX_DRAWS = 200;

  /** @param {App} app */
  async function ask(app) {
    const made = NST.ballots.made(app.view, await app.store.column("status"));
    if (document.querySelector("dialog.blind")) return;
    if (!NST.ballots.drawn(made, Math.random)) {
      throw new Error("expected two results in one row to judge, found one each at most; choose a field for the columns in which pictures of a row differ, search for less, or wait until more are painted");
    }
    const live = make("p", { class: "hidden", role: "status" });
    const left = pane("A");
    const right = pane("B");
    const inputs = make("div", { class: "blind-inputs" });
    const count = make("p", { class: "blind-count" });
    const undo = NST.bar.button("Undo", takeBack, "Undo the last answer (Backspace)");
    const choose = (/** @type {"left" | "right" | "same"} */ side) => () => answer(side);
    const dialog = make(
      "dialog",
      { class: "large blind", "aria-labelledby": "blind-title", "aria-busy": "true", tabindex: -1 },
      make("header", { class: "large-head" }, make("h2", { id: "blind-title" }, "Which is better?"), count, make("div", { class: "buttons" }, undo, NST.bar.button("Skip", next, "Skip this pair (S)"), NST.bar.button("Show the result", finish, "Show the result (Enter)"), NST.bar.button("×", () => dialog.close(), "Close (Esc)"))),
      inputs,
      make("div", { class: "blind-pair" }, left.node, right.node),
      make(
        "div",
        { class: "blind-answers", role: "group", "aria-label": "Answer" },
        NST.bar.button("← A is better", choose("left"), "A is better (left arrow or 1)"),
        NST.bar.button("↓ No difference", choose("same"), "No difference (down arrow or 0)"),
        NST.bar.button("B is better →", choose("right"), "B is better (right arrow or 2)"),
      ),
      live,
    );
    /** @type {{a: Item, b: Item} | null} */
    let pair = null;
    /** Votes of this sitting, to be taken back. @type {{vote: Vote, pair: {a: Item, b: Item}}[]} */
    const given = [];
    /** @type {Map<string, number>} */
    const judged = new Map();
    for (const { a, b } of NST.opinions.mine().votes) add(a, b, 1);
    let turn = 0;
    let isReady = false;

    /** @param {string} a @param {string} b @param {number} by */
    function add(a, b, by) {
      const key = NST.ballots.pairKey(a, b);
      judged.set(key, (judged.get(key) ?? 0) + by);
    }

    /** A pair that was judged as seldom as any of those drawn. */
    async function draw() {
      /** @type {{a: Item, b: Item} | null} */
      let best = null;
      let least = Infinity;
      for (let draw = 0; draw < MAX_DRAWS && least > 0; draw++) {
        const places = NST.ballots.drawn(made, Math.random);
        if (!places) break;
        const [a, b] = await Promise.all([app.store.item(places.a), app.store.item(places.b)]);
        if (a.failed || b.failed || !a.picture || !b.picture) continue;
        const times = judged.get(NST.ballots.pairKey(a.id, b.id)) ?? 0;
        if (times >= least) continue;
        least = times;
        best = { a, b };
      }
      return { best, isAgain: least > 0 };
    }

    async function next() {
      const ticket = ++turn;
      isReady = false;
      const drawn = await draw().catch(fail);
      if (ticket !== turn || !drawn) return;
      const { best, isAgain } = drawn;
      if (!best) return told("No row has two pictures to compare.");
      await show(best);
      if (isAgain && pair === best && isReady) told("You have judged these before: they come again, in random order.");
    }

    /** @param {{a: Item, b: Item}} items in the order in which they are shown */
    async function show(items) {
      const ticket = ++turn;
      isReady = false;
      pair = items;
      count.textContent = NST.format.count(given.length, "answer");
      undo.disabled = !given.length;
      dialog.setAttribute("aria-busy", "true");
      const { state } = app;
      // What makes the columns would tell.
      const kinds = [["content", [items.a.content]], ["style", items.a.styles]].filter(([kind]) => state.y.includes(String(kind)));
      inputs.replaceChildren(...kinds.flatMap(([kind, previews]) => /** @type {Preview[]} */ (previews).map((preview) => input(String(kind), preview))));
      // Both at once, or which comes first would tell.
      const images = await Promise.all([loaded(items.a), loaded(items.b)]);
      if (ticket !== turn) return;
      if (!images[0] || !images[1]) {
        add(items.a.id, items.b.id, 1e6);
        return next();
      }
      left.paint(images[0]);
      right.paint(images[1]);
      dialog.removeAttribute("aria-busy");
      isReady = true;
    }

    /** @param {"left" | "right" | "same"} side */
    async function answer(side) {
      if (!pair || !isReady) return;
      isReady = false;
      const { a, b } = pair;
      /** @type {Vote} */
      const vote = { a: a.id, b: b.id, better: side === "left" ? "a" : side === "right" ? "b" : "same", at: Date.now() };
      given.push({ vote, pair });
      add(a.id, b.id, 1);
      NST.opinions.change(() => NST.opinions.mine().votes.push(vote));
      told(side === "same" ? "No difference. Next pair." : (side === "left" ? "A" : "B") + " is better. Next pair.");
      await next();
    }

    function takeBack() {
      const last = given.pop();
      if (!last) return told("There is no answer of this sitting to take back.");
      add(last.vote.a, last.vote.b, -1);
      const same = JSON.stringify(last.vote);
      NST.opinions.change(() => {
        const { votes } = NST.opinions.mine();
        const at = votes.findLastIndex((vote) => JSON.stringify(vote) === same);
        if (at >= 0) votes.splice(at, 1);
      });
      told("Taken back.");
      show(last.pair);
    }

    function finish() {
      dialog.close();
      NST.verdict.show(app).catch(app.fail);
    }

    /** What the page says is below the dialog. @param {Error} error */
    function fail(error) {
      dialog.close();
      app.fail(error);
    }

    /** @param {string} text */
    function told(text) {
      live.textContent = text;
    }

    /** @type {Record<string, () => unknown>} */
    const keys = {
      ArrowLeft: choose("left"), 1: choose("left"), ArrowRight: choose("right"), 2: choose("right"),
      ArrowDown: choose("same"), 0: choose("same"), Backspace: takeBack, u: takeBack, s: next,
    };
    dialog.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      const isButton = event.target instanceof HTMLButtonElement;
      const act = event.key === "Enter" && !isButton ? finish : keys[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
    const title = document.title;
    dialog.addEventListener("close", () => {
      turn++;
      left.paint(null);
      right.paint(null);
      document.title = title;
      dialog.remove();
    });
    document.body.append(dialog);
    document.title = "Which is better?";
    dialog.showModal();
    dialog.focus();
    await next();
  }

  /** @param {string} name */
  function pane(name) {
    const canvas = make("canvas", { role: "img", "aria-label": "Picture " + name, width: 1, height: 1 });
    return {
      node: make("figure", { class: "blind-pane" }, canvas, make("figcaption", {}, name)),
      /** @param {HTMLImageElement | null} image */
      paint(image) {
        canvas.width = image?.naturalWidth ?? 1;
        canvas.height = image?.naturalHeight ?? 1;
        if (image) canvas.getContext("2d")?.drawImage(image, 0, 0);
      },
    };
  }

  /** @param {string} kind @param {Preview} preview */
  function input(kind, { small, name }) {
    return make("figure", {}, small && make("img", { src: small, alt: kind + ": " + name }), make("figcaption", {}, kind + " ", make("bdi", {}, name)));
  }

  /** The full picture, or its thumbnail; null where both are gone. @param {Item} item */
  async function loaded({ picture, thumb, width, height }) {
    const small = thumb && thumb + (Math.max(width, height) > 256 ? "-512.webp" : "-256.webp");
    for (const src of [picture, small]) {
      if (!src) continue;
      const image = new Image();
      image.src = src;
      const hasCome = await image.decode().then(() => true, () => false);
      if (hasCome) return image;
    }
    return null;
  }

  NST.blind = { ask };
})();
