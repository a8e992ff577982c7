/** The key that tokens are bound to, and proofs that the sender holds it (DPoP, RFC 9449), by WebCrypto. */

/** The CryptoKey of a browser or of Node.js, whichever types a program has. */
type Key = Parameters<typeof crypto.subtle.exportKey>[1];

const ES256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
/** With the nonce of such an answer a request is right: the server demands one, or the clock of this machine is wrong. */
const NEEDS_NONCE = ["use-dpop-nonce", "invalid-dpop-proof"];

/** A key on P-256. Keep its `pair` with a refresh token, which is bound to it: IndexedDB stores one that can be used but
 * not read. */
export class DpopKey {
  constructor(readonly pair: { readonly publicKey: Key; readonly privateKey: Key }) {}

  /** A new key. Its private half can be read only if it is `extractable`. */
  static async create({ extractable = false } = {}): Promise<DpopKey> {
    return new DpopKey(await crypto.subtle.generateKey(ES256, extractable, ["sign", "verify"]));
  }

  /** The name of the key (RFC 7638): `dpop_jkt` at the authorization endpoint. */
  async thumbprint(): Promise<string> {
    return hash(JSON.stringify(await this.#jwk()));
  }

  /** The DPoP header of one request; each attempt needs a new one. `token`: the access token that it sends, none at a
   * token endpoint. `nonce`: the newest DPoP-Nonce of that server, if it sent one. */
  async proof(method: string, url: string, token?: string, nonce?: string): Promise<string> {
    const { origin, pathname } = new URL(url);
    const claims = {
      jti: crypto.randomUUID(),
      htm: method,
      htu: origin + pathname,
      iat: Math.floor(Date.now() / 1000),
      ...(token === undefined ? {} : { ath: await hash(token) }),
      ...(nonce === undefined ? {} : { nonce }),
    };
    const header = { typ: "dpop+jwt", alg: "ES256", jwk: await this.#jwk() };
    const signed = [header, claims].map((part) => encode(bytes(JSON.stringify(part)))).join(".");
    const signature = await crypto.subtle.sign(ES256, this.pair.privateKey, bytes(signed));
    return `${signed}.${encode(new Uint8Array(signature))}`;
  }

  /** The public half, in the order in which RFC 7638 hashes it. */
  async #jwk(): Promise<object> {
    const { crv, kty, x, y } = await crypto.subtle.exportKey("jwk", this.pair.publicKey);
    return { crv, kty, x, y };
  }
}

/** Proofs for one server, whose newest nonce it keeps. */
export class Proofs {
  #nonce: string | undefined;

  constructor(readonly key: DpopKey) {}

  make(method: string, url: string, token?: string): Promise<string> {
    return this.key.proof(method, url, token, this.#nonce);
  }

  /** Keeps the nonce of an answer; returns whether it makes a request right that was refused as `slug`. */
  learn(answer: Response, slug?: string): boolean {
    const nonce = answer.headers.get("DPoP-Nonce");
    this.#nonce = nonce ?? this.#nonce;
    return nonce !== null && slug !== undefined && NEEDS_NONCE.includes(slug);
  }
}

async function hash(text: string): Promise<string> {
  return encode(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes(text))));
}

function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function encode(raw: Uint8Array): string {
  return btoa(String.fromCharCode(...raw)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
