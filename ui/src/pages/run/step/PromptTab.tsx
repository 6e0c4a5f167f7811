import { useState } from "react";
import { Button } from "~/design/Button";
import { CopyButton } from "~/design/Facts";
import { JsonView, written } from "~/design/Json";
import { ErrorState, Skeleton } from "~/design/States";
import { toastError } from "~/design/Toasts";
import { bytes, plural } from "~/lib/format";
import { inert } from "~/lib/text";
import { PlainText } from "~/transcript/LongText";
import { Labelled, Parts } from "./Parts";
import { askedOf } from "./prompt";
import { savePrompt, usePrompt } from "./queries";

const WHO = { system: "System", user: "User", assistant: "Model", tool: "Tool" } as const;
/** The last messages are what a prompt is about; earlier ones come on demand. */
const SHOWN = 20;

/** What a model was asked, exactly: instructions, messages, tools, settings. */
export function PromptTab({ runId, seq }: { runId: string; seq: number }) {
  const prompt = usePrompt(runId, seq);
  if (prompt.isError)
    return <ErrorState error={prompt.error} onRetry={() => void prompt.refetch()} what="This prompt" />;
  if (prompt.data === undefined) return <Skeleton className="h-64" />;
  const asked = prompt.data;
  if (asked.cut)
    return (
      <div className="flex flex-wrap items-center gap-3 rounded-md bg-sunken p-3">
        <p className="grow text-sm text-ink-2">{bytes(asked.bytes)}: more than a page shows well.</p>
        <Button
          size="sm"
          onClick={() =>
            savePrompt(runId, seq).catch((error: unknown) =>
              toastError("The prompt could not be downloaded", error),
            )
          }
        >
          Download
        </Button>
      </div>
    );
  const tools = Array.isArray(asked.tools) ? (asked.tools as readonly Tool[]) : [];
  return (
    <div className="flex flex-col gap-4">
      <div className="flex min-w-0 items-center gap-2 text-xs text-ink-2">
        <span className="min-w-0 truncate font-mono text-ink">{inert(String(asked.model))}</span>
        <span>{plural(asked.messages.length, "message")}</span>
        <span>{plural(tools.length, "tool")}</span>
        <span className="tabular">{bytes(asked.bytes)}</span>
        <span className="ml-auto">
          <CopyButton text={() => written(asked)} label="Copy the prompt as JSON" />
        </span>
      </div>
      {typeof asked.instructions === "string" && asked.instructions !== "" && (
        <Labelled
          label="Instructions"
          actions={<CopyButton text={asked.instructions} label="Copy the instructions" />}
        >
          <PlainText text={asked.instructions} className="rounded-md bg-sunken p-2.5 text-xs leading-5" />
        </Labelled>
      )}
      <Messages messages={asked.messages} />
      {tools.length > 0 && (
        <Labelled label="Tools">
          <ul className="flex flex-col gap-1">
            {tools.map((tool, index) => (
              <li key={index}>
                <details className="rounded-md border border-line">
                  <summary className="cursor-pointer truncate px-2.5 py-1.5 text-xs">
                    <span className="font-mono font-medium">{inert(tool.name ?? "tool")}</span>
                    <span className="ml-2 text-ink-3">{inert(tool.description ?? "").slice(0, 120)}</span>
                  </summary>
                  <JsonView value={tool} name={`${tool.name ?? "tool"}.json`} />
                </details>
              </li>
            ))}
          </ul>
        </Labelled>
      )}
      <Labelled label="Settings and output">
        <JsonView value={{ settings: asked.settings, output: asked.output }} name="settings.json" />
      </Labelled>
    </div>
  );
}

interface Tool {
  readonly name?: string;
  readonly description?: string;
}

function Messages({ messages }: { messages: readonly unknown[] }) {
  const [most, setMost] = useState(SHOWN);
  const shown = messages.slice(-most);
  const hidden = messages.length - shown.length;
  return (
    <Labelled label="Messages">
      {hidden > 0 && (
        <Button look="quiet" size="sm" onClick={() => setMost(most * 4)}>
          {plural(hidden, "earlier message")}
        </Button>
      )}
      <ol className="flex flex-col gap-2">
        {askedOf(shown).map((one, index) => (
          <li key={index} className="min-w-0 rounded-md border border-line p-2.5">
            <div className="mb-1 text-xs font-medium text-ink-3">{WHO[one.role]}</div>
            <Parts parts={one.parts} />
          </li>
        ))}
      </ol>
    </Labelled>
  );
}
