// The chat: one conversation on the page, its composer, and the replies that are being written.

import { postVote } from "./api.js";
import { announce, byId, icon, notify } from "./dom.js";
import { tokensOf } from "./format.js";
import { Meter } from "./meter.js";
import { Pictures } from "./pictures.js";
import { beginning, goingOn, textOf, write } from "./reply.js";
import { cleanSettings, policyOf, requestFields } from "./settings.js";
import { remembered } from "./store.js";
import { addTurn, contentOf, messagesTo, newConversation, place, ROOT, showSibling, shownPath, textAlone } from "./tree.js";
import { copy, fit, spoken, TurnView } from "./turn.js";
import { welcome } from "./welcome.js";

/**
 * @typedef {import("./tree.js").Turn} Turn
 * @typedef {import("./tree.js").Conversation} Conversation
 * @typedef {object} App
 * @property {import("./store.js").Store} store
 * @property {import("./popover.js").Popover} popover
 * @property {string|null} feedbackProblem why votes cannot be given
 * @property {(model: string) => number|undefined} endOf the token that ends a turn, where the server says it
 * @property {(model: string) => boolean} seesImages
 * @property {(conversation: Conversation) => void} onChange a conversation has a new turn
 * @property {(messages: import("./tree.js").Message[]) => void} compare
 */

const NEAR = 80; // pixels from the end that still count as the end
const SAVE_EVERY = 1500; // milliseconds, while a reply is written

