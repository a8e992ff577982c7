// The page "export": shows how far a download is. Without this script the form is a plain download.
// The file is kept in memory until it is whole, so a large one is left to the browser's own download.

const LARGEST = 200_000_000;
const form = document.querySelector("form.export");
const box = form.querySelector(".progress");
const bar = box.querySelector("progress");
const told = box.querySelector("[role=status]");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  const address = `${form.action}?${new URLSearchParams(new FormData(form))}`;
  button.disabled = true;
  box.hidden = false;
  bar.removeAttribute("value");
  told.textContent = "Starting …";
  try {
    await download(address);
  } catch {
    told.textContent = "The download broke off. Repeat it, or use timewarden audit export --resume.";
  } finally {
    button.disabled = false;
  }
});

async function download(address) {
  const stop = new AbortController();
  const answer = await fetch(address, { signal: stop.signal });
  if (!answer.ok) {
    location.assign(address);
    return;
  }
  const [first, last] = (answer.headers.get("Audit-Positions") ?? "").split("-").map(Number);
  const records = Number.isFinite(last - first) ? last - first : 0;
  const parts = [];
  let [bytes, lines] = [0, 0];
  const reader = answer.body.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    parts.push(read.value);
    bytes += read.value.length;
    for (const byte of read.value) lines += byte === 10;
    if (records) bar.value = Math.min(lines / records, 1);
    told.textContent = `${lines} lines, ${(bytes / 1e6).toFixed(1)} MB${records ? ` of ${records} records` : ""}`;
    if (bytes > LARGEST) {
      stop.abort();
      told.textContent = "This file is large: your browser downloads it by itself.";
      location.assign(address);
      return;
    }
  }
  bar.value = 1;
  told.textContent = `Done: ${(bytes / 1e6).toFixed(1)} MB.`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" }));
  link.download = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "export";
  link.click();
  URL.revokeObjectURL(link.href);
}
