// Ratings: what the votes and rankings say of each model and policy, as Bradley-Terry strengths.

import { ratings } from "./api.js";
import { byId, h, icon, svg } from "./dom.js";

const WIDTH = 260; // of a plot, in its own units
const HEIGHT = 24;
const EDGE = 8;

export class RatingsView {
  /** @param {{feedbackProblem: string|null}} app */
  constructor(app) {
    this.app = app;
    this.element = byId("ratings");
  }

  async open() {
    const body = h("div", { class: "ratings-body", "aria-live": "polite" }, h("p", { class: "quiet" }, "Asking the server …"));
    this.element.replaceChildren(h("div", { class: "wide" },
      h("div", { class: "card" },
        h("div", { class: "ratings-head" }, h("h2", {}, "Who is preferred"),
          h("button", { type: "button", class: "button", on: { click: () => this.open() } }, icon("retry"), h("span", {}, "Refresh"))),
        body)));
    if (this.app.feedbackProblem) {
      body.replaceChildren(h("p", { class: "quiet" }, `There are no ratings: ${this.app.feedbackProblem}.`));
      return;
    }
    try {
      const { players, comparisons } = await ratings();
      body.replaceChildren(...(players.length ? table(players, comparisons) : empty()));
    } catch (error) {
      body.replaceChildren(h("p", { class: "note failed", role: "alert" }, /** @type {Error} */ (error).message));
    }
  }
}

const empty = () => [
  h("p", { class: "quiet" }, "There are no votes yet. "),
  h("p", {}, h("a", { href: "#/compare" }, "Compare some models"), " and rank their replies."),
];

/** @param {any[]} players @param {number} comparisons */
function table(players, comparisons) {
  const group = (/** @type {any} */ player) => player.group ?? 0;
  const sorted = [...players].sort((a, b) => group(a) - group(b) || b.rating - a.rating);
  const least = Math.min(...sorted.map((one) => one.low));
  const most = Math.max(...sorted.map((one) => one.high));
  const spread = most - least || 1;
  const digits = spread > 20 ? 0 : 2;
  const shown = (/** @type {number} */ value) => value.toFixed(digits).replace("-", "−");
  const x = (/** @type {number} */ value) => EDGE + ((value - least) / spread) * (WIDTH - 2 * EDGE);
  const rows = sorted.map((one, i) => h("tr", { class: i && group(one) !== group(sorted[i - 1]) ? "other-group" : "" },
    h("td", { class: "align-right quiet" }, String(i + 1)), h("th", { scope: "row", dir: "auto" }, one.name),
    h("td", { class: "align-right" }, h("strong", {}, shown(one.rating))),
    h("td", { class: "align-right nowrap" }, `${shown(one.low)} to ${shown(one.high)}`), h("td", { class: "align-right" }, String(one.games)),
    h("td", { class: "plot-cell" }, plot(x, one))));
  const heads = [["", "align-right"], ["Model and policy", ""], ["Rating", "align-right"], ["95% interval", "align-right"], ["Games", "align-right"]];
  return [
    h("div", { class: "table", tabindex: 0, role: "group", "aria-label": "Ratings" },
      h("table", { class: "ratings" },
        h("thead", {}, h("tr", {}, ...heads.map(([text, side]) => (text ? h("th", { scope: "col", class: side }, text) : h("td"))),
          h("td", { class: "plot-cell" }, h("span", { class: "plot-scale", "aria-hidden": "true" }, h("span", {}, shown(least)), h("span", {}, shown(most)))))),
        h("tbody", {}, ...rows))),
    h("p", { class: "quiet" }, `A Bradley-Terry fit to ${comparisons} ${comparisons === 1 ? "comparison" : "comparisons"}. Where two intervals overlap, the votes do not tell the two apart.`),
    ...(group(sorted[sorted.length - 1]) > 0
      ? [h("p", { class: "quiet" }, "A thick line parts models that no chain of comparisons connects: ratings above and below it cannot be compared.")]
      : []),
  ];
}

/** A dot at the rating, and a line over the interval. @param {(value: number) => number} x @param {any} player */
function plot(x, { rating, low, high }) {
  const y = HEIGHT / 2;
  const line = (/** @type {number} */ a, /** @type {number} */ b, /** @type {number} */ c, /** @type {number} */ d) => svg("line", { x1: a, y1: b, x2: c, y2: d });
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", "aria-hidden": "true" },
    line(x(low), y, x(high), y), line(x(low), y - 5, x(low), y + 5), line(x(high), y - 5, x(high), y + 5),
    svg("circle", { cx: x(rating), cy: y, r: 5 }));
}
