import { Link } from "@tanstack/react-router";
import { SearchX } from "lucide-react";
import { PageHeader } from "~/design/Page";
import { Empty } from "~/design/States";

export function NotFound() {
  return (
    <>
      <PageHeader title="Not found" />
      <Empty
        icon={<SearchX size={22} />}
        title="There is no such page"
        action={
          <Link to="/" className="text-accent-text underline">
            Overview
          </Link>
        }
      >
        The address is wrong, or of another version.
      </Empty>
    </>
  );
}
