// @ts-check
// The pictures of a scene on the stage, with what stands beneath them, and how large they are.
(function () {
  "use strict";

  const { make } = NST.dom;

  // Of the figures, so that it is seen that there are some.
  const PEEK_PX = 88;
  const MIN_STAGE_PX = 260;
  const GAP_PX = 20;
  const CAPTION_PX = 40;
  const NARROW = "(max-width: 40rem)";

  /**
   * @param {LargeView} view
   * @param {Scene} scene
   * @param {Map<string, Item>} items by column
   * @param {(name: string) => void} choose
   */
  function pictures(view, scene, items, choose) {
    const { app } = view;
    /** @type {Map<string, Picture>} */
    const used = new Map();
    /** @param {string} key @param {() => Picture} make */
    const take = (key, make) => {
      const picture = view.pictures.get(key) ?? make();
      used.set(key, picture);
      return picture;
    };
    /** @param {string} kind @param {Preview} preview @param {string} slot @returns {Pane} */
    const input = (kind, preview, slot) => ({
      picture: take(kind + slot + preview.large + preview.title, () => NST.picture.ofInput(preview, kind)),
      caption: caption(kind, preview),
      title: kind + ": " + preview.name,
      isStyle: kind === "style",
      current: false,
    });
    /** @param {string} name @param {string} slot @returns {Pane} */
    const pane = (name, slot) => {
      if (name === "content" && !scene.names.includes(name)) return input(name, scene.item.content, slot);
      if (name === "style" && !scene.names.includes(name)) return input(name, scene.item.styles[0], slot);
      const item = items.get(name);
      return {
        picture: item ? take("item" + slot + item.index, () => NST.picture.ofItem(app, item)) : NST.picture.none("No picture in this row."),
        caption: result(scene, name, item, choose),
        title: NST.scene.titleOf(scene, name),
        isStyle: false,
        current: name === scene.current && scene.names.length > 1,
      };
    };
    const made =
      scene.mode === "side"
        ? NST.modes.side(
            [input("content", scene.item.content, ""), ...scene.item.styles.map((style) => input("style", style, ""))],
            scene.shown.map((name) => pane(name, "")),
          )
        : NST.modes.over(scene.mode, pane(scene.a, ""), pane(scene.b, scene.a === scene.b ? "2" : ""));
    view.pictures.forEach((picture, key) => used.has(key) || picture.drop());
    view.pictures = used;
    return made;
  }

  /** @param {string} kind @param {Preview} preview */
  function caption(kind, preview) {
    return make("figcaption", { title: preview.title }, make("span", {}, kind + " "), make("bdi", {}, preview.name));
  }

  /**
   * @param {Scene} scene @param {string} name @param {Item | undefined} item
   * @param {(name: string) => void} choose
   */
  function result(scene, name, item, choose) {
    const title = NST.scene.titleOf(scene, name);
    const label = make(scene.names.length > 1 && item ? "button" : "span", { class: "plain", "data-focus": "column " + name }, make("bdi", {}, title));
    if (label.matches("button")) label.addEventListener("click", () => choose(name));
    const made = make("figcaption", {}, label);
    if (!item?.picture || item.failed) return made;
    const size = item.width + " × " + item.height;
    made.append(make("span", {}, size), make("a", { href: item.picture, download: true, "aria-label": "Download " + title + ", " + size }, "Download"));
    return made;
  }

  /** As large as the window allows: told to the style sheet. @param {LargeView} view */
  function fit({ dialog, stage, bar, controls, rate, scene }) {
    if (!scene) return;
    const style = getComputedStyle(stage);
    const width = stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const steered = (controls.node.hidden ? 0 : controls.node.offsetHeight) + rate.node.offsetHeight;
    const height = Math.max(MIN_STAGE_PX, dialog.clientHeight - bar.node.offsetHeight - steered - PEEK_PX);
    const set = (/** @type {string} */ name, /** @type {string} */ value) => stage.style.setProperty(name, value);
    const { ratio } = scene;
    set("--ratio", String(ratio));
    if (scene.mode !== "side") return set("--h", height - CAPTION_PX + "px");
    // One picture a swipe, with the next one's edge in sight.
    if (matchMedia(NARROW).matches) return set("--h", Math.floor(Math.min(height, (width * 0.88) / ratio)) + "px");
    const rail = /** @type {HTMLElement | null} */ (stage.querySelector(".rail"));
    const count = scene.shown.length;
    const room = { width: width - (rail ? rail.offsetWidth + GAP_PX : 0), height, gap: GAP_PX, caption: CAPTION_PX };
    const best = NST.modes.layout(count, ratio, room);
    const rows = Math.ceil(count / best.columns);
    const used = rows * (best.height + CAPTION_PX) + (rows - 1) * GAP_PX;
    const inputs = rail ? rail.children.length : 1;
    set("--columns", String(best.columns));
    set("--h", best.height + "px");
    set("--rail-h", Math.floor((Math.max(used, MIN_STAGE_PX) - GAP_PX * (inputs - 1)) / inputs - CAPTION_PX) + "px");
  }

  NST.stage = { pictures, fit };
})();
