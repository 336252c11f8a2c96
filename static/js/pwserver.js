/* Small comforts. Every page works without them. */
"use strict";
(() => {
  const say = (words) => { document.getElementById("say").textContent = words; };

  /* Secrets leave the page by themselves: the panel is replaced by its hidden form. */
  const hide = (panel) => {
    const url = panel.dataset.hideUrl;
    panel.querySelectorAll(".pw-secret").forEach((one) => { one.textContent = "••••••••••••"; });
    if (window.htmx) window.htmx.ajax("GET", url, { target: panel, swap: "outerHTML" });
  };

  let clipboardTimer = 0;
  const copy = async (text) => {
    if (!navigator.clipboard) { say("This browser does not let the page copy. Select the password and copy it."); return false; }
    try { await navigator.clipboard.writeText(text); } catch { say("The browser did not allow copying. Select the password and copy it."); return false; }
    clearTimeout(clipboardTimer);
    /* Just before the page that shows a value without htmx leaves by itself. */
    clipboardTimer = setTimeout(() => navigator.clipboard.writeText("").catch(() => {}), 29000);
    return true;
  };
  const copied = (panel) => {
    panel.querySelectorAll("[data-copied]").forEach((one) => { one.hidden = false; });
    say("The password is in the clipboard.");
  };

  const times = (root) => root.querySelectorAll("time[datetime]:not([data-local])").forEach((one) => {
    const moment = new Date(one.dateTime);
    if (isNaN(moment)) return;
    const sameDay = moment.toDateString() === new Date().toDateString();
    const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    const brief = one.dataset.form === "clock"; /* beside an evidence: seconds today, else the day */
    one.title = one.textContent;
    one.dataset.local = "";
    if (brief && sameDay) one.textContent = moment.toLocaleTimeString([], { ...clock, second: "2-digit" });
    else if (brief) one.textContent = moment.toLocaleString([], { weekday: "short", day: "numeric", month: "short", ...clock });
    else one.textContent = sameDay
      ? `today, ${moment.toLocaleTimeString([], clock)}`
      : moment.toLocaleString([], { day: "numeric", month: "short", year: "numeric", ...clock });
  });

  const zone = `Times are in ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`;

  const set = (root) => {
    times(root);
    root.querySelectorAll("[data-zone]").forEach((one) => { one.textContent = zone; });
    root.querySelectorAll("[data-peek], [data-copy-from], [data-close-toast]").forEach((one) => { one.hidden = false; });
    const panels = root.matches?.("[data-hide-after]") ? [root] : root.querySelectorAll("[data-hide-after]");
    panels.forEach((panel) => {
      if (panel.dataset.timed) return;
      panel.dataset.timed = "1";
      setTimeout(() => { if (panel.isConnected) hide(panel); }, Number(panel.dataset.hideAfter) * 1000);
      const value = panel.querySelector("[data-copy]");
      if (value) copy(value.textContent).then((done) => {
        if (!done) return;
        copied(panel);
        value.textContent = "••••••••••••";
        panel.querySelectorAll("[data-copy-from]").forEach((one) => one.remove());
      });
    });
  };

  document.addEventListener("click", (event) => {
    const peek = event.target.closest?.("[data-peek]");
    if (peek) {
      const input = document.getElementById(peek.dataset.peek);
      const shown = input.type === "text";
      input.type = shown ? "password" : "text";
      peek.setAttribute("aria-pressed", String(!shown));
      return;
    }
    const from = event.target.closest?.("[data-copy-from]");
    if (from) {
      copy(document.getElementById(from.dataset.copyFrom).textContent).then((done) => { if (done) copied(from.closest(".pw-panel")); });
    }
  });

  document.addEventListener("input", (event) => {
    if (event.target.type !== "range") return;
    const output = document.querySelector(`output[for="${event.target.id}"]`);
    if (output) output.textContent = event.target.value;
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    /* The search of the frame; where the menu is folded away, the one of the page. */
    const seen = [...document.querySelectorAll("input[type=search]")].filter((one) => one.checkVisibility({ visibilityProperty: true }));
    const search = seen.find((one) => "slash" in one.dataset) ?? seen[0];
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  });

  /* A small menu that opens without script closes like the others: by Escape, which gives the focus back, or a click
     elsewhere. */
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && event.target.closest?.(".pw-more[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => document.querySelectorAll(".pw-more[open]").forEach((one) => { if (!one.contains(event.target)) one.open = false; }));

  /* A toast stays until it is closed: it is there to undo something, and nobody should have to hurry. */
  document.addEventListener("click", (event) => event.target.closest?.("[data-close-toast]")?.closest(".toast").remove());

  /* What is folded on the screen is whole on paper. Printing waits for nothing, so what was not fetched yet is fetched
     here and now. */
  let folded = [];
  const fetchNow = (later) => {
    const ask = new XMLHttpRequest();
    ask.open("GET", later.getAttribute("hx-get"), false);
    ask.setRequestHeader("HX-Request", "true");
    try { ask.send(); } catch { return; }
    if (ask.status !== 200 || ask.getResponseHeader("HX-Retarget")) return;
    later.insertAdjacentHTML("afterend", ask.responseText);
    const rows = later.nextElementSibling;
    later.remove();
    htmx.process(rows);
    set(rows);
  };
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll(".pw-fold details:not([open])")];
    folded.forEach((one) => { one.querySelectorAll(".pw-later").forEach(fetchNow); one.open = true; });
  });
  addEventListener("afterprint", () => { folded.forEach((one) => { one.open = false; }); folded = []; });

  document.addEventListener("htmx:load", (event) => set(event.detail.elt));
  document.addEventListener("htmx:sendError", () => say("The server does not answer. Nothing was sent."));
  document.addEventListener("DOMContentLoaded", () => set(document));
})();
