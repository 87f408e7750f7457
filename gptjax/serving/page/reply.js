// A reply as it is written: chunks of the stream go into a turn. Chat and comparisons share it.

import { ApiError, streamChat } from "./api.js";
import { tokensOf } from "./format.js";
import { pieces, toToken } from "./tokens.js";

/** @typedef {import("./tree.js").Turn} Turn */

/**
 * Puts one chunk into a turn.
 * @param {Turn} turn
 * @param {any} chunk OpenAI's, with our `gptjax` object in the last
 */
export function applyChunk(turn, chunk) {
  const choice = chunk.choices?.[0];
  if (choice) {
    turn.text += choice.delta?.content ?? "";
    if (choice.logprobs?.content) (turn.tokens ??= []).push(...choice.logprobs.content.map(toToken));
    turn.finish = choice.finish_reason ?? turn.finish;
  }
  const ours = chunk.gptjax;
  if (ours) {
    turn.dropped = ours.dropped_messages?.length ?? 0;
    turn.cut = ours.cut_tokens ?? 0;
    turn.room = ours.room ?? null;
    if (typeof ours.seed === "number" && !ours.policy?.startsWith("num_beams")) turn.seed = ours.seed;
    turn.policy = ours.policy ?? turn.policy;
    turn.moderation = ours.moderation ?? [];
  }
  if (turn.finish === "content_filter") withdraw(turn);
  // Tokens are as the model drew them: they would show what was blanked.
  if (turn.moderation?.some(({ where, action }) => where === "output" && action === "redact")) forget(turn);
}

/** What moderation ended is shown no longer, nor kept. @param {Turn} turn */
function withdraw(turn) {
  turn.text = "";
  forget(turn);
}

/** @param {Turn} turn loses its tokens */
function forget(turn) {
  delete turn.tokens;
  delete turn.packed;
}

/**
 * Has a reply written into a turn, to its end, a stop or an error; it says so in the turn.
 * @param {Turn} turn
 * @param {object} request
 * @param {AbortSignal} signal
 * @param {() => void} changed after every chunk
 */
export async function write(turn, request, signal, changed) {
  const known = tokensOf(turn).length;
  const length = turn.text.length;
  turn.status = "running";
  turn.finish = null;
  delete turn.error;
  try {
    await streamChat(request, signal, (chunk) => {
      applyChunk(turn, chunk);
      changed();
    });
    turn.status = "done";
  } catch (error) {
    if (signal.aborted) turn.status = "stopped";
    else {
      turn.status = "failed";
      turn.error = error instanceof ApiError ? error.message : `The page failed: ${error}`;
      if (!(error instanceof ApiError)) console.error(error);
    }
  }
  // Text that came without its tokens: a row of tokens would show a part as if it were the whole.
  if (turn.text.length > length && tokensOf(turn).length === known) forget(turn);
  changed();
}

/**
 * The text of the first tokens of a reply. Some tokenizers write a space before a text's first word,
 * which is not in the text.
 * @param {import("./tree.js").Token[]} tokens
 * @param {string} reply the whole text of the reply
 */
export function textOf(tokens, reply) {
  const text = pieces(tokens).join("");
  return reply.startsWith(" ") ? text : text.replace(/^ /, "");
}

/**
 * The beginning of another reply: the tokens before one, then the one that was chosen instead.
 * @param {Turn} turn the reply
 * @param {number} index
 * @param {import("./tree.js").Choice} chosen
 * @returns {{ids: number[], tokens: import("./tree.js").Token[], text: string}}
 */
export function beginning(turn, index, chosen) {
  const tokens = tokensOf(turn);
  const kept = [...tokens.slice(0, index), { ...chosen, top: tokens[index].top, forced: true }];
  return { ids: kept.map((token) => /** @type {number} */ (token.id)), tokens: kept, text: textOf(kept, turn.text) };
}

/**
 * How a request says that a reply goes on: by its exact tokens where they are known, else by its text.
 * @param {Turn} turn
 * @param {import("./tree.js").Message[]} messages those before the reply
 */
export function goingOn(turn, messages) {
  const tokens = tokensOf(turn);
  if (tokens.length && tokens.every((token) => token.id !== null) && textOf(tokens, turn.text) === turn.text) {
    return { messages, assistant_tokens: tokens.map((token) => token.id) };
  }
  return { messages: [...messages, { role: "assistant", content: turn.text }], continue_final_message: true };
}
