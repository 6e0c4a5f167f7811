import { Download } from "lucide-react";
import { useState } from "react";
import { request } from "~/api/client";
import type { Run } from "~/api/types";
import { Button } from "~/design/Button";
import { download } from "~/design/Json";
import { toastError } from "~/design/Toasts";
import { bytes } from "~/lib/format";
import { PlainText } from "~/transcript/LongText";

/** An input or output of a run that is too large for a page: how it begins, how large it is, and as a file. */
export function LargeValue({ run, of }: { run: Run; of: "input" | "output" }) {
  const [busy, setBusy] = useState(false);
  const cut = of === "input" ? run.input_cut : run.output_cut;
  if (cut === null) return null;
  const save = async (): Promise<void> => {
    setBusy(true);
    try {
      const whole = (await (await request(`/v1/runs/${run.id}`)).json()) as Run;
      download(JSON.stringify(whole[of]), `${run.id}-${of}.json`, "application/json");
    } catch (error) {
      toastError(`The ${of} could not be downloaded`, error);
    }
    setBusy(false);
  };
  return (
    <div className="flex min-w-0 flex-col gap-2 rounded-md bg-sunken p-3">
      {cut.preview !== "" && <PlainText text={`${cut.preview}…`} className="text-sm" />}
      <div className="flex flex-wrap items-center gap-3">
        <p className="grow text-xs text-ink-2">{bytes(cut.bytes)} of JSON: more than a page shows well.</p>
        <Button size="sm" icon={<Download size={13} />} busy={busy} onClick={() => void save()}>
          Download
        </Button>
      </div>
    </div>
  );
}
