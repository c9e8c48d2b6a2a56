// Charts as SVG. Each scales with its column; `width` is in its own units, near one a pixel.

/** A scale from values to places; `map` bends it, such as a logarithm. */
function scale(from, to, low, high, map = (value) => value) {
  const [first, last] = [map(from), map(to)];
  return (value) => low + ((map(value) - first) / (last - first || 1)) * (high - low);
}

/** Round numbers of a logarithmic axis between two ends. */
function logTicks(from, to) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power += 1) {
    for (const step of [1, 1.5, 2, 3, 5, 7]) {
      const value = step * 10 ** power;
      if (value >= from * 0.999 && value <= to * 1.001) ticks.push(value);
    }
  }
  return ticks;
}

function canvas(width, height, label) {
  return svg("svg", {
    class: "chart",
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  });
}

function line(x1, y1, x2, y2, name) {
  return svg("line", { x1, y1, x2, y2, class: name });
}

function text(x, y, anchor, words, name = "") {
  return svg("text", { x, y, "text-anchor": anchor, class: name }, words);
}

/** Draws a chart again whenever its column has another width, so that letters keep their size. */
function responsive(draw) {
  const box = el("div");
  let last = 0;
  const observer = new ResizeObserver(([{ contentRect }]) => {
    const width = Math.round(contentRect.width);
    if (width > 0 && Math.abs(width - last) > 1) {
      last = width;
      box.replaceChildren(draw(width));
    }
  });
  observer.observe(box);
  return box;
}

/**
 * Which share of values stays within how much, a line for each series.
 * `series`: name, colour, dash, sorted values. `axis`: ticks, map, label, format.
 */
function shares(series, axis, label) {
  return responsive((width) => {
    const [left, right, top, bottom, height] = [44, 14, 10, 44, 300];
    const x = scale(axis.ticks[0], axis.ticks.at(-1), left, width - right, axis.map);
    const y = scale(0, 1, height - bottom, top);
    const chart = canvas(width, height, label);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      chart.append(
        line(left, y(share), width - right, y(share), "tick"),
        text(left - 8, y(share) + 4, "end", `${share * 100} %`),
      );
    }
    let end = -Infinity;
    for (const tick of axis.ticks) {
      chart.append(line(x(tick), top, x(tick), height - bottom, "tick"));
      if (x(tick) - end > 34) {
        chart.append(text(x(tick), height - bottom + 18, "middle", axis.format(tick)));
        end = x(tick);
      }
    }
    chart.append(text((left + width - right) / 2, height - 6, "middle", axis.label, "title"));
    const last = axis.ticks.at(-1);
    for (const { values, colour, dash, name } of series) {
      const inside = values.filter((value) => value <= last);
      let path = `M${x(axis.ticks[0])},${y(0)}`;
      inside.forEach((value, place) => {
        path +=
          `H${x(Math.max(value, axis.ticks[0])).toFixed(1)}` +
          `V${y((place + 1) / values.length).toFixed(1)}`;
      });
      path += `H${x(last)}`;
      chart.append(
        svg(
          "path",
          {
            d: path,
            fill: "none",
            "stroke-width": 2,
            "stroke-linejoin": "round",
            "stroke-dasharray": dash ?? "none",
            style: { stroke: colour },
          },
          svg("title", {}, name),
        ),
      );
    }
    return chart;
  });
}

/** How many values lie in each part of an axis: bars, and a line where a threshold lies. */
function histogram(values, axis, colour, label, threshold) {
  return responsive((width) => {
    const [left, right, top, bottom, height] = [44, 14, 26, 44, 230];
    const { edges } = axis;
    const bins = edges.slice(1).map(() => 0);
    for (const value of values) {
      const place = edges.findIndex((edge, number) => number > 0 && value < edge);
      bins[place === -1 ? bins.length - 1 : place - 1] += 1;
    }
    const most = Math.max(...bins, 1);
    const x = scale(0, bins.length, left, width - right);
    const y = scale(0, most, height - bottom, top);
    const chart = canvas(width, height, label);
    chart.append(
      line(left, y(0), width - right, y(0), "axis"),
      text(left - 8, y(most) + 4, "end", count(most)),
      text(left - 8, y(0) + 4, "end", "0"),
    );
    bins.forEach((number, place) => {
      const span = `${axis.format(edges[place])} to ${axis.format(edges[place + 1])}`;
      chart.append(
        svg(
          "rect",
          {
            x: x(place) + 1,
            width: Math.max(1, x(place + 1) - x(place) - 2),
            y: y(number),
            height: y(0) - y(number),
            rx: 2,
            style: { fill: colour },
          },
          svg("title", {}, `${span}: ${count(number)}`),
        ),
      );
    });
    let end = -Infinity;
    edges.forEach((edge, place) => {
      if (place < edges.length - 1 && x(place) - end > 44) {
        chart.append(text(x(place), height - bottom + 18, "middle", axis.format(edge)));
        end = x(place);
      }
    });
    if (threshold) {
      const place = edges.findIndex((edge) => edge >= threshold.value);
      if (place > 0) {
        chart.append(
          line(x(place), top - 12, x(place), y(0), "axis"),
          text(x(place) + 6, top - 8, "start", threshold.label),
        );
      }
    }
    chart.append(text((left + width - right) / 2, height - 6, "middle", axis.label, "title"));
    return chart;
  });
}

