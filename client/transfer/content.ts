/**
 * The bytes of an artifact, range by range, by grants that are renewed when they end. What comes
 * from here is not verified yet.
 */
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Grant } from '../../schemas/upload.ts'
import { call, isPassing, PATIENT_TRIES, parseFailure, readText } from '../api.ts'
import { freeChunk } from '../memory/spent-chunk.ts'
import { isAtPace, readClock } from '../wire/pace.ts'
import type { Connection, HttpReply, HttpRequest } from './connection.ts'
import { isCrowded, pause, retryDelayMs } from './retry.ts'
import { type StallWatch, watchForStall } from './stall.ts'

/** Times in a row that a range is asked for, and nothing comes or hardly anything. */
const TRIES_MAX = 10
/** Times in a row that fresh grants may be refused. */
const REFUSED_GRANTS_MAX = 3
const ERROR_BYTES_MAX = 64 * 1024
/** A grant is not used in its last moments. */
const GRANT_MARGIN_MS = 5_000

export interface Range {
  offset: bigint
  sizeBytes: number
}

export interface ReadOptions {
  /** The range is long: its bytes come as `isBulk` of {@link HttpRequest} says. */
  isBulk?: boolean | undefined
  /** Hears that the store asks for fewer requests at once. */
  crowded?: (() => void) | undefined
}

/** Takes the bytes as they come, and is done with them when it returns; may make the sender wait. */
export type Sink = (chunk: Uint8Array) => void | Promise<void>

export interface Content {
  /**
   * Gives all bytes of a range to the sink, in order and once, going on where it was cut off.
   *
   * Throws `size_mismatch` when the stored object has another size than the record says,
   * `precondition_failed` when it is not the one that was sealed, `blob_missing` when it is gone, and
   * `unreachable` when the patience is at its end.
   */
  read(range: Range, sink: Sink, signal: AbortSignal, options?: ReadOptions): Promise<void>
}

/** What came with the record. */
export interface ContentAtHand {
  grant?: Grant | undefined
  /** All of it; no more believed than what comes from the store. */
  bytes?: Uint8Array | undefined
}

/** The bytes of a sealed artifact, by ranges; what is at hand first, then by grants as they are needed. */
export function openContent(
  connection: Connection,
  record: Artifact,
  { grant: first, bytes: given }: ContentAtHand = {},
): Content {
  const grants = createGrantCache(connection, record, first)
  return {
    async read(range, sink, signal, { isBulk, crowded } = {}) {
      if (given !== undefined) {
        const start = Number(range.offset)
        return sink(given.subarray(start, start + range.sizeBytes))
      }
      let done = 0
      let tries = 0
      let refusals = 0
      while (done < range.sizeBytes) {
        const before = done
        const rest = { offset: range.offset + BigInt(done), sizeBytes: range.sizeBytes - done }
        const count: Sink = async (chunk) => {
          const { length } = chunk
          await sink(chunk)
          done += length
        }
        const grant = await grants.get(signal)
        const sinceMs = readClock()
        try {
          await readOnce(connection, record, { grant, range: rest, isBulk }, count, signal)
        } catch (error) {
          // One byte a try would otherwise be progress for ever.
          if (isAtPace(connection.timing, done - before, sinceMs)) tries = refusals = 0
          const isRefused = error instanceof RefusedGrant
          if (isRefused) grants.drop(grant)
          const isFinal = isRefused ? ++refusals > REFUSED_GRANTS_MAX : !isPassing(error)
          if (isFinal || ++tries >= TRIES_MAX) throw isRefused ? error.refusal : error
          const weather = isPassing(error) ? error : undefined
          if (weather !== undefined && isCrowded(weather)) crowded?.()
          await pause(retryDelayMs(connection.timing, tries, weather), signal)
        }
      }
    },
  }
}

interface GrantCache {
  get(signal: AbortSignal): Promise<Grant>
  /** This one is no good any more. */
  drop(grant: Grant): void
}

function createGrantCache(connection: Connection, record: Artifact, first?: Grant): GrantCache {
  const { task, run, name } = record
  let current = first
  let pending: Promise<Grant> | undefined
  const isFresh = (grant: Grant) => Date.parse(grant.expiresAt) - Date.now() > GRANT_MARGIN_MS
  const fetchGrant = async (signal: AbortSignal) => {
    const input = { params: { task, run, name } }
    current = await call(connection, 'getContent', input, { signal, tries: PATIENT_TRIES })
    return current
  }
  return {
    async get(signal) {
      if (current !== undefined && isFresh(current)) return current
      // Asked for once by all that wait for it; with the clocks apart it is used as it is.
      pending ??= fetchGrant(signal).finally(() => {
        pending = undefined
      })
      return pending
    },
    drop(grant) {
      if (current === grant) current = undefined
    },
  }
}