export class ChatView {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.meter = new Meter();
    this.conversation = newConversation("", cleanSettings({}));
    /** @type {Map<string, AbortController>} the replies that are being written, by turn */
    this.running = new Map();
    /** @type {Map<string, TurnView>} */
    this.views = new Map();
    this.atEnd = true;
    this.log = byId("log");
    this.draft = byId("draft");
    this.pictures = new Pictures(() => app.seesImages(this.conversation.model), () => (this.count(), this.showComposer()));
    byId("to-end").append(icon("down"));
    byId("to-end").addEventListener("click", () => this.toEnd());
    this.log.addEventListener("scroll", () => this.scrolled(), { passive: true });
    byId("turns").addEventListener("click", (/** @type {Event} */ event) => {
      const button = /** @type {HTMLElement|null} */ (/** @type {Element} */ (event.target).closest(".copy-code"));
      if (button) copy(button, button.closest(".code")?.querySelector("code")?.textContent ?? "");
    });
    byId("composer").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.runningTurn()) this.stop();
      else this.send();
    });
    this.draft.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.runningTurn()) this.send();
    });
    this.draft.addEventListener("input", () => {
      fit(this.draft);
      this.count();
      this.showComposer();
    });
  }

  /** @param {Conversation} conversation */
  open(conversation) {
    this.app.popover.hide();
    this.conversation = conversation;
    this.views.clear();
    byId("turns").replaceChildren();
    this.render();
    this.toEnd();
  }

  /** Shows the path of the conversation; turns that are shown already stay as they are. */
  render() {
    const path = shownPath(this.conversation);
    const views = path.map((turn) => this.views.get(turn.id) ?? this.view(turn));
    this.views = new Map(path.map((turn, i) => [turn.id, views[i]]));
    const turns = byId("turns");
    const elements = views.length ? views.map((view) => view.element) : [welcome(this.conversation.model)];
    for (const [i, element] of elements.entries()) {
      if (turns.children[i] !== element) turns.insertBefore(element, turns.children[i] ?? null);
    }
    while (turns.children.length > elements.length) turns.lastElementChild.remove();
    this.showComposer();
    this.count();
  }

  /** @param {Turn} turn */
  view(turn) {
    const conversation = this.conversation;
    return new TurnView(turn, {
      retry: (one) => this.reply(one.parent),
      edit: (one, text) => this.ask(one.parent, text, one.pictures),
      sibling: (one, by) => this.step(one, by),
      goOn: (one) => this.goOn(one),
      vote: (one, vote) => this.vote(one, vote),
      compare: (one) => {
        const messages = messagesTo(conversation, one.id);
        if (textAlone(messages)) this.app.compare(messages);
        else notify("Models are compared on text alone.");
      },
      continueFrom: (one, index, choice) => this.continueFrom(one, index, choice),
      place: (one) => place(conversation, one),
      whyNoVotes: () => this.app.feedbackProblem,
      tokensWanted: () => conversation.settings.show_tokens, resized: () => this.follow(),
    }, this.app.popover);
  }

  /** Shows turns anew, where what they offer has changed. */
  refresh() {
    for (const view of this.views.values()) if (view.turn.status !== "running") view.update();
  }

  /** @returns {Turn|undefined} the reply that is being written on the path */
  runningTurn() {
    return shownPath(this.conversation).find((turn) => this.running.has(turn.id));
  }

  send() {
    const text = this.draft.value.trim();
    if (!text && !this.pictures.urls.length) return;
    if (!this.conversation.model) {
      notify("There is no model to ask.", "error");
      return;
    }
    this.draft.value = "";
    fit(this.draft);
    this.ask(shownPath(this.conversation).at(-1)?.id ?? ROOT, text, this.pictures.take());
  }

  /** @param {string|null} parent @param {string} text @param {string[]} [pictures] */
  ask(parent, text, pictures = []) {
    const question = addTurn(this.conversation, parent ?? ROOT, { role: "user", text, ...(pictures.length && { pictures }) });
    this.reply(question.id);
  }

  /** Has a new reply to a turn written. @param {string|null} question */
  reply(question) {
    const { conversation } = this;
    const id = /** @type {string} */ (question);
    const turn = this.newReply(id);
    return this.run(turn, { messages: messagesTo(conversation, id) });
  }

  /** @param {string} question @param {Partial<Turn>} [fields] */
  newReply(question, fields = {}) {
    const { model, settings } = this.conversation;
    return addTurn(this.conversation, question, { role: "assistant", model, policy: policyOf(settings), status: "running", ...fields });
  }

  /** Writes a reply anew from one of its tokens on, with another one there. @param {Turn} turn @param {number} index @param {import("./tree.js").Choice} choice */
  continueFrom(turn, index, choice) {
    const { ids, tokens, text } = beginning(turn, index, choice);
    const question = /** @type {string} */ (turn.parent);
    const model = turn.model ?? this.conversation.model; // ids are this model's
    if (choice.id !== null && choice.id === this.app.endOf(model)) {
      this.end(turn, index, model);
      return undefined;
    }
    const branch = this.newReply(question, { model, tokens, text });
    const done = this.run(branch, { messages: messagesTo(this.conversation, question), assistant_tokens: ids });
    const view = this.views.get(branch.id);
    if (view) {
      view.asTokens = true;
      view.update();
    }
    return done;
  }

  /** A reply that ends before one of another's tokens: the end of the turn was chosen there. @param {Turn} turn @param {number} index @param {string} model */
  end(turn, index, model) {
    const tokens = tokensOf(turn).slice(0, index);
    const text = textOf(tokens, turn.text);
    addTurn(this.conversation, /** @type {string} */ (turn.parent), { role: "assistant", model, policy: turn.policy, text, tokens, finish: "stop" });
    this.app.onChange(this.conversation);
    this.render();
  }

  /** Lets a reply that was cut or stopped go on. @param {Turn} turn */
  goOn(turn) {
    return this.run(turn, goingOn(turn, messagesTo(this.conversation, /** @type {string} */ (turn.parent))));
  }

  /** @param {Turn} turn @param {object} request what is not the settings' */
  async run(turn, request) {
    const { conversation } = this;
    for (const id of Object.keys(conversation.turns)) this.running.get(id)?.abort(); // one reply at a time
    const controller = new AbortController();
    this.running.set(turn.id, controller);
    turn.status = "running";
    this.app.onChange(conversation);
    this.render();
    this.views.get(turn.id)?.update();
    this.toEnd();
    let frame = 0;
    let saved = performance.now();
    const changed = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        if (turn.status === "running") this.views.get(turn.id)?.grow();
        this.follow();
      });
      if (performance.now() - saved > SAVE_EVERY) {
        saved = performance.now();
        if (this.app.store.conversations.has(conversation.id)) this.app.store.put(conversation, false);
      }
    };
    await write(turn, { model: turn.model, ...requestFields(conversation.settings), ...request }, controller.signal, changed);
    cancelAnimationFrame(frame);
    if (this.running.get(turn.id) === controller) this.running.delete(turn.id);
    conversation.updated = Date.now();
    if (this.app.store.conversations.has(conversation.id)) await this.app.store.put(conversation);
    if (conversation !== this.conversation) return;
    const view = this.views.get(turn.id);
    view?.update();
    this.showComposer();
    this.count();
    this.follow();
    if (view) announce(spoken(turn));
  }

  /** Whether a reply of a conversation is being written. @param {Conversation} conversation */
  busy(conversation) {
    return Object.keys(conversation.turns).some((id) => this.running.has(id));
  }

  /** Stops the reply on the page, and on the server. */
  stop() {
    const turn = this.runningTurn();
    if (turn) this.running.get(turn.id)?.abort();
  }

  /** @param {Turn} turn @param {number} by */
  step(turn, by) {
    this.app.popover.hide();
    showSibling(this.conversation, turn, by);
    this.app.store.put(this.conversation);
    this.render();
    const { index } = place(this.conversation, turn);
    const now = this.views.get(this.conversation.turns[/** @type {string} */ (turn.parent)].children[index + by]);
    now?.update();
    const selector = by < 0 ? ".switcher button:enabled" : ".switcher button:last-child:enabled, .switcher button:enabled";
    /** @type {HTMLElement|undefined|null} */ (now?.element.querySelector(selector))?.focus();
  }

  /** @param {Turn} turn @param {number} vote */
  async vote(turn, vote) {
    const prompt = messagesTo(this.conversation, /** @type {string} */ (turn.parent));
    const problem = this.app.feedbackProblem ?? (textAlone(prompt) ? null : "the server keeps text alone");
    if (problem) {
      notify(`Votes are not kept: ${problem}.`);
      return;
    }
    const { text, model, policy } = turn;
    try {
      await postVote({
        prompt, reply: { text, model, policy: policy ?? "" }, vote, labeller: remembered("labeller"),
      });
    } catch (error) {
      notify(`The vote was not kept: ${/** @type {Error} */ (error).message}`, "error");
      return;
    }
    turn.vote = vote;
    this.app.store.put(this.conversation);
    this.views.get(turn.id)?.update();
  }

  /** Counts the tokens of what would be sent. */
  count() {
    const { conversation } = this;
    const path = shownPath(conversation);
    const last = path.at(-1);
    const messages = last ? messagesTo(conversation, last.id) : conversation.settings.system ? [{ role: "system", content: conversation.settings.system }] : [];
    const draft = this.draft.value.trim();
    const { urls } = this.pictures;
    if (draft || urls.length) messages.push({ role: "user", content: contentOf(draft, urls) });
    this.pictures.show();
    this.meter.update(conversation.model, messages);
  }

  showComposer() {
    const running = Boolean(this.runningTurn());
    const send = byId("send");
    if (send.dataset.state !== String(running)) {
      send.dataset.state = String(running);
      send.replaceChildren(icon(running ? "stop" : "send"));
      send.setAttribute("aria-label", running ? "Stop" : "Send");
      send.title = running ? "Stop (Escape)" : "Send (Enter)";
    }
    send.disabled = !running && !this.draft.value.trim() && !this.pictures.urls.length;
    byId("hint").textContent = running ? "Escape stops" : "Enter sends, Shift+Enter starts a line";
  }

  scrolled() {
    this.atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < NEAR;
    byId("to-end").hidden = this.atEnd;
  }

  /** Keeps the end in view, if it was. */
  follow() {
    if (this.atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  toEnd() {
    this.atEnd = true;
    this.follow();
  }
}
