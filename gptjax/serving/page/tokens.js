// The tokens of a reply, each with what might have stood there. A token may be part of a character
// (an emoji is several), so texts are joined as bytes.

import { h } from "./dom.js";

/**
 * @typedef {import("./tree.js").Token} Token
 * @typedef {import("./tree.js").Choice} Choice
 */

const encoder = new TextEncoder();

/** @param {string} text @param {number[]} bytes whether the text says all that the bytes do */
function same(text, bytes) {
  const encoded = encoder.encode(text);
  return encoded.length === bytes.length && encoded.every((byte, i) => byte === bytes[i]);
}

/** @param {any} entry of the server's log-probabilities @returns {Choice} */
function choice(entry) {
  const bytes = Array.isArray(entry.bytes) && !same(entry.token, entry.bytes) ? { bytes: entry.bytes } : {};
  return { id: entry.id ?? null, text: entry.token, logprob: entry.logprob, ...bytes };
}

/** @param {any} entry one of `logprobs.content` @returns {Token} */
export const toToken = (entry) => ({ ...choice(entry), top: (entry.top_logprobs ?? []).map(choice) });

/** @param {Choice} token */
const bytesOf = (token) => (token.bytes ? new Uint8Array(token.bytes) : encoder.encode(token.text));

/**
 * What each token adds to the text; "" for one that only begins a character.
 * @param {Choice[]} tokens
 * @returns {string[]}
 */
export function pieces(tokens) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return tokens.map((token) => decoder.decode(bytesOf(token), { stream: true }));
}

/**
 * A token's text where spaces and line ends can be seen.
 * @param {Choice} token
 * @returns {string}
 */
export function visible(token) {
  const text = token.bytes?.length ? whole(token) : token.text;
  if (text === null) return hexadecimal(token);
  if (!text) return "(no text)";
  return text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
}

/** @param {Choice} token @returns {string|null} its text, null where it is a part of a character */
function whole(token) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(token));
  } catch {
    return null;
  }
}

/** @param {Choice} token */
const hexadecimal = (token) => `‹${[...bytesOf(token)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}›`;

/**
 * @param {number} logprob in nats
 * @returns {string} the probability, as a reader wants it: "42.1 %"
 */
export function percent(logprob) {
  const value = Math.exp(logprob) * 100;
  if (value >= 99.95) return "100 %";
  if (value >= 10) return `${value.toFixed(1)} %`;
  if (value >= 0.01) return `${value.toFixed(2)} %`;
  return "< 0.01 %";
}

/** @param {number} logprob @returns {number} 0 for a sure token to 4 for a surprising one */
function surprise(logprob) {
  const bounds = [0.8, 0.5, 0.2, 0.05];
  return bounds.filter((bound) => Math.exp(logprob) < bound).length;
}

/**
 * Whether a reply can go on from a token: every id up to it must be known.
 * @param {Token[]} tokens
 * @param {number} index
 * @param {Choice} chosen
 */
export const canContinue = (tokens, index, chosen) =>
  chosen.id !== null && tokens.slice(0, index).every((token) => token.id !== null);

/** The tokens of a reply in a row: one stop of the Tab key, arrows move inside. */
export class TokenRow {
  /** @param {import("./popover.js").Popover} popover @param {(index: number, choice: Choice) => void} onChoose */
  constructor(popover, onChoose) {
    /** @type {Token[]} */
    this.tokens = [];
    this.popover = popover;
    this.onChoose = onChoose;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.current = 0;
    this.element = h("div", {
      class: "tokens", role: "toolbar", dir: "auto",
      "aria-label": "Tokens. Left and right move, down opens the alternatives.",
      on: {
        pointerover: (/** @type {PointerEvent} */ event) => event.pointerType !== "touch" && this.open(this.indexOf(event), false),
        pointerout: (/** @type {PointerEvent} */ event) => event.pointerType !== "touch" && this.popover.leave(),
        click: (/** @type {Event} */ event) => this.open(this.indexOf(event), true),
        focusin: (/** @type {Event} */ event) => this.focused(this.indexOf(event)),
        keydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
      },
    });
  }

  /** Shows the tokens after those that are shown. @param {Token[]} tokens all of them so far */
  update(tokens) {
    this.tokens = tokens;
    const fresh = tokens.slice(this.element.childElementCount);
    this.element.append(...fresh.map((token) => this.token(token)));
  }

  /** @param {Token} token */
  token(token) {
    const piece = this.decoder.decode(bytesOf(token), { stream: true });
    const shown = piece ? piece.replaceAll("\n", "⏎\n") : visible(token);
    return h("span", {
      class: `token surprise-${surprise(token.logprob)}${token.forced ? " forced" : ""}${piece ? "" : " part"}`,
      role: "button", tabindex: this.element.childElementCount ? -1 : 0,
      "aria-haspopup": "dialog", "aria-label": `${visible(token)}, ${percent(token.logprob)}`,
    }, shown);
  }

  /** @param {Event} event @returns {number} the token that it is about, or -1 */
  indexOf(event) {
    const token = /** @type {Element} */ (event.target).closest(".token");
    return token ? [...this.element.children].indexOf(token) : -1;
  }

  /** @param {number} index @param {boolean} stay whether the alternatives stay when the pointer leaves */
  open(index, stay) {
    if (index < 0) return;
    this.popover.show({
      anchor: /** @type {HTMLElement} */ (this.element.children[index]), tokens: this.tokens, index, stay,
      choose: (chosen) => this.onChoose(index, chosen),
    });
  }

  /** @param {number} index */
  focused(index) {
    if (index < 0) return;
    this.element.children[this.current]?.setAttribute("tabindex", "-1");
    this.element.children[index].setAttribute("tabindex", "0");
    this.current = index;
    if (this.element.children[index].matches(":focus-visible")) this.open(index, true);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const last = this.element.childElementCount - 1;
    const forwards = getComputedStyle(this.element).direction === "rtl" ? -1 : 1;
    const wanted = { ArrowRight: this.current + forwards, ArrowLeft: this.current - forwards, Home: 0, End: last }[event.key];
    if (wanted !== undefined) {
      /** @type {HTMLElement} */ (this.element.children[Math.min(last, Math.max(0, wanted))]).focus();
    } else if (["ArrowDown", "Enter", " "].includes(event.key)) {
      this.open(this.current, true);
      this.popover.focus();
    } else return;
    event.preventDefault();
  }
}
