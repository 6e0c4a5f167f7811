/** What stands around every page: the navigation, the sign-in, the palette, the one stream of this tab. */

import { useQueryClient } from "@tanstack/react-query";
import { Outlet } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { followHints, poll } from "~/api/cache";
import { onSignedOut } from "~/api/client";
import { live } from "~/api/live";
import { type Me, may, useMe } from "~/api/session";
import { ErrorState, Skeleton } from "~/design/States";
import { Toasts, toastToDo } from "~/design/Toasts";
import { useHotkeyListener, useHotkeys } from "~/lib/hotkeys";
import { useGo } from "./go";
import { Nav } from "./Nav";
import { builtThere } from "./outdated";
import { Palette } from "./Palette";
import { placesOf } from "./places";
import { Shortcuts } from "./Shortcuts";
import { SignIn } from "./SignIn";

export function Shell() {
  const me = useMe();
  const cache = useQueryClient();
  const [signedOut, setSignedOut] = useState(false);
  const refetch = me.refetch;
  useHotkeyListener();
  useEffect(() => onSignedOut(() => setSignedOut(true)), []);
  const enter = async (): Promise<void> => {
    const { data } = await refetch();
    if (data === undefined) return;
    setSignedOut(false);
    await cache.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== "me" });
    live.wake();
  };
  const entering = useRef(enter);
  useEffect(() => {
    entering.current = enter;
  });
  useEffect(() => {
    if (!signedOut) return;
    // Somebody may have signed in in another tab.
    const look = (): void => void (document.visibilityState === "visible" && entering.current());
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, [signedOut]);
  return (
    <>
      {me.data !== undefined ? (
        <House me={me.data} />
      ) : signedOut ? null : me.isError ? (
        <main className="flex h-full flex-col justify-center">
          <h1 className="sr-only">Holdfast</h1>
          <ErrorState error={me.error} onRetry={() => void refetch()} />
        </main>
      ) : (
        <div className="flex h-full" role="status" aria-label="Loading">
          <Skeleton className="hidden w-52 rounded-none sm:block" />
        </div>
      )}
      <SignIn open={signedOut} again={me.data !== undefined} onEntered={() => void enter()} />
      <Toasts />
    </>
  );
}

function House({ me }: { me: Me }) {
  const go = useGo();
  const [palette, setPalette] = useState(false);
  const [shortcuts, setShortcuts] = useState(false);
  useFresh(may(me, "runs:read"));
  useHotkeys([
    { keys: "mod+k", does: "Search and commands", group: "Everywhere", run: () => setPalette(true) },
    { keys: "?", does: "These keys", group: "Everywhere", run: () => setShortcuts(true) },
    ...placesOf(me).map(({ key, label, to }) => ({
      keys: `g ${key}`,
      does: label,
      group: "Go to",
      run: () => go(to),
    })),
  ]);
  return (
    <div className="flex h-full flex-col sm:flex-row">
      {/* No link: the page has a base address, so one to a part of it would lead to another page. */}
      <button
        type="button"
        onClick={() => document.getElementById("page")?.focus()}
        className="sr-only focus:not-sr-only focus:absolute focus:left-2 focus:top-2 focus:z-50 focus:rounded-md focus:bg-raised focus:px-3 focus:py-2"
      >
        Skip to the page
      </button>
      <Nav me={me} onPalette={() => setPalette(true)} onShortcuts={() => setShortcuts(true)} />
      <main id="page" tabIndex={-1} className="flex min-h-0 min-w-0 grow flex-col outline-none">
        <Outlet />
      </main>
      <Palette me={me} open={palette} onClose={() => setPalette(false)} />
      <Shortcuts open={shortcuts} onClose={() => setShortcuts(false)} />
    </div>
  );
}

/** What is shown stays as new as the server is; also the page itself. */
function useFresh(mayFollow: boolean): void {
  const cache = useQueryClient();
  useEffect(() => {
    if (!mayFollow) return poll(cache);
    const stop = followHints(cache);
    let told = false;
    const stopGaps = live.onGap(() => {
      if (!told)
        void builtThere().then((build) => {
          if (build !== "newer" || told) return;
          told = true;
          toastToDo("The server has a newer version of this page.", "Reload", () => location.reload());
        });
    });
    live.start();
    return () => {
      stop();
      stopGaps();
      live.stop();
    };
  }, [cache, mayFollow]);
}
