// Run from the root of the repository, with this file as its --config: the shipped scripts lie outside this folder.
import js from "@eslint/js";

const TEXT = "the page holds other people's words: build elements, and set textContent";
const POLICY = "the page's Content-Security-Policy forbids it";
const OFFLINE = "a page opened from a file may not: data comes by <script>";

/** Members that make markup, or code, of a text; on whatever object. */
const MEMBERS = {
  innerHTML: TEXT,
  outerHTML: TEXT,
  insertAdjacentHTML: TEXT,
  createContextualFragment: TEXT,
  setHTMLUnsafe: TEXT,
  parseHTMLUnsafe: TEXT,
  parseFromString: TEXT,
  srcdoc: TEXT,
  sendBeacon: OFFLINE,
  serviceWorker: OFFLINE,
};

const GLOBALS = {
  fetch: OFFLINE,
  XMLHttpRequest: OFFLINE,
  WebSocket: OFFLINE,
  EventSource: OFFLINE,
  Worker: OFFLINE,
  SharedWorker: OFFLINE,
  DOMParser: TEXT,
};

const EVENT_OR_STYLE = "/^(on|style$)/i";

const SYNTAX = {
  [`CallExpression[callee.property.name=/^setAttribute(NS)?$/] > Literal.arguments[value=${EVENT_OR_STYLE}]`]: `${POLICY}: addEventListener, or the style property`,
  [`CallExpression:matches([callee.name='make'], [callee.property.name='make']) > ObjectExpression > Property:matches([key.name=${EVENT_OR_STYLE}], [key.value=${EVENT_OR_STYLE}])`]: `${POLICY}: addEventListener, or the style property`,
  ImportExpression: OFFLINE,
  "NewExpression[callee.property.name='Function'], CallExpression[callee.property.name='Function']": POLICY,
  // A classic script's names are every script's.
  "Program > :matches(VariableDeclaration, FunctionDeclaration, ClassDeclaration)":
    "put all of a script in one function",
};

/** @param {Record<string, string>} table @param {string} name */
const rules = (table, name) =>
  Object.entries(table).map(([key, message]) => ({ [name]: key, message }));

export default [
  { ignores: ["**/node_modules/**"] },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      // The type checker knows every name, and the browser's.
      "no-undef": "off",
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-unused-vars": ["error", { args: "after-used" }],
    },
  },
  {
    files: ["nst/gallery/assets/**/*.js"],
    languageOptions: {
      ecmaVersion: 2023,
      sourceType: "script",
      // Without which no-implied-eval takes them for names of the script's own.
      globals: Object.fromEntries(
        ["window", "setTimeout", "setInterval"].map((name) => [name, "readonly"]),
      ),
    },
    rules: {
      strict: ["error", "safe"],
      "no-console": "error",
      "no-alert": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-script-url": "error",
      "no-restricted-globals": ["error", ...rules(GLOBALS, "name")],
      "no-restricted-properties": [
        "error",
        ...rules(MEMBERS, "property"),
        ...["window", "globalThis", "self"].flatMap((object) =>
          Object.entries({ ...GLOBALS, eval: POLICY, Function: POLICY }).map(
            ([property, message]) => ({ object, property, message }),
          ),
        ),
        { object: "document", property: "write", message: TEXT },
        { object: "document", property: "writeln", message: TEXT },
      ],
      "no-restricted-syntax": ["error", ...rules(SYNTAX, "selector")],
    },
  },
  {
    files: ["bench/**/*.js"],
    languageOptions: { ecmaVersion: 2023, sourceType: "script" },
  },
  {
    files: ["tests/gallery/**/*.js"],
    languageOptions: { ecmaVersion: 2023, sourceType: "module" },
  },
];
