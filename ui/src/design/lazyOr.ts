import { type ComponentType, type LazyExoticComponent, lazy } from "react";

/**
 * A component that is loaded when it is first shown, and what stands in for it if it cannot be: after a deployment the
 * server has other parts. The page says so elsewhere, and goes on with less.
 */
export const lazyOr = <P extends object>(
  load: () => Promise<{ default: ComponentType<P> }>,
  Instead: ComponentType<P>,
): LazyExoticComponent<ComponentType<P>> =>
  lazy(() =>
    load().catch((error: unknown) => {
      console.warn("A part of the page could not be loaded.", error);
      return { default: Instead };
    }),
  );
