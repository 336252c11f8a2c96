/* The page of a chain works without this. With it, a poll names the rows the page has, so that only changed ones come. */
"use strict";
document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.id !== "poll") return;
  const rows = [...document.querySelectorAll(".pw-link[data-mark]")];
  event.detail.parameters.rows = rows.map((row) => `${row.id.slice(5)}:${row.dataset.mark}`).join(",");
});
