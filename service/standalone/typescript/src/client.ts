/** The API, with a method for what most apps do. `http` has every route, typed, and `pages` follows every list. */

import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./api.js";
import { makeError, readReceipt, type Receipt } from "./problems.js";
import { requireSecure, type Tokens } from "./tokens.js";
import { sender, type TransportOptions } from "./transport.js";

type Schemas = components["schemas"];
export type Timesheet = Schemas["SheetBody"];
export type State = Schemas["State"];
export type NewEntry = Schemas["EntryFields"];

type Query<P extends keyof paths> = paths[P] extends { get: { parameters: { query?: infer Q } } } ? NonNullable<Q> : never;
type Body<P extends keyof paths> = paths[P] extends {
  get: { responses: { 200: { content: { "application/json": infer B } } } };
}
  ? B
  : never;
type SheetQuery = Omit<Query<"/v1/timesheets">, "cursor" | "limit">;
/** The routes that are lists. */
export type ListPath = {
  [P in keyof paths]: Body<P> extends { items: unknown[]; next_cursor: string | null } ? P : never;
}[keyof paths];
export type Item<P extends ListPath> = Body<P> extends { items: (infer I)[] } ? I : never;
/** The fields that a list may be reduced to. */
export type Field<P extends ListPath> = Query<P> extends { fields?: (infer F)[] } ? F : never;
type Picked<T, F> = Pick<T, Extract<keyof T, F | "actions" | "names">>;
/** An item of a list with these fields; of pending approvals, with these of its sheet. */
export type Reduced<P extends ListPath, F> =
  Item<P> extends { timesheet: infer T extends object }
    ? Omit<Item<P>, "timesheet"> & { timesheet: Picked<T, F> }
    : Picked<Item<P>, F>;

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

const receipts = new WeakMap<object, Receipt>();

/** The receipt of an answer, or of the page that an item came with. */
export function receiptOf(result: object): Receipt | undefined {
  return receipts.get(result);
}

/** A refusal throws a ProblemError. A method that changes a sheet takes it as it was read, sends its version in If-Match,
 * and returns the changed sheet, with names if that had names; if it was changed meanwhile, the problem is
 * `precondition-failed`. */
export class Timewarden {
  /** Every route: `api.http.GET("/v1/teams")` returns `{ data, error, response }`. */
  readonly http: Client<paths>;

  constructor(url: string, token: string | Tokens, options: TransportOptions = {}) {
    this.http = createClient<paths>({ baseUrl: requireSecure(url), fetch: sender(token, options) });
  }

  /** The caller and what the token may do. */
  me(): Promise<Schemas["Me"]> {
    return result(this.http.GET("/v1/me"));
  }

