// The page: starts everything, says which view is shown, and listens to the keys that work everywhere.

import { ApiError, feedback, models } from "./api.js";
import { ChatView } from "./chat.js";
import { CompareView } from "./compare.js";
import { byId, h, icon, notify } from "./dom.js";
import { openDrawer } from "./drawer.js";
import { Popover } from "./popover.js";
import { RatingsView } from "./ratings.js";
import { cleanSettings } from "./settings.js";
import { Side } from "./side.js";
import { openStore, remember, remembered } from "./store.js";
import { SymbolsView } from "./symbols.js";
import { newConversation, shownPath } from "./tree.js";

const TITLES = { chat: "Chat", compare: "Compare", ratings: "Ratings", symbols: "Nine pixels" };
const THEMES = { system: ["auto", "Theme: as the system"], light: ["sun", "Theme: light"], dark: ["moon", "Theme: dark"] };

const { store, problem } = await openStore();
if (problem) notify(problem, "error");
if (store.unreadable.length) notify(`${store.unreadable.length} stored ${store.unreadable.length === 1 ? "conversation" : "conversations"} could not be read (${store.unreadable[0]}); the data are left as they are.`, "error");
store.onProblem = (/** @type {unknown} */ error) => notify(`A conversation could not be kept or read: ${/** @type {Error} */ (error).message}`, "error");

/** @type {any[]} */
let served = [];
const app = {
  store, popover: new Popover(),
  /** @type {string|null} */ feedbackProblem: "asking the server",
  onChange: (/** @type {import("./tree.js").Conversation} */ conversation) => {
    store.put(conversation);
    if (chat.conversation === conversation && view() === "chat" && location.hash !== `#/chat/${conversation.id}`) {
      history.replaceState(null, "", `#/chat/${conversation.id}`);
    }
    showChatLink();
    side.render();
  },
  compare: (/** @type {{role: string, content: string}[]} */ messages) => {
    compare.take(messages);
    location.hash = "#/compare";
  },
  endOf: (/** @type {string} */ id) => served.find((model) => model.id === id)?.gptjax?.end_of_turn,
  seesImages: (/** @type {string} */ id) => served.find((model) => model.id === id)?.gptjax?.images === true,
  models: () => served.filter((model) => model.gptjax?.chat !== false),
};
const chat = new ChatView(app);
const compare = new CompareView(app);
const ratings = new RatingsView(app);
const symbols = new SymbolsView();
const side = new Side(store, {
  current: () => (view() === "chat" ? chat.conversation.id : ""), gone: () => newChat(),
  feedbackProblem: () => app.feedbackProblem,
});

/** @returns {"chat"|"compare"|"ratings"|"symbols"} */
function view() {
  const name = location.hash.split("/")[1];
  return /** @type {any} */ (name in TITLES ? name : "chat");
}

/** @returns {import("./tree.js").Conversation} an empty one, kept only when something is said */
const fresh = () => newConversation(usable(remembered("model")), cleanSettings({ ...remembered("settings"), system: "" }));

/** @param {any} wanted @returns {string} the model, or the first that is served */
function usable(wanted) {
  const ids = app.models().map((model) => model.id);
  return ids.includes(wanted) ? wanted : (ids[0] ?? "");
}

function newChat() {
  if (location.hash === "#/chat") route();
  else location.hash = "#/chat";
  byId("draft").focus();
}

