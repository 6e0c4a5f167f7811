/**
 * Keys for what can be done here. Each is declared where it works, with what it does; `?` lists those that do just now.
 * A key is `j`, `mod+k` (⌘ or Ctrl), `shift+enter`, or a sequence `g r`. Keys without `mod` rest while somebody writes.
 */

import { useEffect, useLayoutEffect, useRef, useSyncExternalStore } from "react";

export interface Hotkey {
  readonly keys: string;
  readonly does: string;
  readonly group: string;
  readonly run: () => void;
  /** It works only while the focus is in there, or nowhere in particular. */
  readonly within?: { readonly current: HTMLElement | null };
}

const SEQUENCE_MS = 900;
const declared = new Set<{ readonly current: readonly Hotkey[] }>();
const listeners = new Set<() => void>();
let snapshot: readonly Hotkey[] = [];
let pending = "";
let timer: ReturnType<typeof setTimeout> | undefined;

const told = (): void => {
  snapshot = unshadowed([...declared].flatMap((one) => one.current));
  for (const listener of listeners) listener();
};

/** Of two that want the same key wherever the focus is, the one that was declared last has it. */
export function unshadowed(all: readonly Hotkey[]): readonly Hotkey[] {
  const taken = new Set<string>();
  const found: Hotkey[] = [];
  for (const one of [...all].reverse()) {
    if (taken.has(one.keys)) continue;
    if (one.within === undefined) taken.add(one.keys);
    found.push(one);
  }
  return found.reverse();
}

export function useHotkeys(hotkeys: readonly Hotkey[]): void {
  const latest = useRef(hotkeys);
  const shown = hotkeys.map((one) => one.keys + one.does).join("|");
  useLayoutEffect(() => {
    latest.current = hotkeys;
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: told anew when what can be pressed changes
  useEffect(() => {
    declared.add(latest);
    told();
    return () => {
      declared.delete(latest);
      told();
    };
  }, [shown]);
}

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** All keys that work now, for the list of them. */
export const useHotkeyList = (): readonly Hotkey[] => useSyncExternalStore(subscribe, () => snapshot);

export interface Pressed {
  readonly key: string;
  readonly code: string;
  readonly metaKey: boolean;
  readonly ctrlKey: boolean;
  readonly shiftKey: boolean;
  readonly altKey: boolean;
  readonly getModifierState?: (name: string) => boolean;
}

const isMac = typeof navigator !== "undefined" && /mac|iphone|ipad/i.test(navigator.platform);
const MODIFIERS = /^(shift|control|alt|altgraph|meta|capslock|fn|os|dead|process|unidentified)$/;

/**
 * The name of what was pressed; "" for a key that is none by itself. A letter that Latin does not have is named after its
 * place on the keyboard. Shift counts with letters and named keys; with others it chose the character already, as AltGr did.
 */
export function nameOf(event: Pressed, mac = isMac): string {
  const said = event.key.toLowerCase();
  if (MODIFIERS.test(said)) return "";
  const place = /^Key([A-Z])$/.exec(event.code)?.[1]?.toLowerCase();
  const key = said === " " ? "space" : said.length === 1 && said > "~" && place !== undefined ? place : said;
  const chosen = event.getModifierState?.("AltGraph") ?? false;
  const isMod = mac ? event.metaKey : event.ctrlKey && !chosen;
  const isOther = mac ? event.ctrlKey : event.metaKey;
  const isNamed = key.length > 1 || /[a-z]/.test(key) || isMod;
  return [
    isMod && "mod+",
    isOther && (mac ? "ctrl+" : "meta+"),
    event.altKey && !chosen && "alt+",
    event.shiftKey && isNamed && "shift+",
    key,
  ]
    .filter((part) => part !== false)
    .join("");
}

/** What is pressed again and again while the key is held down; anything else is done once. */
const MOVES = /^(j|k|[+-]|arrow\w+|page\w+)$/;

function isWriting(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !/^(checkbox|radio|button|submit)$/.test(target.type);
  return target.isContentEditable || /^(textarea|select)$/i.test(target.tagName);
}

/** Enter and space press the control that has the focus, before they mean anything else. */
const isPressing = (name: string, target: EventTarget | null): boolean =>
  (name === "enter" || name === "space") &&
  target instanceof HTMLElement &&
  target.matches("a, button, summary, input, [role=button], [role=radio], [role=tab], [role=option]");

/** Arrows and their like belong to the part of the page that has the focus: another one scrolls with them. */
function isThere({ within }: Hotkey, target: EventTarget | null): boolean {
  if (within === undefined) return true;
  if (!(target instanceof HTMLElement) || target === document.body || target.matches("#page, h1"))
    return true;
  return within.current?.contains(target) ?? false;
}

function pressed(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing) return;
  const name = nameOf(event);
  if (name === "") return;
  if (isWriting(event.target) && !name.startsWith("mod+")) return;
  if (isPressing(name, event.target)) return;
  const inDialog =
    event.target instanceof Element &&
    event.target.closest("[role=dialog],[role=menu],[role=alertdialog]") !== null;
  const all = [...declared]
    .flatMap((one) => one.current)
    .filter((one) => isThere(one, event.target))
    .reverse();
  const sequence = pending === "" ? name : `${pending} ${name}`;
  const found = all.find((one) => one.keys === sequence) ?? all.find((one) => one.keys === name);
  clearTimeout(timer);
  pending = "";
  if (found !== undefined) {
    if (inDialog && found.group !== "Dialog" && found.keys !== "mod+k") return;
    event.preventDefault();
    if (!event.repeat || MOVES.test(name)) found.run();
  } else if (all.some((one) => one.keys.startsWith(`${name} `))) {
    pending = name;
    timer = setTimeout(() => {
      pending = "";
    }, SEQUENCE_MS);
  }
}

/** Once, by the shell. */
export function useHotkeyListener(): void {
  useEffect(() => {
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

const SHOWN: Readonly<Record<string, string>> = {
  mod: isMac ? "⌘" : "Ctrl",
  enter: "↵",
  escape: "Esc",
  arrowup: "↑",
  arrowdown: "↓",
  arrowleft: "←",
  arrowright: "→",
  shift: "⇧",
};

/** The key caps of a hotkey: `g r` → [["g"], ["r"]]. */
export const caps = (keys: string): readonly (readonly string[])[] =>
  keys
    .split(" ")
    .map((chord) =>
      chord
        .split(/(?<!^)\+/)
        .map((key) => SHOWN[key] ?? (key.length === 1 ? key : key[0]?.toUpperCase() + key.slice(1))),
    );
