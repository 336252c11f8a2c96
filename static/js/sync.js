/* The page of a chain works without this. With it, a poll names the rows the page has, so that only changed ones come;
   what was unfolded stays so; focus and open menus survive a swap; and a link is dragged by its number. */
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const rows = () => [...document.querySelectorAll("#chain .pw-link[id]")];
  const idOf = (row) => row.id.slice(5);

  /* All links in order; of a fold that was not opened yet the page knows their ids only. */
  const idsIn = (one) => (one.matches("[data-ids]") ? one.dataset.ids.split(" ") : [idOf(one)]);
  const order = () => [...document.querySelectorAll("#chain :is(.pw-link[id], [data-ids])")].flatMap(idsIn);

  document.addEventListener("htmx:configRequest", (event) => {
    const { elt, target, parameters } = event.detail;
    if (target?.id !== "sync") return;
    const shown = [...document.querySelectorAll("#chain .pw-fold details[open] .pw-chain")].map((one) => one.querySelectorAll(".pw-link[id]"));
    parameters.open = shown.flatMap((links) => (links.length ? [idOf(links[0]), idOf(links[links.length - 1])] : []));
    if (elt.id !== "poll") return;
    parameters.rows = rows().map((row) => `${idOf(row)}:${row.dataset.mark}`).join(",");
    parameters.folds = [...document.querySelectorAll("#chain [data-ids]")].map(idsIn).map((ids) => `${ids[0]}:${ids.length}`).join(",");
  });

  /* A fold may be opened before htmx listens to it: on a slow line the page stands before its scripts. */
  document.addEventListener("htmx:load", () => document.querySelectorAll(".pw-fold details[open] > .pw-later:not(.htmx-request)")
    .forEach((one) => one.parentElement.dispatchEvent(new Event("toggle"))));

  /* -- what was open and where one was, across a swap of the whole tab */
  let kept = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "sync" || !event.detail.shouldSwap) return;
    /* A button in a menu lost the focus when its menu closed. */
    const pressed = event.detail.requestConfig?.triggeringEvent?.submitter;
    const active = document.activeElement === document.body && pressed ? pressed : document.activeElement;
    const inside = byId("sync").contains(active);
    kept = {
      had: inside || active.id === "undo",
      link: inside ? active.closest(".pw-link")?.id.slice(5) : undefined,
      adding: inside && Boolean(active.closest("#add, #many-form")),
      menu: document.querySelector("#sync .dropdown-toggle.show, #sync [data-bs-toggle].show")?.id,
      open: [...document.querySelectorAll("#sync details[open]")].filter((one) => !one.querySelector("#link-form")).map(nameOf),
    };
  });
  const nameOf = (details) => details.id || details.parentElement.id;
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!kept || !byId("sync") || event.detail.target.id !== "sync") return;
    const was = kept;
    kept = null;
    document.querySelectorAll("#sync details").forEach((one) => { if (was.open.includes(nameOf(one))) one.open = true; });
    const toggle = was.menu && byId(was.menu);
    if (toggle) bootstrap.Dropdown.getOrCreateInstance(toggle).show();
    if (!was.had || (document.activeElement && document.activeElement !== document.body)) return;
    /* The control that had the focus is gone: the nearest one that does the like. */
    const next = was.link
      ? [byId(`move_up-${was.link}`), byId(`move_down-${was.link}`), byId(`more-${was.link}`), byId("undo")]
      : [was.adding && byId("add-link")];
    next.find((one) => one && one.offsetParent)?.focus();
  });

  /* -- what is said of the sync agent that is chosen, and not of the others */
  const showChosen = () => document.querySelectorAll("[data-chosen-of]").forEach((box) => {
    const chosen = byId(box.dataset.chosenOf).value;
    [...box.children].forEach((one) => { one.hidden = one.dataset.choice !== chosen; });
  });
  document.addEventListener("change", showChosen);
  document.addEventListener("htmx:load", showChosen);
  document.addEventListener("DOMContentLoaded", showChosen);

  /* -- the toast of a removal */
  document.addEventListener("click", (event) => {
    const close = event.target.closest?.("[data-close]");
    if (close) byId(close.dataset.close).remove();
  });

  /* -- Alt with an arrow moves the link one is on. Before Bootstrap hears of it, whose menus take every arrow. */
  addEventListener("keydown", (event) => {
    const what = { ArrowUp: "move_up", ArrowDown: "move_down" }[event.key];
    const row = what && event.altKey && !event.ctrlKey && !event.metaKey && event.target.closest?.(".pw-link");
    const button = row && byId(`${what}-${idOf(row)}`);
    if (!button) return;
    event.preventDefault();
    event.stopPropagation();
    button.focus();
    button.click();
  }, true);

  /* -- dragging: by the number, with any pointer; a drop is one request with the whole order */
  let drag = null;
  const CLOSE = 48; /* px from an edge of the window at which the page goes on by itself */

  /* What is in sight: rows, and folds that are closed and stand for theirs. Each with its first link. */
  const places = () => [...document.querySelectorAll("#chain .pw-link[id], #chain .pw-fold")]
    .filter((one) => one.offsetParent && !one.querySelector(":scope > details[open]"))
    .map((one) => ({ box: one, first: idsIn(one.matches(".pw-link") ? one : one.querySelector(":is(.pw-link[id], [data-ids])"))[0] }));

  const clear = () => document.querySelectorAll("#chain :is(.is-drop, .is-drop-end)").forEach((one) => one.classList.remove("is-drop", "is-drop-end"));

  const aim = () => {
    clear();
    const all = places();
    let index = all.findIndex(({ box }) => { const at = box.getBoundingClientRect(); return drag.y < at.top + at.height / 2; });
    if (index === 0) index = 1; /* Default Sync stays first */
    drag.before = index < 0 ? null : all[index].first;
    if (index < 0) all[all.length - 1].box.classList.add("is-drop-end");
    else all[index].box.classList.add("is-drop");
  };

  const follow = () => {
    if (!drag?.moving) return;
    const step = drag.y < CLOSE ? -10 : drag.y > innerHeight - CLOSE ? 10 : 0;
    if (step) { scrollBy(0, step); aim(); }
    drag.frame = requestAnimationFrame(follow);
  };

  const end = (drop) => {
    if (!drag) return;
    const { row, moving, before, frame } = drag;
    drag = null;
    cancelAnimationFrame(frame);
    clear();
    row.classList.remove("is-dragging");
    document.documentElement.classList.remove("is-dragging-a-link");
    if (!drop || !moving || before === idOf(row)) return;
    const ids = order().filter((id) => id !== idOf(row));
    ids.splice(before ? ids.indexOf(before) : ids.length, 0, idOf(row));
    if (ids.join() === order().join()) return;
    const form = byId("chain-form");
    htmx.ajax("POST", form.dataset.orderUrl, { source: form, target: "#sync", swap: "outerHTML", values: { link_ids: ids } });
  };

  document.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest?.("[data-grip]");
    if (!grip || event.button !== 0 || !event.isPrimary || !byId("chain-form")?.dataset.orderUrl) return;
    event.preventDefault();
    grip.setPointerCapture(event.pointerId);
    drag = { row: grip.closest(".pw-link"), from: event.clientY, y: event.clientY, moving: false, before: null, frame: 0 };
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag || !event.isPrimary) return;
    drag.y = event.clientY;
    if (!drag.moving && Math.abs(drag.y - drag.from) < 4) return;
    if (!drag.moving) {
      drag.moving = true;
      drag.row.classList.add("is-dragging");
      document.documentElement.classList.add("is-dragging-a-link");
      follow();
    }
    aim();
  });
  document.addEventListener("pointerup", (event) => { if (event.isPrimary) end(true); });
  document.addEventListener("pointercancel", () => end(false));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && drag) { event.preventDefault(); end(false); } });
  document.addEventListener("htmx:beforeSwap", (event) => { if (event.detail.target.id === "sync") end(false); });

  document.documentElement.classList.add("can-drag");
})();
