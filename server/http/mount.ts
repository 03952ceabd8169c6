/**
 * The frame of every door: parse what came in by the endpoint's own schemas, find out who asks, call
 * the handler, answer in JSON. A handler sees total types and never a raw request.
 */
import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context, Hono, MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { z } from 'zod'
import { endpoints } from '../../schemas/api.ts'
import type { Endpoint } from '../../schemas/endpoint.ts'
import { ArtifactError, type FieldFault } from '../../schemas/problems.ts'
import { nameCaller, type Principal } from '../access/scopes.ts'
import { unauthenticated } from '../access/tokens.ts'
import type { Assets } from '../inspector/assets.ts'
import type { Room, Stay } from '../room.ts'
import { pour, startPieces } from './pour.ts'
import { readBodyText, readDeclaredBytes } from './request-body.ts'

/** What the frame keeps per request. */
export interface Variables {
  requestId: string
  /** Name of the endpoint in `schemas/api.ts`, for logs and metrics. */
  endpoint: string
  principal: Principal
  /** Whose session the cookie of the request names; only pages and some endpoints take it. */
  visitor: Principal | undefined
  /** What the pages of the inspector load. */
  assets: Assets
  /** Where large bodies are while they come. */
  arrivals: Room
  /** Where they wait for their turn to be worked on. */
  room: Room
}

export interface Environment {
  Bindings: HttpBindings
  Variables: Variables
}

export type App = Hono<Environment>

type Parsed<S> = S extends z.ZodType ? z.output<S> : undefined

/** A request that has passed its schemas. */
export interface EndpointRequest<E extends Endpoint> {
  params: Parsed<E['params']>
  query: Parsed<E['query']>
  body: Parsed<E['body']>
  principal: Principal
  /** Fires when the client goes away. */
  signal: AbortSignal
  headers: Headers
  /** Held for a large body until the answer. Who waits for more of the room lets go of it first. */
  stay: Stay | undefined
}

type JsonReply<E extends Endpoint> = {
  [Status in keyof E['replies']]: {
    status: Status
    body: z.input<Extract<E['replies'][Status], z.ZodType>>
    headers: Record<string, string>
  }
}[keyof E['replies']]

/** What is not JSON: a redirect, a text, a stream. */
export interface RawReply {
  raw: Response
}

/** A large answer, made while it is sent: status 200, and of a media type. */
export interface PouredReply {
  type: string
  /** Each is good until the next one is asked for. What fails before the first one is answered as usual. */
  pieces: AsyncGenerator<Uint8Array>
  /** Over when all is sent, or nobody takes it any more. */
  stay: Stay
}

export type Handler<E extends Endpoint> = (
  request: EndpointRequest<E>,
) => Promise<JsonReply<E> | RawReply | PouredReply>

/** A reply in JSON; keeps the status as a literal, which the endpoint's table is checked against. */
export function reply<S extends number, B>(
  status: S,
  body: B,
  headers: Record<string, string> = {},
): { status: S; body: B; headers: Record<string, string> } {
  return { status, body, headers }
}

/** 10,000 parts of about 120 bytes each, and room to spare. */
const BODY_BYTES_MAX = 4 * 1024 ** 2
/** Smaller bodies wait for nobody: there are not so many connections that these could matter. */
const LARGE_BODY_BYTES = 64 * 1024
/** What a body takes while it is worked on, for each of its bytes: itself, its text, the values in it, what is made of them. */
const BODY_COST = 4

/** Mounts one endpoint of the table. `access` other than `anyone` needs a token, checked here; scopes are the handler's. */
export function mount<E extends Endpoint>(
  app: App,
  name: string,
  endpoint: E,
  handler: Handler<E>,
  options: { anonymous?: boolean } = {},
): void {
  // A name may come with its slashes as they are, where no other segment follows it.
  const path = endpoint.path.replace(/:name$/, ':name{.+}')
  const isOpen = endpoint.access === 'anyone' || options.anonymous === true
  // First of all: whoever may not ask must not fill the memory with a body either.
  const admit: MiddlewareHandler<Environment> = async (c, next) => {
    c.set('endpoint', name)
    if (endpoint.session === true) admitVisitor(c)
    if (!isOpen && c.get('principal').token === undefined) throw unauthenticated()
    await next()
  }
  app.on(endpoint.method, path, admit)
  if (endpoint.body === undefined) app.on(endpoint.method, path, withoutBody)
  app.on(endpoint.method, path, async (c) => {
    using hold = new DisposableStack()
    const answer = await handler(await readRequest(c, endpoint, c.get('principal'), hold))
    if ('raw' in answer) return answer.raw
    if ('pieces' in answer) return await pourReply(c, answer)
    return Response.json(answer.body, { status: Number(answer.status), headers: answer.headers })
  })
}

async function pourReply(c: Context<Environment>, answer: PouredReply): Promise<Response> {
  using stay = answer.stay
  const pieces = await startPieces(answer.pieces)
  const { outgoing } = c.env
  outgoing.writeHead(200, {
    'content-type': answer.type,
    'x-content-type-options': 'nosniff',
    'x-request-id': c.get('requestId'),
  })
  await pour(pieces, outgoing, stay)
  return RESPONSE_ALREADY_SENT
}

/** From here on the visitor is who asks, unless a token said so already. */
export function admitVisitor(c: Context<Environment>): void {
  const visitor = c.get('visitor')
  if (visitor !== undefined && c.get('principal').token === undefined) c.set('principal', visitor)
}

/** Doors for machines, outside the table. */
const MACHINE_DOORS = /^\/(healthz|readyz|metrics|openapi\.json)$/

