// What the shipped scripts may not do, and that the linter sees it.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { ESLint } from "eslint";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const linter = new ESLint({
  cwd: ROOT,
  overrideConfigFile: fileURLToPath(new URL("eslint.config.js", import.meta.url)),
});

const FORBIDDEN = [
  "node.innerHTML = text;",
  'node["innerHTML"] = text;',
  "node.outerHTML = text;",
  'node.insertAdjacentHTML("beforeend", text);',
  "document.write(text);",
  "document.writeln(text);",
  "document.createRange().createContextualFragment(text);",
  "frame.srcdoc = text;",
  "new DOMParser();",
  "eval(text);",
  "window.eval(text);",
  "new Function(text);",
  "new window.Function(text);",
  "globalThis.Function(text);",
  'setTimeout("text", 1);',
  'link.href = "javascript:text";',
  'node.setAttribute("style", text);',
  'node.setAttribute("onclick", text);',
  'node.setAttribute("ONCLICK", text);',
  'node.setAttributeNS(null, "onload", text);',
  'make("p", { style: text });',
  'NST.dom.make("p", { "onclick": text });',
  "fetch(text);",
  "window.fetch(text);",
  "new XMLHttpRequest();",
  "new WebSocket(text);",
  "new EventSource(text);",
  "new Worker(text);",
  "navigator.sendBeacon(text);",
  "void import(text);",
  "console.log(text);",
  "alert(text);",
  "const unused = 1;",
];

const ALLOWED = [
  "node.textContent = text;",
  'node.setAttribute("aria-label", text);',
  'node.style.setProperty("--x", text);',
  'NST.dom.make("p", { class: text, title: text });',
  'node.addEventListener("click", text);',
];

/** @param {string} body @param {string} [file] */
async function complaints(body, file = "nst/gallery/assets/sample.js") {
  const code = `(function () {\n"use strict";\n${body}\n})();\n`;
  const results = await linter.lintText(code, { filePath: `${ROOT}/${file}` });
  return results.flatMap((result) => result.messages.map((message) => message.message));
}

for (const body of FORBIDDEN) {
  test(`reports ${body}`, async () => {
    assert.notDeepEqual(await complaints(body), []);
  });
}

for (const body of ALLOWED) {
  test(`allows ${body}`, async () => {
    assert.deepEqual(await complaints(body), []);
  });
}

test("names that a script gives to every other are reported", async () => {
  const results = await linter.lintText('function f() {\n"use strict";\n}\nf();\n', {
    filePath: `${ROOT}/nst/gallery/assets/sample.js`,
  });
  assert.equal(results[0].messages.length, 1);
});
