// Sections about caches: the overview, who wins where, and by how much.

const keysOf = (population) => report.keys.filter((key) => key.population === population);

function overview() {
  if (!populations.length) return null;
  const columns = [
    { title: "Device", value: (row) => row.device, as: "device" },
    { title: "Cache", value: (row) => row.source, as: "fixed" },
    { title: "Keys", number: true, value: (row) => row.decided, show: (row) => count(row.decided) },
    {
      title: "Entries",
      number: true,
      value: (row) => row.entries,
      show: (row) => count(row.entries),
    },
    {
      title: "Times",
      number: true,
      value: (row) => row.records,
      show: (row) => count(row.records),
    },
    {
      title: "Measured with",
      value: (row) => row.environments.join("; "),
      as: "wide",
      show: (row) =>
        row.environments.length
          ? el(
              "ul",
              { class: "plain" },
              row.environments.slice(0, 3).map((one) => el("li", {}, one)),
              row.environments.length > 3
                ? el("li", {}, `and ${row.environments.length - 3} more`)
                : null,
            )
          : "–",
    },
  ];
  const decided = report.keys.filter((key) => key.winner !== null);
  const ratios = decided.map((key) => key.over_default).filter(isNumber);
  const tied = decided.filter((key) => key.tied).length;
  const families = new Set(decided.map((key) => familyOf(key.winner)));
  const ownEvidence = report.losses.find((losses) => losses.own);
  const stored = ownEvidence?.kinds.find((kind) => kind.kind === "stored choice")?.summary;
  return section(
    "overview",
    "Overview",
    "What was read, and what it comes to.",
    tiles([
      [count(report.keys.length), "keys: a layer, a direction, classes of rows and density"],
      ratios.length
        ? [times(geometricMean(ratios)), "as fast as the default, geometric mean over keys"]
        : null,
      decided.length
        ? [
            percent(decided.filter((key) => key.default).length / decided.length),
            "of keys keep the default",
          ]
        : null,
      decided.length
        ? [percent(tied / decided.length), "of keys are near-ties: noise explains the lead"]
        : null,
      [count(families.size), "families win somewhere"],
      [count(report.quarantine.length), "candidates in quarantine"],
      stored
        ? [percent(stored.mean), "is lost by stored choices, by the first cache's own evidence"]
        : null,
    ]),
    card(
      "Caches",
      dataTable(columns, populations, { length: 20, small: populations.length <= 20 }),
      made(report.command),
    ),
  );
}

