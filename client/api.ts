/**
 * The endpoints of the server as one typed function, from the table that the server mounts.
 */
import { z } from 'zod'
import type { Endpoints } from '../schemas/api.ts'
import type { Endpoint } from '../schemas/endpoint.ts'
import { ArtifactError } from '../schemas/problems.ts'
import { loadEndpoint } from './endpoint-loader.ts'
import type { Connection, HttpReply } from './transfer/connection.ts'
import { pause, retryDelayMs } from './transfer/retry.ts'

type InputOf<E extends Endpoint> = (E extends { params: infer P extends z.ZodType }
  ? { params: z.input<P> }
  : object) &
  (E extends { query: infer Q extends z.ZodType } ? { query?: z.input<Q> } : object) &
  (E extends { body: infer B extends z.ZodType } ? { body: z.input<B> } : object)

export type EndpointName = keyof Endpoints

/** What an endpoint takes: `params`, `query` and `body`, as far as it has them. */
export type CallInput<N extends EndpointName> = InputOf<Endpoints[N]>

/** What an endpoint answers, whichever success status it came with. */
export type CallReply<N extends EndpointName> = z.output<
  Endpoints[N]['replies'][keyof Endpoints[N]['replies']]
>

export interface CallOptions {
  signal?: AbortSignal | undefined
  /** Times the request is sent at most [5]. */
  tries?: number | undefined
}

/** Largest answer that is read into memory: a page of 1,000 artifacts with all their labels fits. */
const REPLY_BYTES_MAX = 64 * 1024 ** 2
/** A transfer has already cost something; it is given up later than a single question. */
export const PATIENT_TRIES = 10

/**
 * Calls an endpoint by its name in the table. Retries what may succeed later (`retryable` problems,
 * trouble of the network), after a random delay or as `Retry-After` says.
 *
 * Throws the server's problem as the `ArtifactError` it is, `unreachable` when no answer came,
 * `bad_reply` when the answer is not what the endpoint promises, `interrupted` when `signal` fired.
 */
export async function call<N extends EndpointName>(
  connection: Connection,
  name: N,
  input: CallInput<N>,
  options: CallOptions = {},
): Promise<CallReply<N>> {
  return retrying(connection, name, options, async () => {
    const reply = await sendCall(connection, name, input, 'application/json', options.signal)
    const { replies } = await loadEndpoint(name)
    const text = await readText(reply)
    if (!hasReply(replies, reply.status)) throw badReply(name, `status ${reply.status}`)
    const json = parseJson(name, text)
    const schema = replies[reply.status]
    const parsed = withinStack(() => z.safeParse(schema, json))
    if (parsed?.success === true) return parsed.data
    const issue = parsed?.error.issues[0]
    throw badReply(name, issue ? `${issue.path.join('.')}: ${issue.message}` : 'faults all over')
  })
}

/** The checksums of a run, as they come: a file for `sha256sum -c`. Errors as for {@link call}. */
export async function* readChecksums(
  connection: Connection,
  params: CallInput<'getChecksums'>['params'],
  options: CallOptions = {},
): AsyncGenerator<Uint8Array> {
  const reply = await retrying(connection, 'getChecksums', options, () =>
    sendCall(connection, 'getChecksums', { params }, 'text/plain', options.signal),
  )
  yield* reply.body
}

/**
 * The receipt of an artifact, as it comes, of `bytesMax` at most: nothing of it is judged. Errors as
 * for {@link call}.
 */
export async function readReceipt(
  connection: Connection,
  params: CallInput<'getReceipt'>['params'],
  bytesMax: number,
  options: CallOptions = {},
): Promise<Uint8Array> {
  return retrying(connection, 'getReceipt', options, async () => {
    const input = { params }
    const reply = await sendCall(connection, 'getReceipt', input, 'text/plain', options.signal)
    return readBytes(reply, bytesMax)
  })
}

/** A file of the log by its path; all but entries anybody may read. Errors as for {@link call}. */
export async function readLogFile(
  connection: Connection,
  path: string,
  bytesMax: number,
  { authorize = false, ...options }: CallOptions & { authorize?: boolean } = {},
): Promise<Uint8Array> {
  return retrying(connection, 'readLog', options, async () => {
    const reply = await connection.send({
      method: 'GET',
      url: path,
      authorize,
      signal: options.signal,
    })
    if (reply.status === 200) return readBytes(reply, bytesMax)
    // Who serves files alone has no problem documents.
    if (reply.status === 404)
      throw new ArtifactError('not_found', `Cannot read ${path}: there is none`)
    throw await parseFailure('readLog', reply, await readText(reply))
  })
}

/**
 * Sends one call, once, and returns its answer when its status says success; else throws the
 * problem in it. For answers that are not JSON.
 */