/** A bar from 1 for each ratio, to the right where we are faster. `rows`: label, ratio, note. */
function ratioBars(rows, label) {
  return responsive((width) => {
    const step = 24;
    const [left, right, top, bottom] = [Math.min(230, width * 0.42), 52, 8, 40];
    const height = top + rows.length * step + bottom;
    const all = rows.map((row) => row.ratio);
    const [low, high] = [Math.min(0.8, ...all), Math.max(1.25, ...all)];
    const x = scale(low, high, left, width - right, Math.log);
    const chart = canvas(width, height, label);
    const floor = height - bottom;
    let end = -Infinity;
    for (const tick of logTicks(low, high)) {
      chart.append(line(x(tick), top, x(tick), floor, tick === 1 ? "axis" : "tick"));
      if (x(tick) - end > 34) {
        chart.append(text(x(tick), floor + 16, "middle", `${tick}×`));
        end = x(tick);
      }
    }
    rows.forEach((row, place) => {
      const middle = top + place * step + step / 2;
      const [from, to] = [x(1), x(row.ratio)];
      const colour = row.ratio >= 1 ? "var(--heat)" : "var(--heat-spread)";
      const name = fitted(row.label, left - 12);
      chart.append(
        text(left - 10, middle + 4, "end", name),
        svg(
          "rect",
          {
            x: Math.min(from, to),
            width: Math.max(1, Math.abs(to - from)),
            y: middle - 7,
            height: 14,
            rx: 2,
            style: { fill: colour },
          },
          svg("title", {}, `${row.label}: ${row.note}`),
        ),
        text(Math.max(from, to) + 6, middle + 4, "start", times(row.ratio), "strong"),
      );
    });
    chart.append(
      text(
        (left + width - right) / 2,
        height - 4,
        "middle",
        "times as fast as the best peer",
        "title",
      ),
    );
    return chart;
  });
}

/** A label cut to a width, by the mean width of a letter. */
function fitted(words, width) {
  const most = Math.max(4, Math.floor(width / 6.4));
  return words.length > most ? `${words.slice(0, most - 1)}…` : words;
}

/** A step of an axis that is no less than this, and round. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= least * 0.999);
}

/** Lines over versions. `series`: name, colour, one value or null for each of `names`. */
function overVersions(series, names, format, label) {
  return responsive((width) => {
    const [left, right, top, bottom, height] = [58, 18, 12, 40, 260];
    const all = series.flatMap((one) => one.values).filter(isNumber);
    const step = niceStep((Math.max(...all, 0) || 1) / 4);
    const high = step * Math.ceil((Math.max(...all, 0) || 1) / step);
    const x = (place) =>
      names.length === 1
        ? (left + width - right) / 2
        : left + (place / (names.length - 1)) * (width - left - right);
    const y = scale(0, high, height - bottom, top);
    const chart = canvas(width, height, label);
    for (let number = 0; number * step <= high * 1.001; number += 1) {
      const value = number * step;
      chart.append(
        line(left, y(value), width - right, y(value), "tick"),
        text(left - 8, y(value) + 4, "end", format(value)),
      );
    }
    const room = (width - left - right) / Math.max(1, names.length - 1);
    names.forEach((name, place) => {
      const anchor =
        names.length === 1
          ? "middle"
          : place === 0
            ? "start"
            : place === names.length - 1
              ? "end"
              : "middle";
      const every = Math.ceil(64 / room);
      if (place % every === 0 || place === names.length - 1) {
        chart.append(
          text(x(place), height - bottom + 20, anchor, fitted(name, Math.max(64, room))),
        );
      }
    });
    for (const { values, colour, dash, name } of series) {
      let path = "";
      values.forEach((value, place) => {
        if (isNumber(value)) path += `${path ? "L" : "M"}${x(place)},${y(value)}`;
      });
      chart.append(
        svg("path", {
          d: path,
          fill: "none",
          "stroke-width": 2,
          "stroke-dasharray": dash ?? "none",
          style: { stroke: colour },
        }),
      );
      values.forEach((value, place) => {
        if (!isNumber(value)) return;
        chart.append(
          svg(
            "circle",
            { cx: x(place), cy: y(value), r: 3.5, style: { fill: colour } },
            svg("title", {}, `${name}, ${names[place]}: ${format(value)}`),
          ),
        );
      });
    }
    return chart;
  });
}

/** The course of a row in a table's cell. */
function spark(values) {
  const all = values.filter(isNumber);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const x = (place) => 4 + (place / Math.max(1, values.length - 1)) * 120;
  const y = (value) => (high === low ? 14 : 23 - ((value - low) / (high - low)) * 18);
  let path = "";
  values.forEach((value, place) => {
    if (isNumber(value)) path += `${path ? "L" : "M"}${x(place)},${y(value).toFixed(1)}`;
  });
  const last = values.findLastIndex(isNumber);
  return svg(
    "svg",
    { class: "spark", viewBox: "0 0 128 28", "aria-hidden": "true" },
    svg("path", {
      d: path,
      fill: "none",
      "stroke-width": 1.75,
      style: { stroke: "var(--accent)" },
    }),
    svg("circle", { cx: x(last), cy: y(values[last]), r: 2.75, style: { fill: "var(--accent)" } }),
  );
}
