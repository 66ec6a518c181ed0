// Plots in SVG. Each tells what is under the pointer, and, focused, what the arrow keys come to.

const WIDE = 560,
  HIGH = 220,
  LEFT = 64,
  RIGHT = 12,
  TOP = 22,
  BOTTOM = 30;

const HELP = "Point at it, or use the arrow keys.";
const STYLES = ["first", "second", "third"];

function axis(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

// round durations from low to high ns, about so many at most
function roundDurations(low, high, most) {
  const decades = Math.log10(high / low);
  const steps = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of steps) {
      const value = step * 10 ** power;
      if (value >= low && value <= high) found.push(value);
    }
  }
  if (found.length < 2) return [low, high];
  const each = Math.ceil(found.length / most);
  return found.filter((_, index) => index % each === 0);
}

class Plot {
  // x and y: what is drawn, from the least to the most
  constructor(caption, x, y) {
    this.items = [];
    this.at = -1;
    this.x = axis(...x, LEFT, WIDE - RIGHT);
    this.y = axis(...y, HIGH - BOTTOM, TOP);
    const id = newId();
    this.cursor = svg("rect", { class: "cursor", visibility: "hidden" });
    this.drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-labelledby": id, tabindex: "0" });
    this.said = el("output", {}, HELP);
    this.node = el("figure", {}, el("figcaption", { id }, caption), this.drawing, this.said);
    this.drawing.addEventListener("pointermove", (event) => this.point(event));
    this.drawing.addEventListener("pointerleave", () => this.show(-1));
    this.drawing.addEventListener("keydown", (event) => this.press(event));
  }

  add(name, attributes, ...children) {
    this.drawing.append(svg(name, attributes, ...children));
  }

  text(x, y, anchor, text, style = null) {
    this.add("text", { x: x.toFixed(1), y: y.toFixed(1), "text-anchor": anchor, class: style }, text);
  }

  across(y, label, style = "grid") {
    const down = this.y(y);
    this.add("path", { class: style, d: `M${LEFT} ${down.toFixed(1)}H${WIDE - RIGHT}` });
    this.text(LEFT - 6, down + 4, "end", label);
  }

  upright(x, label) {
    const right = this.x(x);
    this.add("path", { class: "grid", d: `M${right.toFixed(1)} ${HIGH - BOTTOM}V${TOP}` });
    const anchor = right > WIDE - RIGHT - 24 ? "end" : "middle";
    this.text(anchor === "end" ? WIDE - RIGHT : right, HIGH - BOTTOM + 16, anchor, label);
  }

  line(style, points) {
    const path = points.map(([x, y]) => `${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`).join("L");
    this.add("path", { class: style, d: `M${path}` });
  }

  // which line is which, from the right end
  key(names) {
    names.forEach((name, which) => {
      const right = WIDE - RIGHT - 64 * (names.length - 1 - which);
      this.text(right, TOP - 8, "end", name, "strong");
      this.add("path", { class: `line ${STYLES[which]}`, d: `M${right - 54} ${TOP - 12}h20` });
    });
  }

  // a part of the plot of which something can be said
  item(left, right, top, bottom, text) {
    this.items.push({ left, right, top, bottom, text });
  }

  done() {
    this.drawing.append(this.cursor);
    return this.node;
  }

  show(at) {
    this.at = at;
    const item = this.items[at];
    this.cursor.setAttribute("visibility", item ? "visible" : "hidden");
    this.said.textContent = item ? item.text : HELP;
    if (!item) return;
    const box = { x: item.left, y: item.top, width: item.right - item.left, height: item.bottom - item.top };
    for (const [name, value] of Object.entries(box)) this.cursor.setAttribute(name, value.toFixed(1));
  }

  point(event) {
    const box = this.drawing.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDE,
      y = ((event.clientY - box.top) / box.height) * HIGH;
    const at = this.items.findIndex((it) => x >= it.left && x < it.right && y >= it.top && y < it.bottom);
    if (at !== this.at) this.show(at);
  }

  press(event) {
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ] || [0, 0];
    if ((!right && !down) || !this.items.length) return;
    event.preventDefault();
    const from = this.items[this.at];
    if (!from) return this.show(0);
    let best = this.at,
      least = Infinity;
    this.items.forEach((to, index) => {
      const x = (to.left + to.right - from.left - from.right) / 2,
        y = (to.top + to.bottom - from.top - from.bottom) / 2;
      const along = x * right + y * down,
        aside = Math.abs(x * down + y * right);
      if (along > 0.5 && along + 3 * aside < least) [best, least] = [index, along + 3 * aside];
    });
    this.show(best);
  }
}

