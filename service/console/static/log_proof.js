// Verifies a record of the log in the browser, by hashes and a signature alone. Nothing that the server says is
// believed: what it sends is hashed, and compared with a root that the log's key has signed.
// Formats: C2SP signed-note, tlog-checkpoint and tlog-tiles; proofs of RFC 9162 section 2.1. Owns no state.

const TILE = 256;
const HASH = 32;
const ED25519 = 1;

// The check cannot be finished: something is missing. What was sent is not thereby wrong.
export class Incomplete extends Error {}
// What was sent contradicts itself, a signature, or what this browser has seen before.
export class Tampered extends Error {}
// The line for the key is not one, or the checkpoint is not signed by that key.
export class Untrusted extends Error {}

const utf8 = new TextEncoder();

// Key and name from a line `name+hash+base64`.
export async function readKey(line) {
  const found = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(line.trim());
  const bytes = found && decode64(found[3]);
  if (!bytes || bytes.length !== 1 + HASH || bytes[0] !== ED25519) {
    throw new Untrusted("This is not the line of a public key: it looks like name+hash+key");
  }
  const name = found[1];
  const hash = (await sha256(utf8.encode(`${name}\n`), bytes)).slice(0, 4);
  if (hex(hash) !== found[2]) throw new Untrusted("This line was changed: its hash does not fit its key");
  if (!crypto.subtle) throw new Incomplete("Browsers verify signatures on pages over https only");
  try {
    const key = await crypto.subtle.importKey("raw", bytes.slice(1), "Ed25519", false, ["verify"]);
    return { name, hash, key };
  } catch {
    throw new Incomplete("This browser cannot verify Ed25519 signatures: use a newer one, or timewarden-verify");
  }
}

// Name, size and root of a checkpoint that the key has signed.
export async function openCheckpoint(note, key) {
  const end = note.indexOf("\n\n");
  if (end < 0) throw new Tampered("The checkpoint is not a signed note");
  const text = note.slice(0, end + 1);
  let signed = false;
  for (const line of note.slice(end + 2).split("\n")) {
    const found = /^\u2014 (\S+) ([A-Za-z0-9+/=]+)$/.exec(line);
    const bytes = found && decode64(found[2]);
    if (!bytes || found[1] !== key.name || hex(bytes.slice(0, 4)) !== hex(key.hash)) continue;
    signed = await crypto.subtle.verify("Ed25519", key.key, bytes.slice(4), utf8.encode(text));
    if (!signed) throw new Tampered("The signature of the checkpoint is wrong: it was not made over this text");
  }
  if (!signed) throw new Untrusted(`The checkpoint is not signed by ${key.name} with this key`);
  const [origin, size, root] = text.split("\n");
  const hash = decode64(root ?? "");
  if (origin !== key.name || !/^(0|[1-9]\d{0,15})$/.test(size) || hash?.length !== HASH) {
    throw new Tampered("The signed text is not a checkpoint of this log");
  }
  return { origin, size: Number(size), root: hash };
}

// The hashes of a log of `size` records. `fetchTile(path)` returns the bytes of a tile of hashes.
export class Tree {
  constructor(size, fetchTile) {
    this.size = size;
    this.fetchTile = fetchTile;
    this.tiles = new Map();
  }

  // RFC 9162 2.1.3.1: the hashes beside the way from a leaf to the root.
  async inclusionProof(leaf, low = 0, high = this.size) {
    if (high - low === 1) return [];
    const middle = low + split(high - low);
    return leaf < middle
      ? [...(await this.inclusionProof(leaf, low, middle)), await this.hash(middle, high)]
      : [...(await this.inclusionProof(leaf, middle, high)), await this.hash(low, middle)];
  }

  // RFC 9162 2.1.4.1: that the first `size` records are the beginning of this log.
  async consistencyProof(size, low = 0, high = this.size, whole = true) {
    if (size === high - low) return whole ? [] : [await this.hash(low, high)];
    const middle = low + split(high - low);
    return size <= middle - low
      ? [...(await this.consistencyProof(size, low, middle, whole)), await this.hash(middle, high)]
      : [...(await this.consistencyProof(size - (middle - low), middle, high, false)), await this.hash(low, middle)];
  }

  // The root of the records from `low` to before `high`.
  async hash(low, high) {
    const size = high - low;
    const middle = split(size);
    if (size > 1 && middle * 2 !== size) return join(await this.hash(low, low + middle), await this.hash(low + middle, high));
    return this.node(Math.round(Math.log2(size)), low / size);
  }

