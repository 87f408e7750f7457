// Ranking: the board on which replies are put by dragging or by keys, and the labeller's flags of
// InstructGPT (arXiv 2203.02155, Table 3). Replies on one rank are tied.

import { h } from "./dom.js";

/** The flags that a labeller may set, by their names in the store. */
export const FLAGS = [
  ["follows_instruction", "Follows the instruction"],
  ["harmful", "Harmful"],
  ["hallucination", "Hallucination"],
];

/**
 * Ranks without gaps: 1, 3, 3 become 1, 2, 2.
 * @param {number[]} ranks
 * @returns {number[]}
 */
export function dense(ranks) {
  const used = [...new Set(ranks)].sort((a, b) => a - b);
  return ranks.map((rank) => used.indexOf(rank) + 1);
}

export class Board {
  /**
   * @param {string[]} letters a reply's letter each
   * @param {(index: number, rank: number|null) => void} onRank
   */
  constructor(letters, onRank) {
    this.onRank = onRank;
    this.letters = letters;
    /** @type {(number|null)[]} */
    this.ranks = letters.map(() => null);
    this.chips = letters.map((letter, index) => this.chip(letter, index));
    this.slots = [null, ...letters.map((_, i) => i + 1)].map((rank) => this.slot(rank));
    this.element = h("div", { class: "board", role: "group", "aria-label": "Ranking" }, ...this.slots);
    this.update(this.ranks);
  }

  /** @param {number|null} rank */
  slot(rank) {
    const last = this.letters.length;
    const name = rank === null ? "Not ranked" : rank === 1 ? "1 best" : rank === last ? `${rank} worst` : String(rank);
    return h("div", { class: `slot${rank === null ? " tray" : ""}`, data: { rank: rank ?? "" } },
      h("span", { class: "slot-name" }, name), h("div", { class: "slot-chips" }));
  }

  /** @param {string} letter @param {number} index */
  chip(letter, index) {
    const chip = h("button", { type: "button", class: "chip", title: "Drag to a rank, or press its number" }, letter);
    chip.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const now = this.ranks[index];
      const most = this.letters.length;
      const wanted = event.key === "ArrowRight" ? Math.min(most, (now ?? 0) + 1)
        : event.key === "ArrowLeft" ? Math.max(1, (now ?? most + 1) - 1)
          : /^[1-9]$/.test(event.key) && Number(event.key) <= most ? Number(event.key)
            : ["0", "Backspace", "Delete"].includes(event.key) ? null : undefined;
      if (wanted === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      this.onRank(index, wanted);
      chip.focus();
    });
    this.draggable(chip, index);
    return chip;
  }

  /** @param {HTMLElement} chip @param {number} index Pointer events drag with a mouse and a finger alike. */
  draggable(chip, index) {
    let start = { x: 0, y: 0 };
    const over = (/** @type {PointerEvent} */ event) =>
      this.slots.find((slot) => {
        const box = slot.getBoundingClientRect();
        return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
      });
    const end = () => {
      chip.classList.remove("dragged");
      chip.style.transform = "";
      for (const slot of this.slots) slot.classList.remove("over");
    };
    chip.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      start = { x: event.clientX, y: event.clientY };
      chip.setPointerCapture(event.pointerId);
      chip.classList.add("dragged");
    });
    chip.addEventListener("pointermove", (event) => {
      if (!chip.hasPointerCapture(event.pointerId)) return;
      chip.style.transform = `translate(${event.clientX - start.x}px, ${event.clientY - start.y}px)`;
      const target = over(event);
      for (const slot of this.slots) slot.classList.toggle("over", slot === target);
    });
    chip.addEventListener("pointerup", (event) => {
      if (!chip.hasPointerCapture(event.pointerId)) return;
      const target = over(event);
      end();
      if (target) this.onRank(index, target.dataset.rank ? Number(target.dataset.rank) : null);
    });
    chip.addEventListener("pointercancel", end);
  }

  /** @param {(number|null)[]} ranks */
  update(ranks) {
    this.ranks = [...ranks];
    for (const [index, chip] of this.chips.entries()) {
      const rank = ranks[index];
      const home = this.slots[rank ?? 0].lastElementChild;
      if (chip.parentElement !== home) home.append(chip);
      chip.setAttribute("aria-label", `Reply ${this.letters[index]}, ${rank === null ? "not ranked" : `rank ${rank}`}`);
    }
  }
}

/**
 * The flags of a reply: yes, no, or not said.
 * @param {string} letter
 * @param {Record<string, boolean|null>} labels changed in place
 */
export function flags(letter, labels) {
  return h("div", { class: "flags" }, ...FLAGS.map(([name, text]) => {
    const option = (/** @type {boolean|null} */ value, /** @type {string} */ label, read = "") => {
      const id = `flag-${letter}-${name}-${value}`;
      return [
        h("input", { type: "radio", id, name: `flag-${letter}-${name}`, checked: labels[name] === value, class: "visually-hidden",
          on: { change: () => (labels[name] = value) } }),
        h("label", { htmlFor: id }, read ? h("span", { "aria-hidden": "true" }, label) : label,
          read && h("span", { class: "visually-hidden" }, read)),
      ];
    };
    return h("fieldset", { class: "flag" }, h("legend", {}, text),
      h("span", { class: "segments" }, ...option(true, "Yes"), ...option(false, "No"), ...option(null, "?", "Not said")));
  }));
}
