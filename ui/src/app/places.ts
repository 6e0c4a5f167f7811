/** Where one can go from everywhere. The navigation, the palette and the keys all follow this list. */

import {
  Activity,
  Bot,
  Inbox,
  LayoutDashboard,
  type LucideIcon,
  MessageSquare,
  ShieldAlert,
} from "lucide-react";
import { type Me, may } from "~/api/session";
import type { Attention } from "./attention";

export interface Place {
  readonly to: string;
  readonly label: string;
  readonly icon: LucideIcon;
  /** The letter after `g`. */
  readonly key: string;
  /** What somebody must be allowed for it to show anything. */
  readonly scope: string;
  readonly counts?: { readonly of: keyof Attention; readonly label: string };
}

export const PLACES: readonly Place[] = [
  { to: "/", label: "Overview", icon: LayoutDashboard, key: "o", scope: "runs:read" },
  { to: "/chat", label: "Chat", icon: MessageSquare, key: "c", scope: "threads:read" },
  {
    to: "/approvals",
    label: "Approvals",
    icon: Inbox,
    key: "a",
    scope: "approvals:read",
    counts: { of: "approvals", label: "pending" },
  },
  { to: "/runs", label: "Runs", icon: Activity, key: "r", scope: "runs:read" },
  {
    to: "/effects",
    label: "Effects",
    icon: ShieldAlert,
    key: "e",
    scope: "effects:read",
    counts: { of: "effects", label: "unknown" },
  },
  { to: "/agents", label: "Agents", icon: Bot, key: "t", scope: "agents:read" },
];

export const placesOf = (me: Me): readonly Place[] => PLACES.filter((place) => may(me, place.scope));
