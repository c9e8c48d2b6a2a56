// A table that can be searched, sorted and turned over.

/**
 * `columns`: title, and for a row its `value` (a number or a text to sort by) and, where it is
 * shown otherwise, its `show` (a text or an element). `options`: a page's length, whether a search
 * is offered and for what, the column to sort by, what a click on a row opens, and whether it is
 * too small to be sorted.
 */
function dataTable(columns, rows, options = {}) {
  const { length = 15, search, sort = null, opens, small = false } = options;
  const state = { words: [], column: sort?.column ?? null, down: sort?.down ?? false, page: 0 };
  const texts =
    search &&
    rows.map((row) =>
      columns
        .map((column) => {
          const { find, show, value } = column;
          if (find) return find(row);
          const shown = show?.(row);
          return shown === undefined || shown instanceof Node
            ? String(value(row) ?? "")
            : String(shown);
        })
        .join(" ")
        .toLowerCase(),
    );
  const body = el("tbody");
  const heads = columns.map((column, number) =>
    el(
      "th",
      {
        class: column.number ? "number" : null,
        scope: "col",
      },
      small
        ? column.title
        : el("button", { type: "button", onclick: () => sortBy(number) }, column.title),
    ),
  );
  const status = el("span", { role: "status" });
  const before = el(
    "button",
    { type: "button", class: "quiet", onclick: () => turn(-1) },
    "Previous",
  );
  const after = el("button", { type: "button", class: "quiet", onclick: () => turn(1) }, "Next");

  function sortBy(number) {
    // Numbers are looked at from the largest, texts from the first.
    state.down = state.column === number ? !state.down : Boolean(columns[number].number);
    state.column = number;
    state.page = 0;
    draw();
  }

  function turn(step) {
    state.page += step;
    draw();
  }

  function found() {
    let places = rows.map((_, place) => place);
    if (state.words.length) {
      places = places.filter((place) => state.words.every((word) => texts[place].includes(word)));
    }
    if (state.column === null) return places;
    const { value } = columns[state.column];
    const sign = state.down ? -1 : 1;
    return places.sort((a, b) => {
      const [one, other] = [value(rows[a]), value(rows[b])];
      // What has no value comes last, whichever way is up.
      if (!isNumber(one) || !isNumber(other)) return isNumber(other) - isNumber(one);
      if (typeof one === "number") return sign * (one - other);
      return sign * String(one).localeCompare(String(other), "en", { numeric: true });
    });
  }

  function draw() {
    const places = found();
    const pages = Math.max(1, Math.ceil(places.length / length));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const first = state.page * length;
    body.replaceChildren(...places.slice(first, first + length).map((place) => line(rows[place])));
    heads.forEach((head, number) => {
      const order = state.down ? "descending" : "ascending";
      if (!small) head.setAttribute("aria-sort", number === state.column ? order : "none");
    });
    const last = Math.min(first + length, places.length);
    const shown = places.length
      ? `${count(first + 1)}–${count(last)} of ${count(places.length)}`
      : "nothing found";
    status.textContent =
      places.length < rows.length ? `${shown}, ${count(rows.length)} in all` : shown;
    before.disabled = state.page === 0;
    after.disabled = state.page === pages - 1;
    foot.hidden = rows.length <= length && !search;
  }

  function line(row) {
    const attributes = opens
      ? {
          class: "opens",
          tabindex: "0",
          onclick: () => opens(row),
          onkeydown: (event) => {
            if (event.key === "Enter") opens(row);
          },
        }
      : {};
    return el(
      "tr",
      attributes,
      columns.map((column) => {
        const shown = column.show ? column.show(row) : column.value(row);
        return el("td", { class: column.number ? "number" : (column.as ?? null) }, shown ?? "–");
      }),
    );
  }

  const foot = el("div", { class: "pages" }, before, after, status);
  const box = search
    ? el("input", {
        type: "search",
        placeholder: search,
        "aria-label": search,
        oninput: (event) => {
          state.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
          state.page = 0;
          draw();
        },
      })
    : null;
  draw();
  return el(
    "div",
    { class: "searched" },
    box && el("div", { class: "controls" }, box),
    el(
      "div",
      { class: "scroll", tabindex: "0" },
      el(
        "table",
        { class: small ? "rows small" : "rows stay" },
        el("thead", {}, el("tr", {}, heads)),
        body,
      ),
    ),
    foot,
  );
}
