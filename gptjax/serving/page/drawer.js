// The drawer of settings: how replies are drawn, in this conversation and in those to come.

import { apiKey, setApiKey } from "./api.js";
import { byId, h, iconButton, notify } from "./dom.js";
import { GROUPS } from "./settings.js";
import { remember, remembered } from "./store.js";

/**
 * @typedef {object} Options
 * @property {Record<string, any>} settings changed in place
 * @property {string[]} rankers names that may rank replies
 * @property {() => void} onChange
 * @property {() => void} onKey the key has changed
 */

/** @param {Options} options */
export function openDrawer(options) {
  const dialog = byId("settings");
  const { settings } = options;
  const rows = new Map();
  const changed = () => {
    rows.get("temperature").classList.toggle("unused", settings.num_beams > 1);
    rows.get("top_p").classList.toggle("unused", settings.num_beams > 1);
    rows.get("best_of").classList.toggle("unused", settings.num_beams > 1);
    rows.get("rank_by").classList.toggle("unused", settings.num_beams > 1 || settings.best_of < 2);
    options.onChange();
  };
  const groups = GROUPS.map((group) =>
    h("section", { class: "group" }, h("h3", {}, group.title), ...group.fields.map((field) => {
      const row = fieldRow(field, settings, options.rankers, changed);
      rows.set(field.name, row);
      return row;
    })));
  dialog.replaceChildren(
    h("div", { class: "drawer-head" }, h("h2", { id: "settings-title" }, "Settings"),
      iconButton("close", "Close the settings", () => dialog.close())),
    h("div", { class: "drawer-body" }, ...groups, access(options)));
  dialog.onclick = (/** @type {MouseEvent} */ event) => {
    if (event.target === dialog) dialog.close(); // its backdrop was clicked
  };
  dialog.showModal();
  changed();
}

/**
 * @param {import("./settings.js").Field} field
 * @param {Record<string, any>} settings
 * @param {string[]} rankers
 * @param {() => void} changed
 */
function fieldRow(field, settings, rankers, changed) {
  const id = `set-${field.name}`;
  const set = (/** @type {any} */ value) => {
    settings[field.name] = value;
    changed();
  };
  const described = field.help ? { "aria-describedby": `${id}-help` } : {};
  const inputs = {
    slider: () => slider(field, id, settings, set, described),
    integer: () => [numberBox(field, id, settings, (value) => set(value ?? field.value), described)],
    optional: () => [numberBox(field, id, settings, set, described)],
    text: () => [h("textarea", { id, class: "input", rows: 3, dir: "auto", value: settings[field.name], ...described,
      on: { input: (/** @type {any} */ event) => set(event.target.value) } })],
    switch: () => [h("input", { id, type: "checkbox", class: "switch", role: "switch", checked: settings[field.name], ...described,
      on: { change: (/** @type {any} */ event) => set(event.target.checked) } })],
    choice: () => [choiceBox(field, id, settings, rankers, set, described)],
  }[field.kind]();
  const beside = ["integer", "optional", "switch"].includes(field.kind);
  return h("div", { class: `field${beside ? " beside" : ""}` },
    h("label", { htmlFor: id }, field.label), h("div", { class: "field-input" }, ...inputs),
    field.help && h("p", { class: "help", id: `${id}-help` }, field.help));
}

/** @param {import("./settings.js").Field} field @param {string} id @param {any} settings @param {(value: any) => void} set @param {object} described */
function slider(field, id, settings, set, described) {
  const { min, max, step } = field;
  const box = h("input", { id, type: "number", min, max, step, value: settings[field.name], class: "input number", inputmode: "decimal", ...described });
  const range = h("input", { type: "range", min, max, step, value: settings[field.name], "aria-label": `${field.label}, slider` });
  range.addEventListener("input", () => {
    box.value = range.value;
    set(Number(range.value));
  });
  box.addEventListener("change", () => {
    const value = Math.min(max ?? 0, Math.max(min ?? 0, Number(box.value)));
    box.value = range.value = String(value);
    set(value);
  });
  return [range, box];
}

/** @param {import("./settings.js").Field} field @param {string} id @param {any} settings @param {(value: number|null) => void} set @param {object} described */
function numberBox(field, id, settings, set, described) {
  const box = h("input", {
    id, type: "number", class: "input number", inputmode: "numeric", min: field.min, max: field.max, step: 1,
    value: settings[field.name] ?? "", placeholder: field.kind === "optional" ? "auto" : "", ...described,
  });
  box.addEventListener("change", () => {
    const given = box.value === "" ? null : Math.round(Math.min(field.max ?? 0, Math.max(field.min ?? 0, Number(box.value))));
    set(given);
    box.value = settings[field.name] ?? "";
  });
  return box;
}

/** @param {import("./settings.js").Field} field @param {string} id @param {any} settings @param {string[]} rankers @param {(value: string) => void} set @param {object} described */
function choiceBox(field, id, settings, rankers, set, described) {
  const more = field.name === "rank_by" ? rankers.map((name) => [name, name]) : [];
  const box = h("select", { id, class: "select", ...described, on: { change: () => set(box.value) } },
    ...[...(field.choices ?? []), ...more].map(([value, label]) => h("option", { value }, label)));
  box.value = settings[field.name];
  if (box.selectedIndex < 0) {
    box.selectedIndex = 0;
    settings[field.name] = box.value;
  }
  return box;
}

/** @param {Options} options The key and the labeller's name. */
function access(options) {
  const key = h("input", { id: "set-key", type: "password", class: "input", value: apiKey(), autocomplete: "off", "aria-describedby": "set-key-help" });
  key.addEventListener("change", () => {
    try {
      setApiKey(key.value.trim());
      options.onKey();
    } catch (error) {
      notify(/** @type {Error} */ (error).message, "error");
    }
  });
  const name = h("input", { id: "set-labeller", type: "text", class: "input", value: remembered("labeller") ?? "", autocomplete: "off", dir: "auto", "aria-describedby": "set-labeller-help" });
  name.addEventListener("change", () => remember("labeller", name.value.trim() || null));
  return h("form", { class: "group", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, h("h3", {}, "You"),
    h("div", { class: "field" }, h("label", { htmlFor: "set-labeller" }, "Labeller"), name,
      h("p", { class: "help", id: "set-labeller-help" }, "Kept with your votes and rankings. May be empty.")),
    h("div", { class: "field" }, h("label", { htmlFor: "set-key" }, "Key of the server"), key,
      h("p", { class: "help", id: "set-key-help" }, "Only where the server asks for one. Forgotten when the tab is closed.")));
}
