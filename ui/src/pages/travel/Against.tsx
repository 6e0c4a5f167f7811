/** Two values against each other: what differs member by member where both have members, else side by side. */

import type { ReactNode } from "react";
import { JsonView } from "~/design/Json";
import { JsonDiff } from "~/design/JsonDiff";
import { inert } from "~/lib/text";

export interface Side {
  readonly label: ReactNode;
  readonly value: unknown;
}

const TEXT_CHARS_MAX = 20_000;

export function Against({ one, two }: { one: Side; two: Side }) {
  if (!isAlike(one.value, two.value)) return <Beside one={one} two={two} />;
  return (
    <div className="flex min-w-0 flex-col gap-3">
      <div className="flex flex-wrap items-center gap-x-6 gap-y-1 text-xs text-ink-2">
        {one.label}
        {two.label}
      </div>
      <JsonDiff before={one.value} after={two.value} />
      <details>
        <summary className="cursor-pointer rounded-sm text-xs font-medium text-ink-2 hover:text-ink">
          Both in full
        </summary>
        <div className="mt-2">
          <Beside one={one} two={two} />
        </div>
      </details>
    </div>
  );
}

const isMembers = (value: unknown): value is object => typeof value === "object" && value !== null;
const isAlike = (one: unknown, two: unknown): boolean =>
  isMembers(one) && isMembers(two) && Array.isArray(one) === Array.isArray(two);

function Beside({ one, two }: { one: Side; two: Side }) {
  return (
    <div className="grid min-w-0 gap-3 md:grid-cols-2">
      {[one, two].map((side, index) => (
        <div key={index} className="min-w-0">
          <div className="mb-1 text-xs font-medium text-ink-2">{side.label}</div>
          <Value value={side.value} />
        </div>
      ))}
    </div>
  );
}

/** Text as text, anything else as JSON. */
export function Value({ value }: { value: unknown }) {
  if (value === null || value === undefined) return <p className="text-sm text-ink-3">Nothing</p>;
  if (typeof value !== "string") return <JsonView value={value} />;
  return (
    <p
      dir="auto"
      tabIndex={0}
      className="max-h-96 overflow-y-auto whitespace-pre-wrap rounded-md bg-sunken px-3 py-2 text-sm [overflow-wrap:anywhere]"
    >
      {inert(value.slice(0, TEXT_CHARS_MAX))}
      {value.length > TEXT_CHARS_MAX && "…"}
    </p>
  );
}
