// What the browser keeps: conversations in IndexedDB, small choices in localStorage. A browser that
// keeps nothing still chats; a record that cannot be read is left where it is, and said.

import { checkedConversation, packed } from "./format.js";

/** @typedef {import("./tree.js").Conversation} Conversation */

const DATABASE = "gptjax";
const TABLE = "conversations";

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
const result = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Conversations by id; what is put here is written through to the browser's database. */
export class Store {
  /** @param {IDBDatabase|null} database */
  constructor(database) {
    this.database = database;
    /** @type {Map<string, Conversation>} */
    this.conversations = new Map();
    /** @type {string[]} why records could not be read */
    this.unreadable = [];
    /** @type {(error: unknown) => void} */
    this.onProblem = () => {};
    this.channel = "BroadcastChannel" in window ? new BroadcastChannel("gptjax") : null;
  }

  /** @param {IDBTransactionMode} mode */
  table(mode) {
    return /** @type {IDBDatabase} */ (this.database).transaction(TABLE, mode).objectStore(TABLE);
  }

  /** Reads everything once. */
  async load() {
    if (!this.database) return;
    const records = await result(this.table("readonly").getAll());
    for (const record of records) {
      try {
        const conversation = checkedConversation(record);
        this.conversations.set(conversation.id, conversation);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
        this.unreadable.push(error.message);
      }
    }
  }

  /**
   * @param {Conversation} conversation
   * @param {boolean} [tell] whether other tabs are told
   */
  async put(conversation, tell = true) {
    this.conversations.set(conversation.id, conversation);
    if (!this.database) return;
    try {
      await result(this.table("readwrite").put(packed(conversation)));
      if (tell) this.channel?.postMessage({ changed: conversation.id });
    } catch (error) {
      this.onProblem(error);
    }
  }

  /** @param {string} id */
  async remove(id) {
    this.conversations.delete(id);
    if (!this.database) return;
    try {
      await result(this.table("readwrite").delete(id));
      this.channel?.postMessage({ changed: id });
    } catch (error) {
      this.onProblem(error);
    }
  }

  /**
   * Takes over what another tab has written.
   * @param {string} id
   */
  async refresh(id) {
    const record = this.database && (await result(this.table("readonly").get(id)));
    if (!record) this.conversations.delete(id);
    else {
      try {
        this.conversations.set(id, checkedConversation(record));
      } catch (error) {
        this.onProblem(error); // the other tab may be of a later version
      }
    }
  }

  /** @returns {Conversation[]} newest first */
  list() {
    return [...this.conversations.values()].sort((a, b) => b.updated - a.updated);
  }
}

/**
 * Opens the browser's database.
 * @returns {Promise<{store: Store, problem: string|null}>} the problem is why nothing is kept
 */
export async function openStore() {
  try {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "id" });
    const store = new Store(await result(request));
    await store.load();
    return { store, problem: null };
  } catch (error) {
    return { store: new Store(null), problem: `This browser keeps no conversations: ${/** @type {Error} */ (error).message}` };
  }
}

/**
 * A small choice of the user's; what cannot be read is as if there were none.
 * @param {string} name
 * @returns {any}
 */
export function remembered(name) {
  try {
    return JSON.parse(localStorage.getItem(`gptjax.${name}`) ?? "null");
  } catch {
    return null;
  }
}

/** @param {string} name @param {unknown} value */
export function remember(name, value) {
  try {
    localStorage.setItem(`gptjax.${name}`, JSON.stringify(value));
  } catch {
    // A choice that is not kept is asked again; nothing is lost.
  }
}
