import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { Command, Keyboard, LogOut, Menu as MenuIcon, Monitor, Moon, Sun, UserRound, X } from "lucide-react";
import { useRef, useState } from "react";
import { useLive } from "~/api/hooks";
import { type Me, may, signOut } from "~/api/session";
import { IconButton } from "~/design/Button";
import { Kbd } from "~/design/Facts";
import { Menu } from "~/design/Menu";
import { toastError } from "~/design/Toasts";
import { useHotkeys } from "~/lib/hotkeys";
import { setTheme, useTheme } from "~/lib/theme";
import { attention } from "./attention";
import { placesOf } from "./places";

export function Nav({
  me,
  onPalette,
  onShortcuts,
}: {
  me: Me;
  onPalette: () => void;
  onShortcuts: () => void;
}) {
  const [open, setOpen] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  const close = (): void => {
    setOpen(false);
    opener.current?.focus();
  };
  useHotkeys(open ? [{ keys: "escape", does: "Close the navigation", group: "Everywhere", run: close }] : []);
  const waiting = useQuery(attention(me));
  const places = placesOf(me);
  const total = waiting.data?.approvals ?? 0; // an unknown effect of a run under way is a question, too
  return (
    <header className="shrink-0 sm:flex">
      <div className="flex h-11 shrink-0 items-center gap-2 border-b border-line bg-surface px-2 sm:hidden">
        <IconButton
          ref={opener}
          label={open ? "Close the navigation" : "Open the navigation"}
          aria-expanded={open}
          aria-controls="navigation"
          onClick={() => setOpen(!open)}
        >
          {open ? <X size={18} /> : <MenuIcon size={18} />}
        </IconButton>
        <Brand />
        <span className="grow" />
        <Fresh me={me} word="" />
        {total > 0 && <Count n={total} label="things wait for somebody" />}
        <IconButton label="Search and commands" onClick={onPalette}>
          <Command size={16} />
        </IconButton>
      </div>
      <div
        className={clsx(
          "shrink-0 flex-col border-line bg-surface sm:flex sm:w-14 sm:border-r lg:w-52",
          open ? "flex border-b" : "hidden",
        )}
      >
        <div className="hidden h-13 items-center px-4 sm:flex">
          <Brand />
        </div>
        <nav
          id="navigation"
          aria-label="Main"
          className="flex min-h-0 flex-col gap-0.5 overflow-y-auto p-2 max-sm:max-h-[60dvh]"
        >
          {places.map(({ to, label, icon: Icon, counts }) => {
            const n = counts === undefined ? 0 : (waiting.data?.[counts.of] ?? 0);
            return (
              <Link
                key={to}
                to={to}
                title={label}
                activeOptions={{ exact: to === "/", includeSearch: false }}
                onClick={() => setOpen(false)}
                className="group relative flex h-8 items-center gap-2.5 rounded-md px-2.5 text-sm font-medium text-ink-2 hover:bg-hover hover:text-ink data-[status=active]:bg-accent-soft data-[status=active]:text-accent-text sm:justify-center lg:justify-start"
              >
                <Icon size={16} aria-hidden className="shrink-0" />
                <span className="grow sm:sr-only lg:not-sr-only lg:grow">{label}</span>
                {counts !== undefined && n > 0 && (
                  <span className="sm:absolute sm:-right-0.5 sm:-top-0.5 lg:static">
                    <Count n={n} label={counts.label} />
                  </span>
                )}
              </Link>
            );
          })}
        </nav>
        <span className="grow" />
        <Foot me={me} onPalette={onPalette} onShortcuts={onShortcuts} />
      </div>
    </header>
  );
}

const Brand = () => (
  <Link
    to="/"
    className="flex items-center gap-2 rounded-sm font-semibold tracking-tight text-ink"
    aria-label="Holdfast, overview"
  >
    <svg viewBox="0 0 32 32" className="size-6 shrink-0" aria-hidden>
      <rect width="32" height="32" rx="8" fill="var(--c-accent)" />
      <path
        d="M11 7v18M21 7v18M11 17c3-4 7-4 10 0"
        fill="none"
        stroke="var(--c-accent-ink)"
        strokeWidth="3"
        strokeLinecap="round"
      />
    </svg>
    <span className="sm:hidden lg:inline">Holdfast</span>
  </Link>
);

