/* Draws the charts of a page from the specifications that stand in it, and fetches what takes its time. Without this
   script a page says the same in tables and shows the same charts as pictures. Nothing here evaluates text: Vega's
   expressions are interpreted (ast), so that the pages need no 'unsafe-eval'. */
"use strict";

(() => {
  const MINUTE_MS = 60000;
  /* Vega's own number for it. */
  const ERRORS_ONLY = 1;
  /* A zoom shorter than this was a click. */
  const ZOOM_MIN_MS = 5 * MINUTE_MS;

  /* Colours become the style sheet's variables: light, dark and paper without drawing again. */
  function painted(value, variables) {
    if (typeof value === "string") return value in variables ? `var(${variables[value]})` : value;
    if (Array.isArray(value)) return value.map((one) => painted(one, variables));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, painted(one, variables)]));
  }

  const tip = document.createElement("div");
  tip.className = "chart-tip";
  tip.hidden = true;

  function moment(ms) {
    return new Date(ms).toISOString().slice(0, 16).replace("T", " ");
  }

  function span(datum) {
    if (!datum || typeof datum.u !== "number") return "";
    return `${moment(datum.t)} to ${moment(datum.u).slice(-5)} UTC\n`;
  }

  /* Vega calls it with null when the pointer leaves. */
  function showTip(handler, event, item, value) {
    placeTip(event, value ? span(item.datum) + value : "");
  }

  /* Cells of a large matrix have room for a figure; the rest of what they say is their label. */
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

  function written(ms, round) {
    return new Date(round(ms / MINUTE_MS) * MINUTE_MS).toISOString().slice(0, 16) + "Z";
  }

  /* The brush is an address: it can be mailed, and the browser's back button undoes it. */
  function zoomTo(first, last) {
    const address = new URL(window.location.href);
    address.searchParams.set("from", written(first, Math.floor));
    address.searchParams.set("to", written(last, Math.ceil));
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
    const { view } = await window.vegaEmbed(place, painted(spec, spec.usermeta.variables), {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: showTip,
      logLevel: ERRORS_ONLY,
    });
    place.setAttribute("aria-hidden", "true");
    if (figure.dataset.zoom !== undefined) watchZoom(view, place);
  }

  async function drawn(figure) {
    try {
      await draw(figure);
      figure.classList.add("drawn");
    } catch (error) {
      figure.querySelector(".chart-view").textContent = `This chart could not be drawn (${error.message}); the tables say the same.`;
    }
  }

  /* What takes long is fetched after the page is there; it says so until it has come. */
  async function fetched(place) {
    const status = place.querySelector("[role=status]");
    place.setAttribute("aria-busy", "true");
    status.prepend(document.createElement("progress"), ` ${place.dataset.waiting || "Looking …"} `);
    try {
      const answer = await fetch(place.dataset.fragment, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const part = page.querySelector("[data-part]") || page.querySelector(".notice");
      if (!part) throw new Error(answer.redirected ? "the session has ended: load the page again" : `status ${answer.status}`);
      place.replaceChildren(document.adoptNode(part));
    } catch (error) {
      status.textContent = `This could not be fetched (${error.message}).`;
    }
    place.removeAttribute("aria-busy");
  }

  /* A link to a folded part opens it; paper shows everything. */
  function unfold() {
    const part = window.location.hash && document.getElementById(window.location.hash.slice(1));
    const details = part && part.querySelector("details.part");
    if (details) details.open = true;
  }

  function unfoldAll() {
    document.querySelectorAll("details.part").forEach((one) => { one.open = true; });
  }

  /* Charts one after the other, so that the first is there soon. */
  async function start() {
    unfold();
    window.addEventListener("hashchange", unfold);
    window.addEventListener("beforeprint", unfoldAll);
    document.body.append(tip);
    document.querySelectorAll(".matrix.compact").forEach((one) => one.addEventListener("pointerover", showLabel));
    document.querySelectorAll("[data-fragment]").forEach(fetched);
    for (const figure of document.querySelectorAll("figure.chart")) await drawn(figure);
  }

  start();
})();