  // A hash of the tree: it covers 2**height records.
  async node(height, index) {
    const level = Math.floor(height / 8);
    const count = 2 ** (height - 8 * level);
    const first = index * count;
    const tile = await this.tile(level, Math.floor(first / TILE));
    const start = (first % TILE) * HASH;
    let hashes = [];
    for (let at = start; at < start + count * HASH; at += HASH) hashes.push(tile.slice(at, at + HASH));
    while (hashes.length > 1) {
      hashes = await Promise.all(
        Array.from({ length: hashes.length / 2 }, (_, place) => join(hashes[2 * place], hashes[2 * place + 1])),
      );
    }
    return hashes[0];
  }

  async tile(level, index) {
    const path = `${level}/${tilePath(index, widthOf(this.size, level, index))}`;
    if (!this.tiles.has(path)) this.tiles.set(path, this.fetchTile(path));
    const tile = await this.tiles.get(path);
    const wanted = widthOf(this.size, level, index) * HASH;
    if (tile.length !== wanted) throw new Tampered(`The tile ${path} has ${tile.length} bytes instead of ${wanted}`);
    return tile;
  }
}

// The path of the bundle with the record at this position, and the record's place in it.
export function bundleOf(position, size) {
  const index = Math.floor(position / TILE);
  return { path: tilePath(index, widthOf(size, 0, index)), place: position % TILE };
}

// One record of a bundle: each stands behind its length in two bytes.
export function recordOf(bundle, place) {
  let at = 0;
  for (let number = 0; at + 2 <= bundle.length; number += 1) {
    const length = bundle[at] * 256 + bundle[at + 1];
    if (at + 2 + length > bundle.length) break;
    if (number === place) return bundle.slice(at + 2, at + 2 + length);
    at += 2 + length;
  }
  throw new Tampered("The bundle ends before this record");
}

// RFC 9162 2.1.1: the hash of a record as a leaf.
export const leafHash = (record) => sha256(new Uint8Array([0]), record);

// RFC 9162 2.1.3.2: whether the proof leads from the leaf at this position to the root.
export async function isIncluded(leaf, position, size, proof, root) {
  let [node, last, hash] = [BigInt(position), BigInt(size) - 1n, leaf];
  if (node > last) return false;
  for (const sibling of proof) {
    if (last === 0n) return false;
    if (node & 1n || node === last) {
      hash = await join(sibling, hash);
      while (!(node & 1n) && node !== 0n) [node, last] = [node >> 1n, last >> 1n];
    } else {
      hash = await join(hash, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  return last === 0n && hex(hash) === hex(root);
}

// RFC 9162 2.1.4.2: whether the log of the first size and root is the beginning of the second.
export async function isConsistent(first, firstRoot, second, secondRoot, proof) {
  if (first === second) return proof.length === 0 && hex(firstRoot) === hex(secondRoot);
  if (first === 0) return proof.length === 0;
  const path = first === 1 || split(first) * 2 === first ? [firstRoot, ...proof] : [...proof];
  if (!path.length) return false;
  let [node, last] = [BigInt(first) - 1n, BigInt(second) - 1n];
  while (node & 1n) [node, last] = [node >> 1n, last >> 1n];
  let [older, newer] = [path[0], path[0]];
  for (const sibling of path.slice(1)) {
    if (last === 0n) return false;
    if (node & 1n || node === last) {
      [older, newer] = [await join(sibling, older), await join(sibling, newer)];
      while (!(node & 1n) && node !== 0n) [node, last] = [node >> 1n, last >> 1n];
    } else {
      newer = await join(newer, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  return last === 0n && hex(older) === hex(firstRoot) && hex(newer) === hex(secondRoot);
}

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const encode64 = (bytes) => btoa(String.fromCharCode(...bytes));

// The bytes, or null for what is not the one encoding of them.
export function decode64(text) {
  try {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return encode64(bytes) === text ? bytes : null;
  } catch {
    return null;
  }
}

// The largest power of two below a number; 0 for one.
function split(size) {
  let power = size > 1 ? 1 : 0;
  while (power && power * 2 < size) power *= 2;
  return power;
}

const join = (left, right) => sha256(new Uint8Array([1]), left, right);

const widthOf = (size, level, index) => Math.min(TILE, Math.floor(size / TILE ** level) - index * TILE);

// C2SP tlog-tiles: groups of three digits, all but the last behind an x; the width of a tile that is not full.
function tilePath(index, width) {
  const groups = [String(index % 1000).padStart(3, "0")];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    groups.unshift(`x${String(rest % 1000).padStart(3, "0")}`);
  }
  return groups.join("/") + (width < TILE ? `.p/${width}` : "");
}

async function sha256(...parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
