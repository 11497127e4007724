// The filters of the gallery.

function readFilters(form) {
  const data = new FormData(form);
  return {
    model: Number(data.get("model")),
    label: data.get("class") === "" ? null : Number(data.get("class")),
    size: data.get("size"),
    certainty: data.get("certainty") === "" ? null : Number(data.get("certainty")),
    score: Number(data.get("score")),
    kinds: new Set(data.getAll("kind")),
    truth: data.has("truth"),
  };
}

// Third of the model's detections, 0 the most certain; null without uncertainty.
function certaintyOf(item, model) {
  const thirds = report.models[model].thirds;
  if (item.spread === undefined || !thirds) return null;
  return item.spread <= thirds[0] ? 0 : item.spread <= thirds[1] ? 1 : 2;
}

// Whether an item passes all filters except that of its kind.
function passesOthers(item, filters) {
  return (
    (filters.label === null || item.label === filters.label) &&
    (!filters.size || sizeOf(item.box) === filters.size) &&
    (filters.certainty === null || certaintyOf(item, filters.model) === filters.certainty) &&
    (item.score === undefined || item.score >= filters.score)
  );
}

// Whether the filters hide nothing, so that images without any box are shown, too.
function hideNothing(filters, kinds) {
  return filters.label === null && !filters.size && filters.certainty === null && filters.score === 0 && filters.kinds.size === kinds;
}
