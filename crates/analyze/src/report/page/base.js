"use strict";
// Everything that other files share: the report, elements, and numbers as text. Texts of the report
// reach the page through `textContent` and attributes alone, so that none of them is markup.
const report = JSON.parse(document.getElementById("data").textContent);
const { tables, populations } = report;
const directions = ["forward", "dgrad", "wgrad"];

/** Makes an element: attributes by name, `on…` listeners, then children as elements or texts. */
function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style")
      for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return node;
}

/** A number with so many significant digits, in plain notation. */
function digits(value, count = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const places = Math.max(0, count - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en-US", {
    minimumFractionDigits: Math.min(places, 12),
    maximumFractionDigits: Math.min(places, 12),
  });
}

const count = (value) => value.toLocaleString("en-US");
/** A ratio, to two decimals where it is small. */
function times(ratio) {
  if (ratio === null || ratio === undefined) return "–";
  return `${ratio < 9.995 ? ratio.toFixed(2) : digits(ratio, 3)}×`;
}

/** A fraction as per cent; small ones keep a second digit. */
function percent(value) {
  if (value === null || value === undefined) return "–";
  const hundred = value * 100;
  const size = Math.abs(hundred);
  return `${hundred.toFixed(size >= 99.95 ? 0 : size >= 10 ? 1 : 2)} %`;
}

function duration(ns) {
  if (ns === null || ns === undefined) return "–";
  if (ns >= 1e9) return `${digits(ns / 1e9)} s`;
  if (ns >= 1e6) return `${digits(ns / 1e6)} ms`;
  return `${digits(ns / 1e3)} µs`;
}

/** Rows of a bucket: its largest count, in powers of two. */
function rowsOf(bucket) {
  const rows = 2 ** bucket;
  if (rows >= 2 ** 20) return `${rows / 2 ** 20}M`;
  return rows >= 1024 ? `${rows / 1024}K` : `${rows}`;
}

const familyOf = (algorithm) => tables.algorithms[algorithm].split(":")[0];

const known = [
  "wgmma_gemm",
  "wgmma_wgrad",
  "mask_gemm",
  "pair_gemm",
  "resident_gemm",
  "packed_gemm",
  "implicit_gemm",
  "explicit_gemm",
  "grouped",
];
const others = [...new Set(tables.algorithms.map((id) => id.split(":")[0]))]
  .filter((family) => !known.includes(family))
  .sort();

function colourOf(family) {
  if (family === null) return "var(--f-none)";
  if (known.includes(family)) return `var(--f-${family})`;
  return `var(--f-${others.indexOf(family) % 3})`;
}

const marks = {
  wgmma_gemm: "wg",
  wgmma_wgrad: "ww",
  mask_gemm: "ma",
  pair_gemm: "pr",
  resident_gemm: "re",
  packed_gemm: "pk",
  implicit_gemm: "im",
  explicit_gemm: "ex",
  grouped: "gr",
};

/** Two letters for a family, so that colour is not all that tells them apart. */
const markOf = (family) => (family === null ? "–" : (marks[family] ?? family.slice(0, 2)));

/** An algorithm's name, which may break between its parameters; with its family's colour. */
function algorithmName(id, dot = false) {
  const [family, ...parameters] = id.split(":");
  const rest = parameters.flatMap((one) => [el("wbr"), `:${one}`]);
  return el(
    "span",
    { class: "algorithm" },
    dot ? el("span", { class: "dot", style: { background: colourOf(family) } }) : null,
    family,
    el("span", {}, rest),
  );
}

const algorithm = (number, dot) =>
  isNumber(number) ? algorithmName(tables.algorithms[number], dot) : "nobody";

function layerOf(operation) {
  const groups = operation.groups === 1 ? "" : ` g${operation.groups}`;
  return `${operation.c_in}→${operation.c_out}${groups}`;
}

