import { PageHeader } from "~/design/Page";

export function RunsPage() {
  return <PageHeader title="RunsPage" />;
}
