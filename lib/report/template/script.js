"use strict";
// The page is complete without this script. It marks where the reader is, opens all code, sorts and enlarges pictures.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Contents: open where they stand at the side.
document.querySelector("nav details").open = matchMedia("(min-width: 64rem)").matches;
// the last section that began above the upper third of the window is the one being read.
const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
const sections = all("header[id], section[id]").filter((section) => links.has(section.id));
const mark = () => {
  const begun = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3);
  const current = begun.at(-1) ?? sections[0];
  for (const [id, link] of links) {
    if (id === current.id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
};
const observer = new IntersectionObserver(mark, { rootMargin: "0px 0px -67% 0px" });
sections.forEach((section) => observer.observe(section));

// Code: one button for all.
const button = document.getElementById("all-code");
const cells = all("details.input");
button.hidden = cells.length === 0;
button.addEventListener("click", () => {
  const open = button.getAttribute("aria-pressed") === "false";
  button.setAttribute("aria-pressed", String(open));
  button.textContent = open ? "Hide all code" : "Show all code";
  cells.forEach((cell) => { cell.open = open; });
});

// Gallery: a second press on a key turns the order around.
const tools = document.querySelector("#gallery .tools");
const list = document.querySelector("ul.gallery");
const keys = all("button", tools);
tools.hidden = false;
let upwards = false;
const sort = (chosen) => {
  const key = chosen.dataset.key;
  const number = key === "dsc" || key === "dice" || key === "apart";
  const pressed = chosen.getAttribute("aria-pressed") === "true";
  upwards = pressed ? !upwards : !number;
  keys.forEach((other) => other.setAttribute("aria-pressed", String(other === chosen)));
  const compare = (a, b) =>
    number ? a.dataset[key] - b.dataset[key] : a.dataset[key].localeCompare(b.dataset[key], "en", { numeric: true });
  const items = all("li", list).sort((a, b) => (upwards ? compare(a, b) : compare(b, a)));
  list.append(...items);
  const order = number ? (upwards ? "lowest first" : "highest first") : upwards ? "ascending" : "descending";
  tools.querySelector("[role=status]").textContent = order;
};
keys.forEach((key) => key.addEventListener("click", () => sort(key)));

// A picture of the gallery opens in a dialog, in which the arrows lead on; so does a figure that has pictures.
const dialog = document.createElement("dialog");
dialog.setAttribute("aria-label", "Enlarged");
document.querySelector("main").append(dialog);
let shown;
const step = (name) => { if (shown.matches("li")) show(shown[name]); };
const show = (item) => {
  if (!item) return;
  shown = item;
  const steps = [["Previous", () => step("previousElementSibling")], ["Next", () => step("nextElementSibling")]];
  const bar = document.createElement("p");
  for (const [text, act] of [...(item.matches("li") ? steps : []), ["Close", () => dialog.close()]]) {
    bar.append(Object.assign(document.createElement("button"), { type: "button", textContent: text, onclick: act }));
  }
  const held = all("button", dialog).indexOf(document.activeElement);
  dialog.replaceChildren(item.querySelector(".plot, svg").cloneNode(true), item.querySelector(".label, figcaption").cloneNode(true), bar);
  dialog.querySelector(".enlarge")?.remove();
  if (!dialog.open) dialog.showModal();
  (bar.children[held] ?? bar.lastElementChild).focus();
};
list.addEventListener("click", (event) => {
  if (!event.target.closest("a.open")) return;
  event.preventDefault();
  show(event.target.closest("li"));
});
for (const figure of all("figure.report-figure:has(svg image)")) {
  const enlarge = Object.assign(document.createElement("button"), { type: "button", className: "enlarge", textContent: "Enlarge" });
  enlarge.addEventListener("click", () => show(figure));
  figure.querySelector("figcaption").append(" ", enlarge);
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => shown.querySelector("a.open, .enlarge").focus());
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step("previousElementSibling");
  if (event.key === "ArrowRight") step("nextElementSibling");
});
