"use strict";
// Light and dark colors: as the system says, or as chosen. The files of this folder are joined into one script.

function chosenTheme() {
  try {
    return localStorage.getItem("gfl-report-theme") || "auto";
  } catch {
    return "auto"; // pages from files may have no storage
  }
}

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("gfl-report-theme", theme);
  } catch {
    // The choice holds until the page is closed.
  }
}

{
  const select = document.getElementById("theme");
  select.value = chosenTheme();
  applyTheme(select.value);
  select.addEventListener("change", () => applyTheme(select.value));
}
