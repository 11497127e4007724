// Cards of the gallery: filtered images with boxes that can be pointed at, tapped and focused.

const PER_PAGE = 8;

function startGallery(form) {
  const cards = document.getElementById("cards");
  const more = document.getElementById("more");
  const back = document.getElementById("all-images");
  const kinds = form.querySelectorAll("[name=kind]").length;
  let only = null; // number of the one image to which a button led
  let pages = 1;
  let entries = [];

  function update() {
    const filters = readFilters(form);
    form.elements["score-value"].value = filters.score.toFixed(2);
    const counts = {};
    entries = [];
    report.images.forEach((image, number) => {
      if ((only !== null && only !== number) || !image.seen[filters.model]) return;
      const others = itemsOf(image, filters.model).filter((item) => passesOthers(item, filters));
      for (const item of others) counts[item.kind] = (counts[item.kind] || 0) + 1;
      const items = others.filter((item) => filters.kinds.has(item.kind));
      if (items.length || only !== null || hideNothing(filters, kinds)) entries.push({ image, number, items });
    });
    entries.sort((a, b) => errorsIn(b.items) - errorsIn(a.items));
    for (const place of form.querySelectorAll("[data-kind]")) place.textContent = String(counts[place.dataset.kind] || 0);
    document.getElementById("count").textContent = countText(entries);
    back.hidden = only === null;
    pages = 1;
    cards.replaceChildren(...entries.slice(0, PER_PAGE).map((entry) => makeCard(entry, filters)));
    more.hidden = entries.length <= PER_PAGE;
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    only = null;
    setTimeout(update); // the form is reset after this event
  });
  document.getElementById("errors-only").addEventListener("click", () => {
    for (const box of form.querySelectorAll("[name=kind]")) box.checked = isError(box.value);
    update();
  });
  back.addEventListener("click", () => {
    only = null;
    update();
    form.elements.model.focus();
  });
  more.addEventListener("click", () => {
    const next = entries.slice(pages * PER_PAGE, (pages + 1) * PER_PAGE).map((entry) => makeCard(entry, readFilters(form)));
    cards.append(...next);
    pages += 1;
    more.hidden = entries.length <= pages * PER_PAGE;
    next[0].querySelector("h3").focus();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".goto");
    if (!button) return;
    form.reset();
    form.elements.model.value = button.dataset.model;
    only = Number(button.dataset.image);
    setTimeout(() => {
      only = Number(button.dataset.image);
      update();
      focusDetection(cards, Number(button.dataset.detection));
    });
  });
  update();
}

const errorsIn = (items) => items.filter((item) => isError(item.kind)).length;

const counted = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

function countText(entries) {
  const items = entries.flatMap((entry) => entry.items);
  const text = `${counted(entries.length, "image", "images")}, ${counted(items.length, "box", "boxes")}, ${counted(errorsIn(items), "error", "errors")}`;
  return entries.length ? text : "No box passes the filters.";
}

// Focuses a detection of the first card, or its heading if the page does not hold the detection.
function focusDetection(cards, detection) {
  const card = cards.querySelector(".card");
  const target = card.querySelector(`[data-detection="${detection}"]`) || card.querySelector("h3");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  card.scrollIntoView({ block: "center", behavior: still ? "auto" : "smooth" });
  target.focus({ preventScroll: true });
}

function summaryText(items) {
  const errors = {};
  for (const item of items) if (isError(item.kind)) errors[item.kind] = (errors[item.kind] || 0) + 1;
  const parts = Object.keys(report.kinds).filter((kind) => errors[kind]).map((kind) => `${report.kinds[kind][0]}: ${errors[kind]}`);
  const correct = items.filter((item) => item.kind === "correct").length;
  return [...parts, `correct: ${correct}`].join(" · ");
}

function makeCard({ image, number, items }, filters) {
  const card = htmlElement("article", "card");
  const title = htmlElement("h3", "", image.name);
  title.id = `image-${number}`;
  title.tabIndex = -1;
  title.title = image.path;
  card.setAttribute("aria-labelledby", title.id);
  const enlarge = htmlElement("button", "enlarge", "Enlarge");
  enlarge.type = "button";
  enlarge.setAttribute("aria-pressed", "false");
  enlarge.setAttribute("aria-label", `Enlarge ${image.name}`);
  enlarge.addEventListener("click", () => {
    const large = card.classList.toggle("large");
    enlarge.setAttribute("aria-pressed", String(large));
  });
  const head = htmlElement("div", "head");
  head.append(title, enlarge);
  const details = htmlElement("div", "details");
  const { frame, overlay } = emptyPicture(image);
  drawItems(overlay, details, image, items, filters);
  card.append(head, frame, details);
  return card;
}