class RefusedGrant extends Error {
  readonly refusal: ArtifactError

  constructor(refusal: ArtifactError) {
    super(refusal.message)
    this.refusal = refusal
  }
}

async function readOnce(
  connection: Connection,
  record: Artifact,
  { grant, range, isBulk }: { grant: Grant; range: Range; isBulk: boolean | undefined },
  sink: Sink,
  signal: AbortSignal,
): Promise<void> {
  using stall = watchForStall(connection.timing.stallMs, record.reference)
  const last = range.offset + BigInt(range.sizeBytes) - 1n
  const reply = await connection.send({
    method: 'GET',
    url: grant.url,
    headers: { ...grant.headers, range: `bytes=${range.offset}-${last}` },
    authorize: false,
    isBulk,
    signal: AbortSignal.any([signal, stall.signal]),
  })
  if (reply.status !== 200 && reply.status !== 206)
    throw await judge(record, reply, await readText(reply, ERROR_BYTES_MAX))
  try {
    checkRange(record, range, reply)
    // Of a long range the memory is not ours: it is used again.
    const done = isBulk === true ? () => undefined : freeChunk
    const take = async (chunk: Uint8Array) => {
      await sink(chunk)
      done(chunk)
    }
    await pour(record, range, reply, take, stall)
  } catch (error) {
    reply.drop()
    throw error
  }
}

async function pour(
  record: Artifact,
  range: Range,
  reply: HttpReply,
  sink: Sink,
  stall: StallWatch,
): Promise<void> {
  let left = range.sizeBytes
  for await (const chunk of reply.body) {
    if (chunk.length > left) throw tooMuch(record, range)
    left -= chunk.length
    await sink(chunk)
    stall.moved()
  }
  if (left > 0)
    throw new ArtifactError(
      'unreachable',
      `Cannot get ${record.reference}: the answer was cut short`,
      {
        expected: `${range.sizeBytes} bytes`,
        found: `${range.sizeBytes - left} bytes`,
      },
    )
}

/** The answer must speak of this very range, of an object of the recorded size. */
function checkRange(record: Artifact, range: Range, reply: HttpReply): void {
  const whole = BigInt(record.sizeBytes)
  if (reply.status === 200) {
    const length = reply.headers['content-length']
    if (length !== undefined && BigInt(length) !== whole) throw otherSize(record, length)
    if (range.offset === 0n && BigInt(range.sizeBytes) === whole) return
    throw notAsAsked(record, 'status 206', 'status 200')
  }
  const found = reply.headers['content-range'] ?? 'no content-range'
  const total = /\/([0-9]+)$/.exec(found)?.[1]
  if (total !== undefined && BigInt(total) !== whole) throw otherSize(record, total)
  const last = range.offset + BigInt(range.sizeBytes) - 1n
  const expected = `bytes ${range.offset}-${last}/${whole}`
  if (found !== expected) throw notAsAsked(record, expected, found)
}

/** What an answer without bytes means. */
async function judge(record: Artifact, reply: HttpReply, text: string): Promise<Error> {
  const { status } = reply
  const { reference } = record
  const failure = await parseFailure(`get ${reference}`, reply, text)
  if (status === 401 || status === 403) return new RefusedGrant(failure)
  if (status === 416)
    return new ArtifactError('size_mismatch', `Cannot accept ${reference}: the size differs`, {
      expected: `${record.sizeBytes} bytes`,
      found: 'fewer bytes',
    })
  if (status === 412 && failure.code === 'bad_reply')
    return new ArtifactError(
      'precondition_failed',
      `Cannot accept ${reference}: the stored object is not the one that was sealed`,
    )
  if (status === 404 && failure.code === 'bad_reply')
    return new ArtifactError(
      'blob_missing',
      `Cannot get ${reference}: the store has lost its bytes`,
    )
  return failure
}

function otherSize(record: Artifact, found: string): ArtifactError {
  return new ArtifactError('size_mismatch', `Cannot accept ${record.reference}: the size differs`, {
    expected: `${record.sizeBytes} bytes`,
    found: `${found} bytes`,
  })
}

function notAsAsked(record: Artifact, expected: string, found: string): ArtifactError {
  return new ArtifactError('bad_reply', `Cannot get ${record.reference}: another range came`, {
    expected,
    found,
  })
}

function tooMuch(record: Artifact, range: Range): ArtifactError {
  return new ArtifactError(
    'bad_reply',
    `Cannot get ${record.reference}: more bytes came than asked`,
    {
      expected: `${range.sizeBytes} bytes`,
    },
  )
}
