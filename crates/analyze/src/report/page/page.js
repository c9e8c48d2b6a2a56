// Puts the sections together, and what belongs to the page as a whole.

function section(id, title, lead, ...children) {
  return el(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, title),
    el("p", { class: "lead" }, lead),
    children,
  );
}

function themeButton() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const name = () => {
    button.textContent = isDark() ? "Light" : "Dark";
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  dark.addEventListener("change", name);
  name();
}

function start() {
  const main = document.getElementById("main");
  const sections = [
    overview(),
    winners(),
    overDefault(),
    peers(),
    spread(),
    quarantine(),
    regret(),
    differences(),
    versions(),
    allKeys(),
  ].filter(Boolean);
  const intro = el(
    "div",
    { class: "intro" },
    el("h1", {}, "What was measured, and what runs"),
    el(
      "p",
      {},
      "Choose a cell or a row for its details; headings sort. " +
        "Each figure names the command behind it.",
    ),
  );
  main.replaceChildren(intro, ...sections);
  const links = sections.map((one) =>
    el("a", { href: `#${one.id}` }, one.querySelector("h2").textContent),
  );
  document.getElementById("nav").replaceChildren(...links);
  main.append(el("footer", {}, made(report.command, `voxtune ${report.version}`)));
  // The link of the section that is being read.
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        links.forEach((link, place) => {
          if (sections[place] === entry.target) link.setAttribute("aria-current", "true");
          else link.removeAttribute("aria-current");
        });
      }
    },
    { rootMargin: "-25% 0px -65% 0px" },
  );
  sections.forEach((one) => seen.observe(one));
  const dialog = document.getElementById("detail");
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  themeButton();
}

start();