/** Shows what the address says. */
function route() {
  const shown = view();
  for (const name of Object.keys(TITLES)) {
    byId(name).hidden = name !== shown;
    const link = /** @type {HTMLElement} */ (document.querySelector(`[data-view=${name}]`));
    if (name === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  app.popover.hide();
  byId("view-title").textContent = TITLES[shown];
  byId("bar-chat").hidden = shown !== "chat";
  byId("bar-title").hidden = shown === "chat";
  byId("bar-title").textContent = TITLES[shown];
  document.title = shown === "chat" ? "gptjax" : `${TITLES[shown]} · gptjax`;
  if (shown === "chat") openChat(location.hash.split("/")[2] ?? "");
  showChatLink();
  if (shown === "compare") compare.open();
  if (shown === "ratings") ratings.open();
  if (shown === "symbols") symbols.open();
  side.render();
  closeSide();
}

/** The way back from another view leads to the conversation that was left. */
function showChatLink() {
  const kept = store.conversations.has(chat.conversation.id);
  document.querySelector("[data-view=chat]")?.setAttribute("href", kept ? `#/chat/${chat.conversation.id}` : "#/chat");
}

/** @param {string} id */
function openChat(id) {
  const kept = store.conversations.get(id);
  if (id && !kept) notify("This conversation is not in this browser.");
  if (kept && kept === chat.conversation) return;
  if (!id && !shownPath(chat.conversation).length) return;
  chat.open(kept ?? fresh());
  showModels();
}

/** Fills the list of models; one that is not served any more is said. */
function showModels() {
  const { conversation } = chat;
  const select = byId("model");
  select.replaceChildren(...served.map((model) => {
    const chats = model.gptjax?.chat !== false;
    return h("option", { value: model.id, disabled: !chats }, chats ? model.id : `${model.id} (no chat format)`);
  }));
  if (!served.length) select.replaceChildren(h("option", { value: "" }, "No model"));
  const wanted = conversation.model;
  conversation.model = usable(wanted);
  if (wanted && served.length && wanted !== conversation.model) notify(`${wanted} is not served now; ${conversation.model || "no model"} answers instead.`);
  select.value = conversation.model;
  chat.count();
}

/** Asks the server what it serves. */
async function askServer() {
  const [list, store_] = await Promise.allSettled([models(), feedback()]);
  if (list.status === "fulfilled") served = list.value;
  else {
    served = [];
    const hint = list.reason instanceof ApiError && list.reason.status === 401 ? " The key is set in the settings." : "";
    notify(`There are no models: ${list.reason.message}${hint}`, "error");
  }
  app.feedbackProblem = store_.status === "rejected" ? "the server keeps no feedback" : store_.value.enabled ? null : "feedback is off on this server";
}

byId("model").addEventListener("change", (/** @type {any} */ event) => {
  chat.conversation.model = event.target.value;
  remember("model", event.target.value);
  keep();
  if (!shownPath(chat.conversation).length) chat.open(chat.conversation);
});

/** Keeps the conversation's settings, and takes them for the next one. */
function keep() {
  const { conversation } = chat;
  remember("settings", conversation.settings);
  if (store.conversations.has(conversation.id)) store.put(conversation);
  chat.count();
}

byId("open-settings").append(icon("sliders"));
byId("open-settings").addEventListener("click", () => {
  const { conversation } = chat;
  const before = conversation.settings.show_tokens;
  const model = served.find((one) => one.id === conversation.model);
  openDrawer({
    settings: conversation.settings, rankers: model?.gptjax?.rankers ?? [], onChange: keep,
    onKey: async () => {
      await askServer();
      showModels();
      chat.refresh();
    },
  });
  byId("settings").onclose = () => conversation.settings.show_tokens !== before && chat.open(conversation);
});

// The side list, which is a drawer on a phone.
byId("side-open").append(icon("menu"));
byId("side-close").append(icon("close"));
byId("new-chat").append(icon("plus"), h("span", {}, "New chat"));
byId("new-chat").title = "New chat (Ctrl+K)";
const narrow = matchMedia("(max-width: 820px)");
function openSide() {
  document.body.classList.add("side-open");
  byId("scrim").hidden = false;
  byId("main").inert = true;
  byId("side").inert = false;
  byId("side-open").setAttribute("aria-expanded", "true");
  byId("side-close").focus();
}
function closeSide() {
  const inside = byId("side").contains(document.activeElement) && narrow.matches;
  document.body.classList.remove("side-open");
  byId("scrim").hidden = true;
  byId("main").inert = false;
  byId("side").inert = narrow.matches;
  byId("side-open").setAttribute("aria-expanded", "false");
  if (inside) byId("side-open").focus();
}
byId("side-open").addEventListener("click", openSide);
byId("side-close").addEventListener("click", closeSide);
byId("scrim").addEventListener("click", closeSide);
narrow.addEventListener("change", closeSide);
byId("new-chat").addEventListener("click", () => {
  closeSide();
  newChat();
});

/** @param {string} name "system", "light" or "dark" */
function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("gptjax.theme", name);
  } catch {
    // It lasts as long as the page then.
  }
  const [sign, label] = THEMES[/** @type {"light"} */ (name)];
  byId("theme").replaceChildren(icon(/** @type {any} */ (sign)));
  byId("theme").setAttribute("aria-label", label);
  byId("theme").title = label;
}
const themes = Object.keys(THEMES);
setTheme(document.documentElement.dataset.theme ?? "system");
byId("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "system";
  setTheme(themes[(themes.indexOf(now) + 1) % themes.length]);
});

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) newChat();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]") && !event.defaultPrevented) {
    if (document.body.classList.contains("side-open")) closeSide();
    else if (view() === "chat") chat.stop();
    else if (view() === "compare") compare.stop();
    else if (view() === "symbols") symbols.toggle(false);
  }
});
store.channel?.addEventListener("message", async ({ data }) => {
  const here = store.conversations.get(data.changed);
  if (here && chat.busy(here)) return; // this tab writes it next
  await store.refresh(data.changed);
  const now = store.conversations.get(data.changed);
  if (data.changed === chat.conversation.id && now) chat.open(now);
  side.render();
});
window.addEventListener("pagehide", () => chat.running.size && store.put(chat.conversation));
window.addEventListener("hashchange", route);

await askServer();
chat.open(fresh());
showModels();
route();
document.body.dataset.ready = "";
if (!narrow.matches && view() === "chat") byId("draft").focus();
