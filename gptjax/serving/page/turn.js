// One turn of a conversation on the page: its text or tokens, what is to be known about it, and what
// can be done with it.

import { h, icon, iconButton } from "./dom.js";
import { tokensOf } from "./format.js";
import { GrowingMarkdown } from "./markdown.js";
import { TokenRow } from "./tokens.js";

/**
 * @typedef {import("./tree.js").Turn} Turn
 * @typedef {object} Actions what the view does for a turn
 * @property {(turn: Turn) => void} retry
 * @property {(turn: Turn, text: string) => void} edit
 * @property {(turn: Turn, by: number) => void} sibling
 * @property {(turn: Turn) => void} goOn
 * @property {(turn: Turn, vote: number) => void} vote
 * @property {(turn: Turn) => void} compare
 * @property {(turn: Turn, index: number, choice: import("./tree.js").Choice) => void} continueFrom
 * @property {(turn: Turn) => {index: number, count: number}} place
 * @property {() => string|null} whyNoVotes
 * @property {() => boolean} tokensWanted
 * @property {() => void} resized a turn has become longer
 */

export class TurnView {
  /** @param {Turn} turn @param {Actions} actions @param {import("./popover.js").Popover} popover */
  constructor(turn, actions, popover) {
    this.turn = turn;
    this.actions = actions;
    this.popover = popover;
    this.asTokens = actions.tokensWanted();
    /** @type {TokenRow|null} */
    this.row = null;
    /** @type {GrowingMarkdown|null} */
    this.growing = null;
    this.body = h("div", { class: "turn-body" });
    this.foot = h("div", { class: "turn-foot" });
    const name = turn.role === "user" ? "You" : turn.model || "Model";
    this.element = h("article", { class: `turn ${turn.role}`, "aria-label": name },
      turn.role === "assistant" && h("div", { class: "turn-name", dir: "auto" }, name), this.body, this.foot);
    this.update();
  }

  /** Shows everything anew. */
  update() {
    const { turn } = this;
    this.element.classList.toggle("running", turn.status === "running");
    this.element.setAttribute("aria-busy", String(turn.status === "running"));
    this.body.replaceChildren();
    this.row = null;
    this.growing = null;
    if (turn.role === "user") {
      const shown = (turn.pictures ?? []).map((src, i) => h("img", { src, alt: `Picture ${i + 1}` }));
      if (shown.length) this.body.append(h("div", { class: "user-pictures" }, ...shown));
      if (turn.text) this.body.append(h("div", { class: "user-text", dir: "auto" }, turn.text));
    } else this.grow(true);
    this.foot.replaceChildren(...this.notes(), this.buttons());
  }

  /** Shows what was written since the last frame. @param {boolean} [whole] renders the text as one */
  grow(whole = false) {
    const { turn } = this;
    this.body.classList.toggle("waiting", turn.status === "running" && !turn.text);
    if (this.asTokens && tokensOf(turn).length) {
      if (!this.row) {
        this.row = new TokenRow(this.popover, (index, choice) => this.actions.continueFrom(turn, index, choice));
        this.body.replaceChildren(this.row.element, legend());
      }
      this.row.update(tokensOf(turn));
      return;
    }
    if (!this.growing) {
      const prose = h("div", { class: "prose", dir: "auto" });
      this.growing = new GrowingMarkdown(prose);
      this.body.replaceChildren(prose);
    }
    if (whole && turn.status !== "running") this.growing.finish(turn.text);
    else this.growing.update(turn.text);
  }

  /** @returns {Node[]} what happened to this turn, in words */
  notes() {
    const { turn } = this;
    /** @type {Node[]} */
    const notes = [];
    const note = (/** @type {any} */ sign, /** @type {string} */ text, kind = "", /** @type {Node[]} */ ...more) =>
      notes.push(h("div", { class: `note ${kind}` }, icon(sign), h("span", { dir: "auto" }, text), ...more));
    if (turn.role !== "assistant") return notes;
    if (turn.dropped) note("alert", `${turn.dropped} earlier ${turn.dropped === 1 ? "message" : "messages"} no longer fit.`);
    if (turn.cut) note("alert", `${turn.cut} earlier tokens no longer fit.`);
    for (const decision of turn.moderation ?? []) note("shield", moderated(decision), "moderated");
    if (turn.finish === "content_filter" && !turn.moderation?.length) note("shield", "Moderation ended this reply.", "moderated");
    if (turn.status === "failed") note("alert", turn.error || "The reply failed.", "failed", button("Retry", () => this.actions.retry(turn)));
    const goOn = turn.text ? [button("Continue", () => this.actions.goOn(turn))] : [];
    if (turn.status === "stopped") note("stop", "Stopped.", "", ...goOn);
    if (turn.finish === "length") {
      if ((turn.room ?? 0) > 0) note("alert", "Cut: the longest reply was reached.", "", ...goOn);
      else note("alert", "Cut: no room left.");
    }
    return notes;
  }

