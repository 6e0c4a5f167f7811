/** Light, dark, or what the system says. Kept in this browser; `public/theme.js` applies it before the first paint. */

import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";

const KEY = "holdfast.theme";
const listeners = new Set<() => void>();
const dark = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;

function stored(): Theme {
  try {
    const found = localStorage.getItem(KEY);
    return found === "light" || found === "dark" ? found : "system";
  } catch {
    return "system";
  }
}

let chosen: Theme = typeof localStorage === "undefined" ? "system" : stored();

function apply(): void {
  document.documentElement.dataset.theme = chosen === "system" ? (dark?.matches ? "dark" : "light") : chosen;
}

export function startTheme(): void {
  apply();
  dark?.addEventListener("change", apply);
}

export function setTheme(theme: Theme): void {
  chosen = theme;
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // It holds for this page, then.
  }
  apply();
  for (const listener of listeners) listener();
}

export const useTheme = (): Theme =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => chosen,
  );
