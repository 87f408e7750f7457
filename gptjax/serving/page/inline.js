// What stands inside a paragraph of Markdown: code, bold, italic, struck out, links, line breaks.

import { h } from "./dom.js";

const MAX_DEPTH = 6;
const MAX_LENGTH = 20_000; // of a paragraph; a longer one is shown as it is written
const LINK = /!?\[([^[\]]{0,500})\]\(<?([^\s()<>]{1,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500})?)>?(?:[ \n]+"[^"\n]{0,500}")?\)/y;
const ADDRESS = /https?:\/\/[^\s<>"'`]{0,2000}[^\s<>"'`.,;:!?)\]}*_~]/y;
const ESCAPED = /\\[!-/:-@[-`{-~]/y;
const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];
const WORD = /[\p{L}\p{N}_]/u;

/**
 * @param {string} text
 * @param {number} [depth]
 * @returns {Node[]}
 */
export function inline(text, depth = 0) {
  /** @type {Node[]} */
  const nodes = [];
  let plain = "";
  const flush = () => {
    if (plain) nodes.push(document.createTextNode(plain));
    plain = "";
  };
  if (text.length > MAX_LENGTH || depth > MAX_DEPTH) return [document.createTextNode(text)];
  const missing = new Set(); // marks that are known not to close any more
  let at = 0;
  while (at < text.length) {
    const found = special(text, at, depth, missing);
    if (found) {
      flush();
      nodes.push(found[0]);
      at = found[1];
    } else if (match(ESCAPED, text, at)) {
      plain += text[at + 1];
      at += 2;
    } else {
      const run = /^([*_~`])\1*/.exec(text.slice(at, at + 50))?.[0] ?? text[at];
      plain += run;
      at += run.length;
    }
  }
  flush();
  return nodes;
}

/** @param {RegExp} pattern sticky @param {string} text @param {number} at */
function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/**
 * The element that starts at a place, and where it ends; null for plain text.
 * @param {string} text @param {number} at @param {number} depth @param {Set<string>} missing
 * @returns {[Node, number]|null}
 */
function special(text, at, depth, missing) {
  const sign = text[at];
  if (sign === "\n") return [h("br"), at + 1];
  if (sign === "`") return code(text, at, missing);
  if (sign === "[" || (sign === "!" && text[at + 1] === "[")) return link(text, at, depth);
  if (sign === "h" && (at === 0 || !WORD.test(text[at - 1]))) {
    const address = match(ADDRESS, text, at)?.[0];
    const safe = address && webAddress(address);
    return safe ? [anchor(safe, [address]), at + address.length] : null;
  }
  return "*_~".includes(sign) ? emphasis(text, at, depth, missing) : null;
}

/** @param {string} text @param {number} at @param {Set<string>} missing @returns {[Node, number]|null} */
function code(text, at, missing) {
  const mark = /** @type {RegExpExecArray} */ (/^`+/.exec(text.slice(at, at + 50)))[0];
  if (missing.has(mark)) return null;
  let end = text.indexOf(mark, at + mark.length);
  while (end >= 0 && (text[end + mark.length] === "`" || text[end - 1] === "`")) {
    end = text.indexOf(mark, end + 1);
  }
  if (end < 0) {
    missing.add(mark);
    return null;
  }
  const inside = text.slice(at + mark.length, end).replaceAll("\n", " ");
  const trimmed = /^ .* $/.test(inside) && inside.trim() ? inside.slice(1, -1) : inside;
  return [h("code", {}, trimmed), end + mark.length];
}

/** @param {string} text @param {number} at @param {number} depth @returns {[Node, number]|null} */
function link(text, at, depth) {
  const found = match(LINK, text, at);
  const safe = found && webAddress(found[2]);
  if (!found || !safe) return null;
  const label = found[0].startsWith("!") ? [`[image] ${found[1]}`] : inline(found[1] || found[2], depth + 1);
  return [anchor(safe, label), at + found[0].length];
}

/**
 * @param {string} address
 * @returns {string|null} the address, if it is one of the web: javascript:, data: and the rest are text
 */
export function webAddress(address) {
  try {
    const url = new URL(address);
    return ["http:", "https:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** @param {string} address @param {(Node|string)[]} label */
const anchor = (address, label) =>
  h("a", { href: address, title: address, rel: "noopener noreferrer nofollow", target: "_blank" }, ...label);

/** @param {string} text @param {number} at @param {number} depth @param {Set<string>} missing @returns {[Node, number]|null} */
function emphasis(text, at, depth, missing) {
  for (const [mark, tag] of MARKS) {
    if (!text.startsWith(mark, at) || missing.has(mark)) continue;
    const start = at + mark.length;
    if (!text[start] || /\s/.test(text[start])) continue;
    if (mark[0] === "_" && at > 0 && WORD.test(text[at - 1])) continue;
    const end = closing(text, start, mark);
    if (end < 0) {
      missing.add(mark);
      continue;
    }
    return [h(tag, {}, ...inline(text.slice(start, end), depth + 1)), end + mark.length];
  }
  return null;
}

/** @param {string} text @param {number} from @param {string} mark @returns {number} where it closes, or -1 */
function closing(text, from, mark) {
  for (let end = text.indexOf(mark, from + 1); end >= 0; end = text.indexOf(mark, end + 1)) {
    if (/\s/.test(text[end - 1]) || text[end - 1] === "\\") continue;
    if (mark.length === 1 && (text[end + 1] === mark || text[end - 1] === mark)) {
      while (text[end + 1] === mark) end += 1; // a longer mark closes something else
      continue;
    }
    if (mark.length === 2 && text[end + 2] === mark[0]) end += 1; // ***both*** closes at its outer end
    if (mark[0] === "_" && text[end + mark.length] && WORD.test(text[end + mark.length])) continue;
    return end;
  }
  return -1;
}
