// Sections that put times beside those of peers, and choices beside the best.

function peers() {
  const all = report.peers;
  if (!all.length) {
    return section(
      "peers",
      "Over the peers",
      "No times of other libraries were given.",
      el(
        "p",
        { class: "empty" },
        "Name a file of their times as bench --peers takes it, or what bench --peers --json wrote.",
      ),
    );
  }
  const sources = [...new Set(all.map((one) => one.source))];
  const passes = [...new Set(all.map((one) => one.pass.pass))].length;
  const state = { source: sources[0], pass: "all" };
  const controls = el("div", { class: "controls" });
  const figure = el("div");
  const label = (one) => `${one.subject} ${one.cloud} ${one.pass}`;

  function draw() {
    const of = all.filter((one) => one.source === state.source);
    const rows = of.filter((one) => state.pass === "all" || one.pass === state.pass);
    const names = [...new Set(of.map((one) => one.pass))];
    controls.replaceChildren(
      sources.length > 1
        ? select(
            "Of",
            sources.map((one) => [one, one]),
            state.source,
            (value) => {
              state.source = value;
              state.pass = "all";
              draw();
            },
          )
        : "",
      names.length > 1
        ? segments(
            "Pass",
            [["all", "all"], ...names.map((one) => [one, one])],
            state.pass,
            (value) => {
              state.pass = value;
              draw();
            },
          )
        : "",
    );
    const ratios = rows.map((one) => one.speedup);
    const bars = rows.map((one) => ({
      label: label(one),
      ratio: one.speedup,
      note: `${digits(one.own_ms)} ms, ${one.peer} ${digits(one.peer_ms)} ms`,
    }));
    const shown = bars.slice(0, 40);
    figure.replaceChildren(
      tiles([
        [times(geometricMean(ratios)), "as fast as the best peer, geometric mean"],
        [
          `${count(ratios.filter((ratio) => ratio >= 1).length)} of ${count(ratios.length)}`,
          "are at least as fast",
        ],
        [times(Math.min(...ratios)), "at least"],
        [times(Math.max(...ratios)), "at most"],
      ]),
      ratioBars(shown, "Speed over the best peer"),
      shown.length < bars.length
        ? el(
            "p",
            { class: "lead" },
            `The first ${shown.length} of ${bars.length}; the table has all.`,
          )
        : "",
      dataTable(
        [
          { title: "Layer or network", value: (one) => one.subject, as: "fixed" },
          { title: "Cloud", value: (one) => one.cloud, as: "fixed" },
          { title: "Type", value: (one) => one.dtype },
          { title: "Pass", value: (one) => one.pass },
          {
            title: "Ours, ms",
            number: true,
            value: (one) => one.own_ms,
            show: (one) => digits(one.own_ms),
          },
          {
            title: "Peer, ms",
            number: true,
            value: (one) => one.peer_ms,
            show: (one) => digits(one.peer_ms),
          },
          { title: "Peer", value: (one) => one.peer },
          {
            title: "As fast as the peer",
            number: true,
            value: (one) => one.speedup,
            show: (one) =>
              el("span", { class: one.speedup >= 1 ? "good" : "bad" }, times(one.speedup)),
          },
        ],
        rows,
        { search: "Search layers, clouds, peers", length: 10 },
      ),
      made(rows[0]?.command ?? report.command, "Measured by"),
    );
  }

  draw();
  return section(
    "peers",
    "Over the peers",
    "The best other library's time over ours, for the same layer on the same cloud: " +
      "above 1× we are faster." +
      (passes > 1 ? " Backward is both gradients together." : ""),
    card(null, controls, figure),
  );
}

