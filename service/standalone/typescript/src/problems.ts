/** What went wrong, and the receipt of an answer. */

import type { components } from "./api.js";

type Answers = components["responses"];

/** The problem document of any answer. Comparing `type` or `status` narrows it to the members of that kind. */
export type Problem = {
  [Name in keyof Answers]: Answers[Name] extends { content: { "application/problem+json": infer Body } } ? Body : never;
}[keyof Answers];

/** The recorded decision of an answer and the hash of its record. With them an auditor can find out whether the log left
 * the decision out. Both are undefined if nothing was decided. */
export interface Receipt {
  readonly status: number;
  readonly decision?: string;
  readonly leaf?: string;
  readonly requestId?: string;
}

/** An answer that is a refusal. `problem` is undefined if it came from a proxy and not from Timewarden. */
export class ProblemError extends Error {
  constructor(
    readonly problem: Problem | undefined,
    readonly receipt: Receipt,
    /** The WWW-Authenticate header: with `step-up-needed`, how to sign in again. */
    readonly challenge: string | undefined,
  ) {
    super(problem === undefined ? `${receipt.status}: no problem document` : `${receipt.status}: ${problem.detail}`);
    this.name = "ProblemError";
  }
}

export function readReceipt(answer: Response): Receipt {
  const header = (name: string): string | undefined => answer.headers.get(name) ?? undefined;
  const [decision, leaf, requestId] = ["Decision-Id", "Decision-Leaf", "X-Request-Id"].map(header);
  return {
    status: answer.status,
    ...(decision === undefined ? {} : { decision }),
    ...(leaf === undefined ? {} : { leaf }),
    ...(requestId === undefined ? {} : { requestId }),
  };
}

export function makeError(document: unknown, answer: Response): ProblemError {
  const ours =
    typeof document === "object" &&
    document !== null &&
    "type" in document &&
    String(document.type).startsWith("urn:timewarden:problem:");
  const challenge = answer.headers.get("WWW-Authenticate") ?? undefined;
  return new ProblemError(ours ? (document as Problem) : undefined, readReceipt(answer), challenge);
}
