import { Search } from "lucide-react";
import { useEffect, useState } from "react";
import { STEP_OUTCOMES } from "~/app/search";
import { Input, Select } from "~/design/Field";
import { useSelection } from "./selection";

const TYPING_MS = 200;

/** Which steps are shown, in the address; the same for the timeline and the journal. */
export function StepFilters({ kinds }: { kinds: readonly string[] }) {
  const { search, change } = useSelection();
  const [words, setWords] = useState(search.q ?? "");
  useEffect(() => setWords(search.q ?? ""), [search.q]);
  useEffect(() => {
    if (words === (search.q ?? "")) return;
    const timer = setTimeout(() => change({ q: words || undefined }), TYPING_MS);
    return () => clearTimeout(timer);
  }, [words, search.q, change]);
  return (
    <>
      <div className="relative w-28 max-w-64 grow">
        <Search size={13} aria-hidden className="pointer-events-none absolute left-2 top-2 text-ink-3" />
        <Input
          type="search"
          aria-label="Search steps"
          placeholder="Search steps"
          value={words}
          onChange={(event) => setWords(event.target.value)}
          className="!h-7 !pl-7 !text-xs"
        />
      </div>
      <Select
        aria-label="Kind of step"
        value={search.kind ?? ""}
        onChange={(event) => change({ kind: event.target.value || undefined })}
        className="!h-7 !w-auto !text-xs"
      >
        <option value="">All kinds</option>
        {kinds.map((kind) => (
          <option key={kind}>{kind}</option>
        ))}
      </Select>
      <Select
        aria-label="Outcome"
        value={search.outcome ?? ""}
        onChange={(event) =>
          change({ outcome: STEP_OUTCOMES.find((one) => one === event.target.value) ?? undefined })
        }
        className="!h-7 !w-auto !text-xs"
      >
        <option value="">All outcomes</option>
        {STEP_OUTCOMES.map((outcome) => (
          <option key={outcome}>{outcome}</option>
        ))}
      </Select>
    </>
  );
}