const Count = ({ n, label }: { n: number; label: string }) => (
  <span className="flex h-4.5 min-w-4.5 items-center justify-center rounded-full bg-warn-soft px-1 text-2xs font-semibold text-warn tabular">
    {n > 99 ? "99+" : n}
    <span className="sr-only"> {label}</span>
  </span>
);

const FRESH = {
  live: ["bg-good", "Live", "Live"],
  connecting: ["bg-warn animate-breathe", "Connecting…", "Connecting…"],
  offline: ["bg-bad", "Offline", "Offline"],
  resting: ["bg-warn", "Every 10 s", "Other tabs have the connections that a browser allows."],
  polling: ["bg-warn", "Every 15 s", "Following changes takes runs:read."],
} as const;

/** How new what is shown is. On a phone only when it is not. */
function Fresh({ me, className, word }: { me: Me; className?: string; word: string }) {
  const followed = useLive();
  const state = may(me, "runs:read") ? followed : "polling";
  const [dot, said, why] = FRESH[state];
  return (
    <span
      role="status"
      className={clsx("flex h-8 items-center gap-1.5 px-2 text-xs text-ink-3", className)}
      title={why}
    >
      <span aria-hidden className={clsx("size-2 rounded-full", dot)} />
      <span className={state === "live" ? "sr-only" : word}>{said}</span>
    </span>
  );
}

function Foot({ me, onPalette, onShortcuts }: { me: Me; onPalette: () => void; onShortcuts: () => void }) {
  const theme = useTheme();
  const leave = async (): Promise<void> => {
    try {
      await signOut();
      location.reload();
    } catch (error) {
      toastError("You are still signed in.", error);
    }
  };
  return (
    <div className="flex flex-col gap-1 border-t border-line p-2">
      <button
        type="button"
        onClick={onPalette}
        className="hidden h-8 items-center gap-2 rounded-md px-2.5 text-sm text-ink-3 hover:bg-hover hover:text-ink sm:flex sm:justify-center lg:justify-start"
        aria-label="Search and commands"
      >
        <Command size={15} aria-hidden />
        <span className="hidden grow text-left lg:inline">Search</span>
        <span className="hidden lg:inline">
          <Kbd keys="mod+k" />
        </span>
      </button>
      <div className="flex items-center gap-1 sm:flex-col lg:flex-row">
        <Menu
          align="start"
          trigger={
            <button
              type="button"
              className="flex h-8 min-w-0 grow items-center gap-2 rounded-md px-2.5 text-left hover:bg-hover"
              aria-label={`${me.principal.name}: settings`}
              title={me.principal.name}
            >
              <UserRound size={15} aria-hidden className="shrink-0 text-ink-3" />
              <span className="truncate text-sm text-ink-2 sm:hidden lg:inline">{me.principal.name}</span>
            </button>
          }
          items={[
            {
              label: "System theme",
              icon: <Monitor size={14} />,
              checked: theme === "system",
              onSelect: () => setTheme("system"),
            },
            {
              label: "Light",
              icon: <Sun size={14} />,
              checked: theme === "light",
              onSelect: () => setTheme("light"),
            },
            {
              label: "Dark",
              icon: <Moon size={14} />,
              checked: theme === "dark",
              onSelect: () => setTheme("dark"),
            },
            null,
            { label: "Keyboard shortcuts", icon: <Keyboard size={14} />, onSelect: onShortcuts },
            ...(me.via === "session"
              ? [null, { label: "Sign out", icon: <LogOut size={14} />, onSelect: () => void leave() }]
              : []),
          ]}
        />
        <Fresh me={me} className="max-sm:hidden" word="sm:sr-only lg:not-sr-only" />
      </div>
    </div>
  );
}
