// The large view: a picture beside its content and style. Without this script a picture's link
// opens the picture itself.
"use strict";

(function () {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("large"));
  const links = /** @type {HTMLAnchorElement[]} */ (Array.from(document.querySelectorAll("a.open")));
  let shown = 0;

  /** @param {number} index */
  function show(index) {
    shown = (index + links.length) % links.length;
    const link = links[shown];
    const figure = /** @type {HTMLElement} */ (link.closest("figure"));
    const row = /** @type {HTMLElement} */ (link.closest("tr"));
    const image = /** @type {HTMLImageElement} */ (link.querySelector("img"));
    const large = /** @type {HTMLImageElement} */ (document.getElementById("large-picture"));
    large.src = image.src;
    large.alt = image.alt;
    element("large-title").textContent = link.dataset.title || "";
    /** @type {HTMLAnchorElement} */ (element("large-link")).href = link.href;
    element("large-inputs").replaceChildren(
      ...Array.from(row.querySelectorAll(".input figure"), (input) => input.cloneNode(true)),
    );
    const facts = /** @type {HTMLElement} */ (figure.querySelector(".facts"));
    element("large-facts").replaceChildren(
      ...Array.from(facts.querySelectorAll("dt"), (term) => {
        const pair = document.createElement("div");
        const value = /** @type {Element} */ (term.nextElementSibling);
        pair.append(term.cloneNode(true), value.cloneNode(true));
        return pair;
      }),
    );
    if (!dialog.open) dialog.showModal();
  }

  /** @param {string} id */
  function element(id) {
    return /** @type {HTMLElement} */ (document.getElementById(id));
  }

  links.forEach((link, index) => {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      show(index);
    });
  });
  element("previous").addEventListener("click", () => show(shown - 1));
  element("next").addEventListener("click", () => show(shown + 1));
  element("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => links[shown].focus());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(shown - 1);
    if (event.key === "ArrowRight") show(shown + 1);
  });
})();