  /** @returns {HTMLElement} */
  buttons() {
    const { turn, actions } = this;
    const row = h("div", { class: "turn-actions" });
    const { index, count } = actions.place(turn);
    if (count > 1) row.append(this.switcher(index, count));
    if (turn.status === "running") return row;
    if (turn.text) row.append(iconButton("copy", "Copy the text", (event) => copy(/** @type {HTMLElement} */ (event.currentTarget), turn.text)));
    if (turn.role === "user") {
      row.append(
        iconButton("edit", "Edit this message", () => this.edit()),
        iconButton("columns", "Compare models on this message", () => actions.compare(turn)));
      return row;
    }
    row.append(iconButton("retry", "Another reply", () => actions.retry(turn)));
    if (turn.packed || turn.tokens?.length) {
      const toggle = iconButton("tokens", "Tokens and their alternatives", () => {
        this.asTokens = !this.asTokens;
        this.popover.hide();
        this.update();
        this.actions.resized();
        /** @type {HTMLElement|null} */ (this.element.querySelector("[data-tokens]"))?.focus();
      }, { "aria-pressed": String(this.asTokens), "data-tokens": "", class: "icon-button with-text" });
      toggle.append(h("span", {}, "Tokens"));
      row.append(toggle);
    }
    if (turn.text && turn.status === "done") row.append(this.thumb(1), this.thumb(-1));
    if (turn.policy) row.append(h("span", { class: "policy" }, turn.policy + (turn.seed === undefined ? "" : `, seed=${turn.seed}`)));
    return row;
  }

  /** @param {number} vote */
  thumb(vote) {
    const why = this.actions.whyNoVotes();
    const label = vote > 0 ? "A good reply" : "A bad reply";
    return iconButton(vote > 0 ? "up" : "downvote", why ? `${label} (${why})` : label, () => this.actions.vote(this.turn, vote), {
      "aria-pressed": String(this.turn.vote === vote), ...(why && { "aria-disabled": "true" }),
    });
  }

  /** @param {number} index @param {number} count */
  switcher(index, count) {
    const step = (/** @type {number} */ by) => this.actions.sibling(this.turn, by);
    return h("span", { class: "switcher", role: "group", "aria-label": `Version ${index + 1} of ${count}` },
      iconButton("left", "Version before", () => step(-1), { disabled: index === 0 }),
      h("span", { class: "switcher-text", "aria-hidden": "true" }, `${index + 1} / ${count}`),
      iconButton("right", "Version after", () => step(1), { disabled: index === count - 1 }));
  }

  /** Edits a message of the user's where it stands. */
  edit() {
    const area = h("textarea", { class: "edit-area", "aria-label": "Edited message", dir: "auto", value: this.turn.text, rows: 2 });
    const cancel = () => {
      this.update();
      /** @type {HTMLElement|null} */ (this.foot.querySelector('[aria-label^="Edit"]'))?.focus();
    };
    const save = () => area.value.trim() && this.actions.edit(this.turn, area.value.trim());
    area.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) save();
      else if (event.key === "Escape") cancel();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    area.addEventListener("input", () => fit(area));
    this.body.replaceChildren(area);
    this.foot.replaceChildren(h("div", { class: "edit-actions" },
      h("span", { class: "quiet" }, "The earlier version is kept."),
      h("button", { type: "button", class: "button", on: { click: cancel } }, "Cancel"),
      h("button", { type: "button", class: "button primary", on: { click: save } }, "Send")));
    fit(area);
    area.focus();
  }
}

/** Makes a text area as high as its text, up to its CSS maximum. @param {HTMLTextAreaElement} area */
export function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

/** @param {string} label @param {() => void} click */
const button = (label, click) => h("button", { type: "button", class: "button small", on: { click } }, label);

/** @param {import("./tree.js").Decision} decision */
export function moderated({ where, stage, category, score, action }) {
  const what = where === "input" ? "your message" : "this reply";
  const done = { refuse: `refused ${what}`, redact: `blanked a part of ${what}`, end: `withdrew ${what}` }[action] ?? `flagged ${what}`;
  const why = [category, stage && `found by ${stage}`, typeof score === "number" && `score ${score.toFixed(2)}`].filter(Boolean);
  return `Moderation ${done}${why.length ? `: ${why.join(", ")}` : ""}.`;
}

/** @param {HTMLElement} pressed @param {string} text */
export async function copy(pressed, text) {
  const old = [...pressed.childNodes];
  try {
    await navigator.clipboard.writeText(text);
    pressed.replaceChildren(pressed.classList.contains("icon-button") ? icon("check") : "Copied");
  } catch {
    pressed.replaceChildren(pressed.classList.contains("icon-button") ? icon("close") : "Not allowed");
  }
  setTimeout(() => pressed.replaceChildren(...old), 1500);
}

const legend = () => h("div", { class: "legend", "aria-hidden": "true" }, "probability, before temperature",
  ...["≥ 80 %", "≥ 50", "≥ 20", "≥ 5", "< 5 %"].map((text, i) => h("span", { class: `surprise-${i}` }, text)));

/** What a screen reader says at the end of a reply. @param {Turn} turn */
export function spoken(turn) {
  if (turn.status === "failed") return `The reply failed: ${turn.error}`;
  if (turn.status === "stopped") return "The reply was stopped.";
  if (turn.finish === "content_filter") return "Moderation withdrew the reply.";
  return `${turn.model ?? "The model"} replied: ${turn.text.slice(0, 600)}`;
}
