// Two models side by side: objects that only one of them found.

const COMPARED_PER_PAGE = 6;

function startComparison(place) {
  const more = document.getElementById("more-compared");
  let shown = 0;
  function showMore() {
    const rows = report.compared.slice(shown, shown + COMPARED_PER_PAGE).map(comparedRow);
    place.append(...rows);
    if (shown) rows[0].querySelector("h3").focus();
    shown += rows.length;
    more.hidden = shown >= report.compared.length;
  }
  more.addEventListener("click", showMore);
  showMore();
}

function comparedRow({ image: number, only }) {
  const image = report.images[number];
  const row = htmlElement("article", "compared");
  const title = htmlElement("h3", "", image.name);
  title.id = `compared-${number}`;
  title.tabIndex = -1;
  row.setAttribute("aria-labelledby", title.id);
  const pair = htmlElement("div", "pair");
  [0, 1].forEach((own) => pair.append(comparedPicture(image, own, only)));
  row.append(title, pair);
  return row;
}

function comparedPicture(image, own, only) {
  const model = report.compared_models[own];
  const figure = htmlElement("figure");
  const { frame, overlay } = emptyPicture(image);
  const found = only[own].map((index) => image.objects[index]);
  const missed = only[1 - own].map((index) => image.objects[index]);
  for (const box of found) overlay.append(boxShape(box, "correct"));
  for (const box of missed) overlay.append(boxShape(box, "missed"));
  const text = `finds ${objectsText(found)}; misses ${objectsText(missed)}`;
  overlay.setAttribute("role", "img");
  overlay.setAttribute("aria-label", `${report.models[model].name} ${text}`);
  const caption = htmlElement("figcaption");
  caption.append(htmlElement("strong", "", report.models[model].name), ` ${text}`);
  figure.append(caption, frame);
  return figure;
}

// Such as "2 RBC and 1 WBC".
function objectsText(objects) {
  if (!objects.length) return "none of these";
  const counts = {};
  for (const box of objects) counts[box[4]] = (counts[box[4]] || 0) + 1;
  return Object.entries(counts).map(([label, count]) => `${count} ${report.classes[label]}`).join(" and ");
}

{
  const place = document.getElementById("compared");
  if (place) startComparison(place);
}
