/** A JSON schema to be read, and as JSON. */

import clsx from "clsx";
import { useMemo, useState } from "react";
import { Button } from "~/design/Button";
import { JsonView } from "~/design/Json";
import { oneLine } from "~/lib/text";
import { schemaRows, typeOf } from "./schemaRows";

export function SchemaView({ schema, name, title }: { schema: unknown; name: string; title: string }) {
  const [asJson, setAsJson] = useState(false);
  const rows = useMemo(() => schemaRows(schema), [schema]);
  const type = useMemo(() => typeOf(schema, schema), [schema]);
  return (
    <div className="min-w-0">
      <div className="mb-1 flex items-center justify-between gap-2">
        <h3 className="text-xs font-medium text-ink-2">
          {title} <span className="font-normal text-ink-3">{rows.length === 0 ? "" : type}</span>
        </h3>
        <Button
          look="quiet"
          size="sm"
          aria-pressed={asJson}
          onClick={() => setAsJson(!asJson)}
          className="!h-6"
        >
          {asJson ? "In words" : "As JSON"}
        </Button>
      </div>
      {asJson ? (
        <JsonView value={schema} name={name} />
      ) : rows.length === 0 ? (
        <p className="text-sm">{type}</p>
      ) : (
        <ul className="divide-y divide-line border-y border-line">
          {rows.map((row, index) => (
            <li
              key={index}
              className="flex min-w-0 flex-wrap items-baseline gap-x-2 py-1"
              style={{ paddingLeft: `${row.depth}rem` }}
            >
              <span className="font-mono text-xs text-accent-text [overflow-wrap:anywhere]">
                {oneLine(row.path, 80)}
              </span>
              <span className="text-xs text-ink-2">{oneLine(row.type, 120)}</span>
              <span className={clsx("text-2xs", row.required ? "text-ink-2" : "text-ink-3")}>
                {row.required ? "required" : "optional"}
              </span>
              {row.says && (
                <span dir="auto" className="basis-full text-xs text-ink-3 [overflow-wrap:anywhere]">
                  {oneLine(row.says, 400)}
                </span>
              )}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
