// TS2741: a change needs the version that was read.
import createClient from "openapi-fetch";
import type { paths } from "../typescript/src/api.js";

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });

export function approve(sheet: string): Promise<unknown> {
  return api.POST("/v1/timesheets/{timesheet_id}/approve", { params: { path: { timesheet_id: sheet } } });
}
