/* Draws the charts of a page from the specifications in it, and loads slow fragments. Without this script the page
   shows the same charts as images and the same data in tables. Vega interprets its expressions (ast), so the pages
   need no 'unsafe-eval'. */
"use strict";

(() => {
  const MINUTE_MS = 60000;
  /* Vega's log level. */
  const ERRORS_ONLY = 1;
  /* A shorter selection is a click. */
  const ZOOM_MIN_MS = 5 * MINUTE_MS;

  /* Replaces colours by variables of the style sheet: light, dark and print need no second drawing. */
  function replaceColours(value, variables) {
    if (typeof value === "string") return value in variables ? `var(${variables[value]})` : value;
    if (Array.isArray(value)) return value.map((item) => replaceColours(item, variables));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, replaceColours(item, variables)]));
  }

  const tip = document.createElement("div");
  tip.className = "chart-tip";
  tip.hidden = true;

  function formatTime(ms) {
    return new Date(ms).toISOString().slice(0, 16).replace("T", " ");
  }

  function formatPeriod(datum) {
    if (!datum || typeof datum.u !== "number") return "";
    return `${formatTime(datum.t)} to ${formatTime(datum.u).slice(-5)} UTC\n`;
  }

  /* Vega calls this with null when the pointer leaves. */
  function showTip(handler, event, item, value) {
    placeTip(event, value ? formatPeriod(item.datum) + value : "");
  }

  /* Cells of a large matrix show one number; the tooltip shows their whole label. */
  function showLabel(event) {
    const cell = event.target.closest(".compact .cell a");
    placeTip(event, cell ? cell.getAttribute("aria-label").replaceAll("; ", "\n") : "");
  }

  function placeTip(event, text) {
    tip.hidden = !text;
    if (tip.hidden) return;
    tip.textContent = text;
    const left = event.pageX + 14 + tip.offsetWidth > window.scrollX + document.documentElement.clientWidth;
    tip.style.left = `${left ? event.pageX - 14 - tip.offsetWidth : event.pageX + 14}px`;
    tip.style.top = `${event.pageY + 14}px`;
  }

  function formatMinute(ms, round) {
    return new Date(round(ms / MINUTE_MS) * MINUTE_MS).toISOString().slice(0, 16) + "Z";
  }

  /* A zoom changes the URL, so it can be shared and undone with the back button. */
  function zoomTo(first, last) {
    const address = new URL(window.location.href);
    address.searchParams.set("from", formatMinute(first, Math.floor));
    address.searchParams.set("to", formatMinute(last, Math.ceil));
    document.documentElement.classList.add("leaving");
    window.location.assign(address);
  }

  function watchZoom(view, place) {
    let range = null;
    view.addSignalListener("zoom", (name, value) => { range = value && value.t ? value.t : null; });
    place.addEventListener("pointerdown", () => {
      window.addEventListener("pointerup", () => {
        if (range && Math.abs(range[1] - range[0]) >= ZOOM_MIN_MS) zoomTo(Math.min(...range), Math.max(...range));
      }, { once: true });
    });
  }

  async function draw(figure) {
    const place = figure.querySelector(".chart-view");
    const spec = JSON.parse(figure.querySelector("script.chart-spec").textContent);
    const { view } = await window.vegaEmbed(place, replaceColours(spec, spec.usermeta.variables), {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: showTip,
      logLevel: ERRORS_ONLY,
    });
    place.setAttribute("aria-hidden", "true");
    if (figure.dataset.zoom !== undefined) watchZoom(view, place);
  }

  async function drawOrExplain(figure) {
    try {
      await draw(figure);
      figure.classList.add("drawn");
    } catch (error) {
      figure.querySelector(".chart-view").textContent = `Cannot draw this chart (${error.message}); the tables show the same data.`;
    }
  }

  /* Loads a slow fragment after the page and shows the progress until then. */
  async function loadFragment(place) {
    const status = place.querySelector("[role=status]");
    place.setAttribute("aria-busy", "true");
    status.prepend(document.createElement("progress"), ` ${place.dataset.waiting || "Loading …"} `);
    try {
      const answer = await fetch(place.dataset.fragment, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const part = page.querySelector("[data-part]") || page.querySelector(".notice");
      if (!part) throw new Error(answer.redirected ? "session expired: reload the page" : `status ${answer.status}`);
      place.replaceChildren(document.adoptNode(part));
    } catch (error) {
      status.textContent = `Cannot load this part (${error.message}).`;
    }
    place.removeAttribute("aria-busy");
  }

  /* A link to a closed part opens it; printing opens all. */
  function unfold() {
    const part = window.location.hash && document.getElementById(window.location.hash.slice(1));
    const details = part && part.querySelector("details.part");
    if (details) details.open = true;
  }

  function unfoldAll() {
    document.querySelectorAll("details.part").forEach((item) => { item.open = true; });
  }

  /* Draws charts one after the other, so that the first one appears early. */
  async function start() {
    unfold();
    window.addEventListener("hashchange", unfold);
    window.addEventListener("beforeprint", unfoldAll);
    document.body.append(tip);
    document.querySelectorAll(".matrix.compact").forEach((item) => item.addEventListener("pointerover", showLabel));
    document.querySelectorAll("[data-fragment]").forEach(loadFragment);
    for (const figure of document.querySelectorAll("figure.chart")) await drawOrExplain(figure);
  }

  start();
})();
