// Server-sent events, read from a stream of bytes that may be cut anywhere.

/**
 * Joins pieces of text into whole events; comments and events without data are left out.
 * An event may be cut between any two characters: what is not whole yet waits in the buffer.
 */
export class EventReader {
  constructor() {
    this.buffer = "";
    /** @type {string[]} */
    this.data = [];
  }

  /**
   * @param {string} text the next piece
   * @returns {string[]} the data of each event that this piece completes
   */
  push(text) {
    this.buffer += text;
    const events = [];
    for (;;) {
      const end = this.buffer.search(/\r\n|\n|\r(?!$)/);
      if (end < 0) return events;
      const line = this.buffer.slice(0, end);
      this.buffer = this.buffer.slice(end + (this.buffer.startsWith("\r\n", end) ? 2 : 1));
      if (line === "") {
        if (this.data.length) events.push(this.data.join("\n"));
        this.data = [];
      } else if (line.startsWith("data:")) {
        this.data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
  }

  /** @returns {string[]} the last event, where the stream ended without the blank line after it */
  end() {
    const events = this.push("\n\n");
    this.buffer = "";
    return events;
  }
}

/**
 * The data of each event of a response, as they come.
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<string>}
 */
export async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const whole = new EventReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield* whole.push(decoder.decode(value, { stream: true }));
    }
    yield* whole.push(decoder.decode());
    yield* whole.end();
  } finally {
    reader.cancel().catch(() => {});  // the stream may already be over, or aborted
  }
}