/** Values of a field over keys, with the number of keys, the most frequent first. */
function valuesOf(keys, of) {
  const counts = new Map();
  for (const key of keys) {
    const value = of(tables.operations[key.operation]);
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return [...counts.entries()].sort((a, b) => b[1] - a[1]);
}

function winners() {
  if (!report.keys.length) return null;
  const state = { population: 0, dtype: null, kind: null, measure: "family" };
  const controls = el("div", { class: "controls" });
  const figure = el("div");

  function choose() {
    const all = keysOf(state.population);
    const dtypes = valuesOf(all, (operation) => operation.dtype);
    if (!dtypes.some(([one]) => one === state.dtype)) state.dtype = dtypes[0]?.[0];
    const typed = all.filter((key) => tables.operations[key.operation].dtype === state.dtype);
    const kinds = valuesOf(typed, kindOf);
    if (!kinds.some(([one]) => one === state.kind)) state.kind = kinds[0]?.[0];
    const option = ([name, number]) => [name, `${name} (${count(number)})`];
    const change = (name) => (value) => {
      state[name] = value;
      choose();
    };
    controls.replaceChildren(
      populations.length > 1
        ? select(
            "Device",
            populations.map((_, number) => [number, populationName(number)]),
            state.population,
            change("population"),
          )
        : "",
      select("Storage type", dtypes.map(option), state.dtype, change("dtype")),
      select("Layer", kinds.map(option), state.kind, change("kind")),
      segments(
        "Colour by",
        Object.entries(measures).map(([name, { label }]) => [name, label]),
        state.measure,
        (value) => {
          state.measure = value;
          draw();
        },
      ),
    );
    draw();
  }

  function draw() {
    const keys = keysOf(state.population).filter((key) => {
      const operation = tables.operations[key.operation];
      return operation.dtype === state.dtype && kindOf(operation) === state.kind;
    });
    const tied = state.measure === "family" && keys.some((key) => key.tied);
    figure.replaceChildren(
      heatLegend(keys, state.measure),
      heatMaps(keys, state.measure),
      el(
        "p",
        { class: "lead", style: { margin: "0.75rem 0 0" } },
        "Columns are rows of the output, at most. A cell has a part for each key: densities from " +
          `the left.${tied ? " Hatched: a near-tie." : ""} Choose one for what raced there.`,
      ),
      made(`${populations[state.population].command} --dtype ${state.dtype}`, "Prints the same"),
    );
  }

  choose();
  const shares = populations.map((_, number) => familyShares(number)).filter(Boolean);
  return section(
    "winners",
    "Who wins where",
    "The family of the algorithm that runs, for each layer, size and direction.",
    card(null, controls, figure),
    el("div", { class: "columns" }, shares),
  );
}

/** The families' shares of the keys of a population, by direction. */
function familyShares(population) {
  const keys = keysOf(population).filter((key) => key.winner !== null);
  if (!keys.length) return null;
  const grid = el("div", { class: "share" });
  for (const direction of directions) {
    const own = keys.filter((key) => tables.operations[key.operation].direction === direction);
    if (!own.length) continue;
    const counts = new Map();
    for (const key of own)
      counts.set(familyOf(key.winner), (counts.get(familyOf(key.winner)) ?? 0) + 1);
    const parts = [...counts.entries()]
      .sort((a, b) => b[1] - a[1])
      .map(([family, number]) => {
        const share = number / own.length;
        return el(
          "span",
          {
            class: "on-ground",
            style: { "--ground": colourOf(family), flex: String(number) },
            title: `${family}: ${count(number)} of ${count(own.length)} keys`,
          },
          share > 0.42 ? `${family} ${percent(share)}` : share > 0.06 ? markOf(family) : "",
        );
      });
    grid.append(el("span", {}, direction), el("div", { class: "stack" }, parts));
  }
  return card(
    populationName(population),
    grid,
    made(populations[population].command, "Prints the same"),
  );
}

const directionColours = {
  forward: "var(--f-wgmma_gemm)",
  dgrad: "var(--f-mask_gemm)",
  wgrad: "var(--f-resident_gemm)",
};
const directionDashes = { forward: null, dgrad: "7 4", wgrad: "2 4" };

function overDefault() {
  const keys = report.keys.filter((key) => isNumber(key.over_default));
  if (!keys.length) return null;
  const cards = populations
    .map((row, population) => {
      const own = keys.filter((key) => key.population === population);
      if (!own.length) return null;
      const series = directions
        .map((direction) => {
          const values = ascending(
            own
              .filter((key) => tables.operations[key.operation].direction === direction)
              .map((key) => key.over_default),
          );
          return {
            name: direction,
            values,
            colour: directionColours[direction],
            dash: directionDashes[direction],
          };
        })
        .filter((one) => one.values.length);
      const most = Math.max(2, ...series.map((one) => quantile(one.values, 0.99)));
      const axis = {
        ticks: [1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50].filter(
          (tick, place, all) => place === 0 || all[place - 1] < most,
        ),
        map: Math.log,
        format: (value) => `${value}×`,
        label: "as fast as the default, at most",
      };
      const summary = dataTable(
        [
          { title: "Direction", value: (one) => one.name },
          {
            title: "Keys",
            number: true,
            value: (one) => one.values.length,
            show: (one) => count(one.values.length),
          },
          {
            title: "Geo. mean",
            number: true,
            value: (one) => geometricMean(one.values),
            show: (one) => times(geometricMean(one.values)),
          },
          {
            title: "Median",
            number: true,
            value: (one) => quantile(one.values, 0.5),
            show: (one) => times(quantile(one.values, 0.5)),
          },
          {
            title: "95th",
            number: true,
            value: (one) => quantile(one.values, 0.95),
            show: (one) => times(quantile(one.values, 0.95)),
          },
          {
            title: "Most",
            number: true,
            value: (one) => one.values.at(-1),
            show: (one) => times(one.values.at(-1)),
          },
        ],
        series,
        { small: true },
      );
      return card(
        populationName(population),
        legend(series),
        shares(series, axis, "Share of keys by speed over the default"),
        summary,
        made(row.command, "Prints the same"),
      );
    })
    .filter(Boolean);
  return section(
    "default",
    "Over the default",
    "How many times as fast as the default the winner is, over the keys of a direction. " +
      "The default is what runs where " +
      "nothing is known; curves further to the right gained more.",
    el("div", { class: "columns wide" }, cards),
  );
}
