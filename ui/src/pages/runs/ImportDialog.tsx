import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { FileInput } from "lucide-react";
import { type DragEvent, useEffect, useId, useRef, useState } from "react";
import { request } from "~/api/client";
import { useOnceKey } from "~/api/once";
import { messageOf, Problem } from "~/api/problem";
import type { components } from "~/api/types";
import { useGo } from "~/app/go";
import { Dialog } from "~/design/Dialog";
import { Id } from "~/design/Facts";
import { toast } from "~/design/Toasts";
import { plural } from "~/lib/format";

type Imported = components["schemas"]["ImportsOut"];

/** Bring in runs out of files that `export` gave. All of a file or nothing; what was refused says at which line. */
export function ImportDialog({ file, onClose }: { file: File | null; onClose: () => void }) {
  const cache = useQueryClient();
  const go = useGo();
  const id = useId();
  const keyFor = useOnceKey();
  const [over, setOver] = useState(false);
  const bring = useMutation({
    mutationFn: async (chosen: File): Promise<Imported> => {
      const name = [chosen.name, chosen.size, chosen.lastModified];
      const answer = await request("/v1/runs/import", {
        method: "POST",
        headers: { "content-type": "application/x-ndjson", "idempotency-key": keyFor(name) },
        body: chosen,
      });
      return answer.json();
    },
    onSuccess: ({ data }) => {
      void cache.invalidateQueries({ queryKey: ["runs"] });
      toast(`${plural(data.length, "run")} imported.`);
      const only = data.length === 1 ? data[0] : undefined;
      if (only) {
        onClose();
        go(`/runs/${only.run_id}`);
      }
    },
  });
  const { mutate } = bring;
  const begun = useRef<File | null>(null);
  useEffect(() => {
    if (file === null || begun.current === file) return;
    begun.current = file;
    mutate(file);
  }, [file, mutate]);
  const dropped = (event: DragEvent): void => {
    event.preventDefault();
    event.stopPropagation();
    setOver(false);
    const found = event.dataTransfer.files[0];
    if (found) mutate(found);
  };
  return (
    <Dialog
      open
      onClose={onClose}
      title="Import runs"
      description="Journals that were exported here or on another server. They are looked at, replayed and forked, never resumed."
    >
      <div className="flex flex-col gap-3">
        <label
          htmlFor={id}
          onDragOver={(event) => {
            event.preventDefault();
            setOver(true);
          }}
          onDragLeave={() => setOver(false)}
          onDrop={dropped}
          className={clsx(
            "flex cursor-pointer flex-col items-center gap-2 rounded-lg border border-dashed px-4 py-8 text-center focus-within:outline-2 focus-within:outline-accent",
            over ? "border-accent bg-accent-soft" : "border-line-2 bg-sunken",
          )}
        >
          <FileInput size={20} aria-hidden className="text-ink-3" />
          <span className="text-sm">
            {bring.isPending ? "Importing…" : "Drop a file here, or choose one"}
          </span>
          <span className="text-xs text-ink-3">JSON lines, as “Export journal” of a run gives them</span>
          <input
            id={id}
            type="file"
            accept=".jsonl,.ndjson,application/x-ndjson"
            disabled={bring.isPending}
            onChange={(event) => {
              const chosen = event.target.files?.[0];
              event.target.value = "";
              if (chosen) mutate(chosen);
            }}
            className="sr-only"
          />
        </label>
        <div aria-live="polite">
          {bring.isError && <Refused error={bring.error} />}
          {bring.data && bring.data.data.length !== 1 && (
            <ul className="flex flex-col gap-1 text-sm">
              {bring.data.data.map((one) => (
                <li key={one.run_id}>
                  <Link
                    to="/runs/$runId"
                    params={{ runId: one.run_id }}
                    className="text-accent-text hover:underline"
                  >
                    <Id id={one.run_id} />
                  </Link>
                  <span className="ml-2 text-xs text-ink-3">
                    was <Id id={one.was} />
                  </span>
                </li>
              ))}
            </ul>
          )}
        </div>
      </div>
    </Dialog>
  );
}

function Refused({ error }: { error: unknown }) {
  const places = error instanceof Problem ? (error.body.errors ?? []) : [];
  return (
    <div role="alert" className="rounded-md bg-bad-soft p-3 text-sm">
      <p className="font-medium text-bad">Nothing was imported.</p>
      {places.length === 0 ? (
        <p className="mt-1 [overflow-wrap:anywhere]">{messageOf(error)}</p>
      ) : (
        <ul className="mt-1 flex flex-col gap-1">
          {places.slice(0, 10).map((place, index) => {
            const line = place.loc.find((one) => typeof one === "number");
            return (
              <li key={index} className="[overflow-wrap:anywhere]">
                {line !== undefined && <span className="mr-2 font-medium tabular">Line {line}</span>}
                {place.msg}
              </li>
            );
          })}
        </ul>
      )}
    </div>
  );
}
