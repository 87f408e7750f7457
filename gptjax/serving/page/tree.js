// A conversation is a tree of turns. Editing a turn, or trying it again, adds a sibling; what is shown
// is one path from the root. Nothing is lost by an edit.

/**
 * @typedef {{id: number|null, text: string, logprob: number, bytes?: number[]}} Choice
 * @typedef {Choice & {top: Choice[], forced?: boolean}} Token a token, and what might have stood there
 * @typedef {{where: string, stage: string, category: string|null, score: number|null, action: string}} Decision
 * @typedef {{role: string, content: any}} Message a text, or parts of which some are pictures
 * @typedef {object} Turn
 * @property {string} id
 * @property {string|null} parent
 * @property {string[]} children
 * @property {string|null} shown the child that is on the path
 * @property {"root"|"user"|"assistant"} role
 * @property {string} text
 * @property {string[]} [pictures] data URIs, which stand before the text
 * @property {"done"|"running"|"stopped"|"failed"} status
 * @property {string|null} [finish] OpenAI's finish_reason
 * @property {string} [model]
 * @property {string} [policy] how the reply was drawn
 * @property {Token[]} [tokens] ask `tokensOf`: a stored turn has them packed
 * @property {string} [packed]
 * @property {Decision[]} [moderation]
 * @property {number} [dropped] how many earlier messages no longer fitted
 * @property {number} [cut] how many earlier tokens no longer fitted
 * @property {number} [seed] the server's or the user's
 * @property {number|null} [room] tokens that were left after the reply
 * @property {string} [error]
 * @property {number} [vote] 1 or -1
 * @typedef {object} Conversation
 * @property {1} format
 * @property {string} id
 * @property {string} title
 * @property {number} created milliseconds since 1970
 * @property {number} updated
 * @property {string} model
 * @property {Record<string, any>} settings
 * @property {Record<string, Turn>} turns
 */

export const ROOT = "root";

/** @returns {string} */
export const newId = () => [...crypto.getRandomValues(new Uint8Array(9))].map((byte) => byte.toString(36).padStart(2, "0")).join("");

/**
 * @param {string} id
 * @param {string|null} parent
 * @param {Partial<Turn>} fields
 * @returns {Turn}
 */
const turnOf = (id, parent, fields) =>
  /** @type {Turn} */ ({ id, parent, children: [], shown: null, role: "root", text: "", status: "done", ...fields });

/**
 * @param {string} model
 * @param {Record<string, any>} settings
 * @returns {Conversation}
 */
export function newConversation(model, settings) {
  const now = Date.now();
  return {
    format: 1, id: newId(), title: "", created: now, updated: now, model, settings: { ...settings },
    turns: { [ROOT]: turnOf(ROOT, null, {}) },
  };
}

/**
 * Adds a turn below another and shows it.
 * @param {Conversation} conversation
 * @param {string} parent
 * @param {Partial<Turn>} fields
 * @returns {Turn}
 */
export function addTurn(conversation, parent, fields) {
  const turn = turnOf(newId(), parent, fields);
  conversation.turns[turn.id] = turn;
  conversation.turns[parent].children.push(turn.id);
  conversation.turns[parent].shown = turn.id;
  conversation.updated = Date.now();
  if (!conversation.title && turn.role === "user") conversation.title = titleOf(turn.text) || "A picture";
  return turn;
}

/** @param {string} text the first line, short enough for a list */
export function titleOf(text) {
  const line = [...text.trim().replace(/\s+/g, " ")];
  return line.length > 60 ? `${line.slice(0, 59).join("")}…` : line.join("");
}

/**
 * @param {Conversation} conversation
 * @returns {Turn[]} the turns that are shown, first to last
 */
export function shownPath(conversation) {
  const path = [];
  let next = conversation.turns[ROOT].shown;
  while (next) {
    const turn = conversation.turns[next];
    path.push(turn);
    next = turn.shown;
  }
  return path;
}

/**
 * @param {Conversation} conversation
 * @param {Turn} turn
 * @returns {{index: number, count: number}} which of its siblings a turn is, from 0
 */
export function place(conversation, turn) {
  const siblings = conversation.turns[/** @type {string} */ (turn.parent)].children;
  return { index: siblings.indexOf(turn.id), count: siblings.length };
}

/**
 * Shows the sibling before or after a turn, with the path that was shown below it.
 * @param {Conversation} conversation
 * @param {Turn} turn
 * @param {number} by -1 or 1
 */
export function showSibling(conversation, turn, by) {
  const parent = conversation.turns[/** @type {string} */ (turn.parent)];
  const wanted = parent.children[parent.children.indexOf(turn.id) + by];
  if (wanted) parent.shown = wanted;
}

/**
 * What a model is sent for a reply below `last`: the system message, then whole exchanges. A question
 * whose reply has no text (it failed, or moderation withdrew it) is left out with that reply.
 * @param {Conversation} conversation
 * @param {string} last the id of the turn to be answered
 * @returns {Message[]}
 */
export function messagesTo(conversation, last) {
  const messages = [];
  let below = null;
  for (let turn = conversation.turns[last]; turn.role !== "root"; turn = conversation.turns[/** @type {string} */ (turn.parent)]) {
    const unanswered = turn.role === "assistant" ? !turn.text : below?.role === "assistant" && !below.text;
    if (!unanswered) messages.push({ role: turn.role, content: contentOf(turn.text, turn.pictures) });
    below = turn;
  }
  if (conversation.settings.system) messages.push({ role: "system", content: conversation.settings.system });
  return messages.reverse();
}

/** What a message says, as the API takes it. @param {string} text @param {string[]} [pictures] */
export function contentOf(text, pictures = []) {
  if (!pictures.length) return text;
  const shown = pictures.map((url) => ({ type: "image_url", image_url: { url } }));
  return text ? [...shown, { type: "text", text }] : shown;
}

/** Whether no message has pictures, as what the server keeps must be. @param {Message[]} messages */
export const textAlone = (messages) => messages.every(({ content }) => typeof content === "string");
