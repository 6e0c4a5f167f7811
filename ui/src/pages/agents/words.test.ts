import { expect, it } from "vitest";
import { effectWords, type Rule, ruleInWords, whenInWords } from "./words";

const rule = (part: Partial<Rule>): Rule => ({
  decision: "confirm",
  when: true,
  reason: null,
  roles: [],
  quorum: 1,
  four_eyes: false,
  expires_ms: 604_800_000,
  on_expiry: "reject",
  ...part,
});

it("says when leave is asked, and what becomes of the question", () => {
  expect(ruleInWords(rule({}))).toBe("Asks for leave always. After 7 days it is rejected.");
  expect(ruleInWords(rule({ when: "code", reason: "above 100 euros", expires_ms: null }))).toBe(
    "Asks for leave when a condition in its code holds (above 100 euros). Stands until somebody decides.",
  );
});

it("says who decides", () => {
  expect(ruleInWords(rule({ roles: ["finance", "lead"], quorum: 2, four_eyes: true }))).toContain(
    "2 different people have to approve with the role finance or lead, not by who led to the call or edited it.",
  );
  expect(ruleInWords(rule({ four_eyes: true }))).toContain("Decided by anybody, not by who led to the call");
});

it("says what is refused", () => {
  expect(ruleInWords(rule({ decision: "deny", when: { euros: { min: 10_000 } }, reason: "too much" }))).toBe(
    "Refused when euros is 10000 or more (too much).",
  );
});

it("reads conditions", () => {
  expect(whenInWords({ country: { enum: ["CH", "NO"] }, weight: { min: 1, max: 3 } })).toBe(
    "when country is CH or NO and weight is 1 to 3",
  );
  expect(whenInWords({ sku: { regex: "A.*" }, size: { max: 2 } })).toBe(
    "when sku matches A.* and size is 2 or less",
  );
});

it("takes a tool that declares nothing for unsafe", () => {
  expect(effectWords(null).label).toBe("unsafe");
});
