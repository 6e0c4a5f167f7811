import { PageHeader } from "~/design/Page";

export function AgentPage() {
  return <PageHeader title="AgentPage" />;
}
