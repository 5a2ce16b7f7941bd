"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const [form, find, by, columns, shown] = ["controls", "find", "by", "columns", "shown"].map($);
  const tables = Array.from(document.querySelectorAll("table.board"), (table) => {
    const heads = Array.from(table.tHead.rows[0].cells);
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row, at) => ({
      row,
      at,
      text: Array.from(row.querySelectorAll(".name, .fact"), (cell) => cell.textContent).join(" ").toLowerCase(),
      values: Array.from(row.cells, (cell) => cell.dataset.v ?? null),
      ranks: Array.from(row.cells, (cell) => cell.dataset.r ?? "–"),
    }));
    return { heads, body, rows, by: table.querySelector("[data-by]"), lines: Array.from(table.rows) };
  });
  const initial = { by: by.value, dir: "", find: "", columns: "main" };
  let state = { ...initial };

  const compare = (column, sign, text) => (a, b) => {
    const [x, y] = [a.values[column], b.values[column]];
    // Runs without a value come last in both directions; ties keep the order of the page.
    if (x === null || y === null) return (x === null) - (y === null) || a.at - b.at;
    if (text) return sign * (x < y ? -1 : x > y ? 1 : 0) || a.at - b.at;
    return sign * (Number(x) - Number(y)) || a.at - b.at;
  };

  const apply = () => {
    const words = state.find.trim().toLowerCase();
    let [count, all] = [0, 0];
    for (const { heads, body, rows, by: label, lines } of tables) {
      const column = heads.findIndex((head) => head.dataset.key === state.by);
      heads.forEach((head) => head.removeAttribute("aria-sort"));
      if (column >= 0) {
        const text = "text" in heads[column].dataset;
        const dir = state.dir || (text ? "asc" : heads[column].dataset.first || "desc");
        heads[column].setAttribute("aria-sort", dir === "asc" ? "ascending" : "descending");
        body.append(...rows.sort(compare(column, dir === "asc" ? 1 : -1, text)).map(({ row }) => row));
        if ("ranked" in heads[column].dataset && label) {
          label.textContent = state.by.replace(/\.(score|words)$/, "").replace(/\.(?=[^.]*$)/, " ");
          for (const { row, ranks } of rows) row.cells[0].textContent = ranks[column];
        }
      }
      for (const { row, text } of rows) {
        row.hidden = !text.includes(words);
        count += !row.hidden;
        all += 1;
      }
      const hide = heads.map((head, at) => {
        const key = head.dataset.key;
        if (at < 2 || !key || !key.includes(".") || at === column || state.columns === "all") return false;
        if (state.columns === "main") return head.classList.contains("extra");
        return key.slice(0, key.lastIndexOf(".")) !== state.columns;
      });
      for (const line of lines) hide.forEach((hidden, at) => (line.cells[at].hidden = hidden));
    }
    find.value = state.find;
    columns.value = state.columns;
    if (Array.from(by.options, ({ value }) => value).includes(state.by)) by.value = state.by;
    shown.textContent = words ? `${count} of ${all} runs` : "";
  };

  // The address after # holds what differs from the page as it opens, so that a view can be sent to somebody.
  const read = () => {
    const address = new URLSearchParams(location.hash.slice(1));
    state = { ...initial };
    for (const name of Object.keys(initial)) if (address.has(name)) state[name] = address.get(name);
    if (!Array.from(columns.options, ({ value }) => value).includes(state.columns)) state.columns = "main";
  };
  const change = (changed) => {
    state = { ...state, ...changed };
    const differing = Object.entries(state).filter(([name, value]) => value !== initial[name]);
    history.replaceState(null, "", `#${new URLSearchParams(differing)}`);
    apply();
  };

  // A column chosen by name may be outside the visible part of its box.
  const reveal = () => {
    for (const { heads } of tables) {
      const head = heads.find(({ dataset }) => dataset.key === state.by);
      if (!head) continue;
      const box = head.closest(".scroll");
      const pinned = heads[1].offsetLeft - heads[0].offsetLeft + heads[1].offsetWidth;
      const left = head.offsetLeft - box.scrollLeft;
      if (left < pinned || left + head.offsetWidth > box.clientWidth) box.scrollLeft = head.offsetLeft - pinned;
    }
  };

  find.addEventListener("input", () => change({ find: find.value }));
  by.addEventListener("change", () => {
    change({ by: by.value, dir: "" });
    reveal();
  });
  columns.addEventListener("change", () => change({ columns: columns.value }));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const { heads } of tables) {
    for (const head of heads) {
      head.querySelector("button")?.addEventListener("click", () => {
        const key = head.dataset.key;
        const now = head.getAttribute("aria-sort");
        change({ by: key, dir: now === "descending" ? "asc" : now ? "desc" : "" });
      });
    }
  }
  window.addEventListener("hashchange", () => {
    read();
    apply();
    reveal();
  });
  form.hidden = false;
  read();
  apply();
  if (state.by !== initial.by) reveal();
})();
