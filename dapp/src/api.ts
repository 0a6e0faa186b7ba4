/** The market over HTTP, typed by its own OpenAPI document. */

import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./generated/api";

export type Shapes = components["schemas"];
export type Api = Client<paths>;

type Problem = Partial<Shapes["ProblemDocument"]>;

/** An answer that is no success. `error` names a contract's error, or one of the server's own. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.name = "ApiError";
  }

  get error(): string | null {
    const prefix = "urn:busbar:error:";
    return this.problem.type?.startsWith(prefix) ? this.problem.type.slice(prefix.length) : null;
  }
}

/** A client of the API at an address such as https://host/api/v1. */
export function apiAt(url: string): Api {
  return createClient<paths>({ baseUrl: url.replace(/\/api\/v1$/, "") });
}

/** What was answered, or an `ApiError`. */
export async function told<T>(answer: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await answer;
  if (response.ok && data !== undefined) return data;
  throw new ApiError(response.status, error ?? {});
}

/** What was answered; null if what was asked for does not exist, or cannot. */
export async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (problem) {
    if (problem instanceof ApiError && (problem.status === 404 || problem.status === 422)) return null;
    throw problem;
  }
}

/** Every item of a list, page by page, up to a bound. */
export async function pages<T>(
  read: (cursor: string | null) => Promise<{ items: T[]; next_cursor?: string | null }>,
  most: number,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const page: { items: T[]; next_cursor?: string | null } = await read(cursor);
    items.push(...page.items);
    cursor = page.next_cursor ?? null;
  } while (cursor !== null && items.length < most);
  return items;
}
