import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { noteServerTime, now } from "./clock";

const HERE = Date.parse("2030-01-01T12:00:00Z");
const said = (ms: number): string => new Date(HERE + ms).toUTCString();

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(HERE);
});
afterEach(() => {
  noteServerTime(said(0), HERE);
  vi.useRealTimers();
});

it("goes by the server's clock when this one is hours off", () => {
  noteServerTime(said(-7_200_000), HERE);
  expect(now()).toBe(HERE - 7_200_000);
});

it("takes small differences for rounding, and what is no time for nothing", () => {
  noteServerTime(said(-1_500), HERE);
  noteServerTime(null, HERE);
  noteServerTime("soon", HERE);
  expect(now()).toBe(HERE);
});

it("learns nothing from an answer that was held up", () => {
  noteServerTime(said(-60_000), HERE - 60_000);
  expect(now()).toBe(HERE);
});
