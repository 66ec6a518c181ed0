// A page of a comparison.

function comparison(shown) {
  const heads = ["function", ...shown.heads];
  const table = sortedTable("functions", heads, heads.length - 1, shown.functions, shown.note, (row, index, inside) =>
    comparedDetail(shown, row, index, inside),
  );
  table.unfold(1);
  document
    .querySelector("main")
    .append(
      el("h1", {}, "pylat compare"),
      el("h2", {}, shown.verdicts),
      el("p", {}, shown.head.join(" · ")),
      ...[sentences(shown.said), shown.functions.length ? table.node : null].filter(Boolean),
    );
}

function comparedDetail(shown, row, index, inside) {
  fillIn(inside, (details) => {
    const { rows, limits, curves } = details[index];
    const drawn = curves
      ? [
          distributions(curves.base, curves.head, shown.shares),
          shifts(curves.shift, curves.half, shown.quantiles, limits),
        ]
      : [];
    return [cellTable([shown.heads, ...rows], ""), el("div", { class: "plots" }, ...drawn)];
  });
}

function distributions(base, head, shares) {
  const low = Math.min(base[0], head[0]),
    high = Math.max(base.at(-1), head.at(-1), low * 1.05);
  const plot = new Plot(
    "Share of calls that took at most so long, all runs together",
    [Math.log(low), Math.log(high)],
    [0, 1],
  );
  for (const share of [0, 0.25, 0.5, 0.75, 1]) plot.across(share, `${100 * share} %`);
  for (const tick of roundDurations(low, high, 6)) plot.upright(Math.log(tick), duration(tick));
  for (const [side, style] of [
    [base, STYLES[0]],
    [head, STYLES[1]],
  ])
    plot.line(
      `line ${style}`,
      side.map((ns, at) => [Math.log(ns), shares[at]]),
    );
  shares.forEach((share, at) => {
    const bottom = plot.y(at ? (shares[at - 1] + share) / 2 : 0),
      top = plot.y(at + 1 < shares.length ? (share + shares[at + 1]) / 2 : 1);
    plot.item(
      LEFT,
      WIDE - RIGHT,
      top,
      bottom,
      `${short(100 * share, 4)} % of the calls took at most ${duration(base[at])} in base, ${duration(head[at])} in head`,
    );
  });
  plot.key(["base", "head"]);
  return plot.done();
}

function shifts(shift, half, quantiles, limits) {
  const low = shift.map((value, at) => value - half[at]),
    high = shift.map((value, at) => value + half[at]);
  const largest = (values) => Math.max(...values.map(Math.abs));
  // an interval far wider than the change would hide it
  const reach = 1.15 * Math.max(largest(shift), Math.min(largest([...low, ...high]), Math.log(4)), Math.log(1.05));
  const within = (value) => Math.min(Math.max(value, -reach), reach);
  const plot = new Plot("How much each quantile moved, with its 95 % interval between runs", [0, 1], [-reach, reach]);
  for (const tick of roundShares(reach))
    plot.across(Math.log1p(tick), tick ? signed(tick) : "0", tick ? "grid" : "zero");
  for (const share of [0, 0.25, 0.5, 0.75, 1]) plot.upright(share, `p${100 * share}`);
  for (const limit of limits.flatMap((ratio) => [Math.log1p(ratio), -Math.log1p(ratio)])) {
    if (Math.abs(limit) < reach)
      plot.line("limit", [
        [0, limit],
        [1, limit],
      ]);
  }
  if (half.some((value) => value > 0)) {
    const around = [
      ...quantiles.map((q, at) => [q, within(high[at])]),
      ...quantiles.map((q, at) => [q, within(low[at])]).reverse(),
    ];
    plot.line("band", around);
  }
  plot.line(
    "line second",
    quantiles.map((q, at) => [q, within(shift[at])]),
  );
  quantiles.forEach((q, at) => {
    const left = plot.x(at ? (quantiles[at - 1] + q) / 2 : 0),
      right = plot.x(at + 1 < quantiles.length ? (q + quantiles[at + 1]) / 2 : 1);
    const sure = half[at] > 0 ? `, between ${signed(Math.expm1(low[at]))} and ${signed(Math.expm1(high[at]))}` : "";
    plot.item(left, right, TOP, HIGH - BOTTOM, `p${short(100 * q, 4)}: ${signed(Math.expm1(shift[at]))}${sure}`);
  });
  return plot.done();
}

// round changes, as shares, from -reach to reach in logarithms; always 0
function roundShares(reach) {
  const up = Math.expm1(reach);
  let step = 10 ** Math.floor(Math.log10(up));
  step = up / step < 2 ? step / 2 : up / step < 4 ? step : 2 * step;
  const found = [];
  for (let index = -10; index <= 10; index += 1) {
    if (step * index > -1 && Math.abs(Math.log1p(step * index)) <= reach) found.push(step * index);
  }
  return found;
}
