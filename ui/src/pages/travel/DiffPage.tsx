import { PageHeader } from "~/design/Page";

export function DiffPage() {
  return <PageHeader title="DiffPage" />;
}
