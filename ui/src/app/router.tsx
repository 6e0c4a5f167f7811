/** Every address of the interface, and the page behind it. Pages load when they are first gone to. */

import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
} from "@tanstack/react-router";
import { BASE_PATH } from "~/api/client";
import { NotFound } from "./NotFound";
import { PageError, PartMissing } from "./PageError";
import { Shell } from "./Shell";
import * as search from "./search";

/** A page in a chunk of its own. That it cannot be had is told apart from that it fails. */
const part: typeof lazyRouteComponent = (load, name) =>
  lazyRouteComponent(
    () =>
      load().catch((error: unknown) => {
        throw new PartMissing(error);
      }),
    name,
  );

const rootRoute = createRootRouteWithContext<{ cache: QueryClient }>()({
  component: Shell,
  notFoundComponent: NotFound,
  errorComponent: PageError,
});

const overview = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  validateSearch: search.overview,
  component: part(() => import("~/pages/overview/OverviewPage"), "OverviewPage"),
});

const chat = createRoute({
  getParentRoute: () => rootRoute,
  path: "/chat",
  validateSearch: search.chat,
  component: part(() => import("~/pages/chat/ChatPage"), "ChatPage"),
});

const chatThread = createRoute({
  getParentRoute: () => rootRoute,
  path: "/chat/$threadId",
  validateSearch: search.chat,
  component: part(() => import("~/pages/chat/ChatPage"), "ChatPage"),
});

const approvals = createRoute({
  getParentRoute: () => rootRoute,
  path: "/approvals",
  validateSearch: search.approvals,
  component: part(() => import("~/pages/approvals/ApprovalsPage"), "ApprovalsPage"),
});

const approval = createRoute({
  getParentRoute: () => rootRoute,
  path: "/approvals/$approvalId",
  validateSearch: search.approvals,
  component: part(() => import("~/pages/approvals/ApprovalsPage"), "ApprovalsPage"),
});

const runs = createRoute({
  getParentRoute: () => rootRoute,
  path: "/runs",
  validateSearch: search.runs,
  component: part(() => import("~/pages/runs/RunsPage"), "RunsPage"),
});

const run = createRoute({
  getParentRoute: () => rootRoute,
  path: "/runs/$runId",
  validateSearch: search.run,
  component: part(() => import("~/pages/run/RunPage"), "RunPage"),
});

const diff = createRoute({
  getParentRoute: () => rootRoute,
  path: "/runs/$runId/diff/$otherId",
  validateSearch: search.diff,
  component: part(() => import("~/pages/travel/DiffPage"), "DiffPage"),
});

const effects = createRoute({
  getParentRoute: () => rootRoute,
  path: "/effects",
  validateSearch: search.effects,
  component: part(() => import("~/pages/effects/EffectsPage"), "EffectsPage"),
});

const agents = createRoute({
  getParentRoute: () => rootRoute,
  path: "/agents",
  validateSearch: search.agents,
  component: part(() => import("~/pages/agents/AgentsPage"), "AgentsPage"),
});

const agent = createRoute({
  getParentRoute: () => rootRoute,
  path: "/agents/$agentId",
  validateSearch: search.agent,
  component: part(() => import("~/pages/agents/AgentPage"), "AgentPage"),
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
    defaultErrorComponent: PageError,
    scrollRestoration: true,
  });

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
