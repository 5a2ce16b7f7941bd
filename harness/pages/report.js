"use strict";
(() => {
  const place = document.getElementById("cards");
  const cards = Array.from(place.children, (card) => ({
    card,
    id: card.querySelector(".id").textContent,
    numbers: card.dataset.numbers.split(" ").map((text) => (text === "-" ? null : Number(text))),
    values: card.querySelectorAll(".values > div"),
    text: null,
  }));
  const find = document.getElementById("find");
  const sort = document.getElementById("sort");
  const direction = document.getElementById("direction");
  const marks = document.getElementById("marks");
  const shown = document.getElementById("shown");
  let sign = 1;

  // Samples without a number stand last in both directions; equal ones keep the task's order.
  const compare = (column) => (a, b) => {
    if (column === "id") return sign * (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
    const [x, y] = [a.numbers[column], b.numbers[column]];
    if (x === null || y === null) return (x === null) - (y === null) || a.numbers[0] - b.numbers[0];
    return sign * (x - y) || a.numbers[0] - b.numbers[0];
  };
  // A metric's worst samples come first; "ascending" would be the best ones where lower is better.
  const worst = () => Number(sort.selectedOptions[0].dataset.worst ?? 0);
  const name = () => {
    if (worst()) return sign === worst() ? "worst first" : "best first";
    return sign > 0 ? "ascending" : "descending";
  };
  const arrange = () => {
    direction.textContent = name();
    const column = sort.value === "id" ? "id" : Number(sort.value);
    place.append(...cards.sort(compare(column)).map(({ card }) => card));
    for (const { values } of cards) {
      values.forEach((value, at) => {
        value.classList.toggle("sorted", at + 2 === column);
        const folded = value.closest("details");
        if (folded && at + 2 === column) folded.open = true;
      });
    }
  };
  const filter = () => {
    const words = find.value.trim().toLowerCase();
    let count = 0;
    for (const entry of cards) {
      entry.text ??= entry.card.textContent.toLowerCase();
      entry.card.hidden = !entry.text.includes(words);
      count += !entry.card.hidden;
    }
    shown.textContent = words ? `${count} of ${cards.length} samples` : `${cards.length} samples`;
  };
  find.addEventListener("input", filter);
  sort.addEventListener("change", () => {
    sign = worst() || 1;
    arrange();
  });
  direction.addEventListener("click", () => {
    sign = -sign;
    arrange();
  });
  marks.addEventListener("change", () => document.body.classList.toggle("unmarked", !marks.checked));
  document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("controls").hidden = false;
})();
