// Sections about keys: how surely they are decided, what may not win, and each by itself.

function spread() {
  const keys = report.keys.filter((key) => isNumber(key.spread));
  if (!keys.length) return null;
  const format = (value) => `${+(value * 100).toPrecision(2)} %`;
  const spreads = keys.map((key) => key.spread);
  const margins = keys.filter((key) => isNumber(key.margin)).map((key) => Math.max(0, key.margin));
  const tied = keys.filter((key) => key.tied);
  const columns = [
    { title: "Key", value: keyText, as: "wide" },
    {
      title: "Winner",
      value: (key) => tables.algorithms[key.winner],
      show: (key) => algorithm(key.winner),
      as: "algo",
    },
    {
      title: "Next",
      value: (key) => tables.algorithms[key.runner_up],
      show: (key) => algorithm(key.runner_up),
      as: "algo",
    },
    { title: "Lead", number: true, value: (key) => key.margin, show: (key) => percent(key.margin) },
    {
      title: "Spread",
      number: true,
      value: (key) => key.spread,
      show: (key) => percent(key.spread),
    },
  ];
  return section(
    "spread",
    "Spread and near-ties",
    "Spread is the median distance of the winner's samples from their median, over that " +
      "median. A near-tie is a lead that " +
      "noise explains: the default stays, or else the first by name, so that runs agree.",
    el(
      "div",
      { class: "columns" },
      card(
        "Spread of the winner",
        histogram(
          spreads,
          {
            edges: [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2],
            format,
            label: "median absolute deviation over the median",
          },
          "var(--heat-spread)",
          "Spread of winners",
        ),
      ),
      card(
        "Lead over the next",
        histogram(
          margins,
          {
            edges: [0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
            format,
            label: "the next takes longer by",
          },
          "var(--heat-margin)",
          "Lead of winners",
          { value: 0.01, label: "noise is 1 % at least" },
        ),
      ),
    ),
    card(
      ["Near-ties ", el("small", {}, `${count(tied.length)} of ${count(keys.length)} keys`)],
      dataTable(columns, tied, {
        search: "Search near-ties",
        opens: openKey,
        length: 8,
        sort: { column: 4, down: true },
      }),
      made(populations.map((row) => row.command).join(" && "), "Prints the same"),
    ),
  );
}

function quarantine() {
  if (!populations.some((row) => row.records)) return null;
  const groups = new Map();
  for (const row of report.quarantine) {
    const name = [row.population, row.algorithm, row.reason, row.detail].join();
    const group = groups.get(name) ?? { ...row, rows: [] };
    group.rows.push(row);
    groups.set(name, group);
  }
  const columns = [
    {
      title: "Algorithm",
      value: (one) => tables.algorithms[one.algorithm],
      show: (one) => algorithm(one.algorithm),
      as: "algo",
    },
    {
      title: "Reason",
      value: (one) => one.reason.replaceAll("_", " "),
      show: (one) => el("span", { class: "tag bad" }, one.reason.replaceAll("_", " ")),
    },
    {
      title: "Entries",
      number: true,
      value: (one) => one.rows.length,
      show: (one) => count(one.rows.length),
    },
    {
      title: "For example",
      value: (one) => {
        const operation = tables.operations[one.operation];
        const layer = `${operation.direction} ${layerOf(operation)} ${operation.dtype}`;
        const rows = `${count(one.rows_out)} rows of ${tables.clouds[one.cloud]}`;
        return `${layer}, ${kindOf(operation)}, ${rows}`;
      },
      as: "wide",
    },
    { title: "What was said", value: (one) => tables.details[one.detail], as: "wide" },
    populations.length > 1
      ? { title: "Device", value: (one) => populationName(one.population) }
      : null,
  ].filter(Boolean);
  const commands = populations.map((row) => `${row.command} --quarantined`).join(" && ");
  return section(
    "quarantine",
    "Quarantine",
    "Candidates that failed somewhere may not win there until their code changes or " +
      "populate --retry-quarantined tries them again.",
    card(
      null,
      groups.size
        ? dataTable(columns, [...groups.values()], {
            search: "Search quarantine",
            sort: { column: 2, down: true },
            length: 10,
          })
        : el("p", {}, "Nothing is in quarantine."),
      made(commands, "Prints the same"),
    ),
  );
}

function allKeys() {
  if (!report.keys.length) return null;
  const operation = (key) => tables.operations[key.operation];
  const columns = [
    {
      title: "Layer",
      value: (key) => operation(key).c_in * 1e5 + operation(key).c_out,
      show: (key) => layerOf(operation(key)),
      find: (key) =>
        [
          keyText(key),
          tables.algorithms[key.winner] ?? "nobody",
          key.tied ? "near-tie" : "",
          key.default ? "default" : "",
          populationName(key.population),
          ...key.workloads.map((one) => tables.clouds[one.cloud]),
        ].join(" "),
      as: "fixed",
    },
    { title: "Direction", value: (key) => operation(key).direction },
    {
      title: "Rows ≤",
      number: true,
      value: (key) => key.bucket_out,
      show: (key) => rowsOf(key.bucket_out),
    },
    {
      title: "Winner",
      value: (key) => tables.algorithms[key.winner],
      show: (key) => algorithm(key.winner, true),
      as: "algo",
    },
    {
      title: "Time",
      number: true,
      value: (key) => key.winner_ns,
      show: (key) => duration(key.winner_ns),
    },
    {
      title: "Over default",
      number: true,
      value: (key) => key.over_default,
      show: (key) => times(key.over_default),
    },
    {
      title: "Lead",
      number: true,
      value: (key) => key.margin,
      show: (key) => el("span", { class: key.tied ? "warn" : null }, percent(key.margin)),
    },
    {
      title: "Spread",
      number: true,
      value: (key) => key.spread,
      show: (key) => percent(key.spread),
    },
    {
      title: "Pairs a row",
      number: true,
      value: (key) => key.density,
      show: (key) => `${2 ** key.density}–${2 ** (key.density + 1)}`,
    },
    { title: "Type", value: (key) => operation(key).dtype },
    { title: "Kind", value: (key) => kindOf(operation(key)), as: "fixed" },
    populations.length > 1
      ? { title: "Device", value: (key) => populationName(key.population), as: "fixed" }
      : null,
  ].filter(Boolean);
  return section(
    "keys",
    "All keys",
    "Every key with its winner. Search by words, such as wgrad 64→64 float16 surface; " +
      "choose one for what raced there.",
    card(
      null,
      dataTable(columns, report.keys, {
        search: "Search keys, algorithms, clouds, devices",
        opens: openKey,
        length: 20,
      }),
      made(populations.map((row) => row.command).join(" && "), "Prints the same"),
    ),
  );
}

/** Shows what raced for a key. */
function openKey(key) {
  const dialog = document.getElementById("detail");
  const facts = [
    ["Device", populationName(key.population)],
    ["Runs", algorithm(key.winner, true)],
    [
      "Next",
      key.runner_up === null
        ? "nobody"
        : el(
            "span",
            {},
            algorithm(key.runner_up),
            isNumber(key.margin)
              ? `, ${percent(key.margin)} longer${key.tied ? ": noise explains that" : ""}`
              : "",
          ),
    ],
    [
      "Over the default",
      key.default
        ? "it is the default"
        : isNumber(key.over_default)
          ? `${times(key.over_default)} as fast`
          : "not measured",
    ],
  ];
  const races = key.workloads.map((workload) => {
    const fastest = workload.best[0]?.[1];
    const pairs = workload.pairs / Math.max(1, workload.rows_out);
    const columns = [
      {
        title: "Algorithm",
        as: "algo",
        value: (one) => tables.algorithms[one[0]],
        show: (one) =>
          el(
            "span",
            {},
            algorithm(one[0], true),
            one[0] === key.winner ? el("b", {}, " – runs") : "",
            one[4] ? " – beaten" : "",
          ),
      },
      {
        title: "Time",
        number: true,
        value: (one) => one[1],
        show: (one) =>
          one[5]
            ? el(
                "span",
                { title: `${duration(one[5])} of it for parts of its map` },
                duration(one[1]),
              )
            : duration(one[1]),
      },
      {
        title: "Over the fastest",
        number: true,
        value: (one) => one[1] / fastest,
        show: (one) => times(one[1] / fastest),
      },
      { title: "Spread", number: true, value: (one) => one[2], show: (one) => percent(one[2]) },
      { title: "Samples", number: true, value: (one) => one[3] },
    ];
    const rows =
      workload.rows_in === workload.rows_out
        ? count(workload.rows_out)
        : `${count(workload.rows_in)} → ${count(workload.rows_out)}`;
    return [
      el(
        "h3",
        {},
        `${tables.clouds[workload.cloud]}, ${rows} rows, ${digits(pairs, 3)} pairs per row`,
      ),
      el(
        "p",
        { class: "lead", style: { margin: "0 0 0.375rem" } },
        `${workload.cold ? "Cold" : "Warm"} cache, batch ${workload.batch}; ` +
          `${count(workload.timed)} candidates timed, ${count(workload.quarantined)} in ` +
          "quarantine. The fastest are shown, and those that have a part.",
      ),
      dataTable(columns, workload.best, { length: 20, small: true }),
    ];
  });
  const close = el(
    "button",
    { type: "button", class: "quiet", onclick: () => dialog.close() },
    "Close",
  );
  dialog.replaceChildren(
    el(
      "div",
      { class: "sheet" },
      el("header", {}, el("h2", { id: "detail-title" }, keyText(key)), close),
      el(
        "dl",
        { class: "facts" },
        facts.map(([term, fact]) => [el("dt", {}, term), el("dd", {}, fact)]).flat(),
      ),
      races.flat(),
      races.length
        ? null
        : el(
            "p",
            { class: "lead" },
            "Only the decision is stored here; the evidence lies elsewhere.",
          ),
      made(inspectCommand(key), "Prints the same"),
    ),
  );
  dialog.showModal();
}

/** The command that prints what is stored of a key's layer. */
function inspectCommand(key) {
  const { direction, dtype, c_in, c_out } = tables.operations[key.operation];
  const layer = `--direction ${direction} --dtype ${dtype} --channels ${c_in},${c_out}`;
  return `${populations[key.population].command} ${layer}`;
}
