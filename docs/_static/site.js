// Prepares tables for narrow screens, where site.css shows each row as a block.
document.addEventListener("DOMContentLoaded", () => {
  // Long code may break after its punctuation.
  for (const word of document.querySelectorAll(".content td:not(:first-child) code .pre")) {
    const parts = word.textContent.split(/(?<=[_\-/.,=(])(?=\w)/);
    if (word.textContent.length > 20) word.replaceChildren(...parts.flatMap(withBreak).slice(1));
  }
  // A cell that is shown as a block needs the head of its column. Tables with more columns hold
  // figures and scroll instead.
  for (const table of document.querySelectorAll(".content table.docutils")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    if (heads.length < 3 || heads.length > 5) continue;
    table.classList.add("stacked");
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, i) => {
        if (cell.textContent.trim()) cell.dataset.label = heads[i];
        else cell.replaceChildren();
      });
    }
  }
});

function withBreak(part) {
  return [document.createElement("wbr"), part];
}
