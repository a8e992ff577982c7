// Compiles against what openapi-typescript makes of /openapi.json, without our client.
import createClient from "openapi-fetch";
import type { components, paths } from "../typescript/src/api.js";

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });

type State = components["schemas"]["State"];

export async function submitDrafts(): Promise<State[]> {
  const { data, error } = await api.GET("/v1/timesheets", { params: { query: { state: ["draft"] } } });
  if (error !== undefined) {
    if (error.type === "urn:timewarden:problem:insufficient-scope") console.error(error.required_scope.join(" "));
    if (error.type === "urn:timewarden:problem:invalid-field") console.error(error.fields.map((wrong) => wrong.field));
    return [];
  }
  const states: State[] = [];
  for (const sheet of data.items) {
    const params = { path: { timesheet_id: sheet.id }, header: { "If-Match": `"${sheet.version}"` } };
    const done = await api.POST("/v1/timesheets/{timesheet_id}/submit", { params });
    if (done.data?.state === "submitted") states.push(done.data.state);
  }
  return states;
}

export async function openWeek(): Promise<void> {
  // What may be left out may be left out.
  await api.POST("/v1/timesheets", { body: { period_start: "2024-01-15" } });
}
