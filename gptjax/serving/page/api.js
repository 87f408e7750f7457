// The server, as the page sees it. Addresses are relative, so that the page works behind a proxy.

import { events } from "./sse.js";

const KEY = "gptjax.key";

/** What the server, or the way to it, answered instead of a result. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string|null, param?: string|null}} [details]
   */
  constructor(message, { status = 0, code = null, param = null } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

/** @returns {string} the key of this tab, "" for none */
export function apiKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} key kept until the tab is closed */
export function setApiKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    throw new ApiError("This browser keeps nothing, so the key cannot be kept.");
  }
}

/**
 * @param {string} path
 * @param {{body?: unknown, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>} a response that is a success
 */
async function send(path, { body, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (apiKey()) headers.Authorization = `Bearer ${apiKey()}`;
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The server cannot be reached.");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

/** @param {Response} response */
async function failure(response) {
  const text = await response.text();
  try {
    return errorOf(JSON.parse(text).error, response.status);
  } catch {
    const start = text.trim().slice(0, 200);
    return new ApiError(`The server answered ${response.status}${start ? `: ${start}` : "."}`, { status: response.status });
  }
}

/** @param {any} error @param {number} [status] */
function errorOf(error, status = 0) {
  if (typeof error?.message !== "string") throw new TypeError("no error object");
  return new ApiError(error.message, { status, code: error.code, param: error.param });
}

/** @param {string} path @param {unknown} [body] @param {AbortSignal} [signal] */
async function json(path, body, signal) {
  const response = await send(path, { body, signal });
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(`The server's answer at ${path} is not JSON.`, { status: response.status });
  }
}

/** @returns {Promise<any[]>} the models, as /v1/models lists them */
export const models = async () => (await json("v1/models")).data;

/**
 * @param {string} model
 * @param {import("./tree.js").Message[]} messages
 * @param {AbortSignal} signal
 * @returns {Promise<{count: number, max_model_len: number}>}
 */
export const tokenize = (model, messages, signal) =>
  json("tokenize", { model, messages, add_generation_prompt: true }, signal);

/** @returns {Promise<{enabled: boolean}>} */
export const feedback = () => json("feedback");
/** @returns {Promise<{players: any[], comparisons: number}>} */
export const ratings = () => json("feedback/ratings");
/** @param {object} ranking */
export const postRanking = (ranking) => json("feedback/rankings", ranking);
/** @param {object} vote */
export const postVote = (vote) => json("feedback/votes", vote);
/** @param {object} conversation */
export const postConversation = (conversation) => json("feedback/conversations", conversation);

/**
 * A reply that is chosen among several comes as a whole: it is passed on as one chunk.
 * @param {object} request @param {AbortSignal} signal @param {(chunk: any) => void} onChunk
 */
async function wholeChat(request, signal, onChunk) {
  const { choices, ...rest } = await json("v1/chat/completions", request, signal);
  onChunk({ ...rest, choices: choices.map((/** @type {any} */ choice) => ({ ...choice, delta: choice.message })) });
}

/**
 * Streams a chat completion. Resolves at the end; an error in the stream is thrown.
 * @param {object} request OpenAI's fields and ours
 * @param {AbortSignal} signal aborting it stops the reply on the server too
 * @param {(chunk: any) => void} onChunk
 */
export async function streamChat(request, signal, onChunk) {
  if ("best_of" in request) return wholeChat(request, signal, onChunk);
  const response = await send("v1/chat/completions", {
    body: { ...request, stream: true, stream_options: { include_usage: true } }, signal,
  });
  let finished = false;
  try {
    for await (const data of events(/** @type {ReadableStream} */ (response.body))) {
      if (data.trim() === "[DONE]") break;
      const chunk = parsed(data);
      if (chunk.error) throw errorOf(chunk.error);
      finished ||= Boolean(chunk.choices?.[0]?.finish_reason);
      onChunk(chunk);
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError(error instanceof TypeError ? "The connection was lost while the reply was written." : String(error));
  }
  if (!finished) throw new ApiError("The connection ended before the reply did.");
}

/** @param {string} data */
function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new ApiError(`The server sent an event that is not JSON: ${data.slice(0, 80)}`);
  }
}
