// @ts-check
// All keys, and how to ask.
(function () {
  "use strict";

  const { make } = NST.dom;

  /** @type {[string, [string, string][]][]} */
  const SECTIONS = [
    ["In the table", [
      ["← ↑ ↓ →", "from picture to picture"],
      ["Home End Page Up Page Down", "to the ends, by screens"],
      ["Enter", "open the picture"],
      ["C, Shift click", "mark a picture; on another: compare both"],
      ["0 – 5", "rate the picture; 0 takes it back"],
      ["P J N", "favourite, reject, note"],
      ["B", "judge two at a time, blind"],
      ["/", "search"],
      ["?", "these keys"],
    ]],
    ["In the large view", [
      ["[ ]", "previous, next row; zoom and way of comparing stay"],
      ["1 – 9", "the picture of that column"],
      ["Shift 1 – 9", "show or hide that column side by side"],
      ["C", "side by side"],
      ["S", "slider; ← → move it, with Shift by a tenth"],
      ["F", "flip; Space shows the other picture"],
      ["O", "onion skin"],
      ["D", "difference"],
      ["X", "swap the two pictures"],
      ["R 0 – 5", "rate the current picture"],
      ["P J N", "favourite, reject, note"],
      [", . and ← →", "previous, next column; the arrows side by side and in flip"],
      ["Z", "100 %: a pixel of the picture for one of the screen"],
      ["W", "save the view as one picture"],
      ["+ − 0", "zoom in, out, whole picture; also wheel, pinch and double click"],
      ["← ↑ ↓ →", "move a zoomed picture; so do dragging and a click"],
      ["Esc", "close"],
    ]],
    ["Judging blind", [
      ["← → or 1 2", "A is better, B is better"],
      ["↓ or 0", "no difference"],
      ["Backspace", "take the last answer back"],
      ["S", "another pair"],
      ["Enter", "show the result"],
    ]],
    ["Search", [
      ["wave", "the word in any text"],
      ["style:wave", "the word in one field"],
      ['"great wave"', "words that belong together"],
      ["ssim>0.3", "a range; also <, >= and <="],
      ["is:failed", "only what failed"],
      ["is:favourite my_rating>=4", "what you marked and rated so"],
      ["-backbone:vgg16", "not that"],
    ]],
  ];

  function show() {
    const dialog = make(
      "dialog",
      { class: "help", "aria-labelledby": "help-title", tabindex: -1 },
      make("div", { class: "large-head" }, make("h2", { id: "help-title" }, "Keys and search"), NST.bar.button("×", () => dialog.close(), "Close (Esc)")),
      ...SECTIONS.map(([title, rows]) =>
        make("section", {}, make("h3", {}, title), make("dl", {}, ...rows.map(([key, text]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, text))))),
      ),
      make("p", {}, "The browser’s own search (Ctrl F) sees only the rows that are on screen. All words of a search here must hold."),
    );
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
    dialog.focus();
  }

  NST.help = { show };
})();
