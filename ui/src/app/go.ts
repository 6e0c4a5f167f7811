import { useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";

/** Go to an address of the interface that was put together from parts: `/runs/run_…`. */
export function useGo(): (path: string) => void {
  const navigate = useNavigate();
  return useCallback((path) => void navigate({ href: undefined, to: path } as never), [navigate]);
}