/** The geometry of a layer in the words of a person. */
function kindOf(operation) {
  const stride = operation.stride === "1" ? "" : `, stride ${operation.stride}`;
  const pitched = operation.pitched ? ", pitched" : "";
  return `${operation.kind} ${operation.kernel}${stride}${pitched}`;
}

const densityOf = (density) => `${2 ** density}–${2 ** (density + 1)} pairs per row`;

/** A key in the words of a person. */
function keyText(key) {
  const operation = tables.operations[key.operation];
  const from = key.bucket_in === key.bucket_out ? "" : `, reads ≤ ${rowsOf(key.bucket_in)}`;
  return (
    `${operation.direction} ${layerOf(operation)} ${operation.dtype}, ${kindOf(operation)}, ` +
    `≤ ${rowsOf(key.bucket_out)} rows${from}, ${densityOf(key.density)}`
  );
}

function mean(values) {
  return values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : null;
}

function geometricMean(values) {
  return values.length ? Math.exp(mean(values.map(Math.log))) : null;
}

/** The value that this share of sorted values do not exceed. */
function quantile(sorted, share) {
  if (!sorted.length) return null;
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

const isNumber = (value) => value !== null && value !== undefined;
const ascending = (values) => values.filter(isNumber).sort((a, b) => a - b);

/** Which population a person looks at, by name. */
function populationName(number) {
  const { device, name, source } = populations[number];
  if (populations.filter((one) => one.device === device).length > 1) return `${name}, ${source}`;
  return populations.filter((one) => one.name === name).length > 1 ? device : name;
}

/** The command behind a figure, to read and to copy. */
function made(command, label = "Made by") {
  const button = el("button", { type: "button", onclick: () => copy(command, button) }, "Copy");
  return el(
    "div",
    { class: "made" },
    el("span", {}, label),
    el("code", { tabindex: "0" }, command),
    button,
  );
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without the clipboard's leave, the text is at least selected.
    const range = document.createRange();
    range.selectNodeContents(button.previousElementSibling);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = "Selected";
  }
  setTimeout(() => {
    button.textContent = "Copy";
  }, 1500);
}

function field(label, control) {
  return el("label", { class: "field" }, label, control);
}

/** A choice out of a few; `options` are values with their labels. */
function select(label, options, chosen, changed) {
  const control = el(
    "select",
    { onchange: () => changed(options[control.selectedIndex][0]) },
    options.map(([value, text]) => el("option", { selected: value === chosen }, text)),
  );
  return field(label, control);
}

/** The same as buttons side by side. */
function segments(label, options, chosen, changed) {
  const buttons = options.map(([value, text]) =>
    el(
      "button",
      {
        type: "button",
        "aria-pressed": String(value === chosen),
        onclick: (event) => {
          buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === event.target)));
          changed(value);
        },
      },
      text,
    ),
  );
  return el(
    "div",
    { class: "field" },
    label,
    el("div", { class: "segments", role: "group", "aria-label": label }, buttons),
  );
}

function legend(items) {
  return el(
    "ul",
    { class: "legend" },
    items.map(({ name, colour, mark, dash }) =>
      el(
        "li",
        {},
        dash === undefined
          ? el(
              "span",
              { class: "swatch on-ground", style: { "--ground": colour }, "aria-hidden": "true" },
              mark,
            )
          : svg(
              "svg",
              { class: "line", viewBox: "0 0 32 8", "aria-hidden": "true" },
              svg("path", {
                d: "M0,4H32",
                "stroke-width": 2.5,
                "stroke-dasharray": dash ?? "none",
                style: { stroke: colour },
              }),
            ),
        name,
      ),
    ),
  );
}

function card(title, ...children) {
  return el("div", { class: "card" }, title ? el("h3", {}, title) : null, children);
}

function tiles(all) {
  return el(
    "div",
    { class: "tiles" },
    all
      .filter(Boolean)
      .map(([value, label]) =>
        el("div", { class: "tile" }, el("b", {}, value), el("span", {}, label)),
      ),
  );
}
