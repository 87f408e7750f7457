// A net of nine pixels, as experiments/symbols.py has it: all images, the net, and its gradients.

export const KINDS = ["solid", "vertical", "diagonal", "horizontal"];
export const SIZES = [9, 10, 4, 4];
const NOISE = 0.1; // chance that a pixel is flipped
const RATE = 1;

const LINES = [0, 1, 2];
const pixels = (/** @type {(row: number, column: number) => boolean} */ on) => LINES.flatMap((row) => LINES.map((column) => (on(row, column) ? 1 : -1)));

/** The ten exact symbols, each nine pixels of -1 or 1 with the number of its kind. */
export const EXACT = [
  { kind: 0, image: pixels(() => false) }, { kind: 0, image: pixels(() => true) },
  ...LINES.map((at) => ({ kind: 1, image: pixels((_, column) => column === at) })),
  { kind: 2, image: pixels((row, column) => row === column) }, { kind: 2, image: pixels((row, column) => row + column === 2) },
  ...LINES.map((at) => ({ kind: 3, image: pixels((row) => row === at) })),
];
export const IMAGES = Array.from({ length: 512 }, (_, number) => Array.from({ length: 9 }, (_, i) => 2 * ((number >> i) & 1) - 1));

/** How often each image comes from each kind [512][4], over noise; all add up to 1. */
export const CHANCE = IMAGES.map((image) => KINDS.map((_, kind) => {
  const own = EXACT.filter((one) => one.kind === kind);
  const chances = own.map((one) => {
    const flips = one.image.filter((value, i) => value !== image[i]).length;
    return NOISE ** flips * (1 - NOISE) ** (9 - flips);
  });
  return chances.reduce((a, b) => a + b) / own.length / KINDS.length;
}));
export const BEST = CHANCE.reduce((total, row) => total + Math.max(...row), 0);

/** @typedef {number[][][]} Weights of each layer [inputs + 1][outputs]; the last row is added to all */

/** Weights evenly from -1 to 1. @param {() => number} random @returns {Weights} */
export const initial = (random = Math.random) => SIZES.slice(0, -1).map((inputs, layer) =>
  Array.from({ length: inputs + 1 }, () => Array.from({ length: SIZES[layer + 1] }, () => 2 * random() - 1)));

/** A unit for each exact symbol, and then one for each kind. @returns {Weights} */
export const byHand = () => [
  [...LINES.flatMap((row) => LINES.map((column) => EXACT.map((one) => one.image[3 * row + column] / 6))), EXACT.map(() => -1)],
  [...EXACT.map((one) => KINDS.map((_, kind) => Number(kind === one.kind))), [0, 0.5, 0, 0.5]],
  Array.from({ length: 5 }, (_, row) => KINDS.map((_, kind) => Number(row === kind))),
];

/** What every layer says, from the pixels to the probabilities. @param {Weights} weights @param {number[]} image */
export function forward(weights, image) {
  const layers = [image];
  weights.forEach((rows, number) => {
    const below = layers[layers.length - 1];
    const sums = rows[0].map((_, out) => rows.reduce((total, row, i) => total + row[out] * (i < below.length ? below[i] : 1), 0));
    if (number < weights.length - 1) layers.push(sums.map(Math.tanh));
    else {
      const powers = sums.map(Math.exp);
      const whole = powers.reduce((a, b) => a + b);
      layers.push(powers.map((power) => power / whole));
    }
  });
  return layers;
}

/** The mean surprise at the right kind in nats, the share that is right, and how the loss moves with each weight. @param {Weights} weights */
export function judged(weights) {
  const slopes = weights.map((rows) => rows.map((row) => row.map(() => 0)));
  let loss = 0;
  let right = 0;
  IMAGES.forEach((image, number) => {
    const layers = forward(weights, image);
    const chance = CHANCE[number];
    const said = layers[layers.length - 1];
    const mass = chance.reduce((a, b) => a + b);
    chance.forEach((share, kind) => (loss -= share * Math.log(said[kind])));
    right += chance[said.indexOf(Math.max(...said))];
    let blame = said.map((share, kind) => share * mass - chance[kind]); // of the sums before the softmax
    for (let layer = weights.length - 1; layer >= 0; layer--) {
      const below = layers[layer];
      slopes[layer].forEach((row, i) => blame.forEach((one, out) => (row[out] += one * (i < below.length ? below[i] : 1))));
      blame = below.map((value, i) => (1 - value * value) * blame.reduce((total, one, out) => total + one * weights[layer][i][out], 0));
    }
  });
  return { loss, right, slopes };
}

/** Weights moved once against their gradient, never beyond -1..1. @param {Weights} weights @returns {Weights} */
export function learnt(weights) {
  const { slopes } = judged(weights);
  return weights.map((rows, layer) => rows.map((row, i) => row.map((value, out) => Math.max(-1, Math.min(1, value - RATE * slopes[layer][i][out])))));
}
