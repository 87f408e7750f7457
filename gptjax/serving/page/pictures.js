// Pictures of the message that is being written: chosen, dropped or pasted.

import { byId, h, icon, iconButton, notify } from "./dom.js";

const TYPES = ["image/png", "image/jpeg"];
const LARGE = 200_000; // bytes; a larger file is sent smaller, so that requests stay within the server's limit
const SIDE = 512; // pixels of the longer side of what was made smaller

/**
 * @param {File} file
 * @returns {Promise<string>} the picture as a data URI
 */
async function asUrl(file) {
  if (file.size > LARGE) {
    const whole = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(whole.width, whole.height));
    const canvas = h("canvas", { width: Math.max(1, Math.round(whole.width * scale)), height: Math.max(1, Math.round(whole.height * scale)) });
    const context = canvas.getContext("2d");
    context.fillStyle = "white"; // behind what is transparent, as the server has it
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(whole, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", 0.9);
  }
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(/** @type {string} */ (reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

export class Pictures {
  /**
   * @param {() => boolean} wanted whether the model reads images
   * @param {() => void} changed
   */
  constructor(wanted, changed) {
    this.wanted = wanted;
    this.changed = changed;
    /** @type {string[]} data URIs */
    this.urls = [];
    this.adding = Promise.resolve();
    const input = byId("picture-file");
    byId("attach").append(icon("image"));
    byId("attach").addEventListener("click", () => input.click());
    input.addEventListener("change", async () => {
      const files = [...input.files];
      input.value = "";
      await this.add(files);
    });
    byId("draft").addEventListener("paste", (/** @type {ClipboardEvent} */ event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      this.add(files);
    });
    const chat = byId("chat");
    const over = (/** @type {DragEvent} */ event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault(); // or else the browser leaves the page for the file
      chat.classList.toggle("dropping", event.type === "dragover" && this.wanted());
      if (event.type === "drop") this.add([...event.dataTransfer.files]);
    };
    for (const name of ["dragover", "dragleave", "drop"]) chat.addEventListener(name, over);
  }

  /** Adds files after those that are still read, so that their order stays. @param {File[]} files */
  add(files) {
    this.adding = this.adding.then(() => this.read(files));
    return this.adding;
  }

  /** @param {File[]} files */
  async read(files) {
    if (!this.wanted()) {
      notify("This model reads text alone.");
      return;
    }
    for (const file of files) {
      try {
        if (!TYPES.includes(file.type)) notify(`${file.name} is neither PNG nor JPEG.`, "error");
        else this.urls.push(await asUrl(file));
      } catch {
        notify(`${file.name} cannot be read as a picture.`, "error");
      }
    }
    this.changed();
  }

  /** @returns {string[]} the pictures, which the composer has no longer */
  take() {
    const urls = this.urls;
    this.urls = [];
    return urls;
  }

  /** Shows what there is, and whether there may be more. */
  show() {
    byId("attach").hidden = !this.wanted();
    byId("pictures").hidden = !this.urls.length;
    byId("pictures").replaceChildren(...this.urls.map((src, i) => h("span", { class: "picture" },
      h("img", { src, alt: `Picture ${i + 1}` }),
      iconButton("close", `Remove picture ${i + 1}`, () => {
        this.urls.splice(i, 1);
        this.changed();
        byId("draft").focus();
      }))));
  }
}
