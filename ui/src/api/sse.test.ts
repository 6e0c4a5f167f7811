import { expect, it } from "vitest";
import { SseParser } from "./sse";

it("reads events however the bytes are cut", () => {
  const text = ': ping\n\nevent: change\ndata: {"a":\ndata: 1}\nid: 7\n\ndata: x\r\n\r\n';
  const whole = new SseParser().push(text);
  expect(whole).toEqual([
    { type: "change", data: '{"a":\n1}', id: "7" },
    { type: "message", data: "x", id: null },
  ]);
  const parser = new SseParser();
  expect([...text].flatMap((one) => parser.push(one))).toEqual(whole);
});

it("gives nothing for a comment, or an event without data", () => {
  expect(new SseParser().push(": ping\n\nevent: change\n\n")).toEqual([]);
});
