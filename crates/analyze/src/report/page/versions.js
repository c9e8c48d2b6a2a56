// Sections that put populations or runs beside each other.

function differences() {
  const all = report.differences;
  if (populations.length < 2) return null;
  if (!all.length) {
    return section("differences", "Differences", "No two of these caches have a key in common.");
  }
  const state = { place: 0 };
  const figure = el("div");
  const name = (one) => `${populationName(one.first)} and ${populationName(one.second)}`;
  const controls = el(
    "div",
    { class: "controls" },
    all.length > 1
      ? select(
          "Compare",
          all.map((one, place) => [place, name(one)]),
          0,
          (value) => {
            state.place = value;
            draw();
          },
        )
      : "",
  );

  function draw() {
    const one = all[state.place];
    const beyond = one.flipped.filter((flip) => !flip.noise);
    const far = (flip) => Math.max(...flip.slower_by.filter(isNumber), 0);
    const slower = (place, title) => ({
      title,
      number: true,
      value: (flip) => flip.slower_by[place],
      show: (flip) => percent(flip.slower_by[place]),
    });
    figure.replaceChildren(
      all.length > 1 ? "" : el("h3", { style: { "margin-bottom": "0.75rem" } }, name(one)),
      tiles([
        [count(one.keys), "keys that both have decided"],
        [percent(one.flipped.length / one.keys), "are decided differently"],
        [count(beyond.length), "of these differ beyond noise in both"],
        beyond.length
          ? [
              percent(Math.max(...beyond.map(far))),
              "is the farthest: how much longer the other's winner takes",
            ]
          : null,
      ]),
      one.flipped.length
        ? dataTable(
            [
              { title: "Key", value: keyText, as: "wide" },
              {
                title: "1st runs",
                value: (flip) => tables.algorithms[flip.first],
                show: (flip) => algorithm(flip.first, true),
                as: "algo",
              },
              {
                title: "2nd runs",
                value: (flip) => tables.algorithms[flip.second],
                show: (flip) => algorithm(flip.second, true),
                as: "algo",
              },
              slower(0, "2nd's on 1st"),
              slower(1, "1st's on 2nd"),
              {
                title: "Noise",
                value: (flip) => (flip.noise ? 1 : 0),
                show: (flip) =>
                  el(
                    "span",
                    { class: flip.noise ? "tag" : "tag bad" },
                    flip.noise ? "explains it" : "beyond",
                  ),
              },
            ],
            one.flipped,
            { search: "Search keys and algorithms", length: 12 },
          )
        : el("p", {}, "Both decide every common key alike."),
      made(report.command),
    );
  }

  draw();
  return section(
    "differences",
    "Differences",
    "Keys that two caches, or two devices, decide differently, and how much longer " +
      "than its own winner the other's takes in the evidence of each.",
    card(null, controls, figure),
  );
}

