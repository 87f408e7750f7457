// Compare: one prompt to several models or policies, side by side; ranks and flags go to the store.

import { postRanking } from "./api.js";
import { Columns } from "./columns.js";
import { announce, byId, h, icon, notify } from "./dom.js";
import { GrowingMarkdown } from "./markdown.js";
import { Board, dense, FLAGS, flags } from "./ranking.js";
import { write } from "./reply.js";
import { cleanSettings, policyOf, requestFields } from "./settings.js";
import { remember, remembered } from "./store.js";
import { fit, moderated } from "./turn.js";

/**
 * @typedef {object} Reply
 * @property {import("./columns.js").Column} column
 * @property {string} letter
 * @property {any} turn
 * @property {number|null} rank
 * @property {Record<string, boolean|null>} labels
 * @property {AbortController|null} running
 * @property {any} [card] its elements
 */

export class CompareView {
  /** @param {{models: () => any[], feedbackProblem: string|null}} app */
  constructor(app) {
    this.app = app;
    this.element = byId("compare");
    this.who = new Columns(() => app.models().map((model) => model.id));
    this.asked = { messages: /** @type {{role: string, content: string}[]} */ ([]), anonymous: false };
    /** @type {Reply[]} */
    this.replies = [];
    /** @type {{role: string, content: string}[]} what comes before the prompt */
    this.before = [];
    this.revealed = false;
    this.built = false;
  }

  /** Takes a prompt from a conversation. @param {{role: string, content: string}[]} messages */
  take(messages) {
    this.build();
    this.system.value = messages.find((message) => message.role === "system")?.content ?? "";
    this.before = messages.slice(0, -1).filter((message) => message.role !== "system");
    this.prompt.value = messages.at(-1)?.content ?? "";
    this.showBefore();
  }

  open() {
    this.build();
    fit(this.prompt);
    fit(this.system);
    this.who.show();
    this.showSubmit();
  }

