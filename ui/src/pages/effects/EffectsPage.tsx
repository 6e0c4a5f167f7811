import { PageHeader } from "~/design/Page";

export function EffectsPage() {
  return <PageHeader title="EffectsPage" />;
}
