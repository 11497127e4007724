// Where the model believes each side of a box to be: curves of probability per pixel.

const SIDES = ["left", "top", "right", "bottom"];

// Points [pixel coordinate, probability per pixel] of a side, in falling or rising order of the coordinate.
function sideCurve(detection, side, bins) {
  return detection.p ? binCurve(detection, side, bins) : normalCurve(detection.b[side], detection.d[side]);
}

function binCurve(detection, side, bins) {
  const [first, ...thousandths] = detection.p[side];
  const at = (bin) => detection.g[side] + bins[bin] * detection.z[side];
  const points = thousandths.map((value, index) => {
    const bin = first + index;
    const low = Math.max(bin - 1, 0);
    const high = Math.min(bin + 1, bins.length - 1);
    const width = Math.abs(at(high) - at(low)) / (high - low); // pixels per bin around this one
    return [at(bin), value / 1000 / Math.max(width, 1e-6)];
  });
  if (!points.length) return [];
  const last = first + thousandths.length - 1;
  return [[at(Math.max(first - 1, 0)), 0], ...points, [at(Math.min(last + 1, bins.length - 1)), 0]];
}

function normalCurve(mean, std) {
  const width = Math.max(std, 0.1); // a certain side still has a visible curve
  const points = [];
  for (let step = -24; step <= 24; step++) {
    const z = step / 7;
    points.push([mean + z * width, Math.exp(-0.5 * z * z) / (width * Math.sqrt(2 * Math.PI))]);
  }
  return points;
}

// The four curves in units of the highest one, so that equal areas stay equal.
function sideCurves(detection, bins) {
  const curves = SIDES.map((_, side) => sideCurve(detection, side, bins));
  const top = Math.max(1e-9, ...curves.flat().map(([, height]) => height));
  return curves.map((curve) => curve.map(([at, height]) => [at, height / top]));
}

// Draws the curves into an SVG group at the middle of their sides: left and right upwards, top and bottom to the right.
function drawCurves(group, detection, image, bins) {
  const [x1, y1, x2, y2] = detection.b;
  const middle = [(x1 + x2) / 2, (y1 + y2) / 2];
  const least = Math.min(image.width, image.height);
  const height = Math.min(Math.max(0.4 * Math.min(x2 - x1, y2 - y1), 0.06 * least), 0.16 * least);
  sideCurves(detection, bins).forEach((curve, side) => {
    const across = side % 2 === 0;
    const place = ([at, value]) => (across ? [at, middle[1] - value * height] : [middle[0] + value * height, at]);
    const path = outline(curve.map(place));
    group.append(svgElement("path", { class: "curve-casing", d: path }), svgElement("path", { class: "curve", d: path }));
  });
}

// A small picture of one curve; the predicted side is at 0, and a dashed line marks the labelled side.
function smallCurve(curve, predicted, labelled) {
  const used = curve.filter(([, height]) => height > 0.01).map(([at]) => at - predicted);
  const label = labelled === null ? [] : [labelled - predicted];
  const reach = Math.max(1, ...[...used, ...label].map(Math.abs)) * 1.08;
  const x = (offset) => 60 + (55 * offset) / reach;
  const picture = svgElement("svg", { viewBox: "0 0 120 46", class: "small-curve", "aria-hidden": "true" });
  picture.append(
    svgElement("line", { class: "axis", x1: 4, x2: 116, y1: 40, y2: 40 }),
    svgElement("path", { class: "area", d: outline(curve.map(([at, height]) => [x(at - predicted), 40 - 36 * height])) }),
    svgElement("line", { class: "at-predicted", x1: 60, x2: 60, y1: 2, y2: 44 }),
  );
  if (label.length) picture.append(svgElement("line", { class: "at-labelled", x1: x(label[0]), x2: x(label[0]), y1: 2, y2: 44 }));
  return picture;
}

function outline(points) {
  const written = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`);
  return written.length ? `M${written.join("L")}Z` : "";
}
