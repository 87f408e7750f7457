// Markdown to elements: the part of it that replies use. It builds nodes and sets their text; it never
// makes HTML from a string, so what a model writes is shown and cannot run. Images are not loaded:
// an address that a model wrote would tell another site what is read here.

import { inline } from "./inline.js";
import { h } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+)(?=\S)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MAX_DEPTH = 8; // of quotes and lists inside each other; deeper is text

/**
 * @param {string} text Markdown
 * @returns {DocumentFragment}
 */
export function markdown(text) {
  const fragment = document.createDocumentFragment();
  fragment.append(...blocks(text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n"), 0));
  return fragment;
}

/** @param {string[]} lines @param {number} depth @returns {Node[]} */
function blocks(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) {
      at += 1;
      continue;
    }
    const [node, next] = fence(lines, at) ?? heading(lines, at) ?? rule(lines, at) ?? quote(lines, at, depth)
      ?? list(lines, at, depth) ?? table(lines, at) ?? paragraph(lines, at, depth);
    found.push(node);
    at = next;
  }
  return found;
}

/** @typedef {[Node, number]|null} Block a node and the line after it */

/** @param {string[]} lines @param {number} at @returns {Block} */
function fence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open) return null;
  const mark = open[1];
  let end = at + 1;
  const closes = (/** @type {string} */ line) => {
    const close = line.trim();
    return close.length >= mark.length && close === mark[0].repeat(close.length);
  };
  while (end < lines.length && !closes(lines[end])) end += 1;
  const name = open[2].trim().split(" ")[0].slice(0, 30);
  const code = h("code", {}, lines.slice(at + 1, end).join("\n"));
  const node = h("div", { class: "code" },
    h("div", { class: "code-head" }, h("span", {}, name || "text"), h("button", { type: "button", class: "copy-code" }, "Copy")),
    h("pre", { tabindex: 0, role: "group", "aria-label": `Code${name ? `, ${name}` : ""}`, dir: "ltr" }, code));
  return [node, end + 1];
}

