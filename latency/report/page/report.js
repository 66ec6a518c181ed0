// A page of recordings.

const TOTAL = 8; // the column

function report(shown) {
  const main = document.querySelector("main");
  main.append(el("h1", {}, "pylat"));
  const several = shown.runs.length > 1;
  shown.runs.forEach((run, at) =>
    main.append(section(shown, run, at, several ? `Run ${at + 1} of ${shown.runs.length}: ` : "")),
  );
}

function section(shown, run, at, which) {
  for (const row of run.functions) {
    row.cells.push(...row.keys.slice(row.cells.length).map((ns) => (ns === null ? "-" : duration(ns, shown.unit))));
  }
  // the busiest come first; what has no latency by its calls
  const by = run.functions.some((row) => row.keys[TOTAL - 1]) ? TOTAL : 1;
  const note = run.functions.length ? run.note : "";
  const table = sortedTable("functions", ["function", ...run.heads], by, run.functions, note, (row, index, inside) =>
    functionDetail(shown, run, at, row, index, inside),
  );
  if (run.functions.length === 1) table.unfold(1);
  return el(
    "section",
    {},
    el("h2", {}, which, run.whom),
    el("p", {}, run.head.join(" · ")),
    sentences(run.said),
    run.functions.length ? table.node : null,
    run.slow ? slowCalls(run.slow) : null,
  );
}

function functionDetail(shown, run, at, row, index, inside) {
  if (row.said) inside.append(sentences(row.said));
  fillIn(inside, (details) => {
    const { facts, tables = [], own = [], ...more } = details[at][index];
    return [
      el("p", {}, facts.join(" · ")),
      ...tables.map(([about, ...rows]) => cellTable([shown.percentiles, ...rows], about)),
      more.plots ? plots(shown, run, more) : null,
      ...own.map((text) => el("p", {}, text)),
    ];
  });
}

function plots(shown, run, { marks, only, plots: [recorded, parts, moved, heat], split }) {
  const node = el("div", { class: "plots" }, histogram(recorded, marks, shown.marked, only, shown.unit));
  if (parts) {
    const begins = beginning(parts, run.duration_s);
    node.append(overTime(begins, moved, shown.over_time, shown.steps, run.duration_s, only, shown.unit));
    node.append(heatMap(begins, heat, run.duration_s, only, shown.unit));
  }
  if (split) node.append(whereItWent(split, shown.parts));
  return node;
}

function whereItWent(of, names) {
  return el(
    "div",
    { class: "parts" },
    of.said ? el("p", {}, of.said) : null,
    stacked(of.bars, names),
    cellTable(of.rows, ""),
    ...of.doubts.map((text) => el("p", { class: "soft" }, text)),
  );
}

function slowCalls(slow) {
  const calls = slow.calls.map((call) => {
    const below = el("div", { class: "fold", id: newId() });
    below.hidden = true;
    const frames = slow.stacks[call.stack].map((frame) => slow.frames[frame]);
    const beyond = call.whole ? [] : [["… and those beyond them", ""]];
    below.append(
      el("p", {}, "with"),
      el("ul", { class: "values" }, ...call.arguments.map((text) => el("li", {}, el("code", {}, text)))),
      ...(frames.length
        ? [
            el("p", {}, "called by"),
            el(
              "ol",
              {},
              ...[...frames, ...beyond].map(([name, where]) =>
                el("li", {}, el("code", {}, name), " ", el("span", { class: "where" }, where)),
              ),
            ),
          ]
        : []),
    );
    const [took, ...others] = call.parts;
    const button = unfolding(
      [el("b", {}, took), " ", el("code", {}, call.name), ` ${others.join(" · ")}`],
      { class: "call" },
      below,
      () => {},
    );
    return el("li", {}, button, below);
  });
  return el(
    "div",
    { class: "slow" },
    el("h3", {}, slow.heading.replace(/:$/, "")),
    sentences(slow.said),
    el("ol", { class: "calls" }, ...calls),
    slow.note && calls.length ? el("p", { class: "soft" }, slow.note) : null,
  );
}
