// @ts-check
// What the reader says of the picture that is open: a rating, favourite or reject, a note.
(function () {
  "use strict";

  const { make } = NST.dom;

  // After R a digit rates; later it is a column's again.
  const DIGIT_MS = 3000;

  /** @type {{node: HTMLElement, update(): void} | null} */
  let bar = null;
  /** @type {Scene | null} */
  let scene = null;
  let digitUntil = 0;

  /** The bar below the pictures; of the current one. @param {(text: string) => void} say */
  function build(say) {
    const what = make("bdi", {});
    const stars = [1, 2, 3, 4, 5].map((rating) => {
      const made = NST.bar.button("☆", () => press(String(NST.opinions.of(id()).rating === rating ? 0 : rating)), "Rate " + rating + " of 5 (R " + rating + ")");
      made.dataset.focus = "rate " + rating;
      return made;
    });
    const favourite = NST.bar.button("♥ Favourite", () => press("p"), "Favourite (P)");
    const reject = NST.bar.button("✕ Reject", () => press("j"), "Reject (J)");
    const note = NST.bar.button("✎ Note", () => press("n"), "Note (N)");
    const text = make("p", { class: "rate-note", dir: "auto" });
    const node = make("div", { class: "rate", role: "group", "aria-label": "What you say of this picture" }, what, make("span", { class: "buttons" }, ...stars), favourite, reject, note, text);

    /** @param {string} key */
    function press(key) {
      if (scene) say(NST.opinions.pressed(scene.item, key));
    }
    const id = () => scene?.item.id ?? "";

    function update() {
      if (!scene) return;
      const { rating = 0, pick, note: written = "" } = NST.opinions.of(scene.item.id);
      what.textContent = NST.scene.titleOf(scene, scene.current);
      stars.forEach((star, i) => {
        star.textContent = i < rating ? "★" : "☆";
        star.classList.toggle("on", i < rating);
        star.setAttribute("aria-pressed", String(i + 1 === rating));
      });
      favourite.setAttribute("aria-pressed", String(pick === "favourite"));
      reject.setAttribute("aria-pressed", String(pick === "rejected"));
      text.textContent = written;
      text.hidden = !written;
    }

    bar = { node, update };
    return bar;
  }

  /** @param {Scene} next */
  function show(next) {
    scene = next;
    bar?.update();
  }

  /** Keys of the large view; tells whether one was used. @param {KeyboardEvent} event @param {(text: string) => void} say */
  function key(event, say) {
    if (!scene) return false;
    // By its place too: a French keyboard has digits with Shift.
    const digit = /^\d$/.test(event.key) ? event.key : (/^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] ?? "");
    const isRating = /^[0-5]$/.test(digit) && event.timeStamp < digitUntil;
    if (event.shiftKey && !isRating) return false;
    digitUntil = event.key === "r" ? event.timeStamp + DIGIT_MS : 0;
    if (event.key === "r") say("Rate: 1 to 5, 0 takes it back.");
    else if (isRating || /^[pjn]$/.test(event.key)) say(NST.opinions.pressed(scene.item, isRating ? digit : event.key));
    else return false;
    return true;
  }

  /** Ask for a note. @param {Item} item */
  function note(item) {
    const text = make("textarea", { rows: 5, maxlength: NST.opinions.MAX_NOTE, "aria-label": "Note", dir: "auto" });
    text.value = NST.opinions.of(item.id).note ?? "";
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    const keep = () => {
      dialog.close();
      NST.opinions.say(item.id, { note: text.value.trim() });
    };
    const dialog = make(
      "dialog",
      { class: "help", "aria-labelledby": "note-title" },
      make("h2", { id: "note-title" }, "Note"),
      text,
      make("p", { class: "buttons" }, NST.bar.button("Keep", keep, "Keep (Ctrl+Enter)"), NST.bar.button("Cancel", () => dialog.close(), "Cancel (Esc)")),
    );
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keep();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus({ preventScroll: true });
    });
    document.body.append(dialog);
    dialog.showModal();
    text.focus();
  }

  NST.rate = { build, show, key, note, update: () => bar?.update() };
})();
