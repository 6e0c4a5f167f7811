/** A request as code that can be copied. */

import { useState } from "react";
import { ROOT } from "~/api/client";
import { useMe } from "~/api/session";
import { Dialog } from "~/design/Dialog";
import { CopyButton } from "~/design/Facts";
import { Segmented } from "~/design/Segmented";
import { inert } from "~/lib/text";
import { type ApiCall, asCurl, asPython } from "./snippets";

const SHOWN_CHARS = 20_000;

export function SnippetDialog({ call, onClose }: { call: ApiCall | null; onClose: () => void }) {
  const [language, setLanguage] = useState<"curl" | "python">("curl");
  const me = useMe();
  const server = { url: `${location.origin}${ROOT}`, keyed: me.data?.via !== "local" };
  const code = call === null ? "" : language === "curl" ? asCurl(server, call) : asPython(server, call);
  return (
    <Dialog
      open={call !== null}
      onClose={onClose}
      wide
      title="As code"
      description={
        server.keyed
          ? "The same request, for a shell or a program. It reads the key from HOLDFAST_API_KEY."
          : "The same request, for a shell or a program."
      }
    >
      <div className="mb-2 flex items-center justify-between gap-2">
        <Segmented
          label="Language"
          value={language}
          onChange={setLanguage}
          options={[
            { value: "curl", label: "curl" },
            { value: "python", label: "Python" },
          ]}
        />
        <CopyButton text={code} label="Copy the code" />
      </div>
      <pre
        tabIndex={0}
        className="max-h-[55dvh] overflow-auto whitespace-pre-wrap rounded-md bg-sunken p-3 font-mono text-xs leading-5 [overflow-wrap:anywhere]"
      >
        {inert(code.slice(0, SHOWN_CHARS))}
        {code.length > SHOWN_CHARS && "\n…"}
      </pre>
    </Dialog>
  );
}