export async function sendCall<N extends EndpointName>(
  connection: Connection,
  name: N,
  input: CallInput<N>,
  accept: string,
  signal: AbortSignal | undefined,
  extraHeaders: Record<string, string> = {},
): Promise<HttpReply> {
  const endpoint: Endpoint = await loadEndpoint(name)
  const body = 'body' in input ? JSON.stringify(input.body) : undefined
  const reply = await connection.send({
    method: endpoint.method,
    url: formatPath(endpoint, input),
    headers: {
      accept,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...extraHeaders,
    },
    body,
    authorize: true,
    isLive: accept === 'text/event-stream',
    signal,
  })
  if (reply.status >= 200 && reply.status < 300) return reply
  throw await parseFailure(name, reply, await readText(reply))
}

/** Whether an error may be gone when the same is tried again. */
export function isPassing(error: unknown): error is ArtifactError {
  return (
    error instanceof ArtifactError &&
    error.row.retryable &&
    error.code !== 'interrupted' &&
    error.code !== 'locked'
  )
}

/** Reads a whole answer as text. Throws `bad_reply` when it is too large. */
export async function readText(reply: HttpReply, bytesMax = REPLY_BYTES_MAX): Promise<string> {
  return (await readBytes(reply, bytesMax)).toString('utf8')
}

async function readBytes(reply: HttpReply, bytesMax: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of reply.body) {
    sizeBytes += chunk.length
    if (sizeBytes > bytesMax)
      throw new ArtifactError('bad_reply', 'Cannot read the answer: it is too large', {
        expected: `at most ${bytesMax} bytes`,
      })
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The error in an answer: its problem document, or what its bare status means. */
export async function parseFailure(
  doing: string,
  reply: HttpReply,
  text: string,
): Promise<ArtifactError> {
  // Most commands meet none: its schema is made for those that do.
  const { Problem, parseProblem } = await import('../schemas/problem-document.ts')
  const retryAfterSeconds = parseRetryAfter(reply.headers['retry-after'])
  const problem = withinStack(() => Problem.safeParse(tryParseJson(text)))
  if (problem?.success === true) return parseProblem(problem.data, { retryAfterSeconds })
  const isWeather = [408, 429, 500, 502, 503, 504].includes(reply.status)
  return new ArtifactError(
    isWeather ? 'overloaded' : 'bad_reply',
    `Cannot ${phrase(doing)}: status ${reply.status} without a problem document`,
    { retryAfterSeconds, found: text.slice(0, 200) },
  )
}

async function retrying<T>(
  connection: Connection,
  name: string,
  { signal, tries = 5 }: CallOptions,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await attempt()
    } catch (error) {
      if (tried >= tries || !isPassing(error)) throw error
      // What does something new every time is not repeated into the unknown.
      if (isNewEveryTime(name) && error.code === 'unreachable') throw error
      await pause(retryDelayMs(connection.timing, tried, error), signal)
    }
  }
}

function isNewEveryTime(name: string): boolean {
  return name === 'createToken' || name === 'makeSignInLink'
}

function hasReply<R extends object>(replies: R, status: PropertyKey): status is keyof R {
  return Object.hasOwn(replies, status)
}

/** Every parameter is one segment of the path: its slashes are sent as `%2F`. */
function formatPath(endpoint: Endpoint, input: object): string {
  const params = 'params' in input ? checkParams(endpoint, input.params) : {}
  const path = endpoint.path.replace(/:([a-z]+)/g, (_, key: string) =>
    encodeURIComponent(String(params[key])),
  )
  const query = new URLSearchParams()
  if ('query' in input && input.query)
    for (const [key, value] of Object.entries(input.query))
      if (value !== undefined) query.set(key, String(value))
  return query.size === 0 ? path : `${path}?${query}`
}

/** Checked here already, so that no odd value makes another path of it. */
function checkParams(endpoint: Endpoint, params: unknown): Record<string, unknown> {
  const parsed = endpoint.params?.safeParse(params)
  if (parsed?.success === true) return parsed.data
  const issue = parsed?.error?.issues[0]
  throw new ArtifactError('usage', `Cannot ask the server: ${issue?.path.join('.')} is not valid`, {
    expected: issue?.message,
  })
}

function parseJson(name: string, text: string): unknown {
  const json = tryParseJson(text)
  if (json === undefined) throw badReply(name, 'it is no JSON')
  return json
}

function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What `parse` answers; `undefined` when the faults are more than zod can list, some hundred thousand. */
function withinStack<T>(parse: () => T): T | undefined {
  try {
    return parse()
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** Seconds, or a date (RFC 9110, section 10.2.3). */
function parseRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  if (/^[0-9]{1,6}$/.test(value)) return Number(value)
  const seconds = (Date.parse(value) - Date.now()) / 1000
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined
}

/** `openUpload` as words: `open upload`. */
function phrase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}

function badReply(name: string, found: string): ArtifactError {
  return new ArtifactError('bad_reply', `Cannot ${phrase(name)}: the answer is not as promised`, {
    found,
  })
}
