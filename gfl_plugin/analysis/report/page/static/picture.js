// An image with boxes over it. All texts are set as text, never as HTML.

const report = JSON.parse(document.getElementById("data").textContent);

function svgElement(name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function htmlElement(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

// The picture with an empty SVG over it, whose coordinates are pixels of the original image.
function emptyPicture(image) {
  const frame = htmlElement("div", "picture");
  frame.style.aspectRatio = `${image.width} / ${image.height}`;
  if (image.src) {
    const picture = htmlElement("img");
    picture.src = image.src;
    picture.alt = ""; // the SVG over it is described
    frame.append(picture);
  } else {
    frame.append(htmlElement("p", "unreadable", `This image cannot be read: ${image.path}`));
  }
  const overlay = svgElement("svg", { viewBox: `0 0 ${image.width} ${image.height}`, class: "overlay" });
  frame.append(overlay);
  return { frame, overlay };
}

// A rectangle with a dark casing, visible on light and dark images.
function boxShape([x1, y1, x2, y2], kind) {
  const place = { x: x1, y: y1, width: Math.max(x2 - x1, 0), height: Math.max(y2 - y1, 0) };
  const group = svgElement("g", { class: `box k-${kind}` });
  group.append(svgElement("rect", { ...place, class: "casing" }), svgElement("rect", { ...place, class: "line" }));
  return group;
}

const area = ([x1, y1, x2, y2]) => Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);

// COCO's sizes.
function sizeOf(box) {
  if (area(box) < 32 * 32) return "small";
  return area(box) < 96 * 96 ? "medium" : "large";
}

const sizeText = ([x1, y1, x2, y2]) => `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)} px`;

const isError = (kind) => kind !== "correct" && kind !== "ignored";

// What a model finds and misses in an image, as things that can be filtered, drawn and focused.
function itemsOf(image, model) {
  const seen = image.seen[model];
  if (!seen) return [];
  const found = seen.detections.map((one) => ({ kind: one.k, label: one.c, box: one.b, score: one.s, spread: one.r, detection: one }));
  const missed = seen.missed.map((index) => {
    const [x1, y1, x2, y2, label] = image.objects[index];
    return { kind: "missed", label, box: [x1, y1, x2, y2], object: index };
  });
  return [...missed, ...found];
}

// The name that a screen reader reads.
function itemName(item) {
  const name = report.classes[item.label];
  const kind = report.kinds[item.kind][0];
  if (!item.detection) return `${name}, ${kind}, ${sizeText(item.box)}`;
  const { s, i, d } = item.detection;
  const sides = d ? `; σ ${SIDES.map((side, index) => `${side} ${d[index].toFixed(1)} px`).join(", ")}` : "";
  return `${name}, score ${s.toFixed(2)}, ${kind}, IoU ${i.toFixed(2)}${sides}`;
}
