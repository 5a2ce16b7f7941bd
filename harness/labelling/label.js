"use strict";
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  const button = Array.from(document.querySelectorAll("[data-key]")).find((one) => one.dataset.key === key);
  if (!button) return;
  event.preventDefault();  // of space on a focused button, too
  button.click();
});
