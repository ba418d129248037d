"use strict";
// Sorting, filtering and enlarging of a table that is readable without this script. Text is only ever set as text.
(() => {
  const table = document.getElementById("cases");
  const body = table.tBodies[0];
  const asMade = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  const shown = document.getElementById("shown");
  const words = document.getElementById("words");
  const only = document.getElementById("only");

  // sorting: by a cell's data-value, or by its text without one; an empty cell stays last in both directions
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

  function compare(one, other, column, isNumber, sign) {
    const [a, b] = [valueOf(one, column), valueOf(other, column)];
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (isNumber ? Number(a) - Number(b) : collator.compare(a, b));
  }

  function sortBy(header) {
    const descends = header.getAttribute("aria-sort") === "ascending";
    const column = headers.indexOf(header);
    const isNumber = "number" in header.dataset;
    headers.forEach((each) => each.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", descends ? "descending" : "ascending");
    body.append(...[...asMade].sort((a, b) => compare(a, b, column, isNumber, descends ? -1 : 1)));
    tell();
  }

  function resort() {
    headers.forEach((each) => each.removeAttribute("aria-sort"));
    body.append(...asMade);
    tell();
  }

  for (const header of headers.filter((each) => "sortable" in each.dataset)) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(header));
    header.append(button);
  }
  document.getElementById("resort").addEventListener("click", resort);

  // filtering
  function isWanted(row) {
    const text = row.textContent.toLowerCase();
    const wanted = words.value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
    return wanted && (only.value === "" || JSON.parse(row.dataset.tags).includes(only.value));
  }

  function filter() {
    for (const row of asMade) row.hidden = !isWanted(row);
    tell();
  }

  function tell() {
    const count = asMade.filter((row) => !row.hidden).length;
    const sorted = headers.find((each) => each.hasAttribute("aria-sort"));
    const order = sorted ? `, sorted by ${sorted.textContent}, ${sorted.getAttribute("aria-sort")}` : "";
    shown.textContent = `${count} of ${asMade.length} cases shown${order}.`;
  }

  words.addEventListener("input", filter);
  only.addEventListener("change", filter);

  // enlarging: the pictures of the shown rows, in their order
  const dialog = document.getElementById("large");
  const large = dialog.querySelector("img");
  let current = null;
  const links = () => [...body.rows].filter((row) => !row.hidden).flatMap((row) => [...row.querySelectorAll("a.picture")]);

  function show(link) {
    const all = links();
    current = link;
    large.src = link.href;
    large.alt = link.querySelector("img").alt;
    document.getElementById("large-name").textContent = link.closest("tr").cells[0].textContent;
    document.getElementById("large-words").textContent = large.alt;
    document.getElementById("large-place").textContent = `${all.indexOf(link) + 1} of ${all.length}`;
    document.getElementById("large-file").href = link.href;
  }

  function step(by) {
    const all = links();
    show(all[(all.indexOf(current) + by + all.length) % all.length]);
  }

  body.addEventListener("click", (event) => {
    const link = event.target.closest("a.picture");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link);
    dialog.showModal();
    document.getElementById("close").focus();
  });
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    step(by);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { large.removeAttribute("src"); current.focus(); });
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  document.getElementById("close").addEventListener("click", () => dialog.close());

  document.querySelector(".controls").hidden = false;
  tell();
})();