  build() {
    if (this.built) return;
    this.built = true;
    this.prompt = h("textarea", { id: "compare-prompt", class: "input", rows: 2, dir: "auto", placeholder: "The prompt that all are given" });
    this.system = h("textarea", { id: "compare-system", class: "input", rows: 1, dir: "auto", placeholder: "None" });
    this.system.addEventListener("input", () => fit(this.system));
    this.prompt.addEventListener("input", () => fit(this.prompt));
    this.prompt.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.ask();
    });
    this.anonymous = h("input", { type: "checkbox", id: "compare-anonymous", class: "switch", role: "switch", checked: remembered("anonymous") !== false });
    this.anonymous.addEventListener("change", () => remember("anonymous", this.anonymous.checked));
    this.context = h("p", { class: "quiet", id: "compare-before" });
    this.go = h("button", { type: "submit", class: "button primary" });
    this.results = h("div", { class: "results" });
    const form = h("form", { class: "card setup" },
      h("h2", {}, "Who answers"), this.who.element,
      h("div", { class: "setup-row" }, this.who.add,
        h("span", { class: "toggle" }, this.anonymous, h("label", { htmlFor: "compare-anonymous" }, "Anonymous, in random order"))),
      h("label", { htmlFor: "compare-system", class: "block-label" }, "System message"), this.system,
      h("label", { htmlFor: "compare-prompt", class: "block-label" }, "Prompt"), this.context, this.prompt,
      h("div", { class: "setup-row end" }, this.go));
    form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.replies.some((reply) => reply.running)) this.stop();
      else this.ask();
    });
    this.element.replaceChildren(h("div", { class: "wide" }, form, this.results));
    this.showBefore();
    this.showGo();
  }

  showBefore() {
    const count = this.before.length;
    this.context.hidden = !count;
    this.context.replaceChildren(`With ${count} earlier ${count === 1 ? "message" : "messages"} of the conversation. `,
      h("button", { type: "button", class: "link-button", on: { click: () => (this.before = [], this.showBefore()) } }, "Leave them out"));
  }

  showGo() {
    const running = this.replies.some((reply) => reply.running);
    this.go.replaceChildren(icon(running ? "stop" : "send"), h("span", {}, running ? "Stop" : "Ask all"));
  }

  ask() {
    const text = this.prompt.value.trim();
    if (!text || !this.who.columns[0].model) {
      notify(text ? "There is no model to ask." : "Write a prompt first.");
      return;
    }
    this.stop();
    const system = this.system.value.trim();
    const first = system ? [{ role: "system", content: system }] : [];
    this.asked = { messages: [...first, ...this.before, { role: "user", content: text }], anonymous: this.anonymous.checked };
    this.revealed = !this.asked.anonymous;
    this.saved = false;
    const columns = this.who.columns.map((column) => ({ ...column }));
    if (this.asked.anonymous) shuffle(columns);
    this.replies = columns.map((column, i) => ({
      column, letter: String.fromCharCode(65 + i), rank: null, running: null,
      turn: null, labels: Object.fromEntries(FLAGS.map(([name]) => [name, null])),
    }));
    this.board = new Board(this.replies.map((reply) => reply.letter), (index, rank) => this.rank(index, rank));
    this.foot = h("div", { class: "submit" });
    const cards = this.replies.map((reply, i) => this.card(reply, i));
    this.results.replaceChildren(
      h("p", { class: "quiet ranking-hint" }, "Drag the letters to ranks, or focus a reply and press a number. Replies on one rank are tied."),
      this.board.element, h("div", { class: "cards" }, ...cards), this.foot);
    for (const reply of this.replies) this.run(reply);
    this.results.scrollIntoView({ block: "start" });
    this.showSubmit();
  }

  /** @param {Reply} reply */
  async run(reply) {
    const { column } = reply;
    const { max_tokens, context_overflow } = cleanSettings(remembered("settings"));
    const settings = cleanSettings({ max_tokens, context_overflow, top_logprobs: 0, [column.method]: column.value });
    const controller = new AbortController();
    const turn = { text: "", status: "running", policy: policyOf(settings) };
    Object.assign(reply, { turn, running: controller });
    this.showGo();
    this.show(reply);
    let frame = 0;
    await write(/** @type {any} */ (turn), { model: column.model, messages: this.asked.messages, ...requestFields(settings) }, controller.signal, () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        if (turn.status === "running") reply.card.growing.update(turn.text);
      });
    });
    cancelAnimationFrame(frame);
    reply.running = null;
    this.show(reply);
    this.showGo();
    this.showSubmit();
    if (!this.replies.some((one) => one.running)) announce("All replies are there.");
  }

  /** @param {Reply} reply @param {number} index */
  card(reply, index) {
    const prose = h("div", { class: "prose", dir: "auto" });
    reply.card = {
      growing: new GrowingMarkdown(prose), name: h("span", { class: "card-name", dir: "auto" }),
      notes: h("div", { class: "card-notes" }), ranks: h("div", { class: "ranks", role: "group", "aria-label": `Rank of reply ${reply.letter}` }),
    };
    const element = h("article", { class: "card reply", tabindex: 0, "aria-label": `Reply ${reply.letter}` },
      h("header", {}, h("span", { class: "letter" }, reply.letter), reply.card.name), prose, reply.card.notes, reply.card.ranks,
      flags(reply.letter, reply.labels));
    element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const rank = Number(event.key);
      if (event.ctrlKey || event.metaKey || event.altKey || !/^[1-9]$/.test(event.key) || rank > this.replies.length) return;
      event.preventDefault();
      this.rank(index, rank);
    });
    reply.card.element = element;
    for (let rank = 1; rank <= this.replies.length; rank += 1) {
      reply.card.ranks.append(h("button", { type: "button", class: "rank", "aria-pressed": "false", "aria-label": `Rank ${rank}`, on: { click: () => this.rank(index, rank) } }, String(rank)));
    }
    return element;
  }

  /** Shows a reply's name, text and notes. @param {Reply} reply */
  show({ card, turn, column, rank }) {
    card.element.setAttribute("aria-busy", String(turn.status === "running"));
    card.name.replaceChildren(...(this.revealed
      ? [h("strong", {}, column.model), h("span", { class: "policy" }, turn.policy)]
      : [h("span", { class: "quiet" }, "Hidden until ranked")]));
    if (turn.status !== "running") card.growing.finish(turn.text);
    const notes = (turn.moderation ?? []).map(moderated);
    if (turn.dropped) notes.push(`${turn.dropped} earlier messages no longer fit.`);
    if (turn.finish === "length") notes.push((turn.room ?? 0) > 0 ? "Cut: the longest reply was reached." : "Cut: no room left.");
    if (turn.status === "stopped") notes.push("Stopped.");
    if (turn.status === "failed") notes.push(this.revealed ? turn.error : "This reply failed.");
    const retry = ["failed", "stopped"].includes(turn.status) && !this.saved;
    card.notes.replaceChildren(...notes.map((/** @type {string} */ text) => h("p", { class: `note${turn.status === "failed" ? " failed" : ""}` }, text)),
      ...(retry ? [h("button", { type: "button", class: "button small", on: { click: () => this.again(card) } }, "Retry")] : []));
    for (const [i, button] of [...card.ranks.children].entries()) button.setAttribute("aria-pressed", String(rank === i + 1));
  }

  /** @param {any} card */
  again(card) {
    const reply = this.replies.find((one) => one.card === card);
    if (reply && !reply.running) this.run(reply);
  }

  /** @param {number} index @param {number|null} rank */
  rank(index, rank) {
    if (this.saved) return;
    const { turn } = this.replies[index];
    // Replies of the same text are tied: the store takes them in no other way.
    const alike = (/** @type {Reply} */ one) => turn.status === "done" && one.turn.status === "done" && one.turn.text === turn.text;
    for (const [i, one] of this.replies.entries()) {
      if (i !== index && !alike(one)) continue;
      one.rank = rank;
      this.show(one);
    }
    this.board?.update(this.replies.map((one) => one.rank));
    this.showSubmit();
  }

  showSubmit() {
    if (!this.foot || !this.replies.length) return;
    const problem = this.app.feedbackProblem;
    const unfinished = this.replies.filter((reply) => reply.turn?.status !== "done").length;
    const unranked = this.replies.filter((reply) => reply.rank === null).length;
    const why = this.saved ? "The ranking is kept." : problem ? `Rankings are not kept: ${problem}.`
      : unfinished ? "Every reply must be there first." : unranked ? `${unranked} still without a rank.` : apart(this.replies);
    const submit = h("button", { type: "button", class: "button primary", disabled: Boolean(why), on: { click: () => this.submit() } }, "Keep the ranking");
    const reveal = h("button", { type: "button", class: "button", on: { click: () => this.reveal() } }, "Show the names");
    this.foot.replaceChildren(h("span", { role: "status" }, why), this.revealed ? "" : reveal, this.saved ? this.nextButton() : submit);
  }

  nextButton() {
    return h("button", { type: "button", class: "button primary", on: { click: () => {
      this.replies = [];
      this.results.replaceChildren();
      this.prompt.value = "";
      this.before = [];
      this.showBefore();
      this.prompt.focus();
    } } }, "Next prompt");
  }

  /** Shows who answered. A ranking given afterwards is kept as one that was not anonymous. */
  reveal() {
    this.revealed = true;
    if (!this.saved) this.asked.anonymous = false;
    for (const reply of this.replies) this.show(reply);
    this.showSubmit();
  }

  async submit() {
    const { messages, anonymous } = this.asked;
    const ranking = {
      prompt: messages,
      replies: this.replies.map(({ turn, column }) => ({ text: turn.text, model: column.model, policy: turn.policy })),
      ranks: dense(this.replies.map((reply) => /** @type {number} */ (reply.rank))),
      labels: this.replies.map((reply) => reply.labels), labeller: remembered("labeller"), anonymous,
    };
    try {
      await postRanking(ranking);
    } catch (error) {
      notify(`The ranking was not kept: ${/** @type {Error} */ (error).message}`, "error");
      return;
    }
    this.saved = true;
    this.reveal();
  }

  stop() {
    for (const reply of this.replies) reply.running?.abort();
  }
}

/** @param {Reply[]} replies @returns {string} which two were ranked apart before they turned out to be the same */
function apart(replies) {
  for (const one of replies) {
    const other = replies.find(({ turn, rank }) => turn.text === one.turn.text && rank !== one.rank);
    if (other) return `${one.letter} and ${other.letter} have the same text: they are to be tied.`;
  }
  return "";
}

/** @param {any[]} items put in random order */
function shuffle(items) {
  for (let i = items.length - 1; i > 0; i -= 1) {
    const j = Math.floor(Math.random() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
}
