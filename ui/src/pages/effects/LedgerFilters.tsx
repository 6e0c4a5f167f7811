import { useAgents } from "~/api/hooks";
import { EFFECT_STATUSES } from "~/app/search";
import { Choice } from "~/design/Choice";
import { FilterBar, RunChip } from "~/design/FilterBar";
import type { LedgerSearch } from "./ledger";

export function LedgerFilters({
  search,
  onChange,
}: {
  search: LedgerSearch;
  onChange: (change: { [K in keyof LedgerSearch]?: LedgerSearch[K] | undefined }) => void;
}) {
  const agents = useAgents();
  const known = agents.data ?? [];
  const tools = [
    ...new Set(
      known.flatMap((one) => one.tools.filter((tool) => tool.effect !== "read").map((tool) => tool.name)),
    ),
  ].sort();
  return (
    <FilterBar className="flex flex-wrap items-center px-4 py-2.5 sm:px-5 sm:[&_select]:min-w-32">
      <div className="grid w-full grid-cols-3 gap-2 sm:flex sm:w-auto">
        <Choice
          label="Status"
          any="Any status"
          value={search.status}
          options={EFFECT_STATUSES}
          onChange={(status) => onChange({ status: EFFECT_STATUSES.find((one) => one === status) })}
        />
        <Choice
          label="Agent"
          any="All agents"
          value={search.agent}
          options={known.map((one) => one.id)}
          onChange={(agent) => onChange({ agent })}
        />
        <Choice
          label="Tool"
          any="All tools"
          value={search.tool}
          options={tools}
          onChange={(tool) => onChange({ tool })}
        />
      </div>
      <RunChip run={search.run} onAll={() => onChange({ run: undefined })} />
    </FilterBar>
  );
}
