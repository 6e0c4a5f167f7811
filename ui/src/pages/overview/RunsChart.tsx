/** How many runs ended how, over time. What failed hangs below the line, so that no colour has to say it. */

import { useState } from "react";
import { now } from "~/api/clock";
import { Button } from "~/design/Button";
import { Panel } from "~/design/Page";
import { cost, count, plural, short } from "~/lib/format";
import { type Bucket, chartOf, isLabelled, isLabelledNarrow, labelOf, sums, timeOf, zoneOf } from "./bars";

export function RunsChart({
  buckets,
  bucketHours,
  priced,
  more,
}: {
  buckets: readonly Bucket[];
  bucketHours: number;
  priced: boolean;
  more: boolean;
}) {
  const [asTable, setAsTable] = useState(false);
  return (
    <Panel
      title="Runs that ended"
      actions={
        <Button look="quiet" size="sm" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
          {asTable ? "As bars" : "As a table"}
        </Button>
      }
      flush={asTable}
    >
      {asTable ? (
        <Table buckets={buckets} bucketHours={bucketHours} priced={priced} />
      ) : (
        <Bars buckets={buckets} bucketHours={bucketHours} />
      )}
      {more && (
        <p className="mt-2 text-xs text-ink-3">There are more runs than were counted; the newest were.</p>
      )}
    </Panel>
  );
}

function Bars({ buckets, bucketHours }: { buckets: readonly Bucket[]; bucketHours: number }) {
  const chart = chartOf(buckets);
  const sum = sums(buckets);
  const said = `${count(sum.succeeded)} succeeded, ${count(sum.failed)} failed, ${count(sum.cancelled)} cancelled`;
  return (
    <div>
      <div role="img" aria-label={`Bars over time: ${said}.`} className="relative flex h-44 gap-[2px]">
        <span
          aria-hidden
          className="absolute inset-x-0 border-t border-line-2"
          style={{ top: `${chart.above * 100}%` }}
        />
        {chart.most > 0 && (
          <span aria-hidden className="absolute -top-2 left-0 bg-surface pr-1 text-2xs text-ink-3 tabular">
            {count(chart.most)}
          </span>
        )}
        {chart.bars.map(({ bucket, good, cancelled, failed }) => (
          <span
            key={bucket.at}
            title={`${timeOf(bucket.at, bucketHours)}: ${bucket.succeeded} succeeded, ${bucket.failed} failed, ${bucket.cancelled} cancelled`}
            className="relative h-full min-w-0 grow rounded-sm hover:bg-hover"
          >
            <span
              className="absolute inset-x-0 flex flex-col justify-end gap-px"
              style={{ top: 0, height: `${chart.above * 100}%` }}
            >
              {cancelled > 0 && (
                <span
                  className="mx-auto w-full max-w-6 rounded-[2px] border border-line-2 bg-mute-soft"
                  style={{ height: `${(cancelled / chart.above) * 100}%` }}
                />
              )}
              {good > 0 && (
                <span
                  className="mx-auto w-full max-w-6 rounded-[2px] bg-accent"
                  style={{ height: `${(good / chart.above) * 100}%` }}
                />
              )}
            </span>
            {failed > 0 && (
              <span
                className="absolute inset-x-0 mx-auto w-full max-w-6 rounded-[2px] bg-bad"
                style={{ top: `calc(${chart.above * 100}% + 2px)`, height: `calc(${failed * 100}% - 2px)` }}
              />
            )}
          </span>
        ))}
        {chart.empty && (
          <span className="absolute inset-0 flex items-center justify-center text-sm text-ink-3">
            No run ended in this time.
          </span>
        )}
      </div>
      <div aria-hidden className="mt-1 flex gap-[2px] text-2xs text-ink-3 tabular">
        {buckets.map((bucket, index) => (
          <span key={bucket.at} className="min-w-0 grow basis-0 overflow-visible whitespace-nowrap">
            {isLabelled(index) && (
              <span className={isLabelledNarrow(index) ? undefined : "max-sm:hidden"}>
                {labelOf(bucket.at, bucketHours)}
              </span>
            )}
          </span>
        ))}
      </div>
      <ul aria-hidden className="mt-3 flex flex-wrap gap-x-4 gap-y-1 text-xs text-ink-2 tabular">
        <Legend className="bg-accent">{count(sum.succeeded)} succeeded</Legend>
        <Legend className="bg-bad">{count(sum.failed)} failed</Legend>
        <Legend className="border border-line-2 bg-mute-soft">{count(sum.cancelled)} cancelled</Legend>
        <li className="ml-auto text-ink-3">By when they began, {zoneOf(now())}</li>
      </ul>
    </div>
  );
}

const Legend = ({ className, children }: { className: string; children: React.ReactNode }) => (
  <li className="flex items-center gap-1.5">
    <span className={`size-2.5 rounded-[2px] ${className}`} />
    {children}
  </li>
);

function Table({
  buckets,
  bucketHours,
  priced,
}: {
  buckets: readonly Bucket[];
  bucketHours: number;
  priced: boolean;
}) {
  const shown = buckets
    .filter((one) => one.succeeded + one.failed + one.cancelled + one.tokens > 0)
    .reverse();
  if (shown.length === 0) return <p className="p-4 text-sm text-ink-3">No run ended in this time.</p>;
  return (
    <div tabIndex={0} className="max-h-72 overflow-auto focus-visible:-outline-offset-2">
      <table className="w-full text-sm tabular">
        <caption className="sr-only">
          Runs by {bucketHours === 1 ? "hour" : plural(bucketHours, "hour")}, newest first
        </caption>
        <thead className="sticky top-0 bg-surface text-xs text-ink-3">
          <tr className="text-right">
            <th scope="col" className="px-4 py-1.5 text-left font-medium">
              From
            </th>
            {["Succeeded", "Failed", "Cancelled", "Tokens", "Cost"].map((name) => (
              <th key={name} scope="col" className="px-2 py-1.5 font-medium last:pr-4">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody className="divide-y divide-line text-right">
          {shown.map((one) => (
            <tr key={one.at}>
              <th scope="row" className="whitespace-nowrap px-4 py-1.5 text-left font-normal">
                {timeOf(one.at, bucketHours)}
              </th>
              <td className="px-2">{count(one.succeeded)}</td>
              <td className={one.failed > 0 ? "px-2 text-bad" : "px-2"}>{count(one.failed)}</td>
              <td className="px-2">{count(one.cancelled)}</td>
              <td className="px-2">{short(one.tokens)}</td>
              <td className="px-2 pr-4">{cost(one.cost_micros, priced)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
