"use strict";
(() => {
  const place = document.getElementById("cards");
  if (!place) return;
  const cards = Array.from(place.children, (card, at) => ({
    card,
    at,
    gains: card.dataset.gains.split(" ").map((text) => (text === "-" || text === "" ? null : Number(text))),
    values: card.querySelectorAll(".values > div"),
    text: null,
  }));
  const [find, sort, direction, which, shown] = ["find", "sort", "direction", "which", "shown"].map((id) =>
    document.getElementById(id),
  );
  const open = new Set(Array.from(cards[0]?.values ?? [], (value, at) => (value.hidden ? -1 : at)));
  let sign = -1; // the largest gain first

  const gain = (one) => (Number(sort.value) < 0 ? null : one.gains[Number(sort.value)]);
  // Images without a number come last in both directions; ties keep the order of ids.
  const compare = (a, b) => {
    const [x, y] = [gain(a), gain(b)];
    if (x === null || y === null) return (x === null) - (y === null) || a.at - b.at;
    return sign * (x - y) || a.at - b.at;
  };
  const kept = (one) => {
    const value = gain(one);
    if (which.value === "all" || value === null) return which.value === "all";
    return which.value === "gain" ? value > 0 : which.value === "loss" ? value < 0 : value === 0;
  };
  const arrange = () => {
    const words = find.value.trim().toLowerCase();
    let count = 0;
    place.append(...cards.sort(compare).map((one) => one.card));
    for (const one of cards) {
      one.text ??= one.card.textContent.toLowerCase();
      one.card.hidden = !one.text.includes(words) || !kept(one);
      count += !one.card.hidden;
      one.values.forEach((value, at) => {
        value.classList.toggle("sorted", at === Number(sort.value));
        value.hidden = !open.has(at) && at !== Number(sort.value);
      });
    }
    shown.textContent = count < cards.length ? `${count} of ${cards.length} images` : `${cards.length} images`;
  };
  find.addEventListener("input", arrange);
  which.addEventListener("change", () => {
    if (Number(sort.value) < 0 && sort.options.length > 1) sort.value = "0";
    arrange();
  });
  sort.addEventListener("change", arrange);
  direction.addEventListener("click", () => {
    sign = -sign;
    direction.textContent = sign < 0 ? "largest gain first" : "largest loss first";
    arrange();
  });
  document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("controls").hidden = false;
})();
