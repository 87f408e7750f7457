// Who answers a comparison: two to nine models, each with the way in which its reply is drawn.

import { h, icon, iconButton } from "./dom.js";
import { remember, remembered } from "./store.js";

/** @typedef {{model: string, method: string, value: number}} Column */

/** @type {Record<string, {label: string, min: number, max: number, step: number, value: number}>} */
const METHODS = {
  temperature: { label: "Temperature", min: 0, max: 2, step: 0.05, value: 0.7 },
  num_beams: { label: "Beams", min: 2, max: 16, step: 1, value: 4 },
  best_of: { label: "Best of", min: 2, max: 64, step: 1, value: 4 },
};
const FEWEST = 2;
const MOST = 9;

export class Columns {
  /** @param {() => string[]} ids the models that are served */
  constructor(ids) {
    this.ids = ids;
    this.columns = stored();
    this.element = h("ol", { class: "columns" });
    this.add = h("button", { type: "button", class: "button", on: { click: () => this.addOne() } }, icon("plus"), h("span", {}, "Add"));
  }

  /** Adds a column with a model that is not there yet, if there is one. */
  addOne() {
    const last = this.columns[this.columns.length - 1];
    const unused = this.ids().find((id) => !this.columns.some((column) => column.model === id));
    this.columns.push({ ...last, model: unused ?? last.model });
    this.show();
    this.element.lastElementChild.querySelector("select").focus();
  }

  /** Shows the rows; a model that is not served any more is replaced. */
  show() {
    const ids = this.ids();
    for (const [i, column] of this.columns.entries()) {
      if (!ids.includes(column.model)) column.model = ids[i] ?? ids[0] ?? "";
    }
    this.element.replaceChildren(...this.columns.map((column, i) => this.row(column, i, ids)));
    this.add.disabled = this.columns.length >= MOST;
    this.keep();
  }

  keep() {
    remember("columns", this.columns);
  }

  /** @param {Column} column @param {number} index @param {string[]} ids */
  row(column, index, ids) {
    const { min, max, step } = METHODS[column.method];
    const select = (/** @type {string} */ label, /** @type {string[][]} */ options, /** @type {string} */ value, /** @type {(value: string) => void} */ change) => {
      const box = h("select", { class: "select", "aria-label": label, on: { change: () => change(box.value) } },
        ...options.map(([one, text]) => h("option", { value: one }, text)));
      box.value = value;
      return box;
    };
    const model = select(`Model ${index + 1}`, ids.map((id) => [id, id]), column.model, (chosen) => {
      column.model = chosen;
      this.keep();
    });
    const names = Object.entries(METHODS).map(([name, { label }]) => [name, label]);
    const method = select(`Policy of model ${index + 1}`, names, column.method, (chosen) => {
      Object.assign(column, { method: chosen, value: METHODS[chosen].value });
      this.show();
      this.element.children[index].querySelectorAll("select")[1].focus();
    });
    const value = h("input", { type: "number", class: "input number", "aria-label": `Value of policy ${index + 1}`, min, max, step, value: column.value });
    value.addEventListener("change", () => {
      column.value = Math.min(max, Math.max(min, Number(value.value)));
      value.value = column.value;
      this.keep();
    });
    return h("li", {}, model, method, value, iconButton("close", `Remove model ${index + 1}`, () => {
      this.columns.splice(index, 1);
      this.show();
      this.add.focus();
    }, { disabled: this.columns.length <= FEWEST }));
  }
}

/** @returns {Column[]} those of the last time, or two whose models are still to be said */
function stored() {
  const kept = remembered("columns");
  const good = (Array.isArray(kept) ? kept : []).filter((column) =>
    typeof column?.model === "string" && Object.hasOwn(METHODS, column.method) && Number.isFinite(column.value));
  const columns = good.slice(0, MOST);
  while (columns.length < FEWEST) columns.push({ model: "", method: "temperature", value: 0.7 });
  return columns;
}
