// The alternatives of one token, beside it. It opens at the pointer or the focus; a choice goes on from
// there. Keys: up and down move, Enter chooses, Escape goes back to the token.

import { byId, h } from "./dom.js";
import { canContinue, percent, visible } from "./tokens.js";

/**
 * @typedef {import("./tree.js").Choice} Choice
 * @typedef {object} Place
 * @property {HTMLElement} anchor the token's element
 * @property {import("./tree.js").Token[]} tokens of the whole reply
 * @property {number} index
 * @property {boolean} stay
 * @property {(choice: Choice) => void} choose
 */

const GRACE = 180; // milliseconds in which the pointer may cross from the token to the alternatives

export class Popover {
  constructor() {
    /** @type {HTMLElement} */
    this.element = byId("popover");
    /** @type {Place|null} */
    this.place = null;
    this.timer = 0;
    this.element.addEventListener("pointerenter", () => clearTimeout(this.timer));
    this.element.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && this.leave());
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("focusout", (event) => {
      const to = /** @type {Node|null} */ (event.relatedTarget);
      if (to && !this.element.contains(to) && to !== this.place?.anchor) this.hide();
    });
    document.addEventListener("pointerdown", (event) => {
      const on = /** @type {Element} */ (event.target);
      if (!this.element.contains(on) && !on.closest?.(".token")) this.hide();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.place) {
        event.stopImmediatePropagation();
        this.hide();
      }
    }, true);
    document.addEventListener("scroll", () => this.position(), { capture: true, passive: true });
    document.addEventListener("focusin", (event) => {
      const on = /** @type {Element} */ (event.target);
      if (this.place && !this.element.contains(on) && !on.closest(".token")) this.hide();
    });
    window.addEventListener("resize", () => this.position());
  }

  /** @param {Place} place */
  show(place) {
    clearTimeout(this.timer);
    if (this.place?.anchor === place.anchor) {
      this.place.stay ||= place.stay;
      return;
    }
    if (this.place?.stay && !place.stay) return;
    this.place?.anchor.classList.remove("open");
    this.place = place;
    place.anchor.classList.add("open");
    this.element.replaceChildren(...this.content(place));
    this.element.hidden = false;
    this.position();
  }

  /** @param {Place} place @returns {Node[]} */
  content({ tokens, index }) {
    const token = tokens[index];
    const listed = [...token.top].sort((a, b) => b.logprob - a.logprob);
    const isToken = (/** @type {Choice} */ one) => (token.id === null ? one.text === token.text : one.id === token.id);
    const rank = listed.findIndex(isToken);
    if (rank < 0) listed.push(token);
    const rest = 1 - listed.reduce((sum, one) => sum + Math.exp(one.logprob), 0);
    const possible = canContinue(tokens, index, token);
    const rows = listed.map((one) => this.row(one, isToken(one), possible && one.id !== null));
    return [
      h("div", { class: "popover-head" },
        h("strong", { dir: "auto" }, visible(token)),
        h("span", {}, `${percent(token.logprob)}${token.forced ? ", chosen by you" : ""}`)),
      h("ul", {}, ...rows),
      h("p", { class: "popover-foot" },
        listed.length > 1 || rank >= 0 ? `All others ${percent(Math.log(Math.max(rest, 1e-12)))}. ` : "No alternatives were kept. ",
        possible ? "Choose one to continue from there." : "The server gave no ids, so a reply cannot continue from here."),
    ];
  }

  /** @param {Choice} one @param {boolean} current @param {boolean} possible */
  row(one, current, possible) {
    const bar = h("span", { class: "bar-fill" });
    bar.style.width = `${Math.min(100, Math.exp(one.logprob) * 100)}%`;
    return h("li", {}, h("button", {
      type: "button", class: `alternative${current ? " current" : ""}`, disabled: !possible, "aria-current": current ? "true" : null,
      title: one.id === null ? undefined : `Token ${one.id}, log-probability ${one.logprob.toFixed(3)}`,
      on: {
        click: () => {
          const choose = this.place?.choose;
          this.hide();
          choose?.(one);
        },
      },
    },
    h("span", { class: "alternative-text", dir: "auto" }, visible(one)),
    h("span", { class: "bar-track", "aria-hidden": "true" }, bar),
    h("span", { class: "alternative-percent" }, percent(one.logprob))));
  }

  /** Puts the box below the token, or above where there is no room; on a phone it is at the bottom. */
  position() {
    if (!this.place) return;
    const phone = matchMedia("(max-width: 600px)").matches;
    this.element.classList.toggle("sheet", phone);
    if (!this.place.anchor.isConnected) {
      this.hide();
      return;
    }
    const style = this.element.style;
    if (phone) {
      style.left = style.top = "";
      return;
    }
    const at = this.place.anchor.getClientRects()[0];
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const below = at.bottom + 6 + height <= innerHeight - 8;
    style.left = `${Math.max(8, Math.min(at.left - 8, innerWidth - width - 8))}px`;
    style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - height - 6)}px`;
  }

  /** The pointer left: the box goes, unless it was opened to stay. */
  leave() {
    clearTimeout(this.timer);
    if (!this.place?.stay) this.timer = setTimeout(() => this.hide(), GRACE);
  }

  /** Moves the focus into the list. */
  focus() {
    /** @type {HTMLElement|null} */ (this.element.querySelector(".current:enabled, button:enabled"))?.focus();
  }

  hide() {
    clearTimeout(this.timer);
    if (!this.place) return;
    const { anchor } = this.place;
    const inside = this.element.contains(document.activeElement);
    this.place = null;
    anchor.classList.remove("open");
    this.element.hidden = true;
    if (inside) anchor.focus({ preventScroll: true });
    if (inside) this.hideAfterFocus();
  }

  /** Going back to the token would open its alternatives again. */
  hideAfterFocus() {
    if (!this.place) return;
    this.place.anchor.classList.remove("open");
    this.place = null;
    this.element.hidden = true;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const buttons = [.../** @type {NodeListOf<HTMLButtonElement>} */ (this.element.querySelectorAll("button:enabled"))];
    const at = buttons.indexOf(/** @type {any} */ (document.activeElement));
    const wanted = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    if (wanted < 0) this.place?.anchor.focus();
    else buttons[Math.min(wanted, buttons.length - 1)]?.focus();
  }
}
