// The list of conversations at the side, and their way into files and back.

import { postConversation } from "./api.js";
import { ask, byId, download, h, iconButton, notify } from "./dom.js";
import { exported, imported } from "./format.js";
import { remembered } from "./store.js";
import { messagesTo, shownPath, textAlone } from "./tree.js";

/** @typedef {import("./tree.js").Conversation} Conversation */

export class Side {
  /**
   * @param {import("./store.js").Store} store
   * @param {{current: () => string, gone: () => void, feedbackProblem: () => string|null}} app
   */
  constructor(store, app) {
    this.store = store;
    this.app = app;
    byId("export").addEventListener("click", () => this.export(this.store.list(), "conversations"));
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", () => this.import());
    byId("conversations").addEventListener("toggle", (/** @type {any} */ event) => {
      if (event.newState !== "open") return;
      for (const menu of byId("conversations").querySelectorAll("details[open]")) if (menu !== event.target) menu.open = false;
    }, true);
    document.addEventListener("pointerdown", (event) => {
      const open = byId("conversations").querySelector("details[open]");
      if (open && !open.contains(/** @type {Node} */ (event.target))) open.open = false;
    });
    byId("conversations").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const open = event.key === "Escape" && byId("conversations").querySelector("details[open]");
      if (!open) return;
      event.stopPropagation();
      open.open = false;
      open.querySelector("summary").focus();
    });
  }

  /** Shows the list, newest first. */
  render() {
    const list = this.store.list();
    byId("conversations").replaceChildren(...list.map((one) => this.row(one)));
    byId("conversations-empty").hidden = list.length > 0;
    byId("export").disabled = list.length === 0;
  }

  /** @param {Conversation} conversation */
  row(conversation) {
    const current = conversation.id === this.app.current();
    const title = conversation.title || "Without a title";
    const act = (/** @type {string} */ label, /** @type {() => void} */ run) =>
      h("button", { type: "button", class: "menu-item", on: { click: () => (/** @type {any} */ (menu).open = false, run()) } }, label);
    const problem = this.app.feedbackProblem();
    const menu = h("details", { class: "menu" },
      h("summary", { "aria-label": `More for ${title}`, title: "More" }, iconMore()),
      h("div", { class: "menu-items" },
        act("Rename", () => this.rename(conversation)),
        act("Export", () => this.export([conversation], title)),
        act(problem ? `Give as feedback (${problem})` : "Give as feedback", () => this.give(conversation)),
        act("Delete", () => this.delete(conversation))));
    return h("li", { class: current ? "current" : "" },
      h("a", { href: `#/chat/${conversation.id}`, dir: "auto", ...(current && { "aria-current": "page" }) }, title), menu);
  }

  /** @param {Conversation} conversation */
  async rename(conversation) {
    const title = await ask({ title: "Rename the conversation", label: "Title", value: conversation.title, yes: "Rename" });
    if (!title) return;
    conversation.title = title;
    await this.store.put(conversation);
    this.render();
  }

  /** @param {Conversation} conversation */
  async delete(conversation) {
    const sure = await ask({ title: "Delete this conversation?", text: `“${conversation.title}” is deleted from this browser for good.`, yes: "Delete" });
    if (sure === null) return;
    await this.store.remove(conversation.id);
    if (conversation.id === this.app.current()) this.app.gone();
    this.render();
  }

  /** Keeps what is shown of a conversation on the server, as an example. @param {Conversation} conversation */
  async give(conversation) {
    const problem = this.app.feedbackProblem();
    const last = shownPath(conversation).at(-1);
    if (problem || !last) {
      notify(problem ? `The conversation was not given: ${problem}.` : "The conversation is empty.");
      return;
    }
    try {
      const messages = messagesTo(conversation, last.id);
      if (!textAlone(messages)) throw new TypeError("the server keeps text alone");
      await postConversation({ messages, model: conversation.model, labeller: remembered("labeller") });
      notify("The conversation is kept on the server.");
    } catch (error) {
      notify(`The conversation was not kept: ${/** @type {Error} */ (error).message}`, "error");
    }
  }

  /** @param {Conversation[]} conversations @param {string} name */
  export(conversations, name) {
    const safe = name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40) || "conversation";
    download(`gptjax-${safe}.json`, exported(conversations));
  }

  async import() {
    const input = byId("import-file");
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      const { conversations, refused } = imported(await file.text(), this.store.conversations);
      for (const conversation of conversations) await this.store.put(conversation);
      notify(conversations.length === 1 ? "1 conversation imported." : `${conversations.length} conversations imported.`);
      for (const reason of refused.slice(0, 3)) notify(`Not imported. ${reason}`, "error");
      if (refused.length > 3) notify(`${refused.length - 3} more were not imported.`, "error");
    } catch (error) {
      notify(`Nothing was imported: ${/** @type {Error} */ (error).message}`, "error");
    }
    this.render();
  }
}

const iconMore = () => iconButton("more", "", () => {}).firstChild;
