import type { Run } from "~/api/types";
import { PageBody } from "~/design/Page";
import { ReplayPanel } from "~/pages/travel/ReplayPanel";

export function ReplayView({ run }: { run: Run }) {
  return (
    <PageBody>
      <ReplayPanel run={run} />
    </PageBody>
  );
}