/** The methods that an address takes; empty when there is no such address. */
export function findMethods(path: string): string[] {
  if (MACHINE_DOORS.test(path)) return ['GET']
  return Object.values<Endpoint>(endpoints)
    .filter((endpoint) => {
      const pattern = endpoint.path.replace(/:name$/, '.+').replace(/:[a-z]+/g, '[^/]+')
      return new RegExp(`^${pattern}$`).test(path)
    })
    .map(({ method }) => method)
}

const withoutBody = bodyLimit({
  maxSize: 0,
  onError: () => {
    throw new ArtifactError('body_too_large', 'Cannot read the request: it has a body', {
      expected: 'no body',
    })
  },
})

async function readRequest<E extends Endpoint>(
  c: Context<Environment>,
  endpoint: E,
  principal: Principal,
  hold: DisposableStack,
): Promise<EndpointRequest<E>> {
  const { params, query, body }: Pick<E, 'params' | 'query' | 'body'> = endpoint
  const parsed = {
    params: parse<E['params']>(params, c.req.param()),
    query: parse<E['query']>(query, readQuery(new URL(c.req.url).searchParams)),
  }
  const { json, stay } = body === undefined ? {} : await readJson(c, hold)
  return {
    ...parsed,
    body: parse<E['body']>(body, json),
    principal,
    signal: c.req.raw.signal,
    headers: c.req.raw.headers,
    stay,
  }
}

function readQuery(search: URLSearchParams): Record<string, string> {
  for (const key of search.keys())
    if (search.getAll(key).length > 1)
      throw invalid([{ field: key, expected: 'once', found: 'several times' }])
  return Object.fromEntries(search)
}

interface ReadJson {
  json?: unknown
  stay?: Stay | undefined
}

async function readJson(c: Context<Environment>, hold: DisposableStack): Promise<ReadJson> {
  const type = c.req.header('content-type') ?? ''
  if (!/^application\/([a-z0-9.+-]+\+)?json\b/i.test(type))
    throw invalid([
      { field: 'content-type', expected: 'application/json', found: type.slice(0, 100) },
    ])
  const { incoming } = c.env
  const isLarge = (readDeclaredBytes(incoming) ?? BODY_BYTES_MAX) >= LARGE_BODY_BYTES
  const { text, stay } = isLarge
    ? await readLargeBody(c, hold)
    : { text: await readBodyText(incoming, BODY_BYTES_MAX), stay: undefined }
  try {
    return { json: JSON.parse(text), stay }
  } catch {
    throw invalid([{ field: 'body', expected: 'JSON', found: text.slice(0, 60) }])
  }
}

/** Counted as it comes; once it is there it waits for its turn to be worked on, and `hold` has that. */
async function readLargeBody(c: Context<Environment>, hold: DisposableStack) {
  const { incoming } = c.env
  const { signal } = c.req.raw
  const { arrivals, room } = c.var
  const caller = nameCaller(c.var.principal)
  using arrival = await arrivals.enter(caller, LARGE_BODY_BYTES, signal)
  let used = 0
  const take = async (bytes: number) => {
    const more = Math.min(bytes, used + bytes - LARGE_BODY_BYTES)
    used += bytes
    if (more > 0) await arrival.grow(more, signal)
  }
  let text: string
  {
    using peer = arrival.awaitPeer(() => void incoming.destroy(new Error('too slow')))
    text = await readBodyText(incoming, BODY_BYTES_MAX, (bytes) => {
      peer.moved(bytes)
      return take(bytes)
    })
  }
  return { text, stay: hold.use(await room.enter(caller, BODY_COST * used, signal)) }
}

function parse<S>(schema: S | undefined, value: unknown): Parsed<S>
function parse(schema: z.ZodType | undefined, value: unknown): unknown {
  if (schema === undefined) return undefined
  const result = tryParse(schema, value)
  if (result.success) return result.data
  throw invalid(
    result.error.issues.slice(0, 20).map((issue) => ({
      field: cut(issue.path.join('.') || ('keys' in issue ? String(issue.keys) : 'body')),
      // It can name every key of a body.
      expected: cut(issue.message),
      ...describeFound(value, issue.path),
    })),
  )
}

function tryParse(schema: z.ZodType, value: unknown) {
  try {
    return schema.safeParse(value)
  } catch (error) {
    // More faults than can be listed.
    if (!(error instanceof RangeError)) throw error
    throw invalid([{ field: 'body', expected: 'fewer values where none may be' }])
  }
}

const cut = (text: string): string => text.slice(0, 200)

/** What was there instead, shortened. */
function describeFound(value: unknown, path: PropertyKey[]): { found?: string } {
  let found: unknown = value
  for (const key of path)
    found = typeof found === 'object' && found !== null ? Reflect.get(found, key) : undefined
  if (found === undefined || path.length === 0) return {}
  return { found: formatFound(found).slice(0, 120) }
}

function formatFound(found: unknown): string {
  try {
    return JSON.stringify(found) ?? ''
  } catch (error) {
    // Nested too deep to be written down, though not to be read.
    if (error instanceof RangeError) return Array.isArray(found) ? '[…]' : '{…}'
    throw error
  }
}

/** The error for a request that a schema refused. */
export function invalid(errors: FieldFault[]): ArtifactError {
  const [first] = errors
  return new ArtifactError(
    'invalid_request',
    `Cannot accept the request: ${first?.field ?? 'it'}: ${first?.expected ?? 'not valid'}`,
    { errors, expected: first?.expected, found: first?.found },
  )
}
