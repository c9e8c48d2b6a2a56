// Heat maps: rows are channels, columns are classes of row counts, a map for each direction. A cell
// is divided among the keys that share it: those of several densities, say.

/** A mix of a colour into the background of a cell, by a share from 0 to 1. */
function mixed(colour, share) {
  const percent = Math.round(8 + 92 * Math.min(1, Math.max(0, share)));
  return `color-mix(in oklab, ${colour} ${percent}%, var(--cold))`;
}

/** What colours cells: for a key its share of the ramp, its text, and what the ramp means. */
const measures = {
  family: { label: "Winning family" },
  default: {
    label: "Over the default",
    colour: "var(--heat)",
    ends: ["as the default", "10× as fast"],
    share: (key) => (isNumber(key.over_default) ? Math.log10(key.over_default) : null),
    text: (key) => digits(key.over_default, 2),
  },
  margin: {
    label: "Lead over the next",
    colour: "var(--heat-margin)",
    ends: ["none", "50 % or more"],
    share: (key) => (isNumber(key.margin) ? Math.sqrt(Math.max(0, key.margin) / 0.5) : null),
    text: (key) => (Math.max(0, key.margin) * 100).toFixed(0),
  },
  spread: {
    label: "Spread",
    colour: "var(--heat-spread)",
    ends: ["0 %", "10 % or more"],
    share: (key) => (isNumber(key.spread) ? Math.sqrt(key.spread / 0.1) : null),
    text: (key) => (key.spread * 100).toFixed(key.spread < 0.0095 ? 1 : 0),
  },
  quarantine: {
    label: "Quarantined",
    colour: "var(--heat-quarantine)",
    ends: ["none", "20 or more"],
    share: (key) => {
      const all = quarantinedOf(key);
      return all === 0 ? null : Math.sqrt(all / 20);
    },
    text: (key) => String(quarantinedOf(key)),
  },
};

const quarantinedOf = (key) => key.workloads.reduce((sum, one) => sum + one.quarantined, 0);

/** What a pointer or a screen reader is told of a key. */
function keyTitle(key) {
  const winner = key.winner === null ? "nobody may win" : tables.algorithms[key.winner];
  const facts = [keyText(key), winner];
  if (isNumber(key.over_default)) facts.push(`${times(key.over_default)} as fast as the default`);
  if (key.tied) facts.push("a near-tie");
  return facts.join("\n");
}

function slice(key, measure, narrow) {
  const family = key.winner === null ? null : familyOf(key.winner);
  if (measure === "family") {
    return el(
      "button",
      {
        type: "button",
        class: key.tied ? "on-ground tied" : "on-ground",
        title: keyTitle(key),
        style: { "--ground": colourOf(family) },
        onclick: () => openKey(key),
      },
      narrow ? "" : markOf(family),
    );
  }
  const { share, colour, text: words } = measures[measure];
  const part = share(key);
  return el(
    "button",
    {
      type: "button",
      class: "on-ground",
      title: keyTitle(key),
      style: { "--ground": part === null ? "var(--cold)" : mixed(colour, part) },
      onclick: () => openKey(key),
    },
    narrow || part === null ? "" : words(key),
  );
}

/** The maps of some keys, by direction. */
function heatMaps(keys, measure) {
  const maps = el("div", { class: "maps" });
  for (const direction of directions) {
    const own = keys.filter((key) => tables.operations[key.operation].direction === direction);
    if (own.length) maps.append(el("div", {}, el("h3", {}, direction), heatMap(own, measure)));
  }
  return maps;
}

function heatMap(keys, measure) {
  const columns = [...new Set(keys.map((key) => key.bucket_out))].sort((a, b) => a - b);
  const rows = new Map();
  for (const key of keys) {
    const operation = tables.operations[key.operation];
    const name = layerOf(operation);
    const row = rows.get(name) ?? { operation, cells: new Map() };
    row.cells.set(key.bucket_out, [...(row.cells.get(key.bucket_out) ?? []), key]);
    rows.set(name, row);
  }
  const sorted = [...rows.entries()].sort(
    ([, a], [, b]) =>
      a.operation.c_in - b.operation.c_in ||
      a.operation.c_out - b.operation.c_out ||
      a.operation.groups - b.operation.groups,
  );
  const head = el(
    "tr",
    {},
    el("td", { class: "corner" }),
    columns.map((bucket) => el("th", { scope: "col" }, rowsOf(bucket))),
  );
  const lines = sorted.map(([name, { cells }]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      columns.map((bucket) => {
        const own = (cells.get(bucket) ?? []).sort(
          (a, b) => a.density - b.density || a.bucket_in - b.bucket_in,
        );
        return el(
          "td",
          {},
          own.length
            ? el(
                "div",
                { class: "cell" },
                own.map((key) => slice(key, measure, own.length > 2)),
              )
            : null,
        );
      }),
    ),
  );
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      {
        class: columns.length > 7 ? "heat dense" : "heat",
        style: { "min-width": `${4.5 + columns.length * 1.45}rem` },
      },
      el(
        "colgroup",
        {},
        el("col", { class: "name" }),
        columns.map(() => el("col")),
      ),
      el("thead", {}, head),
      el("tbody", {}, lines),
    ),
  );
}

function heatLegend(keys, measure) {
  if (measure === "family") {
    const families = new Map();
    for (const key of keys) {
      const family = key.winner === null ? null : familyOf(key.winner);
      families.set(family, (families.get(family) ?? 0) + 1);
    }
    const items = [...families.entries()]
      .sort((a, b) => b[1] - a[1])
      .map(([family, number]) => ({
        name: `${family ?? "nobody"} (${count(number)})`,
        colour: colourOf(family),
        mark: markOf(family),
      }));
    return legend(items);
  }
  const {
    colour,
    ends: [low, high],
  } = measures[measure];
  const ramp = [mixed(colour, 0), mixed(colour, 1)].join(", ");
  return el(
    "ul",
    { class: "legend" },
    el(
      "li",
      {},
      low,
      el("span", {
        class: "ramp",
        "aria-hidden": "true",
        style: {
          background: `linear-gradient(to right in oklab, ${ramp})`,
        },
      }),
      high,
    ),
  );
}
