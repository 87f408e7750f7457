// How replies are drawn: the fields of the drawer, their ranges, and the request they make.

/**
 * @typedef {object} Field
 * @property {string} name the request's
 * @property {string} label
 * @property {"slider"|"integer"|"optional"|"choice"|"text"|"switch"} kind
 * @property {any} value where nothing is chosen
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 * @property {string} [help]
 * @property {[string, string][]} [choices] value and label
 */

/** @type {{title: string, fields: Field[]}[]} */
export const GROUPS = [
  {
    title: "Conversation",
    fields: [
      { name: "system", label: "System message", kind: "text", value: "", help: "Said to the model before the first turn." },
    ],
  },
  {
    title: "Sampling",
    fields: [
      { name: "temperature", label: "Temperature", kind: "slider", value: 0.7, min: 0, max: 2, step: 0.05, help: "0 always takes the most probable token." },
      { name: "top_p", label: "Top p", kind: "slider", value: 1, min: 0.05, max: 1, step: 0.05, help: "Draws from the tokens that have this much probability together." },
      { name: "seed", label: "Seed", kind: "optional", value: null, min: 0, max: 2 ** 31 - 1, help: "The same seed gives the same reply. Empty: a new one each time." },
      { name: "max_tokens", label: "Longest reply", kind: "optional", value: null, min: 1, max: 1_000_000, help: "In tokens. Empty: what the context has room for." },
    ],
  },
  {
    title: "Search",
    fields: [
      { name: "num_beams", label: "Beams", kind: "integer", value: 1, min: 1, max: 16, help: "More than 1 searches for the most probable reply, without temperature; alternatives are not kept." },
      { name: "best_of", label: "Best of", kind: "integer", value: 1, min: 1, max: 64, help: "Draws this many replies and shows the best, when all are there." },
      { name: "rank_by", label: "Ranked by", kind: "choice", value: "", choices: [["", "Probability"]], help: "What says which reply is best." },
    ],
  },
  {
    title: "Context",
    fields: [
      {
        name: "context_overflow", label: "When the context is full", kind: "choice", value: "drop_oldest",
        choices: [["drop_oldest", "Drop the oldest turns"], ["slide", "Slide over the text"], ["refuse", "Refuse"]],
      },
    ],
  },
  {
    title: "Next-token probabilities",
    fields: [
      { name: "top_logprobs", label: "Alternatives kept", kind: "integer", value: 8, min: 0, max: 20, help: "Of each token of a reply. 0 keeps none." },
      { name: "show_tokens", label: "Show the tokens of every reply", kind: "switch", value: false },
    ],
  },
];

export const FIELDS = GROUPS.flatMap((group) => group.fields);

/** @param {Field} field @param {any} value @returns {any} the value, or the field's own where it is not allowed */
function cleaned(field, value) {
  const { kind, min = 0, max = 0 } = field;
  if (kind === "switch") return value === true;
  if (kind === "text") return typeof value === "string" ? value : field.value;
  if (kind === "choice") return typeof value === "string" && value.length < 100 ? value : field.value;
  if (kind === "optional" && (value === null || value === undefined || value === "")) return null;
  if (typeof value !== "number" || !Number.isFinite(value)) return field.value;
  const inside = Math.min(max, Math.max(min, value));
  return kind === "slider" ? inside : Math.round(inside);
}

/**
 * Every field, each within its range.
 * @param {any} raw
 * @returns {Record<string, any>}
 */
export function cleanSettings(raw) {
  const given = typeof raw === "object" && raw !== null ? raw : {};
  return Object.fromEntries(FIELDS.map((field) => [field.name, cleaned(field, given[field.name])]));
}

/**
 * The fields of a request; those that have no effect are left out.
 * @param {Record<string, any>} settings
 * @returns {Record<string, any>}
 */
export function requestFields(settings) {
  /** @type {Record<string, any>} */
  const fields = { context_overflow: settings.context_overflow };
  if (settings.num_beams > 1) fields.num_beams = settings.num_beams;
  else {
    fields.temperature = settings.temperature;
    if (settings.top_p < 1) fields.top_p = settings.top_p;
    if (settings.best_of > 1) fields.best_of = settings.best_of;
    if (settings.best_of > 1 && settings.rank_by) fields.rank_by = settings.rank_by;
  }
  if (settings.seed !== null) fields.seed = settings.seed;
  if (settings.max_tokens !== null) fields.max_tokens = settings.max_tokens;
  // A search scores whole texts: the server gives no probabilities of its tokens.
  if (settings.top_logprobs > 0 && !fields.num_beams) Object.assign(fields, { logprobs: true, top_logprobs: settings.top_logprobs });
  return fields;
}

/**
 * How a reply is drawn, as the server says it afterwards: "temperature=0.7" or "num_beams=4".
 * @param {Record<string, any>} settings
 * @returns {string}
 */
export function policyOf(settings) {
  const names = ["best_of", "rank_by", "num_beams", "temperature", "top_p"];
  const fields = requestFields(settings);
  return names.filter((name) => name in fields).map((name) => `${name}=${fields[name]}`).join(", ");
}