// bounds of bucket p of a scale, nanoseconds
function bounds(p, scale) {
  const width = 2 ** scale;
  return [1e9 * 2 ** ((p - 1) / width), 1e9 * 2 ** (p / width)];
}

// no more bars than can be told apart
function coarser([scale, offset, least, most, counts]) {
  while (counts.length > 160 && scale > 0) {
    const sums = [],
      first = Math.ceil(offset / 2);
    counts.forEach((calls, index) => {
      const to = Math.ceil((offset + index) / 2) - first;
      sums[to] = (sums[to] || 0) + calls;
    });
    [scale, offset, counts] = [scale - 1, first, sums];
  }
  return [scale, offset, least, most, counts];
}

function histogram(recorded, marks, names, only, unit) {
  const [scale, offset, least, most, counts] = coarser(recorded);
  const total = counts.reduce((sum, calls) => sum + calls, 0),
    highest = counts.reduce((a, b) => Math.max(a, b), 0);
  const low = bounds(offset, scale)[0],
    high = bounds(offset + counts.length - 1, scale)[1];
  const caption = `How many ${only || "calls"} took how long`;
  const plot = new Plot(caption, [Math.log(low), Math.log(high)], [0, highest]);
  for (const calls of new Set([0, Math.round(highest / 2), highest])) plot.across(calls, count(calls));
  for (const tick of roundDurations(low, high, 6)) plot.upright(Math.log(tick), duration(tick, unit));
  let reached = 0;
  counts.forEach((calls, index) => {
    const [from, to] = bounds(offset + index, scale);
    // the outermost buckets end where the calls do
    const first = index === 0 ? Math.max(least, 1) : from,
      last = index === counts.length - 1 ? Math.max(most, 1) : to;
    const left = plot.x(Math.log(from)),
      right = plot.x(Math.log(to)),
      top = Math.min(plot.y(calls), HIGH - BOTTOM - (calls ? 1 : 0));
    reached += calls;
    if (!calls) return;
    plot.add("rect", {
      class: "bar",
      x: left.toFixed(1),
      y: top.toFixed(1),
      width: Math.max(right - left - 0.5, 0.5).toFixed(1),
      height: (HIGH - BOTTOM - top).toFixed(1),
    });
    plot.item(
      left,
      right,
      TOP,
      HIGH - BOTTOM,
      `${duration(first, unit)} – ${duration(last, unit)}: ${plural(calls, "call")}, ${percent(calls / total)} of all; ${percent(reached / total)} took no longer`,
    );
  });
  let before = -Infinity,
    lower = false;
  marks.forEach(([value, from, to], index) => {
    if (value === null) return;
    const right = Math.min(Math.max(plot.x(Math.log(value)), LEFT), WIDE - RIGHT);
    if (from !== null && from > 0) {
      const left = Math.max(plot.x(Math.log(from)), LEFT),
        end = Math.min(plot.x(Math.log(to)), WIDE - RIGHT);
      plot.add("rect", {
        class: "interval",
        x: left.toFixed(1),
        y: TOP,
        width: Math.max(end - left, 0.5).toFixed(1),
        height: HIGH - BOTTOM - TOP,
      });
    }
    plot.add("path", { class: "mark", d: `M${right.toFixed(1)} ${HIGH - BOTTOM}V${TOP - 4}` });
    lower = right - before < 30 && !lower;
    plot.text(right, lower ? TOP + 4 : TOP - 8, right > WIDE - 30 ? "end" : "middle", names[index], "strong");
    before = right;
  });
  return plot.done();
}

// when a column begins that is of several parts of the time together; the last one perhaps of fewer
function beginning([parts, together], seconds) {
  return (column) => (Math.min(column * together, parts) * seconds) / parts;
}

