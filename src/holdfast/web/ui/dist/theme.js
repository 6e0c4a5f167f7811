// Before the first paint: the theme that was chosen, so that nothing flashes. A file of its own, since the page's
// content security policy allows no script within it.
try {
  const chosen = localStorage.getItem("holdfast.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; then the system's theme it is.
}