/** @param {string[]} lines @param {number} at @returns {Block} */
function heading(lines, at) {
  const found = HEADING.exec(lines[at]);
  if (!found) return null;
  const level = Math.min(6, found[1].length + 2); // the page's own headings come first
  return [h(`h${level}`, { dir: "auto" }, ...inline(found[2].replace(/[ \t]+#+[ \t]*$/, ""))), at + 1];
}

/** @param {string[]} lines @param {number} at @returns {Block} */
function rule(lines, at) {
  return RULE.test(lines[at]) ? [h("hr"), at + 1] : null;
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Block} */
function quote(lines, at, depth) {
  if (depth >= MAX_DEPTH || !QUOTE.test(lines[at])) return null;
  const inside = [];
  while (at < lines.length && QUOTE.test(lines[at])) inside.push(lines[at++].replace(QUOTE, ""));
  return [h("blockquote", { dir: "auto" }, ...blocks(inside, depth + 1)), at];
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Block} */
function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first || depth >= MAX_DEPTH) return null;
  const ordered = /\d/.test(first[2]);
  const kind = first[2].slice(-1); // a list goes on while its mark does
  const items = [];
  while (at < lines.length) {
    const mark = ITEM.exec(lines[at]);
    if (!mark || mark[2].slice(-1) !== kind || RULE.test(lines[at])) break;
    const indent = Math.min(mark[0].length, mark[1].length + mark[2].length + 4);
    const inside = [lines[at++].slice(mark[0].length)];
    while (at < lines.length) {
      const line = lines[at];
      const indented = line.length - line.trimStart().length >= Math.min(indent, 2);
      const goesOn = line.trim() ? indented || (lines[at - 1].trim() && !starts(line)) : indentedAfter(lines, at);
      if (!goesOn) break;
      inside.push(line.trim() ? line.slice(Math.min(indent, line.length - line.trimStart().length)) : "");
      at += 1;
    }
    items.push(h("li", { dir: "auto" }, ...unwrapped(blocks(inside, depth + 1))));
    let next = at; // blank lines between items
    while (next < lines.length && !lines[next].trim()) next += 1;
    if (next < lines.length && ITEM.test(lines[next])) at = next;
  }
  const start = ordered ? Number.parseInt(first[2], 10) : 1;
  return [h(ordered ? "ol" : "ul", start === 1 ? {} : { start }, ...items), at];
}

/** A blank line belongs to an item if what comes after is indented. @param {string[]} lines @param {number} at */
function indentedAfter(lines, at) {
  while (at < lines.length && !lines[at].trim()) at += 1;
  return at < lines.length && /^ {2,}\S/.test(lines[at]);
}

/** An item of one paragraph has its text without the paragraph. @param {Node[]} nodes */
function unwrapped(nodes) {
  const [first, ...rest] = nodes;
  return first instanceof HTMLParagraphElement ? [...first.childNodes, ...rest] : nodes;
}

/** @param {string[]} lines @param {number} at @returns {Block} */
function table(lines, at) {
  if (!lines[at].includes("|") || at + 1 >= lines.length || !DELIMITERS.test(lines[at + 1]) || !lines[at + 1].includes("-")) return null;
  const head = cells(lines[at]);
  const sides = cells(lines[at + 1]).map((cell) =>
    cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left");
  if (sides.length !== head.length) return null;
  const row = (/** @type {string} */ line, /** @type {string} */ tag) => {
    const given = cells(line);
    return h("tr", {}, ...head.map((_, i) => h(tag, { class: `align-${sides[i]}`, dir: "auto" }, ...inline(given[i] ?? ""))));
  };
  const body = [];
  let next = at + 2;
  while (next < lines.length && lines[next].includes("|") && lines[next].trim()) body.push(row(lines[next++], "td"));
  const node = h("div", { class: "table", tabindex: 0, role: "group", "aria-label": "Table" },
    h("table", {}, h("thead", {}, row(lines[at], "th")), h("tbody", {}, ...body)));
  return [node, next];
}

/** @param {string} line @returns {string[]} */
function cells(line) {
  const inside = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inside.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** Whether a line starts a block of another kind. @param {string} line */
const starts = (line) => FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);

/** @param {string[]} lines @param {number} at @param {number} depth @returns {[Node, number]} */
function paragraph(lines, at, depth) {
  const text = [lines[at++]];
  while (at < lines.length && lines[at].trim() && (depth >= MAX_DEPTH || !starts(lines[at]))) text.push(lines[at++]);
  return [h("p", { dir: "auto" }, ...inline(text.map((line) => line.trimStart()).join("\n"))), at];
}

/**
 * Markdown that grows. Blocks that are whole are kept; only the text after the last blank line is made
 * anew, so that a frame costs the same at the end of a long reply as at its beginning.
 */
export class GrowingMarkdown {
  /** @param {HTMLElement} element is filled */
  constructor(element) {
    this.element = element;
    this.kept = 0; // characters that are rendered for good
    this.keptNodes = 0;
  }

  /** @param {string} text all of it so far */
  update(text) {
    const blank = text.lastIndexOf("\n\n");
    const boundary = blank + 2;
    const fresh = blank >= 0 && boundary > this.kept && outsideFences(text.slice(this.kept, boundary));
    while (this.element.childNodes.length > this.keptNodes) /** @type {ChildNode} */ (this.element.lastChild).remove();
    if (fresh) {
      this.element.append(markdown(text.slice(this.kept, boundary)));
      this.kept = boundary;
      this.keptNodes = this.element.childNodes.length;
    }
    this.element.append(markdown(text.slice(this.kept)));
  }

  /** @param {string} text the whole text, rendered as one */
  finish(text) {
    this.element.replaceChildren(markdown(text));
    this.kept = 0;
    this.keptNodes = 0;
  }
}

/** @param {string} text whether no code block is open at its end */
function outsideFences(text) {
  let open = "";
  for (const line of text.split("\n")) {
    const mark = FENCE.exec(line)?.[1] ?? line.trim();
    if (!open && FENCE.test(line)) open = mark;
    else if (open && mark.startsWith(open)) open = "";
  }
  return !open;
}
