// Times npm casbin on one question over rows. Reads {model, rows, request, times} as JSON from standard input and writes
// {allowed, microseconds}: the mean of a call, the best of three rounds.
import { readFileSync } from "node:fs";
import { newEnforcer, newModel } from "casbin";

const asked = JSON.parse(readFileSync(0, "utf8"));
const enforcer = await newEnforcer(newModel(asked.model));
enforcer.addFunction("answers", (who, word, effect) => who.includes(word)
  || (effect === "deny" && word.startsWith("client:") && who.includes(`via:${word.slice(7)}`)));
enforcer.addFunction("stands", (state, wanted) => wanted === "any" || wanted.split(" or ").includes(state));
enforcer.addFunction("granted", (scopes, wanted) => wanted === "any" || scopes.includes(wanted));
enforcer.addFunction("holds", (facts, when, effect) => when === "always" || when.split(" and ").every((part) => {
  const name = part.replace(/^not /, "");
  const known = facts[name];
  return known === undefined ? effect === "deny" : known === (name === part);
}));
await enforcer.addPolicies(asked.rows);

const { sub, act, obj, scopes, facts } = asked.request;
let allowed = false;
let best = Infinity;
for (let round = 0; round < 3; round += 1) {
  const started = performance.now();
  for (let call = 0; call < asked.times; call += 1) {
    allowed = await enforcer.enforce(sub, act, obj, scopes, facts);
  }
  best = Math.min(best, (performance.now() - started) / asked.times);
}
process.stdout.write(JSON.stringify({ allowed, microseconds: best * 1000 }));