  /** Every item of a list; pages are fetched as needed. With `fields`, the items have only these. */
  pages<P extends ListPath, F extends Field<P>>(
    path: P,
    query: Omit<Query<P>, "cursor" | "limit" | "fields"> & { fields: F[] },
    names?: Record<string, string>,
  ): AsyncGenerator<Reduced<P, F>, void, undefined>;
  pages<P extends ListPath>(
    path: P,
    query?: Omit<Query<P>, "cursor" | "limit" | "fields">,
    names?: Record<string, string>,
  ): AsyncGenerator<Item<P>, void, undefined>;
  async *pages<P extends ListPath>(
    path: P,
    query: Omit<Query<P>, "cursor" | "limit"> = {} as Query<P>,
    names: Record<string, string> = {},
  ): AsyncGenerator<Item<P>, void, undefined> {
    const get = this.http.GET as unknown as (path: string, init: object) => Promise<Answer<Schemas["SheetPage"]>>;
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await result(get(path, { params: { path: names, query: { ...query, limit: 200, cursor } } }));
      for (const item of page.items) {
        keep(item, receiptOf(page));
        yield item as unknown as Item<P>;
      }
      cursor = page.next_cursor;
    }
  }

  /** The sheets that the caller may read, without `sort` the newest week first. With `fields`, they have only these. */
  timesheets(query?: Omit<SheetQuery, "fields">): AsyncGenerator<Timesheet, void, undefined>;
  timesheets<F extends NonNullable<SheetQuery["fields"]>[number]>(
    query: SheetQuery & { fields: F[] },
  ): AsyncGenerator<Pick<Timesheet, F | "actions" | "names">, void, undefined>;
  timesheets(query: SheetQuery = {}): AsyncGenerator<Timesheet, void, undefined> {
    return this.pages("/v1/timesheets", query);
  }

  /** A sheet; with `actions`, what the token may do to it now, and with `names`, the names in it. */
  timesheet(id: string, { actions = false, names = false } = {}): Promise<Timesheet> {
    const query = { ...(actions ? ({ include: "actions" } as const) : {}), ...(names ? { names } : {}) };
    return result(this.http.GET("/v1/timesheets/{timesheet_id}", { params: { path: { timesheet_id: id }, query } }));
  }

  /** Creates a draft of the caller, with entries. The problem `conflict` has the id of the sheet of that week, if any. */
  openWeek(week: Schemas["NewSheet"]): Promise<Timesheet> {
    return result(this.http.POST("/v1/timesheets", { body: week }));
  }

  /** Replaces all entries. An entry with an `id` keeps it. */
  replaceEntries(sheet: Timesheet, entries: Schemas["EntryList"]["entries"]): Promise<Timesheet> {
    return result(this.http.PUT("/v1/timesheets/{timesheet_id}/entries", { params: at(sheet), body: { entries } }));
  }

  addEntry(sheet: Timesheet, entry: NewEntry): Promise<Timesheet> {
    return result(this.http.POST("/v1/timesheets/{timesheet_id}/entries", { params: at(sheet), body: entry }));
  }

  submit(sheet: Timesheet): Promise<Timesheet> {
    return result(this.http.POST("/v1/timesheets/{timesheet_id}/submit", { params: at(sheet) }));
  }

  withdraw(sheet: Timesheet): Promise<Timesheet> {
    return result(this.http.POST("/v1/timesheets/{timesheet_id}/withdraw", { params: at(sheet) }));
  }

  /** Approves. A sheet that needs more approvals stays `submitted`. The owner reads the comment. */
  approve(sheet: Timesheet, comment?: string): Promise<Timesheet> {
    const body = comment === undefined ? {} : { body: { comment } };
    return result(this.http.POST("/v1/timesheets/{timesheet_id}/approve", { params: at(sheet), ...body }));
  }

  reject(sheet: Timesheet, reason: string): Promise<Timesheet> {
    return result(this.http.POST("/v1/timesheets/{timesheet_id}/reject", { params: at(sheet), body: { reason } }));
  }

  /** Deletes a draft. */
  async delete(sheet: Timesheet): Promise<Receipt> {
    const { path, header } = at(sheet);
    const answer = await this.http.DELETE("/v1/timesheets/{timesheet_id}", { params: { path, header } });
    if (!answer.response.ok) throw makeError(answer.error, answer.response);
    return readReceipt(answer.response);
  }

  /** The sheets that wait for the caller's approval, the longest waiting first. */
  approvals(): AsyncGenerator<Schemas["ApprovalBody"], void, undefined> {
    return this.pages("/v1/approvals");
  }

  /** Asks for access until a time. `me().requestable` lists the relations. After a refusal, `decision` is
   * `request_access.decision` of its problem, if that has one. The requests are a list:
   * `pages("/v1/access-requests", { to_decide: true })`. */
  requestAccess(wanted: Schemas["NewAccessRequest"]): Promise<Schemas["AccessRequestBody"]> {
    return result(this.http.POST("/v1/access-requests", { body: wanted }));
  }

  /** Grants what another person asks for, perhaps with an earlier end. */
  grantAccess(id: string, grant: Schemas["AccessGrant"] = {}): Promise<Schemas["AccessRequestBody"]> {
    const params = { path: { request_id: id } };
    return result(this.http.POST("/v1/access-requests/{request_id}/grant", { params, body: grant }));
  }

  declineAccess(id: string, reason: string): Promise<Schemas["AccessRequestBody"]> {
    const params = { path: { request_id: id } };
    return result(this.http.POST("/v1/access-requests/{request_id}/decline", { params, body: { reason } }));
  }

  /** Who may act on a sheet, and by which rules: all pages in one. */
  async access(sheet: Timesheet, { names = false } = {}): Promise<Schemas["AccessBody"]> {
    const read = (cursor?: string): Promise<Schemas["AccessBody"]> => {
      const query = { ...(names ? { names } : {}), ...(cursor === undefined ? {} : { cursor }) };
      const params = { path: { timesheet_id: sheet.id }, query };
      return result(this.http.GET("/v1/timesheets/{timesheet_id}/access", { params }));
    };
    const access = await read();
    while (access.next_cursor !== null) {
      const page = await read(access.next_cursor);
      access.items.push(...page.items);
      access.next_cursor = page.next_cursor;
    }
    return access;
  }
}

/** The body of an answer, with its receipt kept. Throws a ProblemError for a refusal. */
export async function result<T>(sent: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await sent;
  if (!response.ok || data === undefined) throw makeError(error, response);
  keep(data, readReceipt(response));
  return data;
}

function keep(value: unknown, receipt: Receipt | undefined): void {
  if (typeof value === "object" && value !== null && receipt !== undefined) receipts.set(value, receipt);
}

function at(sheet: Timesheet): { path: { timesheet_id: string }; header: { "If-Match": string }; query: { names?: true } } {
  const query = sheet.names === undefined ? {} : { names: true as const };
  return { path: { timesheet_id: sheet.id }, header: { "If-Match": `"${sheet.version}"` }, query };
}
