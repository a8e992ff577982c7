// TS2367: no answer of this route has such a problem.
import createClient from "openapi-fetch";
import type { paths } from "../typescript/src/api.js";

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });

export async function isRefused(): Promise<boolean> {
  const { error } = await api.GET("/v1/me");
  return error?.type === "urn:timewarden:problem:not-allowed";
}
