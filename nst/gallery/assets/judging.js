// @ts-check
// The panel from which pictures are judged: blind, by ratings, and what becomes of it.
(function () {
  "use strict";

  const { make } = NST.dom;

  /** @param {App} app @param {HTMLElement} panel */
  function fill(app, panel) {
    const { opinions, format } = NST;
    const me = opinions.mine();
    const { voters } = opinions.all();
    const said = Object.values(me.opinions).filter(({ rating, pick, note }) => rating || pick || note).length;
    const kept = opinions.isKept() ? "Kept in this browser" : "Not kept by this browser: save it before you close the page";
    const others = voters.length > 1 ? "; of " + format.count(voters.length - 1, "other", "others") + " too" : "";
    const close = () => panel.matches(":popover-open") && panel.hidePopover();
    /** @param {string} text @param {() => unknown} action @param {string} [hint] */
    const button = (text, action, hint) => {
      const made = make("button", { type: "button", title: hint }, text);
      made.addEventListener("click", () => {
        close();
        app.more().then(action).catch(app.fail);
      });
      return made;
    };
    const search = (/** @type {string} */ word) => app.go({ q: app.state.q.split(/\s+/).includes(word) ? app.state.q : (app.state.q + " " + word).trim() });
    const name = make("input", { type: "text", value: me.name, maxlength: 100, autocomplete: "off" });
    name.addEventListener("change", () => opinions.change(() => (opinions.mine().name = name.value.trim())));
    const file = make("input", { type: "file", accept: ".json,.csv", multiple: true });
    file.addEventListener("change", () => {
      close();
      app.more().then(() => NST.verdict.read(app, [...(file.files ?? [])])).catch(app.fail);
    });
    panel.replaceChildren(
      button("Judge two at a time, blind", () => NST.blind.ask(app), "B"),
      button("Shares of wins", () => NST.verdict.show(app)),
      button("Only favourites", () => search("is:favourite")),
      button("Without rejected", () => search("-is:rejected")),
      button("Best rated first", () => app.go({ sort: "-my_rating" })),
      button("Make these again, larger …", () => NST.again.ask(app)),
      make(
        "fieldset",
        {},
        make("legend", {}, format.count(me.votes.length, "vote") + ", " + format.count(said, "picture") + " with a rating, pick or note. " + kept + others + "."),
        make("label", {}, "Your name", name),
        button("Save as JSON", () => NST.verdict.save("json")),
        button("Save as CSV", () => NST.verdict.save("csv")),
        make("label", { class: "file" }, make("span", {}, "Add from files"), file),
      ),
      make("p", { class: "note" }, "In the table: 1 to 5 rate, 0 takes it back, P favourite, J reject, N note; in a large picture R and then a digit."),
    );
  }

  NST.judging = { fill };
})();
