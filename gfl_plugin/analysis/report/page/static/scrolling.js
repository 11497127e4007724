// Wide tables scroll inside their own region, which must then be reachable by keyboard.

function markScrollable(region) {
  const caption = region.querySelector("caption");
  if (region.scrollWidth > region.clientWidth + 1) {
    region.tabIndex = 0;
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", caption ? caption.textContent : "Command");
  } else {
    for (const name of ["tabindex", "role", "aria-label"]) region.removeAttribute(name);
  }
}

{
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => markScrollable(entry.target)));
  document.querySelectorAll(".scroll").forEach((region) => observer.observe(region));
}
