import { expect, it } from "vitest";
import { caps, type Hotkey, nameOf, type Pressed, unshadowed } from "./hotkeys";

const pressed = (key: string, more: Partial<Pressed> = {}): Pressed => ({
  key,
  code: "",
  metaKey: false,
  ctrlKey: false,
  shiftKey: false,
  altKey: false,
  ...more,
});

const SOURCES = import.meta.glob<string>("../**/*.{ts,tsx}", {
  query: "?raw",
  import: "default",
  eager: true,
});

/** What somebody presses to get this: a letter with shift is a capital. */
function typed(chord: string): Pressed {
  const parts = chord.split(/(?<!^)\+/);
  const key = parts.at(-1) ?? "";
  const shiftKey = parts.includes("shift");
  const named: Readonly<Record<string, string>> = { escape: "Escape", enter: "Enter", space: " " };
  const said = named[key] ?? (key.startsWith("arrow") ? `Arrow${key.slice(5)}` : key);
  return pressed(shiftKey ? said.toUpperCase() : said, { shiftKey, ctrlKey: parts.includes("mod") });
}

it("has a way to press every key that is declared anywhere", () => {
  const declared = Object.entries(SOURCES)
    .filter(([name]) => !name.includes(".test."))
    .flatMap(([, text]) => [...text.matchAll(/\bkeys: "([^"]+)"/g)].map((found) => found[1] ?? ""));
  expect(declared.length).toBeGreaterThan(25);
  for (const keys of declared)
    for (const chord of keys.split(" ")) expect(nameOf(typed(chord), false), keys).toBe(chord);
});

it("tells a letter from the same with shift, whatever caps lock says", () => {
  expect(nameOf(pressed("c"), false)).toBe("c");
  expect(nameOf(pressed("C"), false)).toBe("c");
  expect(nameOf(pressed("C", { shiftKey: true }), false)).toBe("shift+c");
  expect(nameOf(pressed("?", { shiftKey: true }), false)).toBe("?");
});

it("leaves what the system and the browser do with other modifiers to them", () => {
  expect(nameOf(pressed("k", { metaKey: true }), true)).toBe("mod+k");
  expect(nameOf(pressed("k", { ctrlKey: true }), true)).toBe("ctrl+k");
  expect(nameOf(pressed("k", { ctrlKey: true }), false)).toBe("mod+k");
  expect(nameOf(pressed("k", { metaKey: true }), false)).toBe("meta+k");
  expect(nameOf(pressed("c", { ctrlKey: true }), false)).toBe("mod+c");
  expect(nameOf(pressed("Shift", { shiftKey: true }), false)).toBe("");
});

it("finds letters by their place where the layout has no Latin ones", () => {
  expect(nameOf(pressed("п", { code: "KeyG" }), false)).toBe("g");
  expect(nameOf(pressed("л", { code: "KeyK", ctrlKey: true }), false)).toBe("mod+k");
  expect(nameOf(pressed("z", { code: "KeyY" }), false)).toBe("z");
});

it("takes what AltGr chose for the character that it is", () => {
  const altGraph = { ctrlKey: true, altKey: true, getModifierState: (name: string) => name === "AltGraph" };
  expect(nameOf(pressed("[", altGraph), false)).toBe("[");
});

it("lists a key once: what it does is what was declared last", () => {
  const key = (keys: string, does: string, within?: Hotkey["within"]): Hotkey => ({
    keys,
    does,
    group: "Page",
    run: () => {},
    ...(within && { within }),
  });
  const here = { current: null };
  const shown = unshadowed([
    key("c", "old"),
    key("x", "there", here),
    key("c", "new"),
    key("x", "here", here),
  ]);
  expect(shown.map((one) => one.does)).toEqual(["there", "new", "here"]);
});

it("shows the caps of a sequence and of a chord", () => {
  expect(caps("g r")).toEqual([["g"], ["r"]]);
  expect(caps("shift+enter")).toEqual([["⇧", "↵"]]);
  expect(caps("+")).toEqual([["+"]]);
});
