// The TypeScript client against a server that is busy, breaks off or refuses tokens. Run by packages_run.py.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { clientCredentials, DpopKey, ProblemError, receiptOf, refreshing, Timewarden, TokenRefused } from "@timewarden/client";

const SHEET = { id: "0198c0de-4f2a-7000-8000-00000000002a", version: 7, state: "draft" };
const busy = { status: 503, headers: { "Retry-After": "0" }, body: { type: "urn:timewarden:problem:try-later" } };
const denied = { status: 401, body: { type: "urn:timewarden:problem:invalid-token", detail: "It expired" } };
const breakOff = { status: 0 };

/** Serves the answers in order, the last one for ever, while `use` runs; returns the requests. */
async function serve(answers, use) {
  const requests = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      const { status, headers = {}, body: given } = answers[Math.min(requests.length, answers.length - 1)];
      requests.push({ method: request.method, url: request.url, headers: request.headers, body });
      if (status === 0) return request.socket.destroy();
      response.writeHead(status, { "Content-Type": "application/json", ...headers });
      response.end(given === undefined ? undefined : JSON.stringify(given));
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  return requests;
}

test("a change is repeated with the same key, in the version that was read", async () => {
  const requests = await serve([busy, breakOff, { status: 502 }, { status: 200, body: { ...SHEET, version: 8 } }], async (url) => {
    assert.equal((await new Timewarden(url, "t").submit(SHEET)).version, 8);
  });
  assert.equal(requests.length, 4);
  assert.match(requests[0].headers["idempotency-key"], /^"[0-9a-f-]{36}"$/);
  assert.equal(new Set(requests.map((request) => request.headers["idempotency-key"])).size, 1);
  assert.deepEqual(new Set(requests.map((request) => request.headers["if-match"])), new Set(['"7"']));
});

test("a body is sent again whole", async () => {
  const week = { period_start: "2024-01-15", entries: [{ day: "2024-01-15", project: "ATLAS", minutes: 60 }] };
  const requests = await serve([busy, { status: 201, body: SHEET }], (url) => new Timewarden(url, "t").openWeek(week));
  assert.deepEqual(requests.map((request) => JSON.parse(request.body)), [week, week]);
});

/** The activation of a version; its answer may be an error. */
const activate = (url) =>
  new Timewarden(url, "t").http.POST("/v1/policies/versions/{number}/activate", {
    params: { path: { number: 2 } },
    body: { expected_active: 1 },
  });
const problem = (slug) => ({ ...busy, body: { type: `urn:timewarden:problem:${slug}` } });
const proxy = { ...busy, body: "upstream connect error" };

test("a change of the policy has no key and is not repeated after it may have been made", async () => {
  const requests = await serve([breakOff], (url) => assert.rejects(activate(url)));
  assert.equal(requests.length, 1);
  assert.equal(requests[0].headers["idempotency-key"], undefined);
  for (const unknown of [problem("database-unavailable"), problem("policy-unavailable"), proxy]) {
    assert.equal((await serve([unknown, { status: 200, body: {} }], activate)).length, 1);
  }
  for (const unchanged of [busy, problem("log-unavailable"), { ...busy, status: 429 }]) {
    assert.equal((await serve([unchanged, { status: 200, body: {} }], activate)).length, 2);
  }
  assert.equal((await serve([proxy, { status: 200, body: SHEET }], (url) => new Timewarden(url, "t").submit(SHEET))).length, 2);
});

test("replays and legal holds have no key, as the service refuses it", async () => {
  const params = { path: { replay_id: SHEET.id } };
  const requests = await serve([{ status: 200, body: {} }], async (url) => {
    const { http } = new Timewarden(`${url}/below`, "t");
    await http.POST("/v1/replays", { body: {} });
    await http.POST("/v1/replays/{replay_id}/cancel", { params });
    await http.POST("/v1/audit/holds", { body: { person: SHEET.id, reason: "A lawsuit" } });
  });
  assert.deepEqual(
    requests.map((request) => [request.url, request.headers["idempotency-key"]]),
    ["/v1/replays", `/v1/replays/${SHEET.id}/cancel`, "/v1/audit/holds"].map((path) => [`/below${path}`, undefined]),
  );
});

test("a service that stays busy is an error after all attempts, and one that asks for more patience at once", async () => {
  const still = await serve([busy], (url) => assert.rejects(new Timewarden(url, "t", { attempts: 2 }).me(), ProblemError));
  assert.equal(still.length, 2);
  const later = await serve([{ ...busy, headers: { "Retry-After": "60" } }], (url) =>
    assert.rejects(new Timewarden(url, "t").me(), ProblemError),
  );
  assert.equal(later.length, 1);
});

test("a refused token is renewed once, for all requests at a time", async () => {
  let given = 0;
  const tokens = async (refused) => (refused === undefined ? "old" : `new-${(given += 1)}`);
  const requests = await serve([denied, { status: 200, body: { kind: "user" } }], (url) => new Timewarden(url, tokens).me());
  assert.deepEqual(requests.map((request) => request.headers.authorization), ["Bearer old", "Bearer new-1"]);
  const refused = await serve([denied], (url) => assert.rejects(new Timewarden(url, tokens).me(), /It expired/));
  assert.equal(refused.length, 2);
});

