/** Access tokens by OAuth grants that need no browser. Each source owns its current token, in memory. */

import { Proofs, type DpopKey } from "./dpop.js";

/** A source of access tokens. `refused` is a token that just got a 401: return another one, if possible. `dpop`: the key
 * that all of them are bound to. */
export interface Tokens {
  (refused?: string): Promise<string>;
  readonly dpop?: DpopKey | undefined;
}

type Keep = (refreshToken: string) => void | Promise<void>;

const RENEW_EARLY_SECONDS = 30;
const TIMEOUT_MS = 10_000;

/** The authorization server refused a token; `code` is its error code (RFC 6749 section 5.2). */
export class TokenRefused extends Error {
  constructor(
    readonly code: string,
    description: string,
  ) {
    super(description ? `${code}: ${description}` : code);
    this.name = "TokenRefused";
  }
}

/** Tokens of a machine (RFC 6749 section 4.4). Without `scopes`, all that it may have; Auth0 needs the `audience`. */
export function clientCredentials(
  endpoint: string,
  client: string,
  secret: string,
  options: { scopes?: readonly string[]; audience?: string; dpop?: DpopKey } = {},
): Tokens {
  const form = new URLSearchParams({ grant_type: "client_credentials" });
  if (options.scopes?.length) form.set("scope", options.scopes.join(" "));
  if (options.audience) form.set("audience", options.audience);
  return renewing(endpoint, form, basic(client, secret), options);
}

/** Tokens of a person, by the refresh token that the app got at sign-in (RFC 6749 section 6), with the same key. `keep`
 * is awaited with every new refresh token before it is used, so that the app can store it. */
export function refreshing(
  endpoint: string,
  client: string,
  refreshToken: string,
  options: { secret?: string; keep?: Keep; dpop?: DpopKey } = {},
): Tokens {
  const form = new URLSearchParams({ grant_type: "refresh_token", refresh_token: refreshToken });
  if (options.secret === undefined) form.set("client_id", client);
  return renewing(endpoint, form, options.secret === undefined ? undefined : basic(client, options.secret), options);
}

/** Returns the URL if secrets may be sent there: https, or this machine. */
export function requireSecure(url: string): string {
  const { protocol, hostname } = new URL(url);
  if (protocol !== "https:" && !(protocol === "http:" && ["localhost", "127.0.0.1", "[::1]"].includes(hostname))) {
    throw new TypeError(`tokens are sent over https only, not to ${protocol}//${hostname}`);
  }
  return url;
}

function renewing(
  endpoint: string,
  form: URLSearchParams,
  authorization: string | undefined,
  { keep, dpop }: { keep?: Keep; dpop?: DpopKey },
): Tokens {
  requireSecure(endpoint);
  const proofs = dpop && new Proofs(dpop);
  let token = "";
  let until = 0;
  let renewal: Promise<void> | undefined;

  async function ask(again = true): Promise<[Response, Record<string, unknown>]> {
    const headers = new Headers({ Accept: "application/json" });
    if (authorization) headers.set("Authorization", authorization);
    if (proofs) headers.set("DPoP", await proofs.make("POST", endpoint));
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(endpoint, { method: "POST", body: form, headers, redirect: "manual", signal });
    const found: unknown = await answer.json().catch(() => undefined);
    const given = (typeof found === "object" && found !== null ? found : {}) as Record<string, unknown>;
    const nonceHelps = proofs?.learn(answer, String(given["error"]).replaceAll("_", "-"));
    return nonceHelps && again ? ask(false) : [answer, given];
  }

  async function renew(): Promise<void> {
    const asked = performance.now();
    const [answer, given] = await ask();
    if (!answer.ok || typeof given["access_token"] !== "string" || given["access_token"] === "") {
      throw new TokenRefused(String(given["error"] ?? answer.status), String(given["error_description"] ?? ""));
    }
    if (proofs && String(given["token_type"]).toLowerCase() !== "dpop") {
      throw new TokenRefused("not_bound", "the authorization server does not bind tokens to keys");
    }
    // Some servers send the lifetime as text. Without one, a token is used until it is refused.
    const lasts = Number(given["expires_in"]);
    until = lasts > 0 ? asked + 1000 * Math.max(lasts - RENEW_EARLY_SECONDS, lasts / 2) : Infinity;
    token = given["access_token"];
    if (typeof given["refresh_token"] === "string" && given["refresh_token"] !== "") {
      form.set("refresh_token", given["refresh_token"]);
      await keep?.(given["refresh_token"]);
    }
  }

  const current = async (refused?: string): Promise<string> => {
    if (token === "" || token === refused || performance.now() >= until) {
      renewal ??= renew().finally(() => (renewal = undefined));
      await renewal;
    }
    return token;
  };
  return Object.assign(current, { dpop });
}

function basic(client: string, secret: string): string {
  // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
  const encode = (text: string): string => new URLSearchParams([["", text]]).toString().slice(1);
  return `Basic ${btoa(`${encode(client)}:${encode(secret)}`)}`;
}
