/** Server-sent events out of bytes (WHATWG HTML §9.2), as a state machine without any I/O. */

export interface ServerEvent {
  readonly type: string;
  readonly data: string;
  readonly id: string | null;
}

export class SseParser {
  /** Characters of a line whose end has not come, in the pieces they came in: a line of megabytes is put together once. */
  private pieces: string[] = [];
  private type = "";
  private data: string[] = [];
  private id: string | null = null;

  /** The events that are complete with these characters. Comments (pings) give none. */
  push(text: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    const mayEnd = /[\r\n]/.test(text) || (this.pieces.at(-1)?.endsWith("\r") ?? false);
    this.pieces.push(text);
    if (!mayEnd) return found;
    const lines = this.pieces.join("").split(/\r\n|\n|\r(?!$)/);
    this.pieces = [lines.pop() ?? ""];
    for (const line of lines) {
      const event = this.line(line);
      if (event !== null) found.push(event);
    }
    return found;
  }

  private line(line: string): ServerEvent | null {
    if (line === "") return this.dispatched();
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event") this.type = value;
    else if (field === "data") this.data.push(value);
    else if (field === "id" && !value.includes("\0")) this.id = value;
    return null;
  }

  private dispatched(): ServerEvent | null {
    const event =
      this.data.length === 0
        ? null
        : { type: this.type || "message", data: this.data.join("\n"), id: this.id };
    this.type = "";
    this.data = [];
    this.id = null;
    return event;
  }
}
