import { Problem } from "~/api/problem";

/** Whether there is nothing to show: never was, or not any more. What only cannot be read anew stays as it was. */
export const isLost = ({ error, data }: { readonly error: unknown; readonly data: unknown }): boolean =>
  error !== null && (data === undefined || (error instanceof Problem && [403, 404].includes(error.status)));
