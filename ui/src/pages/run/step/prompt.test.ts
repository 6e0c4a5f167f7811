import { expect, it } from "vitest";
import { askedOf } from "./prompt";

it("shows what was asked by who says it", () => {
  const asked = askedOf([
    {
      kind: "request",
      parts: [
        { part_kind: "system-prompt", content: "Be brief." },
        { part_kind: "user-prompt", content: ["Look", { kind: "image-url", url: "x" }] },
      ],
    },
    {
      kind: "response",
      parts: [
        { part_kind: "thinking", content: "Hm." },
        { part_kind: "tool-call", tool_name: "look", args: '{"at":1}', tool_call_id: "c" },
      ],
    },
    {
      kind: "request",
      parts: [
        { part_kind: "tool-return", tool_name: "look", content: { seen: true }, tool_call_id: "c" },
        { part_kind: "retry-prompt", tool_name: "look", content: "No.", tool_call_id: "d" },
      ],
    },
  ]);
  expect(asked.map((one) => [one.role, one.parts.length])).toEqual([
    ["system", 1],
    ["user", 2],
    ["assistant", 2],
    ["tool", 2],
  ]);
  expect(asked[2]?.parts[1]).toMatchObject({ arguments: { at: 1 } });
  expect(asked[3]?.parts[1]).toMatchObject({ error: "No." });
});

it("shows what it does not know as it is", () => {
  expect(askedOf(["?"])[0]?.parts[0]).toEqual({ type: "data", data: "?" });
  const broken = askedOf([
    { kind: "response", parts: [{ part_kind: "tool-call", tool_name: "x", args: "{" }] },
  ]);
  expect(broken[0]?.parts[0]).toMatchObject({ arguments: "{" });
});