const lossColours = {
  "stored choice": "var(--f-wgmma_gemm)",
  exact: "var(--f-wgmma_gemm)",
  "neighbouring density": "var(--f-mask_gemm)",
  near: "var(--f-mask_gemm)",
  "neighbouring bucket": "var(--f-resident_gemm)",
  model: "var(--f-resident_gemm)",
  default: "var(--f-implicit_gemm)",
  "same architecture": "var(--f-wgmma_wgrad)",
};
const spare = [
  "var(--f-packed_gemm)",
  "var(--f-pair_gemm)",
  "var(--f-explicit_gemm)",
  "var(--f-grouped)",
  "var(--f-0)",
];
const dashes = [null, "8 4", "2 4", "10 3 2 3"];

function regret() {
  if (!report.losses.length) return null;
  const cards = report.losses.map((losses) => {
    const kinds = losses.kinds
      .filter((kind) => kind.summary)
      .sort((a, b) => a.summary.mean - b.summary.mean);
    let next = 0;
    const series = kinds.map((kind, place) => ({
      name: kind.kind,
      values: kind.quantiles,
      kind,
      colour: lossColours[kind.kind] ?? spare[next++ % spare.length],
      dash: dashes[place % dashes.length],
    }));
    const most = Math.max(
      0.05,
      ...kinds.map((kind) => Math.min(kind.summary.worst, kind.summary.p95 * 2)),
    );
    const axis = {
      ticks: [0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20].filter(
        (tick, place, all) => place === 0 || all[place - 1] < most,
      ),
      map: (value) => Math.log1p(Math.max(0, value) / 0.005),
      format: (value) => `${+(value * 100).toPrecision(3)} %`,
      label: "slower than the best, at most",
    };
    const worst = kinds.flatMap((kind) =>
      kind.worst
        .filter((point) => point.regret > 0)
        .map((point) => ({ ...point, kind: kind.kind })),
    );
    return card(
      [losses.name],
      el("p", { class: "lead" }, losses.note),
      legend(series),
      shares(series, axis, `Regret: ${losses.name}`),
      dataTable(
        [
          { title: "Choice", value: (one) => one.kind },
          {
            title: "Entries",
            number: true,
            value: (one) => one.summary.count,
            show: (one) => count(one.summary.count),
          },
          {
            title: "Mean",
            number: true,
            value: (one) => one.summary.mean,
            show: (one) => percent(one.summary.mean),
          },
          {
            title: "Median",
            number: true,
            value: (one) => one.summary.median,
            show: (one) => percent(one.summary.median),
          },
          {
            title: "95th",
            number: true,
            value: (one) => one.summary.p95,
            show: (one) => percent(one.summary.p95),
          },
          {
            title: "Worst",
            number: true,
            value: (one) => one.summary.worst,
            show: (one) => percent(one.summary.worst),
          },
          {
            title: "Without",
            number: true,
            value: (one) => one.without,
            show: (one) => count(one.without),
          },
        ],
        kinds,
        { small: true },
      ),
      worst.length
        ? el(
            "details",
            {},
            el("summary", {}, "The worst of each"),
            dataTable(
              [
                { title: "Choice", value: (one) => one.kind, as: "fixed" },
                {
                  title: "Slower",
                  number: true,
                  value: (one) => one.regret,
                  show: (one) => percent(one.regret),
                },
                { title: "Key", value: (one) => one.key, as: "wide" },
                { title: "Cloud", value: (one) => one.cloud },
                {
                  title: "Chosen",
                  value: (one) => one.choice,
                  show: (one) => algorithmName(one.choice),
                  as: "algo",
                },
                {
                  title: "Best",
                  value: (one) => one.best,
                  show: (one) => algorithmName(one.best),
                  as: "algo",
                },
              ],
              worst,
              { search: "Search", length: 8, sort: { column: 1, down: true } },
            ),
          )
        : null,
      made(losses.command),
    );
  });
  return section(
    "regret",
    "Regret",
    "How much slower a choice is than the best that was measured, kind by kind: " +
      "the share of entries that lose at most so much. " +
      "Curves that rise at once lose nothing.",
    el("div", { class: "columns wide" }, cards),
  );
}
