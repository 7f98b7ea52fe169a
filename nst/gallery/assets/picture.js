// @ts-check
// One picture of the stage: small at once, in full when it is there, and a way to try again.
(function () {
  "use strict";

  const { make } = NST.dom;

  /**
   * @param {Preview} preview
   * @param {string} kind
   */
  const ofInput = (preview, kind) =>
    picture({ alt: kind + ": " + preview.name, small: preview.small, full: preview.large, ratio: 0, tone: null });

  /** @param {App} app @param {Item} item */
  const ofItem = (app, item) =>
    item.failed || !item.picture
      ? failure(item)
      : picture({
          alt: NST.cells.alt(app, item),
          small: item.thumb && item.thumb + (Math.max(item.width, item.height) > 256 ? "-512.webp" : "-256.webp"),
          full: item.picture,
          ratio: item.width / item.height || 0,
          tone: item.color,
          width: item.width,
          height: item.height,
        });

  /**
   * @param {{alt: string, small: string | null, full: string | null, ratio: number, tone: string | null, width?: number, height?: number}} what
   * @returns {Picture}
   */
  function picture({ alt, small, full, ratio, tone, width, height }) {
    const node = make("div", { class: "picture" });
    /** @type {Picture} */
    const made = { node, ratio, isPicture: true, sized() {}, drop };
    if (tone) node.style.setProperty("--tone", tone);
    let dropped = false;
    /** @type {HTMLImageElement[]} */
    let loading = [];

    async function load() {
      node.replaceChildren();
      const shown = await add(small ?? full, true);
      if (full && small && full !== small) {
        const better = await add(full, false);
        if (better && shown) forget(shown);
        else if (!better && shown) shown.after(missing("The full picture is missing."));
      }
      if (!node.querySelector("img")) node.replaceChildren(missing("Picture not found."));
    }

    /**
     * The image on top of what is there, at once or when it has come; null where it cannot be.
     * @param {string | null} src
     * @param {boolean} atOnce
     */
    async function add(src, atOnce) {
      if (!src || dropped) return null;
      // What takes the place of another is not to leave it empty while it is decoded.
      const image = make("img", { alt, draggable: "false", decoding: atOnce ? "async" : "sync", "data-width": width, "data-height": height });
      loading.push(image);
      if (atOnce) node.append(image);
      // Not decode(): what waits for that is never let go of where it is left in the middle.
      const hasCome = await new Promise((resolve) => {
        image.onload = () => resolve(true);
        image.onerror = () => resolve(false);
        image.src = src;
      });
      if (!hasCome) forget(image);
      if (!hasCome || dropped) return null;
      if (!atOnce) node.append(image);
      made.ratio ||= image.naturalWidth / image.naturalHeight || 1;
      made.sized();
      return image;
    }

    /** @param {HTMLImageElement} image */
    function forget(image) {
      loading = loading.filter((each) => each !== image);
      image.onload = image.onerror = null;
      image.removeAttribute("src");
      image.remove();
    }

    /** @param {string} text */
    function missing(text) {
      return make("div", { class: "missing" }, make("p", {}, text), make("p", { dir: "auto" }, alt), NST.bar.button("Try again", load));
    }

    /** Its memory is only free without a source. */
    function drop() {
      dropped = true;
      loading.forEach(forget);
      node.remove();
    }

    load();
    return made;
  }

  /** @param {Item} item @returns {Picture} */
  function failure(item) {
    const reason = String(item.get("reason") ?? (item.failed ? "failed" : "no picture")).replaceAll("_", " ");
    const node = make(
      "div",
      { class: "failure" },
      make("strong", { dir: "auto" }, reason),
      make("p", { dir: "auto" }, String(item.get("error") ?? "")),
    );
    return note(node);
  }

  /** @param {string} text @returns {Picture} */
  const none = (text) => note(make("div", { class: "failure" }, make("p", {}, text)));

  /** @param {HTMLElement} node @returns {Picture} */
  const note = (node) => ({ node, ratio: 0, isPicture: false, sized() {}, drop: () => node.remove() });

  NST.picture = { ofInput, ofItem, none };
})();