function overTime(begins, [calls, ...steps], names, perOctave, seconds, only, unit) {
  const values = steps.map((moved) => {
    let at = 0;
    return moved.map((step) => 2 ** ((at += step) / perOctave));
  });
  let low = Infinity,
    high = 0;
  for (const each of values.flat()) [low, high] = [Math.min(low, each), Math.max(high, each)];
  [low, high] = [low / 1.1, high * 1.1];
  const plot = new Plot(
    `Percentiles over time${only ? `, of ${only}` : ""}: ${names.join(", ")}`,
    [0, seconds],
    [Math.log(low), Math.log(high)],
  );
  for (const tick of roundDurations(low, high, 5)) plot.across(Math.log(tick), duration(tick, unit));
  for (const share of [0, 0.25, 0.5, 0.75, 1]) plot.upright(share * seconds, `${number(share * seconds)} s`);
  // of the parts with calls; where one had none the line is broken
  const indices = calls.flatMap((number, index) => (number ? [index] : []));
  values.forEach((each, which) => {
    const runs = [];
    indices.forEach((index, at) => {
      if (at === 0 || indices[at - 1] !== index - 1) runs.push([]);
      runs[runs.length - 1].push([(begins(index) + begins(index + 1)) / 2, Math.log(each[at])]);
    });
    for (const run of runs) {
      if (run.length > 1) plot.line(`line ${STYLES[which]}`, run);
      for (const [x, y] of run)
        plot.add("circle", {
          class: `dot ${STYLES[which]}`,
          cx: plot.x(x).toFixed(1),
          cy: plot.y(y).toFixed(1),
          r: run.length > 1 ? 1.6 : 2.5,
        });
    }
  });
  indices.forEach((index, at) => {
    const said = names.map((name, which) => `${name} ${duration(values[which][at], unit)}`).join(", ");
    plot.item(
      plot.x(begins(index)),
      plot.x(begins(index + 1)),
      TOP,
      HIGH - BOTTOM,
      `${number(begins(index))} – ${number(begins(index + 1))} s: ${plural(calls[index], "call")}, ${said}`,
    );
  });
  plot.key(names);
  return plot.done();
}

function heatMap(begins, [first, perOctave, rows, cells], seconds, only, unit) {
  const value = (row) => 1e9 * 2 ** ((first + row) / perOctave);
  const plot = new Plot(`Heat map, the darker the more ${only || "calls"}`, [0, seconds], [-1, rows - 1]);
  const most = cells.reduce((a, b) => Math.max(a, b), 1),
    columns = cells.length / rows;
  for (let at = 0; at < cells.length; at += 1) {
    if (!cells[at]) continue;
    const row = Math.floor(at / columns),
      column = at % columns;
    const left = plot.x(begins(column)),
      right = plot.x(begins(column + 1)),
      top = plot.y(row),
      bottom = plot.y(row - 1);
    // each column for itself would hide how busy it was; the square root shows the few beside the many
    const shade = Math.max(Math.sqrt(cells[at] / most), 0.08).toFixed(2);
    plot.add("rect", {
      class: "heat",
      x: left.toFixed(1),
      y: top.toFixed(1),
      width: (right - left).toFixed(1),
      height: (bottom - top).toFixed(1),
      "fill-opacity": shade,
    });
    plot.item(
      left,
      right,
      top,
      bottom,
      `${number(begins(column))} – ${number(begins(column + 1))} s, ${duration(value(row - 1), unit)} – ${duration(value(row), unit)}: ${plural(cells[at], "call")}`,
    );
  }
  const apart = Math.max(Math.ceil(rows / perOctave / 6), 1) * perOctave;
  for (let row = -1; row < rows; row += 1) {
    if ((first + row) % apart === 0) plot.across(row, duration(value(row), unit));
  }
  if (rows < perOctave) plot.across(-1, duration(value(-1), unit));
  for (const share of [0, 0.25, 0.5, 0.75, 1]) plot.upright(share * seconds, `${number(share * seconds)} s`);
  return plot.done();
}

// shares of one, a bar for each of several things
function stacked(bars, names) {
  const high = 24 * bars.length + 4,
    left = 76;
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDE} ${high}`,
    role: "img",
    "aria-label": "Where the time went; the same numbers as in the table",
  });
  bars.forEach(([name, shares], row) => {
    drawing.append(svg("text", { x: left - 6, y: 24 * row + 17, "text-anchor": "end" }, name));
    let reached = 0;
    shares.forEach((share, which) => {
      if (share <= 0) return;
      const said = `${names[which]}, ${name}: ${percent(share)}`;
      const bar = {
        x: (left + reached * (WIDE - RIGHT - left)).toFixed(1),
        y: 24 * row + 3,
        width: (share * (WIDE - RIGHT - left)).toFixed(1),
        height: 19,
      };
      drawing.append(svg("rect", { class: `part part${which}`, ...bar }, svg("title", {}, said)));
      reached += share;
    });
  });
  const there = names
    .map((name, which) => [name, which])
    .filter(([, which]) => bars.some(([, shares]) => shares[which] > 0));
  const key = there.map(([name, which]) =>
    el(
      "span",
      { class: "key" },
      svg(
        "svg",
        { viewBox: "0 0 10 10", "aria-hidden": "true" },
        svg("rect", { class: `part part${which}`, width: 10, height: 10 }),
      ),
      ` ${name} `,
    ),
  );
  return el("figure", {}, el("figcaption", {}, "Where the time went: ", ...key), drawing);
}
