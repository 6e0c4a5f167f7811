/** What stands where a page should be, when it could not be loaded or failed while it was shown. The rest goes on. */

import { type ErrorComponentProps, useRouter } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { Problem, unreachable } from "~/api/problem";
import { PageBody, PageHeader } from "~/design/Page";
import { ErrorState } from "~/design/States";
import { builtThere } from "./outdated";

/** A part of the application that the server did not give. */
export class PartMissing extends Error {
  constructor(cause: unknown) {
    super("This part of the page could not be loaded.", { cause });
    this.name = "PartMissing";
  }
}

export function PageError({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  const again = (): void => {
    reset();
    void router.invalidate();
  };
  return (
    <>
      <PageHeader title={error instanceof PartMissing ? "Not loaded" : "Something went wrong"} />
      <PageBody>
        {error instanceof PartMissing ? (
          <Missing error={error} />
        ) : (
          <ErrorState error={error} onRetry={again} what="This page" />
        )}
      </PageBody>
    </>
  );
}

const LOOK_MS = 3_000;

/** A newer build has another name for it, which the newer page knows; a server that is away will have it when it is back. */
function Missing({ error }: { error: PartMissing }) {
  const [away, setAway] = useState(false);
  useEffect(() => {
    void builtThere().then((there) => {
      if (there === "newer") reloadOnce();
      else if (there === "unreachable") setAway(true);
    });
  }, []);
  useEffect(() => {
    if (!away) return;
    const timer = setInterval(() => {
      void builtThere().then((there) => there !== "unreachable" && location.reload());
    }, LOOK_MS);
    return () => clearInterval(timer);
  }, [away]);
  /** Not before the server answers: the browser's own page of an error would take the place of this one. */
  const tryAgain = async (): Promise<void> => {
    if ((await builtThere()) === "unreachable") setAway(true);
    else location.reload();
  };
  return <ErrorState error={away ? unreachable() : shown(error)} onRetry={() => void tryAgain()} />;
}

const shown = (error: PartMissing): Problem => new Problem(-1, { detail: error.message });

/** Somebody in between may go on giving the old page: then once is enough. */
function reloadOnce(): void {
  const KEY = "holdfast.reloaded";
  try {
    if (Date.now() - Number(sessionStorage.getItem(KEY) ?? 0) < 60_000) return;
    sessionStorage.setItem(KEY, String(Date.now()));
  } catch {
    return; // Storage is blocked; the button does it.
  }
  location.reload();
}
