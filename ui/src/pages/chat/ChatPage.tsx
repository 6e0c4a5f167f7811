import { PageHeader } from "~/design/Page";

export function ChatPage() {
  return <PageHeader title="ChatPage" />;
}
