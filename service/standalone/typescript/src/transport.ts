/** The HTTP part: access tokens, idempotency keys, retries. */

import { Proofs, type DpopKey } from "./dpop.js";
import type { Tokens } from "./tokens.js";

/** A proxy got no answer in time: the request may have arrived. */
const UNKNOWN = [502, 504];
/** Changes of these have no key: the service refuses one. */
const WITHOUT_KEY = ["/v1/policies", "/v1/replays", "/v1/audit"];
/** The slugs of a 503 that promise that nothing was changed. After `database-unavailable` a change may have been made,
 * after `policy-unavailable` an activation, and after the 503 of a proxy any change. */
const UNCHANGED = [
  "erasure-key-missing",
  "introspection-unavailable",
  "keys-unavailable",
  "log-unavailable",
  "not-sealed",
  "replay-store-unavailable",
  "try-later",
];
const PREFIX = "urn:timewarden:problem:";
const FIRST_WAIT_SECONDS = 0.1;
const LONGEST_WAIT_SECONDS = 30;
const TIMEOUT_MS = 10_000;
const UPLOAD_TIMEOUT_MS = 600_000;

/** What a request needs to know of the client. */
export interface TransportOptions {
  /** How often a request is tried; 4 if left out. */
  attempts?: number;
  /** Another `fetch`, such as one with a proxy. */
  fetch?: typeof globalThis.fetch;
  /** The key that the tokens are bound to, unless their source has it. */
  dpop?: DpopKey;
}

/** A function for openapi-fetch that sends a request with a token, and again where that is safe: after 429, and after a
 * 503 that promises that nothing was changed; an upload after any 503; a read or a change with a key also after 502, 504
 * and a broken connection; once with another token, or the nonce of the answer, after a 401. It gives changes an
 * Idempotency-Key, the same for all attempts, and follows no redirect. Where tokens are bound to a key, each attempt has
 * a proof of its own. */
export function sender(
  tokens: string | Tokens,
  { attempts = 4, fetch = globalThis.fetch, dpop }: TransportOptions,
): (request: Request) => Promise<Response> {
  const key = dpop ?? (typeof tokens === "string" ? undefined : tokens.dpop);
  const proofs = key && new Proofs(key);
  return async (request) => {
    if (takesKey(request) && !request.headers.has("Idempotency-Key")) {
      request.headers.set("Idempotency-Key", `"${crypto.randomUUID()}"`);
    }
    const repeatable = request.method === "GET" || request.headers.has("Idempotency-Key");
    const timeout = isUpload(request) ? UPLOAD_TIMEOUT_MS : TIMEOUT_MS;
    const corrected = new Set<string>();
    let refused: string | undefined;
    for (let attempt = 1; ; attempt += 1) {
      const token = typeof tokens === "string" ? tokens : await tokens(refused);
      request.headers.set("Authorization", `${proofs ? "DPoP" : "Bearer"} ${token}`);
      if (proofs) request.headers.set("DPoP", await proofs.make(request.method, request.url, token));
      let wait = Math.min(FIRST_WAIT_SECONDS * 2 ** attempt, LONGEST_WAIT_SECONDS) * Math.random();
      try {
        const signal = AbortSignal.any([request.signal, AbortSignal.timeout(timeout)]);
        const answer = await fetch(request.clone(), { signal, redirect: "manual" });
        const slug = answer.ok ? undefined : await slugOf(answer);
        const nonceHelps = proofs?.learn(answer, slug) ?? false;
        if (answer.ok) return answer;
        const tokenHelps = slug === "invalid-token" && typeof tokens !== "string";
        if (slug !== undefined && (tokenHelps || nonceHelps) && !corrected.has(slug)) {
          corrected.add(slug);
          if (tokenHelps) refused = token;
          attempt -= 1;
          continue;
        }
        wait += Number(answer.headers.get("Retry-After")) || 0;
        const harmless = repeatable || isUpload(request) || UNCHANGED.includes(slug ?? "");
        const later =
          answer.status === 429 ||
          (harmless && answer.status === 503) ||
          (repeatable && UNKNOWN.includes(answer.status)) ||
          slug === "idempotency-key-in-use";
        if (!later || attempt >= attempts || wait > LONGEST_WAIT_SECONDS) return answer;
      } catch (error) {
        if (request.signal.aborted || !repeatable || attempt >= attempts) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  };
}

async function slugOf(answer: Response): Promise<string | undefined> {
  const found: unknown = await answer
    .clone()
    .json()
    .catch(() => undefined);
  const type = typeof found === "object" && found !== null && "type" in found ? found.type : undefined;
  return typeof type === "string" && type.startsWith(PREFIX) ? type.slice(PREFIX.length) : undefined;
}

function isUpload(request: Request): boolean {
  return new URL(request.url).pathname.endsWith("/v1/uploads");
}

/** Uploads of files or in part have no key either. */
function takesKey(request: Request): boolean {
  const { pathname, searchParams } = new URL(request.url);
  // The service may have a path of its own, before that of the route.
  const without = WITHOUT_KEY.some((prefix) => `${pathname}/`.includes(`${prefix}/`));
  if (request.method === "GET" || without) return false;
  if (!isUpload(request)) return true;
  const json = request.headers.get("Content-Type")?.startsWith("application/json") ?? false;
  return json && !searchParams.has("mode") && !searchParams.has("dry_run");
}
