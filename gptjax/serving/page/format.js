// What a stored or imported conversation must be. A record that is not so is refused with its reason:
// a page that trusts its storage breaks for good when one record is broken.

import { cleanSettings } from "./settings.js";
import { newId, ROOT } from "./tree.js";

/** @typedef {import("./tree.js").Conversation} Conversation */

const FILE = "gptjax-conversations";
const PICTURE = /^data:image\/(png|jpeg);base64,[A-Za-z0-9+/]+=*$/;
const STATUSES = ["done", "running", "stopped", "failed"];

/** @param {unknown} condition @param {string} what */
function expect(condition, what) {
  if (!condition) throw new TypeError(what);
}

/** @param {any} value @returns {value is Record<string, any>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** @param {any} value */
const text = (value) => (typeof value === "string" ? value : undefined);
/** @param {any} value */
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : undefined);

/** @param {any} raw @returns {import("./tree.js").Choice} */
function choice(raw) {
  expect(isObject(raw) && typeof raw.text === "string", "a token without text");
  const bytes = Array.isArray(raw.bytes) ? raw.bytes.filter((/** @type {any} */ byte) => Number.isInteger(byte) && byte >= 0 && byte < 256) : undefined;
  return { id: Number.isInteger(raw.id) ? raw.id : null, text: raw.text, logprob: number(raw.logprob) ?? -Infinity, ...(bytes && { bytes }) };
}

/** @param {any} raw @returns {import("./tree.js").Token} */
const token = (raw) => ({
  ...choice(raw), top: Array.isArray(raw.top) ? raw.top.map(choice) : [], ...(raw.forced === true && { forced: true }),
});

/**
 * The tokens of a reply, unpacked when they are first wanted; none where they cannot be read.
 * @param {import("./tree.js").Turn} turn
 * @returns {import("./tree.js").Token[]}
 */
export function tokensOf(turn) {
  if (turn.packed) {
    try {
      turn.tokens = JSON.parse(turn.packed).map(token);
    } catch {
      delete turn.tokens; // the reply is shown without them
    }
    delete turn.packed;
  }
  return turn.tokens ?? [];
}

/** @type {WeakMap<object, {length: number, text: string}>} of lists that grow at their end only */
const packs = new WeakMap();

/**
 * What is stored of a conversation. Tokens with their alternatives are most of it: they are packed into
 * a text, once for each reply, so that storing and reading a long conversation stays quick.
 * @param {Conversation} conversation
 */
export function packed(conversation) {
  /** @type {Record<string, object>} */
  const turns = {};
  for (const [id, { tokens, ...rest }] of Object.entries(conversation.turns)) {
    if (tokens && packs.get(tokens)?.length !== tokens.length) packs.set(tokens, { length: tokens.length, text: JSON.stringify(tokens) });
    turns[id] = tokens ? { ...rest, packed: packs.get(tokens)?.text } : rest;
  }
  return { ...conversation, turns };
}

/** @param {any} raw */
function decision(raw) {
  expect(isObject(raw), "a decision of moderation that is no object");
  return {
    where: text(raw.where) ?? "output", stage: text(raw.stage) ?? "", category: text(raw.category) ?? null,
    score: number(raw.score) ?? null, action: text(raw.action) ?? "",
  };
}

/** @param {string} id @param {any} raw @returns {import("./tree.js").Turn} */
function turn(id, raw) {
  expect(isObject(raw), `turn ${id} is no object`);
  expect(raw.id === id, `turn ${id} has another id inside`);
  expect(id === ROOT ? raw.role === "root" : ["user", "assistant"].includes(raw.role), `turn ${id} has the role ${raw.role}`);
  expect(typeof raw.text === "string", `turn ${id} has no text`);
  expect(Array.isArray(raw.children), `turn ${id} has no list of children`);
  const list = (/** @type {any} */ values, /** @type {(raw: any) => any} */ one) => (Array.isArray(values) ? values.map(one) : undefined);
  const fields = {
    id, parent: text(raw.parent) ?? null, children: [...raw.children], shown: text(raw.shown) ?? null,
    role: raw.role, text: raw.text, pictures: list(raw.pictures, text)?.filter((url) => PICTURE.test(url ?? "")),
    // A reply that was being written when the page closed is as if it had been stopped.
    status: raw.status === "running" || !STATUSES.includes(raw.status) ? "stopped" : raw.status,
    finish: text(raw.finish), model: text(raw.model), policy: text(raw.policy),
    tokens: list(raw.tokens, token), packed: text(raw.packed),
    moderation: list(raw.moderation, decision), dropped: number(raw.dropped),
    cut: number(raw.cut), seed: number(raw.seed), room: number(raw.room),
    error: text(raw.error), vote: [1, -1].includes(raw.vote) ? raw.vote : undefined,
  };
  return /** @type {any} */ (Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)));
}

