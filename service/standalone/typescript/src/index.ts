export type { components, operations, paths } from "./api.js";
export { receiptOf, result, Timewarden, type Item, type ListPath, type NewEntry, type State, type Timesheet } from "./client.js";
export { DpopKey } from "./dpop.js";
export { ProblemError, type Problem, type Receipt } from "./problems.js";
export { clientCredentials, refreshing, TokenRefused, type Tokens } from "./tokens.js";
export type { TransportOptions } from "./transport.js";
