import { expect, it } from "vitest";
import { titleOf } from "./titles";

const last_run = { id: "run_1", agent: "support", status: "succeeded" as const };

it("calls a thread by its title, its first words, its agent, in this order", () => {
  expect(titleOf({ title: "Order 7", preview: "Where is it?", last_run })).toBe("Order 7");
  expect(titleOf({ title: null, preview: "Where is it?", last_run })).toBe("Where is it?");
  expect(titleOf({ title: null, preview: null, last_run })).toBe("support");
  expect(titleOf({ title: null, preview: null, last_run: null })).toBe("Empty thread");
  expect(titleOf(undefined)).toBe("Thread");
});

it("leaves out what would turn or colour the line", () => {
  expect(titleOf({ title: "\u202e", preview: "a\u001b[31mb\u001b[0m\n c", last_run })).toBe("ab c");
  expect(titleOf({ title: "w".repeat(400), preview: null, last_run })).toHaveLength(90);
});
