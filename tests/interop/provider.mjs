// oidc-provider, as a stranger would set it up: clients that act for themselves, one app for people, our console, opaque and signed
// tokens, DPoP. Started by oidc_provider.py with the port to listen on; everything is in memory.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import { Provider } from 'oidc-provider';

const [port, audience] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const key = (alg, type, options) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `key of ${alg}`,
});
const keys = [
  key('RS256', 'rsa', { modulusLength: 2048 }),
  key('PS256', 'rsa', { modulusLength: 2048 }),
  key('ES256', 'ec', { namedCurve: 'P-256' }),
  key('Ed25519', 'ed25519'),
];

// The algorithm of a client's tokens stands in its name: machine-ES256. Others get opaque ones.
const algorithms = keys.map(({ alg }) => alg);
const machine = (name) => ({
  client_id: `machine-${name}`,
  client_secret: 'interop secret of a machine',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});

const app = (id) => ({
  client_id: id,
  token_endpoint_auth_method: 'none',
  application_type: 'native',
  grant_types: ['authorization_code'],
  redirect_uris: ['http://127.0.0.1/callback'],
});

const consoleOrigin = 'http://127.0.0.1:8070';
const pages = {
  client_id: 'console',
  client_secret: 'interop secret of the console',
  application_type: 'native',
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: [`${consoleOrigin}/sign-in/callback`],
  post_logout_redirect_uris: [`${consoleOrigin}/signed-out`],
};

const provider = new Provider(issuer, {
  clients: [
    ...algorithms.map(machine),
    machine('opaque'),
    app('app'),
    app('app-opaque'),
    pages,
    { ...machine('api'), client_id: 'api', grant_types: [] },
  ],
  jwks: { keys },
  scopes: ['openid', 'profile', 'offline_access', 'read:timesheets', 'batch:upload'],
  claims: { profile: ['name'] },
  conformIdTokenClaims: false,
  enabledJWA: { dPoPSigningAlgValues: ['ES256', 'Ed25519'] },
  features: {
    clientCredentials: { enabled: true },
    dPoP: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === 'api' },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource, client) => {
        const alg = ['app', 'console'].includes(client.clientId) ? 'RS256' : client.clientId.replace('machine-', '');
        const signed = algorithms.includes(alg);
        return {
          audience,
          scope: 'read:timesheets batch:upload',
          accessTokenTTL: 600,
          accessTokenFormat: signed ? 'jwt' : 'opaque',
          ...(signed && { jwt: { sign: { alg } } }),
        };
      },
    },
  },
  pkce: { required: () => true },
  cookies: { keys: ['interop'] },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, name: 'Ana Lima' }) }),
});

createServer(provider.callback()).listen(Number(port), '127.0.0.1', () => console.log('ready'));
