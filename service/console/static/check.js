// The page "check this record": fetches, verifies with log_proof.js, and says in words what is shown and what is not.
// Kept in this browser, for each log: the line of its key, and the last checkpoint that was found good.

import {
  Incomplete, Tampered, Tree, Untrusted, bundleOf, decode64, encode64, hex, isConsistent, isIncluded, leafHash,
  openCheckpoint, readKey, recordOf,
} from "./log_proof.js";

const KEY = "timewarden-log-key";
const seenOf = (key) => `timewarden-seen-${key.name}`;

const form = document.querySelector("form.check");
const names = JSON.parse(form.dataset.names);
const verdict = document.querySelector(".verdict");
form.elements.key.value = localStorage.getItem(KEY) ?? "";

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  show("checking", "Checking …", "Fetching the checkpoint, the record and the hashes beside it.");
  try {
    await check();
  } catch (error) {
    showError(error);
  } finally {
    button.disabled = false;
  }
});

async function check() {
  const { record: id, position: place, leaf: named } = form.dataset;
  const key = await readKey(form.elements.key.value);
  const checkpoint = await openCheckpoint(await fetchText("/log/checkpoint"), key);
  const position = place === "" ? NaN : Number(place);
  if (!(position < checkpoint.size)) {
    throw new Incomplete("The record is not sealed yet, or no checkpoint covers it. A keeper signs one within seconds: open this page again");
  }
  const tree = new Tree(checkpoint.size, (path) => fetchBytes(`/log/tile/${path}`));
  const seen = await checkAgainstSeen(tree, checkpoint, key);
  const { path, place: within } = bundleOf(position, checkpoint.size);
  const record = recordOf(await fetchBytes(`/log/tile/entries/${path}`), within);
  const leaf = await leafHash(record);
  const members = parse(record);
  if (members.uid !== id) {
    throw new Tampered(`At position ${position} stands another record, ${members.uid}`);
  }
  if (hex(leaf) !== named) {
    throw new Tampered("The record in the log has another hash than the service says");
  }
  const kept = form.elements.kept.value.trim().toLowerCase();
  if (kept && kept !== named) throw new Tampered("The record is not the one whose leaf you kept");
  if (!(await isIncluded(leaf, position, checkpoint.size, await tree.inclusionProof(position), checkpoint.root))) {
    throw new Tampered("The record and the hashes beside it do not lead to the root that was signed");
  }
  localStorage.setItem(KEY, form.elements.key.value.trim());
  localStorage.setItem(seenOf(key), JSON.stringify({ size: checkpoint.size, root: encode64(checkpoint.root), at: new Date().toISOString() }));
  showIntact(key, checkpoint, position, members, record, seen, kept);
}

// What an earlier check in this browser saw must be the beginning of the log. Returns that checkpoint, if any.
async function checkAgainstSeen(tree, checkpoint, key) {
  const kept = JSON.parse(localStorage.getItem(seenOf(key)) ?? "null");
  if (!kept) return null;
  const root = decode64(kept.root);
  if (kept.size > checkpoint.size) {
    throw new Tampered(`The log has shrunk: this browser has seen ${kept.size} records, and now there are ${checkpoint.size}`);
  }
  const proof = await tree.consistencyProof(kept.size);
  if (!(await isConsistent(kept.size, root, checkpoint.size, checkpoint.root, proof))) {
    throw new Tampered(`The log was rewritten: its first ${kept.size} records are not those that this browser saw`);
  }
  return kept;
}

function showIntact(key, checkpoint, position, members, record, seen, kept) {
  const shown = [
    `The record stands at position ${position} of the log ${key.name}, which has ${checkpoint.size} records.`,
    "The log's key has signed this. Not one byte of the record was changed since.",
  ];
  if (seen && seen.size > 0) shown.push(`The log extends what this browser saw on ${new Date(seen.at).toLocaleString()}: nothing in the first ${seen.size} records was changed or removed.`);
  if (kept) shown.push("It is the record whose leaf you kept.");
  show("intact", "The record is intact", summarize(members), shown, [
    "That what the record says happened. Whoever can write to the database can add records.",
    "That nothing was left out before it was recorded. A leaf that you kept, or a bundle of a period, shows more.",
    "That others see the same log. timewarden-verify compares it with witnesses.",
    ...(Object.keys(names).length ? ["Whose id it is. A record holds ids; the name beside an id is the directory's of today."] : []),
    ...(seen ? [] : ["That the log only grew. This browser has not seen it before, and compares from now on."]),
  ]);
  const details = verdict.querySelector(".proved");
  details.hidden = false;
  details.querySelector("pre").textContent = JSON.stringify(members, null, 2);
}

// What the record itself says, not what the service says of it; but for the name beside an id.
function summarize(members) {
  const { action, outcome, resource, principal, decided_at: at } = members;
  const moment = `on ${new Date(at).toLocaleString()} (${at})`;
  if (!action) return `A record of the kind ${members.kind}, decided ${moment}.`;
  const person = principal?.person ?? principal?.client ?? "nobody";
  // Isolated, so that no name turns the text around it.
  const name = names[person] ? `\u2068${names[person]}\u2069 (${person})` : person;
  return `It says: ${name} asked to ${action} ${resource?.kind ?? ""} ${resource?.id ?? ""} ${moment}. Outcome: ${outcome}.`;
}

function showError(error) {
  const words = {
    [Tampered.name]: ["tampered", "The record or the log was tampered with", "Keep this page, and tell your auditor's lead and the operator. Check again with timewarden-verify."],
    [Untrusted.name]: ["untrusted", "Not signed by a key that you trust", "Compare the line of the key with the one that the operator gave you."],
    [Incomplete.name]: ["incomplete", "The check could not be finished", "Nothing was found wrong, and nothing is shown."],
  };
  const [kind, title, next] = words[error.constructor.name] ?? words[Incomplete.name];
  const text = words[error.constructor.name] ? error.message : `The browser failed: ${error.message}`;
  show(kind, title, `${text}. ${next}`, [], []);
}

function show(kind, title, text, shown = [], notShown = []) {
  verdict.hidden = false;
  verdict.className = `card verdict ${kind}`;
  verdict.querySelector("h2").textContent = title;
  verdict.querySelector("p").textContent = text;
  verdict.querySelector(".columns").hidden = !shown.length;
  verdict.querySelector(".proved").hidden = true;
  fill(verdict.querySelector(".shown"), shown);
  fill(verdict.querySelector(".not-shown"), notShown);
}

function fill(list, sentences) {
  list.replaceChildren(...sentences.map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  }));
}

function parse(record) {
  if (!record.length) throw new Incomplete("The record was pruned: only its hash is kept");
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(record));
  } catch {
    throw new Tampered("What stands at this position is not a record");
  }
}

async function fetchBytes(path) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/octet-stream" }, redirect: "error" });
  } catch {
    throw new Incomplete(`${path} could not be fetched`);
  }
  if (!answer.ok) throw new Incomplete(`${path} was answered with the status ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

const fetchText = async (path) => new TextDecoder().decode(await fetchBytes(path));
