// What every page of the console does in the browser. Pages work without it, but for the time zone and comfort.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
// The first page, such as that after a sign-in, does not know the zone yet: its times are in UTC, and say so.
if (zone) document.cookie = `timewarden-zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; samesite=lax`;

const wide = matchMedia("(min-width: 64rem)");
// The menu is open on wide screens, where nothing can close it, and closed on narrow ones, as the style sheet shows it.
const arrange = () => {
  const menu = document.querySelector(".menu");
  if (menu) menu.open = wide.matches;
};
// A notice stands in the address for one view only.
const tidy = () => {
  const address = new URL(location.href);
  if (!address.searchParams.has("done")) return;
  address.searchParams.delete("done");
  history.replaceState(history.state, "", address);
};
wide.addEventListener("change", arrange);
addEventListener("htmx:historyRestore", arrange);
// htmx has replaced the whole page, after a form with hx-boost.
addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target !== document.body) return;
  arrange();
  tidy();
  // The button that had the focus is gone. Reading goes on in the new page, not before its navigation.
  if (document.activeElement === document.body) document.querySelector("#content").focus({ preventScroll: true });
});
arrange();
tidy();

// Minutes of a cell, as service/console/weeks.py reads them; nothing for what it refuses.
const minutesOf = (text) => {
  text = text.trim().toLowerCase();
  let found;
  if ((found = /^(\d{1,2}):([0-5]\d)$/.exec(text) || /^(\d{1,2})\s*h\s*([0-5]?\d)\s*m?$/.exec(text))) return found[1] * 60 + +found[2];
  if ((found = /^(\d{1,2}(?:[.,]\d{1,2})?)\s*h?$/.exec(text))) return Math.round(parseFloat(found[1].replace(",", ".")) * 60);
  if ((found = /^(\d{1,4})\s*m(?:in)?$/.exec(text))) return +found[1];
  return 0;
};
const hours = (minutes) => `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}`;

for (const form of document.querySelectorAll("form.week")) {
  const cell = (td) => minutesOf(td.querySelector("input")?.value ?? td.textContent.replace("–", ""));
  const add = () => {
    const foot = [...form.querySelectorAll("tfoot td")];
    const days = foot.map(() => 0);
    for (const row of form.querySelectorAll("tbody tr")) {
      const cells = [...row.querySelectorAll("td:not(.total)")].map(cell);
      const total = cells.reduce((sum, minutes) => sum + minutes, 0);
      row.querySelector("td.total").textContent = hours(total);
      cells.forEach((minutes, number) => { days[number] += minutes; });
      days[7] += total;
    }
    foot.forEach((td, number) => { td.textContent = hours(days[number]); });
  };
  form.addEventListener("input", add);
  form.addEventListener("change", (event) => {
    if (event.target.matches("[data-add-project]") && event.target.value) {
      addRow(form, event.target.selectedOptions[0]);
      event.target.value = "";
    }
  });
  if (form.querySelector(".grid input")) add();
}

function addRow(form, option) {
  const [code, name] = [option.value, option.textContent.split(" · ").slice(1).join(" · ")];
  const row = form.querySelector("template[data-row]").content.firstElementChild.cloneNode(true);
  row.querySelector("th bdi").textContent = code;
  row.querySelector("th span bdi").textContent = name;
  for (const input of row.querySelectorAll("input")) {
    input.name = `${code}/${input.dataset.day}`;
    input.setAttribute("aria-label", `${code}, ${input.getAttribute("aria-label")}`);
  }
  form.querySelector(".grid tbody").append(row);
  option.remove();
  form.querySelector(".hint")?.remove();
  row.querySelector("input").focus();
}

// What was typed is not lost by a wrong click.
let unsaved = false;
for (const form of document.querySelectorAll("form[data-unsaved]")) {
  // What was sent before, and refused, is not saved either.
  if (form.dataset.unsaved) unsaved = true;
  addEventListener("input", (event) => { if (event.target.form === form) unsaved = true; });
  form.addEventListener("submit", () => { unsaved = false; });
}
addEventListener("click", (event) => { if (event.target.closest?.("[data-discard]")) unsaved = false; });
addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

// A second click while the first is answered would do the same again, or be told that it is done already.
const PAUSE = 5000;
const sentAt = new WeakMap();
addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  const again = performance.now() - (sentAt.get(form) ?? -PAUSE) < PAUSE;
  const question = event.submitter?.dataset.discards;
  if (again || (question && unsaved && !confirm(question))) {
    event.preventDefault();
    event.stopImmediatePropagation();
  } else sentAt.set(form, performance.now());
}, true);
addEventListener("htmx:afterRequest", (event) => sentAt.delete(event.target));

// Arrows move through the grid, as in a sheet.
addEventListener("keydown", (event) => {
  const input = event.target.closest?.(".grid input");
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!input || !step) return;
  const rows = [...input.closest("table").tBodies[0].rows];
  const [row, column] = [rows.indexOf(input.closest("tr")), input.closest("td").cellIndex];
  rows[row + step]?.cells[column]?.querySelector("input")?.focus();
  event.preventDefault();
});

// One box chooses all boxes of its form.
addEventListener("change", (event) => {
  const all = event.target.closest?.("[data-all]");
  if (all) for (const box of all.form.querySelectorAll(`input[name="${all.dataset.all}"]`)) box.checked = all.checked;
});

// The row of the part that htmx has fetched is the current row, and reading goes on in that part.
addEventListener("htmx:afterRequest", (event) => {
  const link = event.target.closest?.(".inbox a");
  if (!link || !event.detail.successful) return;
  link.closest("ul").querySelector("[aria-current]")?.removeAttribute("aria-current");
  link.setAttribute("aria-current", "true");
  document.querySelector("#sheet-title")?.focus({ preventScroll: wide.matches });
});
