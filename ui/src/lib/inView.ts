/** Scrolls as little as it takes for the rows between `top` and `bottom` (pixels of the content) to be seen. */
export function keepInView(scroller: HTMLElement | null, top: number, bottom: number): void {
  if (scroller === null || scroller.clientHeight === 0) return;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (bottom > scroller.scrollTop + scroller.clientHeight)
    scroller.scrollTop = bottom - scroller.clientHeight;
}
