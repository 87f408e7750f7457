// What a conversation without turns shows.

import { h, icon } from "./dom.js";

/** @param {string} model that will answer */
export function welcome(model) {
  const point = (/** @type {any} */ sign, /** @type {string} */ title, /** @type {string} */ text) =>
    h("li", {}, icon(sign), h("div", {}, h("strong", {}, title), h("span", {}, text)));
  return h("div", { class: "welcome" },
    h("h2", { dir: "auto" }, model ? `Talk to ${model}` : "No model here can chat"),
    h("ul", {},
      point("tokens", "Look inside", "Every reply keeps what else each token might have been. Choose another one, and the reply continues from there."),
      point("edit", "Branch", "Edit a message or ask for another reply: the earlier versions stay."),
      point("columns", "Compare", "Send one prompt to several models, rank the replies, and see the ratings.")));
}
