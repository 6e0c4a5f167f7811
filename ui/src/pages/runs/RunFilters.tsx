import { Plus, X } from "lucide-react";
import { type FormEvent, useState } from "react";
import { useAgents } from "~/api/hooks";
import { RUN_STATUSES } from "~/app/search";
import { Button } from "~/design/Button";
import { Input, Select } from "~/design/Field";
import { oneLine } from "~/lib/text";
import { AGES, chipsOf, type FilterName, type RunsSearch } from "./filters";

export type Change = (change: { [K in keyof RunsSearch]?: RunsSearch[K] | undefined }) => void;

const TEXTS = [
  ["tag", "Tag"],
  ["external", "External id"],
  ["by", "Started by"],
  ["version", "Version"],
  ["thread", "Thread"],
  ["parent", "Children of"],
  ["since", "Since"],
  ["until", "Until"],
] as const satisfies readonly (readonly [FilterName, string])[];
type TextName = (typeof TEXTS)[number][0];

/** Of one width, whatever they hold: their choices come later, and nothing moves for them. */
const CONTROL = "!h-7 !w-30 shrink-0 !text-xs";

/** What of the runs is listed. Everything chosen here stands in the address, and below as a chip to take away. */
export function RunFilters({ search, change }: { search: RunsSearch; change: Change }) {
  const agents = useAgents();
  const names = [
    ...new Set([...(agents.data ?? []).map((agent) => agent.id), ...(search.agent ? [search.agent] : [])]),
  ];
  const chips = chipsOf(search);
  return (
    <section aria-label="Filters" className="shrink-0 border-b border-line bg-surface">
      <div className="flex flex-wrap items-center gap-1.5 px-4 py-2 sm:px-5">
        <Select
          aria-label="Status"
          value={search.status ?? ""}
          onChange={(event) => change({ status: RUN_STATUSES.find((one) => one === event.target.value) })}
          className={CONTROL}
        >
          <option value="">Any status</option>
          {RUN_STATUSES.map((status) => (
            <option key={status}>{status}</option>
          ))}
        </Select>
        <Select
          aria-label="Agent"
          value={search.agent ?? ""}
          onChange={(event) => change({ agent: event.target.value || undefined })}
          className={CONTROL}
        >
          <option value="">All agents</option>
          {names.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </Select>
        <Select
          aria-label="Started"
          value={AGES.some(([age]) => age === search.since) ? search.since : ""}
          onChange={(event) => change({ since: event.target.value || undefined })}
          className={CONTROL}
        >
          <option value="">Any time</option>
          {AGES.map(([age, label]) => (
            <option key={age} value={age}>
              {label}
            </option>
          ))}
        </Select>
        <Flag label="Child runs" on={search.children} onChange={(children) => change({ children })} />
        <Flag label="Forks" on={search.forked} onChange={(forked) => change({ forked })} />
        <Flag label="Imported" on={search.imported} onChange={(imported) => change({ imported })} />
        <TextFilter change={change} />
      </div>
      {chips.length > 0 && (
        <ul aria-label="Active filters" className="flex flex-wrap items-center gap-1.5 px-4 pb-2 sm:px-5">
          {chips.map((chip) => (
            <li
              key={chip.name}
              className="flex h-6 max-w-full items-center rounded-sm bg-accent-soft pl-2 text-xs text-accent-text"
            >
              <span className="truncate">
                {chip.label}: <span className="font-medium">{oneLine(chip.value, 60)}</span>
              </span>
              <button
                type="button"
                aria-label={`Remove the filter ${chip.label}`}
                title="Remove"
                onClick={() => change({ [chip.name]: undefined })}
                className="ml-1 flex size-6 items-center justify-center rounded-sm hover:bg-hover"
              >
                <X size={12} aria-hidden />
              </button>
            </li>
          ))}
          <li>
            <Button
              look="quiet"
              size="sm"
              onClick={() => change(Object.fromEntries(chips.map((chip) => [chip.name, undefined])))}
            >
              Clear all
            </Button>
          </li>
        </ul>
      )}
    </section>
  );
}

function Flag({
  label,
  on,
  onChange,
}: {
  label: string;
  on: true | undefined;
  onChange: (on: true | undefined) => void;
}) {
  return (
    <Button
      size="sm"
      look={on ? "plain" : "quiet"}
      aria-pressed={on === true}
      onClick={() => onChange(on ? undefined : true)}
      className={on ? "!border-accent !text-accent-text" : undefined}
    >
      {label}
    </Button>
  );
}

const isTime = (name: TextName): boolean => name === "since" || name === "until";

function TextFilter({ change }: { change: Change }) {
  const [name, setName] = useState<TextName>("tag");
  const [value, setValue] = useState("");
  const add = (event: FormEvent): void => {
    event.preventDefault();
    if (value.trim() === "") return;
    // What is picked is the reader's time; the address has it for everybody.
    change({ [name]: isTime(name) ? new Date(value).toISOString() : value.trim() });
    setValue("");
  };
  return (
    <form onSubmit={add} className="flex min-w-0 items-center gap-1 sm:ml-auto">
      <Select
        aria-label="Filter by"
        value={name}
        onChange={(event) => {
          setName(event.target.value as TextName);
          setValue("");
        }}
        className={CONTROL}
      >
        {TEXTS.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </Select>
      <Input
        aria-label="Value of the filter"
        type={isTime(name) ? "datetime-local" : "text"}
        placeholder="is…"
        value={value}
        onChange={(event) => setValue(event.target.value)}
        className="!h-7 !w-40 min-w-0 !text-xs"
      />
      <Button
        type="submit"
        size="sm"
        look="quiet"
        aria-label="Add the filter"
        title="Add the filter"
        className="!px-1.5"
      >
        <Plus size={14} aria-hidden />
      </Button>
    </form>
  );
}