function versions() {
  const { runs, series } = report;
  if (!runs.length) return null;
  const networks = series.some((row) => row.network);
  const layers = series.some((row) => !row.network);
  const names = runs.map((run) => run.name);
  const ms = (value) => `${digits(value)} ms`;
  const first = (row) => row.points.find((point) => point)?.ms ?? null;
  const last = (row) => row.points.findLast((point) => point)?.ms ?? null;
  const change = (row) =>
    row.points.filter(Boolean).length > 1 ? last(row) / first(row) - 1 : null;
  const label = (row) => `${row.subject} ${row.way}, ${row.cloud}, ${row.dtype}`;
  // Of what all runs have, so that a mean is of the same things in each.
  const whole = series.filter((row) => row.points.every(Boolean));
  const ways = [...new Set(whole.map((row) => row.way))];
  const colours = [
    "var(--f-wgmma_gemm)",
    "var(--f-mask_gemm)",
    "var(--f-resident_gemm)",
    "var(--f-packed_gemm)",
    "var(--f-0)",
  ];
  const means = ways.map((way, place) => {
    const own = whole.filter((row) => row.way === way);
    return {
      name: `${way} (${count(own.length)})`,
      colour: colours[place % colours.length],
      dash: dashes[place % dashes.length],
      values: runs.map((_, run) =>
        geometricMean(own.map((row) => row.points[run].ms / row.points[0].ms)),
      ),
    };
  });
  const detail = el("div");

  function open(row) {
    const points = row.points;
    detail.replaceChildren(
      card(
        label(row),
        overVersions(
          [
            {
              name: "time",
              colour: "var(--accent)",
              values: points.map((point) => point?.ms ?? null),
            },
            ...(points.some((point) => isNumber(point?.floor_ms))
              ? [
                  {
                    name: "floor of the device",
                    colour: "var(--faint)",
                    dash: "4 4",
                    values: points.map((point) => point?.floor_ms ?? null),
                  },
                ]
              : []),
          ],
          names,
          ms,
          label(row),
        ),
        el(
          "ul",
          { class: "plain" },
          points.map(
            (point, place) =>
              point &&
              el(
                "li",
                {},
                `${names[place]}: ${ms(point.ms)} ± ${ms(point.deviation_ms)} `,
                point.algorithm ? algorithmName(point.algorithm) : "",
              ),
          ),
        ),
        made(runs.findLast((_, place) => points[place])?.command ?? "", "Measured by"),
      ),
    );
    detail.scrollIntoView({ block: "nearest" });
  }

  const columns = [
    {
      title: networks ? (layers ? "Layer or network" : "Network") : "Layer",
      value: (row) => row.subject,
      as: "fixed",
      find: label,
    },
    { title: networks ? "Way" : "Direction", value: (row) => row.way },
    runs.length > 1
      ? {
          title: "Change of time",
          number: true,
          value: change,
          show: (row) => {
            const value = change(row);
            if (value === null) return "–";
            return el(
              "span",
              { class: value > 0.02 ? "bad" : value < -0.02 ? "good" : null },
              `${value > 0 ? "+" : ""}${percent(value)}`,
            );
          },
        }
      : null,
    runs.length > 1
      ? {
          title: "Course",
          value: change,
          show: (row) => spark(row.points.map((point) => point?.ms ?? null)),
        }
      : null,
    runs.length > 1
      ? {
          title: names[0],
          number: true,
          value: first,
          show: (row) => (row.points[0] ? ms(row.points[0].ms) : "–"),
        }
      : null,
    {
      title: names.at(-1),
      number: true,
      value: last,
      show: (row) => (row.points.at(-1) ? ms(row.points.at(-1).ms) : "–"),
    },
    { title: "Cloud", value: (row) => row.cloud, as: "fixed" },
    { title: "Type", value: (row) => row.dtype },
    {
      title: "Share of the floor",
      number: true,
      value: (row) => row.points.at(-1)?.floor_ms / row.points.at(-1)?.ms || null,
      show: (row) =>
        isNumber(row.points.at(-1)?.floor_ms)
          ? percent(row.points.at(-1).floor_ms / row.points.at(-1).ms)
          : "–",
    },
  ].filter(Boolean);
  return section(
    "versions",
    "Versions",
    `${count(runs.length)} runs of bench, in the order in which they were named. ` +
      "Choose a row for its course.",
    runs.length > 1 && means.length
      ? card(
          [
            "Time over that of ",
            names[0],
            el("small", {}, " geometric mean of what all runs have; below 1 is faster"),
          ],
          legend(means),
          overVersions(means, names, (value) => digits(value, 2), "Geometric mean over versions"),
        )
      : null,
    card(
      null,
      dataTable(columns, series, {
        search: "Search layers, networks, clouds",
        opens: open,
        length: 15,
        sort: runs.length > 1 ? { column: 2, down: true } : null,
      }),
      ...runs.map((run) =>
        made(
          run.command ?? `bench … --json ${run.name}.json`,
          `${run.name}${run.device ? ` on ${run.device}` : ""}`,
        ),
      ),
    ),
    detail,
  );
}
