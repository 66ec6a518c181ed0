// Rows to sort, to search, and to unfold.

const AT_ONCE = 200,
  ON_PAPER = 5;

// columns: their heads, the first of the name; by: the one by which the rows are sorted already;
// rows: {name, where, kind, cells, keys, style}; detail(row, index, node) fills the node that unfolds
function sortedTable(label, columns, by, rows, note, detail) {
  let shown = [],
    limit = AT_ONCE,
    down = true;
  const order = rows.map((_, index) => index);
  const made = new Map();
  const found = el("output");
  const body = el("tbody");
  const heads = columns.map((text, column) =>
    el(
      "th",
      { scope: "col" },
      el(
        "button",
        { type: "button", onclick: () => sort(column) },
        text,
        el("span", { "aria-hidden": "true", class: "arrow" }),
      ),
    ),
  );
  const more = el("button", { type: "button", class: "more", onclick: () => ((limit += AT_ONCE), fill()) });
  const search = el("input", {
    type: "search",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => ((limit = AT_ONCE), pick(), fill()),
  });
  const texts = rows.map((row) => `${row.kind || ""} ${row.name} ${row.where}`.toLowerCase());

  function sort(column) {
    // names from a to z first, numbers from the largest
    down = by === column ? !down : column > 0;
    by = column;
    const sign = down ? -1 : 1;
    const key = column ? (index) => rows[index].keys[column - 1] : (index) => rows[index].name;
    order.sort((one, two) => {
      const [a, b] = [key(one), key(two)];
      // what is not known stands last, whichever way
      if (a === null || b === null) return (a === null) - (b === null) || one - two;
      return a === b ? one - two : a < b ? -sign : sign;
    });
    tell();
    pick();
    fill();
  }

  // by which column the rows are sorted
  function tell() {
    heads.forEach((head, index) => {
      if (index === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      head.querySelector(".arrow").textContent = index === by ? (down ? " ▼" : " ▲") : "";
    });
  }

  function pick() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = order.filter((index) => words.every((word) => texts[index].includes(word)));
  }

  function pair(index) {
    if (!made.has(index)) {
      const row = rows[index];
      const inside = el("div", { class: "inside" });
      const below = el("tr", { class: "detail", id: newId() }, el("td", { colspan: columns.length }, inside));
      below.hidden = true;
      const label = [row.kind ? el("span", { class: "kind" }, `${row.kind} `) : null, row.name].filter(Boolean);
      const button = unfolding(label, { class: "name" }, below, () => detail(row, index, inside));
      const name = el("th", { scope: "row" }, button, " ", el("span", { class: "where" }, row.where));
      made.set(index, {
        button,
        nodes: [el("tr", { class: row.style || null }, name, ...row.cells.map((cell) => el("td", {}, cell))), below],
      });
    }
    return made.get(index);
  }

  function fill() {
    const now = shown.slice(0, limit);
    body.replaceChildren(...now.flatMap((index) => pair(index).nodes));
    const rest = shown.length - now.length;
    more.hidden = rest === 0;
    more.textContent = `… and ${count(rest)} more: show ${count(Math.min(rest, AT_ONCE))}`;
    found.textContent =
      shown.length === rows.length
        ? plural(rows.length, "function")
        : `${count(shown.length)} of ${plural(rows.length, "function")}`;
  }

  tell();
  pick();
  fill();
  const table = el("table", { class: "functions" }, el("thead", {}, el("tr", {}, ...heads)), body);
  const tools = el("p", { class: "tools" }, el("label", {}, "Search ", search), " ", found);
  const node = el(
    "div",
    {},
    rows.length > 1 ? tools : null,
    el("div", { class: "wide", role: "region", "aria-label": label, tabindex: "0" }, table),
    more,
    note ? el("p", { class: "soft" }, note) : null,
  );
  const unfold = (most) => shown.slice(0, most).forEach((index) => pair(index).button.show(true));
  // on paper there is what was unfolded; where nothing was, the first few
  addEventListener("beforeprint", () => {
    if (![...made.values()].some((each) => each.button.isOpen())) unfold(ON_PAPER);
  });
  return { node, unfold };
}
