import { PageHeader } from "~/design/Page";

export function ApprovalsPage() {
  return <PageHeader title="ApprovalsPage" />;
}
