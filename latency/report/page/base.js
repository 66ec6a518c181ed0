// Elements and texts, never markup; and numbers as report/units.py says them.

function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  }
  // a string is text, whatever is in it
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const UNITS = { ns: [1, "ns"], us: [1e3, "µs"], ms: [1e6, "ms"], s: [1e9, "s"] };

function duration(ns, unit) {
  if (!Number.isFinite(ns)) return "-";
  const name = unit || ["ns", "us", "ms"].find((each) => ns < 999.5 * UNITS[each][0]) || "s";
  const [divisor, symbol] = UNITS[name];
  return `${number(ns / divisor)} ${symbol}`;
}

// three significant digits, or all of the whole part
function number(value) {
  if (value === 0) return "0";
  const magnitude = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(3)))));
  if (magnitude >= 9) {
    const [digits, exponent] = value.toExponential(2).split("e");
    return `${Number(digits)}e+${exponent.slice(1).padStart(2, "0")}`;
  }
  return grouped(fixed(value, Math.min(Math.max(2 - magnitude, 0), 6)));
}

// what lies just between two goes to the even one, as in Python
function fixed(value, digits) {
  const scaled = value * 10 ** digits;
  const between = Math.abs(scaled) < 2 ** 52 && Math.abs(scaled % 1) === 0.5;
  return (between ? (2 * Math.round(scaled / 2)) / 10 ** digits : value).toFixed(digits);
}

function grouped(text) {
  const [whole, rest] = text.split(".");
  const parted = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return rest === undefined ? parted : `${parted}.${rest}`;
}

function count(value) {
  if (value < 1e9) return grouped(String(value));
  const [digits, exponent] = value.toExponential(2).split("e");
  return `${digits}e+${exponent.slice(1).padStart(2, "0")}`;
}

function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

function percent(share) {
  if (share > 0 && share < 0.00005) return "<0.01 %";
  return `${share < 0.995 ? short(100 * share, 2) : grouped(fixed(100 * share, 0))} %`;
}

// so many significant digits, without zeros at the end
function short(value, digits) {
  const magnitude = value ? Math.floor(Math.log10(Math.abs(value))) : 0;
  return Number(fixed(value, Math.max(digits - 1 - magnitude, 0)));
}

function signed(share) {
  return `${share < 0 ? "-" : "+"}${short(100 * Math.abs(share), 3)} %`;
}

// what is shown of what is unfolded stands in the page packed
const unpacking = { value: null, done: null };

async function unpack() {
  const packed = atob(document.getElementById("details").textContent);
  const bytes = new Uint8Array(packed.length);
  // a loop: Uint8Array.from with a function for each is many times slower
  for (let at = 0; at < packed.length; at += 1) bytes[at] = packed.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  unpacking.value = await new Response(stream).json();
}

// makes what stands in a node of the details: at once if they are there already, as on paper they have to be
function fillIn(node, make) {
  const fill = () => node.append(...make(unpacking.value).filter(Boolean));
  if (unpacking.value) fill();
  else
    unpacking.done.then(fill, () =>
      node.append(el("p", { class: "yellow" }, "This browser cannot unpack what stands here.")),
    );
}

function sentences(said) {
  return said.length
    ? el("ul", { class: "said" }, ...said.map(([text, style]) => el("li", { class: style || null }, text)))
    : null;
}

function cellTable(rows, caption) {
  const [heads, ...others] = rows;
  return el(
    "table",
    { class: "small" },
    caption ? el("caption", {}, caption) : null,
    el("thead", {}, el("tr", {}, ...heads.map((text) => (text ? el("th", { scope: "col" }, text) : el("td"))))),
    el("tbody", {}, ...others.map((row) => el("tr", {}, ...row.map((text) => el("td", {}, text))))),
  );
}

let named = 0;

function newId() {
  named += 1;
  return `n${named}`;
}

// a button that shows and hides what stands elsewhere; made when it is first shown
function unfolding(label, attributes, target, make) {
  let made = false;
  const button = el(
    "button",
    { ...attributes, type: "button", "aria-expanded": "false", "aria-controls": target.id },
    ...label,
  );
  button.show = (open) => {
    if (open && !made) {
      made = true;
      make();
    }
    button.setAttribute("aria-expanded", String(open));
    target.hidden = !open;
  };
  button.isOpen = () => button.getAttribute("aria-expanded") === "true";
  button.addEventListener("click", () => button.show(!button.isOpen()));
  return button;
}
