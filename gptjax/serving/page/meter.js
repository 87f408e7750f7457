// How much of the model's context the conversation takes, with what is being written.

import { tokenize } from "./api.js";
import { byId, h } from "./dom.js";

const PAUSE = 250; // milliseconds without a key before the server is asked

export class Meter {
  constructor() {
    this.timer = 0;
    /** @type {AbortController|null} */
    this.asked = null;
  }

  /**
   * Counts soon; a later call takes the place of an earlier one.
   * @param {string} model
   * @param {import("./tree.js").Message[]} messages
   */
  update(model, messages) {
    clearTimeout(this.timer);
    this.asked?.abort();
    if (!model || !messages.length) {
      byId("meter").hidden = true;
      return;
    }
    this.timer = setTimeout(() => this.count(model, messages), PAUSE);
  }

  /** @param {string} model @param {import("./tree.js").Message[]} messages */
  async count(model, messages) {
    const asked = new AbortController();
    this.asked = asked;
    try {
      const { count, max_model_len: most } = await tokenize(model, messages, asked.signal);
      if (!asked.signal.aborted) this.show(count, most);
    } catch (error) {
      if (asked.signal.aborted) return;
      byId("meter").hidden = false;
      byId("meter-text").textContent = "tokens unknown";
      byId("meter").title = /** @type {Error} */ (error).message;
    }
  }

  /** @param {number} count @param {number} most */
  show(count, most) {
    const room = most - count;
    byId("meter").hidden = false;
    byId("meter").classList.toggle("full", room < most / 10);
    byId("meter").title = `${count} of ${most} tokens`;
    byId("meter-fill").style.width = `${Math.min(100, (100 * count) / most)}%`;
    byId("meter-text").replaceChildren(
      h("span", { class: "meter-count" }, `${count} tokens, `), room >= 0 ? `${room} left` : `${-room} too many`);
  }
}