// Fills the overlay with a list of boxes. Arrow keys move between them, errors first; Escape leaves the box.
function drawItems(overlay, details, image, items, filters) {
  const ordered = [...items].sort((a, b) => isError(b.kind) - isError(a.kind));
  overlay.setAttribute("role", items.length ? "listbox" : "img");
  overlay.setAttribute("aria-label", items.length ? `Boxes in ${image.name}` : `${image.name}: no boxes to show`);
  if (filters.truth) {
    const truth = svgElement("g", { "aria-hidden": "true" });
    for (const box of image.objects) truth.append(boxShape(box, "truth"));
    for (const box of image.ignored) truth.append(boxShape(box, "ignored-region"));
    overlay.append(truth);
  }
  const drawing = svgElement("g", { "aria-hidden": "true", class: "active-drawing" });
  const nodes = ordered.map((item, index) => itemNode(item, index === 0));
  // Small boxes lie over large ones, so that both can be pointed at.
  const byArea = nodes.map((node, index) => [area(ordered[index].box), node]).sort((a, b) => b[0] - a[0]);
  overlay.append(...byArea.map(([, node]) => node), drawing);
  let pinned = null;

  function show(index) {
    drawing.replaceChildren();
    overlay.classList.toggle("one", index !== null);
    nodes.forEach((node, other) => {
      node.classList.toggle("active", other === index);
      node.setAttribute("aria-selected", String(other === index));
    });
    if (index === null) {
      details.replaceChildren(htmlElement("p", "name", summaryText(items)), htmlElement("p", "", items.length ? "Choose a box to see what the model believes about it." : ""));
      return;
    }
    drawActive(drawing, ordered[index], image, filters.model);
    details.replaceChildren(...detailNodes(ordered[index], image, filters.model));
  }

  function moveTo(index) {
    nodes.forEach((node, other) => node.setAttribute("tabindex", other === index ? "0" : "-1"));
    nodes[index].focus({ preventScroll: false });
  }

  nodes.forEach((node, index) => {
    node.addEventListener("pointerenter", () => show(index));
    node.addEventListener("focus", () => {
      pinned = index;
      show(index);
    });
    node.addEventListener("click", () => moveTo(index));
    node.addEventListener("keydown", (event) => {
      const next = nextIndex(event.key, index, nodes.length);
      if (next !== null) {
        event.preventDefault();
        moveTo(next);
      } else if (event.key === "Escape") {
        pinned = null;
        show(null);
      }
    });
  });
  overlay.addEventListener("pointerleave", () => show(pinned));
  // Not at the overlay: Chromium lets the Tab key stop at an SVG that listens for focus.
  overlay.parentElement.addEventListener("focusout", (event) => {
    if (overlay.contains(event.relatedTarget)) return;
    pinned = null;
    show(null);
  });
  show(null);
}

function nextIndex(key, index, count) {
  if (key === "ArrowRight" || key === "ArrowDown") return (index + 1) % count;
  if (key === "ArrowLeft" || key === "ArrowUp") return (index + count - 1) % count;
  if (key === "Home") return 0;
  return key === "End" ? count - 1 : null;
}

function itemNode(item, first) {
  const node = boxShape(item.box, item.kind);
  node.setAttribute("role", "option");
  node.setAttribute("aria-selected", "false");
  node.setAttribute("aria-label", itemName(item));
  node.setAttribute("tabindex", first ? "0" : "-1");
  if (item.detection) node.dataset.detection = item.detection.n;
  return node;
}

// The labelled box and the curves of the active detection.
function drawActive(drawing, item, image, model) {
  const object = item.detection ? image.objects[item.detection.o] : null;
  if (object) drawing.append(boxShape(object, "truth"));
  if (item.detection && item.detection.d) drawCurves(drawing, item.detection, image, report.models[model].bins);
}

function detailNodes(item, image, model) {
  const text = htmlElement("p", "name");
  text.append(htmlElement("span", `swatch k-${item.kind}`), itemName(item).split(";")[0]);
  if (!item.detection || !item.detection.d) return [text];
  const object = image.objects[item.detection.o] || null;
  const list = htmlElement("ul", "curves");
  sideCurves(item.detection, report.models[model].bins).forEach((curve, side) => {
    const entry = htmlElement("li");
    entry.append(smallCurve(curve, item.detection.b[side], object ? object[side] : null));
    entry.append(htmlElement("span", "", `${SIDES[side]} σ ${item.detection.d[side].toFixed(1)} px`));
    list.append(entry);
  });
  return [text, list];
}

{
  const form = document.getElementById("filters");
  if (form) startGallery(form);
}
