import { PageHeader } from "~/design/Page";

export function RunPage() {
  return <PageHeader title="RunPage" />;
}