/**
 * A copy with known fields of the right types only.
 * @param {any} raw
 * @returns {Conversation}
 * @throws {TypeError} says what is wrong
 */
export function checkedConversation(raw) {
  expect(isObject(raw), "it is no object");
  expect(raw.format === 1, `its format is ${JSON.stringify(raw.format)}, expected 1`);
  expect(typeof raw.id === "string" && /^[\w-]{1,64}$/.test(raw.id), "it has no id");
  expect(isObject(raw.turns) && Object.hasOwn(raw.turns, ROOT), "it has no turns");
  /** @type {Record<string, import("./tree.js").Turn>} */
  const turns = Object.create(null);
  for (const [id, one] of Object.entries(raw.turns)) turns[id] = turn(id, one);
  let reached = 0;
  const waiting = [ROOT];
  while (waiting.length) {
    const parent = turns[/** @type {string} */ (waiting.pop())];
    reached += 1;
    expect(new Set(parent.children).size === parent.children.length, `turn ${parent.id} has a child twice`);
    for (const child of parent.children) {
      expect(typeof child === "string" && Object.hasOwn(turns, child), `turn ${parent.id} has a child that there is not`);
      expect(child !== ROOT && turns[child].parent === parent.id, `turn ${child} has another parent`);
      waiting.push(child);
    }
    expect(parent.shown === null || parent.children.includes(parent.shown), `turn ${parent.id} shows no child of its own`);
    if (parent.shown === null && parent.children.length) parent.shown = parent.children[parent.children.length - 1];
  }
  expect(reached === Object.keys(turns).length, "some turns hang on no other");
  const now = Date.now();
  return {
    format: 1, id: raw.id, title: text(raw.title) ?? "", created: number(raw.created) ?? now,
    updated: number(raw.updated) ?? now, model: text(raw.model) ?? "", settings: cleanSettings(raw.settings), turns,
  };
}

/** @param {Conversation} conversation the same, with every reply's tokens unpacked */
function unpacked(conversation) {
  Object.values(conversation.turns).forEach(tokensOf);
  return conversation;
}

/** @param {Conversation[]} conversations @returns {string} the text of an export */
export const exported = (conversations) =>
  JSON.stringify({ format: FILE, version: 1, exported: new Date().toISOString(), conversations: conversations.map(unpacked) });

/**
 * The conversations of an exported file. One that is here already, and differs, gets a new id.
 * @param {string} file
 * @param {Map<string, Conversation>} present
 * @returns {{conversations: Conversation[], refused: string[]}}
 * @throws {TypeError} where the file is no export
 */
export function imported(file, present) {
  let raw;
  try {
    raw = JSON.parse(file);
  } catch {
    throw new TypeError("The file is not JSON.");
  }
  if (raw?.format !== FILE || !Array.isArray(raw.conversations)) throw new TypeError("The file is no export of conversations.");
  if (raw.version !== 1) throw new TypeError(`The file has version ${raw.version}; this page reads version 1.`);
  const conversations = [];
  const refused = [];
  for (const [index, one] of raw.conversations.entries()) {
    try {
      const conversation = checkedConversation(one);
      const same = present.get(conversation.id);
      if (same && JSON.stringify(unpacked(same).turns) === JSON.stringify(unpacked(conversation).turns)) continue;
      if (same) conversation.id = newId();
      conversations.push(conversation);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      refused.push(`Conversation ${index + 1}: ${error.message}.`);
    }
  }
  return { conversations, refused };
}
