import { PageHeader } from "~/design/Page";

export function OverviewPage() {
  return <PageHeader title="OverviewPage" />;
}
