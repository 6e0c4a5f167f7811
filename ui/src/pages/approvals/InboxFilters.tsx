import { useMemo } from "react";
import { useAgents } from "~/api/hooks";
import { APPROVAL_AGES } from "~/app/search";
import { Choice } from "~/design/Choice";
import { Select } from "~/design/Field";
import { FilterBar, RunChip } from "~/design/FilterBar";
import { Segmented } from "~/design/Segmented";
import type { InboxSearch } from "./inbox";

const AGE_WORDS: Readonly<Record<(typeof APPROVAL_AGES)[number], string>> = {
  hour: "Over an hour old",
  day: "Over a day old",
  week: "Over a week old",
};

export function InboxFilters({
  search,
  onChange,
}: {
  search: InboxSearch;
  onChange: (change: { [K in keyof InboxSearch]?: InboxSearch[K] | undefined }) => void;
}) {
  const agents = useAgents();
  const known = useMemo(() => agents.data ?? [], [agents.data]);
  const tools = useMemo(() => toolsOf(known, search.agent), [known, search.agent]);
  const names = known.map((one) => one.id);
  return (
    <FilterBar className="grid grid-cols-3 px-4 py-3 sm:px-5">
      <Segmented
        label="Which questions"
        className="col-span-3"
        value={search.view ?? "pending"}
        onChange={(view) => onChange({ view: view === "decided" ? view : undefined })}
        options={[
          { value: "pending", label: "Open" },
          { value: "decided", label: "Decided" },
        ]}
      />
      <Choice
        label="Agent"
        any="All agents"
        value={search.agent}
        options={names}
        onChange={(agent) => onChange({ agent })}
      />
      <Choice
        label="Tool"
        any="All tools"
        value={search.tool}
        options={tools}
        onChange={(tool) => onChange({ tool })}
      />
      <Select
        aria-label="Age"
        className="!h-7 !pl-1.5 !pr-0 !text-xs"
        value={search.age ?? ""}
        onChange={(event) => onChange({ age: APPROVAL_AGES.find((one) => one === event.target.value) })}
      >
        <option value="">Any age</option>
        {APPROVAL_AGES.map((age) => (
          <option key={age} value={age}>
            {AGE_WORDS[age]}
          </option>
        ))}
      </Select>
      <RunChip run={search.run} onAll={() => onChange({ run: undefined })} />
    </FilterBar>
  );
}

function toolsOf(
  agents: readonly { id: string; tools: readonly { name: string }[] }[],
  agent?: string,
): string[] {
  const names = agents
    .filter((one) => agent === undefined || one.id === agent)
    .flatMap((one) => one.tools.map((tool) => tool.name));
  return [...new Set(names)].sort();
}