test("tokens are fetched once for many requests, and kept refresh tokens are the newest", async () => {
  const kept = [];
  const asked = await serve([{ status: 200, body: { access_token: "a", expires_in: "300", refresh_token: "r2" } }], async (url) => {
    const source = refreshing(`${url}/token`, "app", "r1", { keep: (token) => void kept.push(token) });
    assert.deepEqual(await Promise.all([source(), source()]), ["a", "a"]);
    assert.equal(await source(), "a");
    assert.equal(await source("a"), "a");
  });
  assert.deepEqual(asked.map((request) => new URLSearchParams(request.body).get("refresh_token")), ["r1", "r2"]);
  assert.deepEqual(kept, ["r2", "r2"]);
  await serve([{ status: 400, body: { error: "invalid_client" } }], (url) =>
    assert.rejects(clientCredentials(`${url}/token`, "job", "s")(), TokenRefused),
  );
});

/** The claims of a request's proof, whose signature is checked by the key that it names. */
async function readProof(request) {
  const [head, body, signature] = request.headers.dpop.split(".");
  const [header, claims] = [head, body].map((part) => JSON.parse(Buffer.from(part, "base64url").toString()));
  assert.deepEqual({ typ: header.typ, alg: header.alg }, { typ: "dpop+jwt", alg: "ES256" });
  const key = await crypto.subtle.importKey("jwk", header.jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
  const signed = new TextEncoder().encode(`${head}.${body}`);
  const how = { name: "ECDSA", hash: "SHA-256" };
  assert.ok(await crypto.subtle.verify(how, key, Buffer.from(signature, "base64url"), signed));
  return claims;
}

test("bound tokens are fetched, used and renewed with proofs of one key, each with the newest nonce", async () => {
  const dpop = await DpopKey.create();
  const bound = (token, nonce) => ({
    status: 200,
    headers: { "DPoP-Nonce": nonce },
    body: { access_token: token, token_type: "DPoP" },
  });
  const wants = (nonce) => ({ status: 401, headers: { "DPoP-Nonce": nonce }, body: { type: "urn:timewarden:problem:use-dpop-nonce" } });
  let requests = [];
  const asked = await serve(
    [{ status: 400, headers: { "DPoP-Nonce": "a1" }, body: { error: "use_dpop_nonce" } }, bound("a", "a2"), bound("b", "a3")],
    async (url) => {
      const tokens = clientCredentials(`${url}/token`, "job", "s", { dpop });
      requests = await serve([wants("n1"), busy, denied, { status: 200, body: SHEET }], async (api) => {
        await new Timewarden(api, tokens).timesheets({ state: "draft" }).next().catch(() => undefined);
      });
    },
  );
  const [signIns, proofs] = await Promise.all([asked, requests].map((list) => Promise.all(list.map(readProof))));
  assert.deepEqual(signIns.map((proof) => proof.nonce), [undefined, "a1", "a2"]);
  assert.deepEqual(proofs.map((proof) => proof.nonce), [undefined, "n1", "n1", "n1"]);
  assert.equal(new Set([...signIns, ...proofs].map((proof) => proof.jti)).size, 7);
  assert.deepEqual(requests.map((request) => request.headers.authorization), ["DPoP a", "DPoP a", "DPoP a", "DPoP b"]);
  assert.ok(proofs.every((proof) => proof.htm === "GET" && proof.htu.endsWith("/v1/timesheets") && proof.ath));
  assert.ok(signIns.every((proof) => proof.htm === "POST" && proof.htu.endsWith("/token") && proof.ath === undefined));
});

test("a server that ignores the key gives no token, and a nonce that does not help is tried once", async () => {
  const dpop = await DpopKey.create();
  await serve([{ status: 200, body: { access_token: "a", token_type: "Bearer" } }], (url) =>
    assert.rejects(clientCredentials(`${url}/token`, "job", "s", { dpop })(), /not_bound/),
  );
  const wants = { status: 401, headers: { "DPoP-Nonce": "n" }, body: { type: "urn:timewarden:problem:use-dpop-nonce" } };
  const sent = await serve([wants], (url) => assert.rejects(new Timewarden(url, "t", { dpop }).me(), ProblemError));
  assert.equal(sent.length, 2);
});

test("a list is read page by page, and its items have the receipt of their page", async () => {
  const pages = [
    { status: 200, headers: { "Decision-Id": "d1" }, body: { items: [SHEET], next_cursor: "c" } },
    { status: 200, headers: { "Decision-Id": "d2" }, body: { items: [{ ...SHEET, version: 9 }], next_cursor: null } },
  ];
  const requests = await serve(pages, async (url) => {
    const found = [];
    for await (const sheet of new Timewarden(url, "t").timesheets({ state: "draft" })) found.push(sheet);
    assert.deepEqual(found.map((sheet) => [sheet.version, receiptOf(sheet).decision]), [[7, "d1"], [9, "d2"]]);
  });
  assert.deepEqual(requests.map((request) => request.url), [
    "/v1/timesheets?state=draft&limit=200",
    "/v1/timesheets?state=draft&limit=200&cursor=c",
  ]);
});

test("an answer of a proxy is an error without a problem, and redirects are not followed", async () => {
  await serve([{ status: 404, body: ["not ours"] }], (url) =>
    assert.rejects(new Timewarden(url, "t").me(), (error) => error instanceof ProblemError && error.problem === undefined),
  );
  const moved = await serve([{ status: 307, headers: { Location: "/elsewhere" } }], (url) =>
    assert.rejects(new Timewarden(url, "t").me(), ProblemError),
  );
  assert.equal(moved.length, 1);
});

test("tokens are sent over https only", () => {
  assert.throws(() => new Timewarden("http://timewarden.example", "t"), /https only/);
  assert.throws(() => clientCredentials("http://issuer.example/token", "job", "s"), /https only/);
});
