import type { ReactNode } from "react";
import type { Part } from "~/api/types";
import { JsonView } from "~/design/Json";
import { KindIcon } from "~/design/Kind";
import { inert } from "~/lib/text";
import { ModelText, PlainText } from "~/transcript/LongText";

/** The parts of a message, one below the other. */
export function Parts({ parts }: { parts: readonly Part[] }) {
  if (parts.length === 0) return <p className="text-xs text-ink-3">No parts.</p>;
  return (
    <div className="flex min-w-0 flex-col gap-3">
      {parts.map((part, index) => (
        <PartView key={index} part={part} />
      ))}
    </div>
  );
}

function PartView({ part }: { part: Part }) {
  switch (part.type) {
    case "text":
      return <ModelText text={part.text} streaming={false} />;
    case "thinking":
      return (
        <Labelled label="Thinking">
          <PlainText text={part.text} className="border-l-2 border-line-2 pl-2.5 text-xs text-ink-2" />
        </Labelled>
      );
    case "tool_call":
      return (
        <Called label="calls" name={part.name}>
          <JsonView value={part.arguments} name={`${part.name}.json`} />
        </Called>
      );
    case "tool_result":
      return (
        <Called label={part.error != null ? "failed" : "result of"} name={part.name ?? "tool"}>
          <Value value={part.error ?? part.result} name={`${part.name ?? "tool"}.json`} />
        </Called>
      );
    case "file":
      return <JsonView value={{ ...part, data: part.data && `${part.data.length} characters of base64` }} />;
    default:
      return <JsonView value={"data" in part ? part.data : part} />;
  }
}

/** A value as what it is: text as text, the rest as a tree. */
export function Value({ value, name = "value.json" }: { value: unknown; name?: string }) {
  if (typeof value !== "string") return <JsonView value={value} name={name} />;
  return <PlainText text={value} className="rounded-md bg-sunken p-2.5 font-mono text-xs leading-5" />;
}

function Called({ label, name, children }: { label: string; name: string; children: ReactNode }) {
  return (
    <div className="min-w-0">
      <div className="mb-1 flex min-w-0 items-center gap-1.5 text-xs text-ink-2">
        <KindIcon kind="tool" size={13} />
        {label}
        <span dir="auto" className="truncate font-mono font-medium text-ink">
          {inert(name)}
        </span>
      </div>
      {children}
    </div>
  );
}

export function Labelled({
  label,
  actions,
  children,
}: {
  label: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}) {
  return (
    <section className="min-w-0">
      <div className="mb-1 flex min-h-6 items-center gap-2">
        <h3 className="grow text-2xs font-medium uppercase tracking-wide text-ink-3">{label}</h3>
        {actions}
      </div>
      {children}
    </section>
  );
}
