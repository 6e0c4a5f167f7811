import { inert } from "~/lib/text";
import { JsonView } from "./Json";

const INLINE_CHARS_MAX = 2_000;

const isPlain = (value: unknown): boolean =>
  typeof value === "string" ? value.length <= INLINE_CHARS_MAX : typeof value !== "object" || value === null;

/** The members of a value as a list to be read: plain ones as text, the rest as a tree. */
export function Arguments({
  value,
  name,
}: {
  value: Readonly<Record<string, unknown>> | null;
  name?: string;
}) {
  const members = Object.entries(value ?? {});
  if (members.length === 0) return <p className="text-xs text-ink-3">It takes no arguments.</p>;
  if (members.length > 40) return <JsonView value={value} name={name ?? "arguments.json"} />;
  return (
    <dl className="grid min-w-0 grid-cols-1 gap-x-4 gap-y-2 rounded-md border border-line px-3 py-2.5 @md:grid-cols-[minmax(6rem,max-content)_minmax(0,1fr)]">
      {members.map(([key, member]) => (
        <div key={key} className="contents">
          <dt className="max-w-48 font-mono text-xs leading-5 text-ink-2 [overflow-wrap:anywhere]">
            {inert(key)}
          </dt>
          <dd className="-mt-1.5 min-w-0 @md:mt-0">
            {isPlain(member) ? (
              <span
                dir="auto"
                className="block whitespace-pre-wrap text-sm tabular text-ink [overflow-wrap:anywhere]"
              >
                {typeof member === "string" ? inert(member) || "“”" : String(member)}
              </span>
            ) : (
              <JsonView value={member} name={`${key}.json`} className="max-h-80 overflow-y-auto" />
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}
