/** Every address of the interface, and the page behind it. Pages load when they are first gone to. */

import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
} from "@tanstack/react-router";
import { BASE_PATH } from "~/api/client";
import { ErrorState } from "~/design/States";
import { NotFound } from "./NotFound";
import { Shell } from "./Shell";
import * as search from "./search";

const rootRoute = createRootRouteWithContext<{ cache: QueryClient }>()({
  component: Shell,
  notFoundComponent: NotFound,
  errorComponent: ({ error, reset }) => <ErrorState error={error} onRetry={reset} what="This page" />,
});

const overview = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  validateSearch: search.overview,
  component: lazyRouteComponent(() => import("~/pages/overview/OverviewPage"), "OverviewPage"),
});

const chat = createRoute({
  getParentRoute: () => rootRoute,
  path: "/chat",
  validateSearch: search.chat,
  component: lazyRouteComponent(() => import("~/pages/chat/ChatPage"), "ChatPage"),
});

const chatThread = createRoute({
  getParentRoute: () => rootRoute,
  path: "/chat/$threadId",
  validateSearch: search.chat,
  component: lazyRouteComponent(() => import("~/pages/chat/ChatPage"), "ChatPage"),
});

const approvals = createRoute({
  getParentRoute: () => rootRoute,
  path: "/approvals",
  validateSearch: search.approvals,
  component: lazyRouteComponent(() => import("~/pages/approvals/ApprovalsPage"), "ApprovalsPage"),
});

const approval = createRoute({
  getParentRoute: () => rootRoute,
  path: "/approvals/$approvalId",
  validateSearch: search.approvals,
  component: lazyRouteComponent(() => import("~/pages/approvals/ApprovalsPage"), "ApprovalsPage"),
});

const runs = createRoute({
  getParentRoute: () => rootRoute,
  path: "/runs",
  validateSearch: search.runs,
  component: lazyRouteComponent(() => import("~/pages/runs/RunsPage"), "RunsPage"),
});

const run = createRoute({
  getParentRoute: () => rootRoute,
  path: "/runs/$runId",
  validateSearch: search.run,
  component: lazyRouteComponent(() => import("~/pages/run/RunPage"), "RunPage"),
});

const diff = createRoute({
  getParentRoute: () => rootRoute,
  path: "/runs/$runId/diff/$otherId",
  validateSearch: search.diff,
  component: lazyRouteComponent(() => import("~/pages/travel/DiffPage"), "DiffPage"),
});

const effects = createRoute({
  getParentRoute: () => rootRoute,
  path: "/effects",
  validateSearch: search.effects,
  component: lazyRouteComponent(() => import("~/pages/effects/EffectsPage"), "EffectsPage"),
});

const agents = createRoute({
  getParentRoute: () => rootRoute,
  path: "/agents",
  validateSearch: search.agents,
  component: lazyRouteComponent(() => import("~/pages/agents/AgentsPage"), "AgentsPage"),
});

const agent = createRoute({
  getParentRoute: () => rootRoute,
  path: "/agents/$agentId",
  validateSearch: search.agent,
  component: lazyRouteComponent(() => import("~/pages/agents/AgentPage"), "AgentPage"),
});

const tree = rootRoute.addChildren([
  overview,
  chat,
  chatThread,
  approvals,
  approval,
  runs,
  run,
  diff,
  effects,
  agents,
  agent,
]);

export const makeRouter = (cache: QueryClient) =>
  createRouter({
    routeTree: tree,
    basepath: BASE_PATH,
    context: { cache },
    defaultPreload: "intent",
    defaultPendingMs: 150,
    scrollRestoration: true,
  });

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
