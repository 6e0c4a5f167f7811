/** The runs of a family in rows along their lines, to be looked over, opened and compared. */

import { GitCompareArrows } from "lucide-react";
import { useRef, useState } from "react";
import type { components, Run } from "~/api/types";
import { useGo } from "~/app/go";
import { Button } from "~/design/Button";
import { plural } from "~/lib/format";
import { useHotkeys } from "~/lib/hotkeys";
import { lanesOf, type Row, rowsOf } from "./lanes";
import { Relation } from "./Relation";
import { nameAt } from "./StepStrip";
import { useSteps } from "./steps";

type Relative = components["schemas"]["RelativeOut"];

export function FamilyTree({ run, relatives }: { run: Run; relatives: readonly Relative[] }) {
  const go = useGo();
  const rows = rowsOf(relatives);
  const lanes = lanesOf(rows);
  const steps = useSteps(run.id);
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const list = useRef<HTMLUListElement>(null);
  const choose = (id: string): void =>
    setChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen.slice(-1), id]);
  const [one, two] = chosen.length === 1 && chosen[0] !== run.id ? [run.id, chosen[0]] : chosen;
  const ready = one !== undefined && two !== undefined;
  const compare = (): void => {
    if (ready) go(`/runs/${inOrder(rows, one, two).join("/diff/")}`);
  };
  const move = (by: number): void => {
    const links = [...(list.current?.querySelectorAll<HTMLElement>("[data-run]") ?? [])];
    const at = links.findIndex((link) => link.closest("li")?.contains(document.activeElement));
    links[Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
  };
  useHotkeys([
    { keys: "j", does: "Next run", group: "Forks", run: () => move(1) },
    { keys: "k", does: "Run before", group: "Forks", run: () => move(-1) },
    {
      keys: "x",
      does: "Select the run to compare",
      group: "Forks",
      run: () => {
        const id = document.activeElement?.closest("li")?.querySelector<HTMLElement>("[data-run]")
          ?.dataset.run;
        if (id !== undefined) choose(id);
      },
    },
    { keys: "c", does: "Compare the selected", group: "Forks", run: compare },
  ]);
  return (
    <section aria-label="Tree of forks" className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center gap-2">
        <p aria-live="polite" className="min-w-0 grow text-xs text-ink-2">
          {ready
            ? one === run.id && chosen.length === 1
              ? "This run and the selected one."
              : "Two runs are selected."
            : `${plural(rows.length, "run")}. Select one to compare it with this one, or two.`}
        </p>
        <Button
          size="sm"
          look={ready ? "primary" : "plain"}
          disabled={!ready}
          icon={<GitCompareArrows size={13} aria-hidden />}
          onClick={compare}
        >
          Compare
        </Button>
      </div>
      <ul ref={list} className="overflow-hidden rounded-lg border border-line bg-surface">
        {rows.map((row) => (
          <Relation
            key={row.of.id}
            row={row}
            lanes={lanes}
            current={row.of.id === run.id}
            chosen={chosen.includes(row.of.id)}
            onChoose={() => choose(row.of.id)}
            leftAt={
              row.of.forked_from?.run_id === run.id && steps.data !== undefined
                ? nameAt(steps.data, row.of.forked_from.at)
                : null
            }
          />
        ))}
      </ul>
    </section>
  );
}

/** The one that is older in the tree first: the original, then what became of it. */
const inOrder = (rows: readonly Row<Relative>[], one: string, two: string): readonly [string, string] => {
  const place = (id: string): number => rows.findIndex((row) => row.of.id === id);
  return place(one) <= place(two) ? [one, two] : [two, one];
};
