// The policy editor: line numbers, findings while typing, and a way from a finding to its line.
// The findings come from the API, once typing has paused.

const PAUSE = 900;
const form = document.querySelector("form.editor");
const areas = [...form.querySelectorAll("textarea")];

for (const area of areas) {
  const numbers = area.previousElementSibling;
  const draw = () => {
    const count = area.value.split("\n").length;
    if (numbers.childElementCount === count) return;
    numbers.replaceChildren(...Array.from({ length: count }, (_, place) => {
      const line = document.createElement("span");
      line.textContent = `${place + 1}\n`;
      return line;
    }));
  };
  area.addEventListener("input", draw);
  area.addEventListener("scroll", () => { numbers.scrollTop = area.scrollTop; });
  draw();
}

let waiting;
form.addEventListener("input", (event) => {
  if (!event.target.matches("textarea")) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => form.dispatchEvent(new Event("check")), PAUSE);
});

// Marks the lines that have findings, each time new ones arrive.
const mark = () => {
  for (const line of form.querySelectorAll(".numbers .found")) line.className = "";
  for (const link of form.querySelectorAll("[data-file]")) {
    const numbers = areaOf(link.dataset.file)?.previousElementSibling;
    const line = numbers?.children[link.dataset.line - 1];
    if (line && !line.className) line.className = `found ${link.closest("ul").className}`;
  }
};
document.body.addEventListener("htmx:afterSwap", mark);
mark();

form.addEventListener("click", (event) => {
  const link = event.target.closest("[data-file]");
  if (!link) return;
  event.preventDefault();
  const area = areaOf(link.dataset.file);
  if (!area) return;
  area.closest("details").open = true;
  const lines = area.value.split("\n");
  const line = Math.max(Number(link.dataset.line), 1);
  const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  area.focus();
  area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
  area.scrollTop = ((line - 3) / lines.length) * area.scrollHeight;
});

function areaOf(file) {
  return areas.find((area) => area.name === `file:${file}`) ?? areas.find((area) => area.name === `file:cases/${file}`);
}
