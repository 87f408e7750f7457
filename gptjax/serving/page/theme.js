// Runs before the first paint, so that a chosen theme does not flash. No choice means the system's.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("gptjax.theme");
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
