// TS2339: an answer with some fields has no others.
import { Timewarden } from "../typescript/src/index.js";

const api = new Timewarden("http://127.0.0.1:8080", "token");

export async function sumUp(): Promise<number> {
  let minutes = 0;
  for await (const sheet of api.timesheets({ fields: ["id", "minutes"], sort: "-minutes" })) minutes += sheet.minutes;
  for await (const pending of api.pages("/v1/approvals", { fields: ["minutes"] })) minutes += pending.timesheet.minutes;
  for await (const person of api.pages("/v1/people", { fields: ["display_name"] })) console.log(person.display_name);
  for await (const team of api.pages("/v1/teams", {})) console.log(team.name);
  for await (const sheet of api.timesheets({ fields: ["id"] })) minutes += sheet.minutes;
  return minutes;
}
