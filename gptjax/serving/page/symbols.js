// The net of nine pixels, live: draw, see what each unit says, and train it step by step.

import { byId, h, icon, svg } from "./dom.js";
import { BEST, EXACT, KINDS, byHand, forward, initial, judged, learnt } from "./nine_pixels.js";

const FRAME_MS = 12; // of training between two pictures

export class SymbolsView {
  constructor() {
    this.element = byId("symbols");
    this.image = EXACT[2].image;
    this.weights = initial();
    this.steps = 0;
    this.running = false;
  }

  open() {
    if (!this.element.childElementCount) this.build();
    this.show();
  }

  stop() {
    this.running = false;
  }

  build() {
    const press = (/** @type {string} */ label, /** @type {() => void} */ run, /** @type {Record<string, any>} */ more = {}) => h("button", { type: "button", class: "button", on: { click: run }, ...more }, label);
    this.pixels = this.image.map((_, i) => h("button", {
      type: "button", class: "pixel", "aria-label": `Pixel ${i + 1}`,
      on: { click: () => this.draw(this.image.map((value, at) => (at === i ? -value : value))) },
    }));
    const exact = EXACT.map(({ kind, image }) => h("button", {
      type: "button", class: "exact", "aria-label": `Draw ${KINDS[kind]}`, title: KINDS[kind], on: { click: () => this.draw(image) },
    }, picture(image)));
    const noisy = () => this.draw(this.image.map((value) => (Math.random() < 0.1 ? -value : value)));
    this.run = press("Train", () => this.toggle(), { class: "button primary" });
    this.outputs = h("ul", { class: "said", "aria-label": "Probabilities" });
    this.first = h("div", { class: "units" });
    this.second = h("div", { class: "units" });
    this.figures = h("p", { class: "figures", role: "status" });
    this.element.replaceChildren(h("div", { class: "wide" },
      h("div", { class: "card nine" },
        h("h2", {}, "A net of nine pixels"),
        h("p", { class: "quiet" }, "Draw with the pixels. Each of ten units weighs all nine of them, four units weigh those, and four outputs are the probabilities of a kind of symbol. Blue weights are positive, red ones negative. Training moves every weight a little against the slope of the loss."),
        h("div", { class: "nine-columns" },
          h("div", {}, h("h3", {}, "Pixels"), h("div", { class: "pixels", role: "group", "aria-label": "Pixels" }, ...this.pixels),
            h("div", { class: "exacts", role: "group", "aria-label": "Exact symbols" }, ...exact), press("Noise", noisy, { title: "Flips each pixel with probability 0.1" })),
          h("div", {}, h("h3", {}, "First layer: weights and what each unit says"), this.first),
          h("div", {}, h("h3", {}, "Second layer"), this.second, h("h3", {}, "It says"), this.outputs)),
        this.figures,
        h("div", { class: "nine-actions" }, this.run, press("One step", () => this.train(1)),
          press("Start again", () => this.take(initial())), press("Weights by hand", () => this.take(byHand())))),
    ));
  }

  /** @param {number[]} image */
  draw(image) {
    this.image = image;
    this.show();
  }

  /** @param {import("./nine_pixels.js").Weights} weights */
  take(weights) {
    this.stop();
    this.weights = weights;
    this.steps = 0;
    this.show();
  }

  /** @param {number} steps */
  train(steps) {
    for (let i = 0; i < steps; i++) this.weights = learnt(this.weights);
    this.steps += steps;
    this.show();
  }

  /** Trains until it is stopped. @param {boolean} [running] */
  toggle(running = !this.running) {
    this.running = running;
    const go = () => {
      if (!this.running || this.element.hidden) return this.stop();
      const until = performance.now() + FRAME_MS;
      do this.train(1); while (performance.now() < until);
      requestAnimationFrame(go);
    };
    if (this.running) requestAnimationFrame(go);
    this.show();
  }

  show() {
    const [, first, second, said] = forward(this.weights, this.image);
    this.pixels.forEach((/** @type {any} */ pixel, /** @type {number} */ i) => pixel.setAttribute("aria-pressed", String(this.image[i] > 0)));
    this.first.replaceChildren(...first.map((value, unit) => tile(`Unit ${unit + 1}`, this.weights[0].slice(0, 9).map((row) => row[unit]), value)));
    this.second.replaceChildren(...second.map((value, unit) => tile(`Deep unit ${unit + 1}`, this.weights[1].slice(0, 10).map((row) => row[unit]), value)));
    this.outputs.replaceChildren(...said.map((share, kind) => h("li", { class: share === Math.max(...said) ? "most" : "" },
      h("span", {}, KINDS[kind]), h("progress", { max: 1, value: share, "aria-label": KINDS[kind] }), h("span", { class: "share" }, `${(100 * share).toFixed(1)}%`))));
    const { loss, right } = judged(this.weights);
    this.figures.textContent = `After ${this.steps} steps: loss ${loss.toFixed(3)} nats, right in ${(100 * right).toFixed(2)}% of noisy symbols; the best possible is ${(100 * BEST).toFixed(2)}%.`;
    this.run.replaceChildren(icon(this.running ? "stop" : "forward"), h("span", {}, this.running ? "Pause" : "Train"));
  }
}

/** A unit: its weights, and what it says as a bar. @param {string} name @param {number[]} weights @param {number} value */
const tile = (name, weights, value) => h("figure", { class: "unit", role: "img", "aria-label": `${name} says ${value.toFixed(2)}` },
  picture(weights, weights.length === 9 ? 3 : 5),
  svg("svg", { viewBox: "-1 0 2 0.3", class: "says" },
    svg("rect", { x: Math.min(0, value), y: 0, width: Math.abs(value), height: 0.3, fill: colour(Math.sign(value)) })));

/** Values from -1 to 1 as squares. @param {number[]} values @param {number} [columns] */
const picture = (values, columns = 3) => svg("svg", { viewBox: `0 0 ${columns} ${values.length / columns}`, class: "squares", "aria-hidden": "true" },
  ...values.map((value, i) => svg("rect", { x: i % columns, y: Math.floor(i / columns), width: 1, height: 1, fill: colour(value) })));

/** @param {number} value from -1, red, to 1, blue */
const colour = (value) => (value > 0 ? `rgb(33 102 172 / ${value})` : `rgb(178 24 43 / ${-value})`);
