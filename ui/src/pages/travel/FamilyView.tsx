/** All runs that come from one by forks, as a tree: which left where, with what changed, and what came of it. */

import { useNavigate } from "@tanstack/react-router";
import { GitFork } from "lucide-react";
import { may, useMe } from "~/api/session";
import type { Run } from "~/api/types";
import { Button } from "~/design/Button";
import { PageBody } from "~/design/Page";
import { Empty, ErrorState, SkeletonRows } from "~/design/States";
import { FamilyTree } from "./FamilyTree";
import { isLost } from "./lost";
import { useFamily } from "./useFamily";

export function FamilyView({ run }: { run: Run }) {
  const family = useFamily(run.id);
  if (isLost(family)) return <ErrorState error={family.error} onRetry={() => void family.refetch()} />;
  if (family.data === undefined) return <SkeletonRows rows={4} label="Loading the forks" />;
  if (family.data.data.length <= 1) return <Alone />;
  return (
    <PageBody>
      <FamilyTree run={run} relatives={family.data.data} />
      {family.data.more && (
        <p className="text-xs text-ink-3">
          There are more forks than are shown. This run and those that it comes from are always here.
        </p>
      )}
    </PageBody>
  );
}

function Alone() {
  const navigate = useNavigate();
  const mayFork = may(useMe().data, "runs:write");
  return (
    <Empty
      icon={<GitFork size={22} />}
      title="This run has no forks"
      action={
        mayFork && (
          <Button
            look="primary"
            icon={<GitFork size={14} aria-hidden />}
            onClick={() =>
              void navigate({
                to: ".",
                search: ((before: object) => ({ ...before, fork: true })) as never,
              })
            }
          >
            Fork this run
          </Button>
        )
      }
    >
      A fork goes on from any step with one thing changed: a tool's result, an answer, the instructions. This
      run stays as it is, and what it did is not done again.
    </Empty>
  );
}
