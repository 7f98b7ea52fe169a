// @ts-check
// What is looked at without a choice.
(function () {
  "use strict";

  /** @param {Spine} spine @returns {State} */
  function defaults(spine) {
    return {
      x: spine.column,
      y: spine.row,
      q: "",
      sort: "",
      page: 1,
      left: 0,
      size: "m",
      layout: spine.layout ?? "table",
      plot: false,
      px: "",
      py: "",
      id: "",
      mode: "side",
      a: "",
      b: "",
      show: [],
      zoom: 1,
      cx: 0.5,
      cy: 0.5,
      at: 50,
      opacity: 50,
      brightness: 2,
      flipped: false,
      all: false,
    };
  }

  // `link.js` adds what tells it from a link.
  NST.link = /** @type {any} */ ({ defaults });
})();
