import type { HTMLAttributes } from "react";

export interface CellProps extends HTMLAttributes<HTMLDivElement> {
  readonly role?: "gridcell" | "columnheader" | "rowheader" | "cell";
}

/** A cell of a grid. The grid has the focus and names its current row, so that cells need none of their own. */
export const Cell = ({ role = "gridcell", ...rest }: CellProps) => <div role={role} {...rest} />;
