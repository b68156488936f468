"use strict";
// The reconstruction's page: picture modes and the pair matrix.

document.addEventListener("click", e => {
  const show = e.target.closest("[data-show]");
  if (show) {
    const card = show.closest(".card");
    card.dataset.shown = show.dataset.show;
    card.querySelectorAll("[data-show]").forEach(b => b.setAttribute("aria-pressed", b === show));
  }
  const cell = e.target.closest("[data-figure]");
  if (cell) {
    const chosen = document.getElementById(`pair-${cell.dataset.figure}`), slot = document.getElementById("chosen-pair");
    slot.replaceChildren(chosen.cloneNode(true));
    slot.firstElementChild.removeAttribute("id"); slot.firstElementChild.hidden = false;
    document.querySelectorAll("[data-figure]").forEach(b => b.classList.toggle("on", b.dataset.figure === cell.dataset.figure));
  }
});
