// TS2322: there is no such state.
import createClient from "openapi-fetch";
import type { paths } from "../typescript/src/api.js";

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });

export const waiting = api.GET("/v1/timesheets", { params: { query: { state: ["waiting"] } } });
