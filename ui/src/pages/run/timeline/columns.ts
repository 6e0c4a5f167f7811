/** The columns that the ruler and all rows share: name, bars, and on the right what fits. The width is the waterfall's own. */
export const COLUMNS =
  "grid grid-cols-[minmax(0,42%)_minmax(0,1fr)_5.25rem] @2xl:grid-cols-[minmax(0,34%)_minmax(0,1fr)_5.25rem_4rem_4.25rem]";

export const ROW_PX = 28;
