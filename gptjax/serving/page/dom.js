// Small helpers that build elements. Text is always text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set([
  "checked", "disabled", "hidden", "htmlFor", "max", "min", "open", "placeholder", "selected",
  "step", "tabIndex", "textContent", "type", "value",
]);

const ICONS = {
  menu: "M3 6h14M3 10h14M3 14h14",
  close: "M5 5l10 10M15 5L5 15",
  plus: "M10 4v12M4 10h12",
  sliders: "M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4",
  send: "M10 16V4M5 9l5-5 5 5",
  stop: "M6 6h8v8H6z",
  copy: "M7 7h9v9H7zM4 13V4h9",
  check: "M4 10.5l4 4 8-9",
  edit: "M4 16l1-4L13 4l3 3-8 8-4 1zM11 6l3 3",
  retry: "M15.5 7A6 6 0 1 0 16 11M16 3.5V7h-3.5",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M10 4v12M5 11l5 5 5-5",
  up: "M6.5 9.5v7h-3v-7zM6.5 10l3-6.5c1.5 0 2 .9 2 2V8h3.6c1 0 1.7.9 1.5 1.8l-1 5.2c-.1.9-.8 1.5-1.7 1.5H6.5",
  downvote: "M6.5 10.5v-7h-3v7zM6.5 10l3 6.5c1.5 0 2-.9 2-2V12h3.6c1 0 1.7-.9 1.5-1.8l-1-5.2c-.1-.9-.8-1.5-1.7-1.5H6.5",
  tokens: "M3 5h5v4H3zM10 5h7v4h-7zM3 11h7v4H3zM12 11h5v4h-5z",
  columns: "M3 4h5.5v12H3zM11.5 4H17v12h-5.5z",
  more: "M4.5 10h.01M10 10h.01M15.5 10h.01",
  sun: "M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1 1M14.7 14.7l1 1M15.7 4.3l-1 1M5.3 14.7l-1 1",
  moon: "M16 12.5A6.5 6.5 0 0 1 7.5 4a6.5 6.5 0 1 0 8.5 8.5z",
  auto: "M10 3a7 7 0 1 1 0 14zM10 3a7 7 0 1 0 0 14",
  forward: "M4 5l5 5-5 5M10 5l5 5-5 5",
  shield: "M10 3l6 2v5c0 4-3 6-6 7-3-1-6-3-6-7V5z",
  image: "M3 4h14v12H3zM3 14l4-4 3 3 3-3 4 4",
  alert: "M10 3.5L17.5 16.5h-15zM10 8v4M10 14.2v.1",
};

/**
 * An element with its attributes, listeners and children.
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `class`, `on` (listeners), `data`, any attribute
 * @param {...(Node|string|null|false|undefined)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = /** @type {any} */ (document.createElement(tag));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name === "class") element.className = value;
    else if (name === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, string|number>} attributes
 * @param {...Node} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * A line icon, hidden from screen readers: its button has the label.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 20 20", class: `icon icon-${name}`, "aria-hidden": "true" },
    svg("path", { d: ICONS[name] }));
}

/**
 * A button with an icon and a label that is read, and shown as a tooltip.
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {(event: Event) => void} click
 * @param {Record<string, any>} [more]
 */
export function iconButton(name, label, click, more = {}) {
  return h("button", {
    type: "button", class: "icon-button", "aria-label": label, title: label, on: { click }, ...more,
  }, icon(name));
}

/** @param {string} id @returns {any} The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * Has a screen reader say a text once, when it is free.
 * @param {string} text
 */
export function announce(text) {
  const live = byId("live");
  live.textContent = "";
  setTimeout(() => (live.textContent = text), 50);
}

/**
 * Shows a notice: an error stays until it is closed, news leaves after some seconds.
 * @param {string} text
 * @param {"news"|"error"} [kind]
 */
export function notify(text, kind = "news") {
  const notice = h("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    h("span", { dir: "auto" }, text));
  notice.append(iconButton("close", "Close this notice", () => notice.remove()));
  byId("notices").append(notice);
  if (kind === "news") setTimeout(() => notice.remove(), 6000);
}

/**
 * Asks in a dialog; Escape and "Cancel" say no.
 * @param {{title: string, text?: string, value?: string, label?: string, yes: string}} question
 * @returns {Promise<string|null>} what was typed ("" where nothing is), or null
 */
export function ask({ title, text, value, label, yes }) {
  const dialog = byId("ask");
  return new Promise((resolve) => {
    const field = value === undefined ? null : h("input", { type: "text", value, class: "input", id: "ask-input", dir: "auto" });
    const answer = (/** @type {string|null} */ given) => {
      dialog.onclose = null;
      dialog.close();
      resolve(given);
    };
    const form = h("form", {
      on: {
        submit: (/** @type {Event} */ event) => {
          event.preventDefault();
          answer(field ? field.value.trim() : "");
        },
      },
    },
    h("h2", { id: "ask-title" }, title),
    text && h("p", {}, text),
    field && h("label", { htmlFor: "ask-input" }, label),
    field,
    h("div", { class: "ask-actions" },
      h("button", { type: "button", class: "button", on: { click: () => answer(null) } }, "Cancel"),
      h("button", { type: "submit", class: "button primary" }, yes)));
    dialog.replaceChildren(form);
    dialog.onclose = () => resolve(null);
    dialog.showModal();
    field?.select();
  });
}

/**
 * Saves a text as a file of the user's.
 * @param {string} name
 * @param {string} text
 */
export function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
