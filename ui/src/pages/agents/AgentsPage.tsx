import { PageHeader } from "~/design/Page";

export function AgentsPage() {
  return <PageHeader title="AgentsPage" />;
}
