import { Info } from "lucide-react";
import type { ReactNode } from "react";

export const Note = ({ children }: { children: ReactNode }) => (
  <div className="flex items-start gap-2 rounded-md bg-sunken px-3 py-2 text-xs text-ink-2">
    <Info size={14} aria-hidden className="mt-0.5 shrink-0 text-ink-3" />
    <div className="min-w-0">{children}</div>
  </div>
);

export const Wrong = ({ children }: { children: ReactNode }) => (
  <p role="alert" className="text-xs text-bad [overflow-wrap:anywhere]">
    {children}
  </p>
);
