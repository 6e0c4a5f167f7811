/** What stands around every page: the navigation, the sign-in, the palette, the one stream of this tab. */

import { useQueryClient } from "@tanstack/react-query";
import { Outlet } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { followHints } from "~/api/cache";
import { onSignedOut } from "~/api/client";
import { live } from "~/api/live";
import { type Me, useMe } from "~/api/session";
import { ErrorState, Skeleton } from "~/design/States";
import { Toasts } from "~/design/Toasts";
import { useHotkeyListener, useHotkeys } from "~/lib/hotkeys";
import { useGo } from "./go";
import { Nav } from "./Nav";
import { Palette } from "./Palette";
import { Shortcuts } from "./Shortcuts";
import { SignIn } from "./SignIn";

export function Shell() {
  const me = useMe();
  const [signedOut, setSignedOut] = useState(false);
  useHotkeyListener();
  useEffect(() => onSignedOut(() => setSignedOut(true)), []);
  const enter = (): void => {
    setSignedOut(false);
    void me.refetch();
  };
  return (
    <>
      {me.data !== undefined ? (
        <House me={me.data} />
      ) : signedOut ? null : me.isError ? (
        <ErrorState error={me.error} onRetry={() => void me.refetch()} />
      ) : (
        <div className="flex h-full" role="status" aria-label="Loading">
          <Skeleton className="hidden w-52 rounded-none sm:block" />
        </div>
      )}
      <SignIn open={signedOut} again={me.data !== undefined} onEntered={enter} />
      <Toasts />
    </>
  );
}

function House({ me }: { me: Me }) {
  const cache = useQueryClient();
  const go = useGo();
  const [palette, setPalette] = useState(false);
  const [shortcuts, setShortcuts] = useState(false);
  useEffect(() => {
    const stop = followHints(cache);
    live.start();
    return () => {
      stop();
      live.stop();
    };
  }, [cache]);
  useHotkeys([
    { keys: "mod+k", does: "Search and commands", group: "Everywhere", run: () => setPalette(true) },
    { keys: "?", does: "These keys", group: "Everywhere", run: () => setShortcuts(true) },
    { keys: "g o", does: "Overview", group: "Go to", run: () => go("/") },
    { keys: "g c", does: "Chat", group: "Go to", run: () => go("/chat") },
    { keys: "g a", does: "Approvals", group: "Go to", run: () => go("/approvals") },
    { keys: "g r", does: "Runs", group: "Go to", run: () => go("/runs") },
    { keys: "g e", does: "Effects", group: "Go to", run: () => go("/effects") },
    { keys: "g t", does: "Agents", group: "Go to", run: () => go("/agents") },
  ]);
  return (
    <div className="flex h-full flex-col sm:flex-row">
      <a
        href="#page"
        className="sr-only focus:not-sr-only focus:absolute focus:left-2 focus:top-2 focus:z-50 focus:rounded-md focus:bg-raised focus:px-3 focus:py-2"
      >
        Skip to the page
      </a>
      <Nav me={me} onPalette={() => setPalette(true)} onShortcuts={() => setShortcuts(true)} />
      <main id="page" tabIndex={-1} className="flex min-h-0 min-w-0 grow flex-col outline-none">
        <Outlet />
      </main>
      <Palette open={palette} onClose={() => setPalette(false)} />
      <Shortcuts open={shortcuts} onClose={() => setShortcuts(false)} />
    </div>
  );
}
