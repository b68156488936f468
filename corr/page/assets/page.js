"use strict";
// The page around the 3-D view: compare sliders, lazy start.

window.addEventListener("error", e => { document.documentElement.dataset.error = e.message; });

document.addEventListener("input", e => {
  if (e.target.matches(".compare input")) e.target.closest(".compare").style.setProperty("--at", `${e.target.value}%`);
});

document.addEventListener("DOMContentLoaded", () => {
  const root = document.getElementById("viewer");
  if (!root) return;
  const open = () => {
    if (root.dataset.state !== "closed") return;
    root.dataset.state = "opening";
    // one frame for the browser to show that something happens, then unpack
    requestAnimationFrame(() => setTimeout(() => {
      try { window.viewer3d = startViewer(root); } catch (error) {
        root.dataset.state = "failed";
        root.querySelector("[data-part=message]").textContent = `The 3-D view could not start: ${error.message}`;
      }
    }));
  };
  root.querySelector("[data-part=poster]").addEventListener("click", open);
  if (location.hash === "#3d-open") { open(); root.scrollIntoView(); }
});
