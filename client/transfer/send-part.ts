/**
 * One part on its way: sent by a grant, again after whatever may pass, until the store holds it.
 */
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { PartGrant } from '../../schemas/upload.ts'
import { call, isPassing, PATIENT_TRIES, parseFailure, readText } from '../api.ts'
import type { Connection, HttpReply } from './connection.ts'
import type { GrantBatcher } from './grant-batcher.ts'
import type { Meter } from './meter.ts'
import { isCrowded, pause, retryDelayMs } from './retry.ts'
import { watchForStall } from './stall.ts'

/** Times a part is sent at most. */
const TRIES_MAX = 10
/** Times that the store may find other bytes than were in memory here: that is a bad wire. */
const WRONG_BYTES_MAX = 2
/** Times that fresh grants may be refused. */
const REFUSED_GRANTS_MAX = 3
/** Longest text of an error that is read. */
const ERROR_BYTES_MAX = 64 * 1024

/** A part with its bytes at hand. */
export interface OutgoingPart extends Part {
  /** The bytes, from the start; may be asked for again. */
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>
  /** SHA-256 of the bytes as they are now. */
  rehash(): Promise<string>
  /** The error for bytes that are not what they were. */
  changed(found: string): ArtifactError
}

export interface SendContext {
  connection: Connection
  uploadId: string
  grants: GrantBatcher
  meter: Meter
  signal: AbortSignal
  /** When something moved last, by `performance.now()`; shared by all parts of an upload. */
  lastMove: { atMs: number }
  /** Hears that the store asks for fewer requests at once. */
  crowded?: (() => void) | undefined
}

/** What an answer of the store means. */
type Verdict =
  | { kind: 'stored' }
  /** It saw other bytes than the grant is for. */
  | { kind: 'wrong-bytes'; error: ArtifactError }
  /** The grant is not, or no longer, good. */
  | { kind: 'refused-grant'; error: ArtifactError }
  /** It may hold the part already. */
  | { kind: 'conflict'; error: ArtifactError }
  | { kind: 'passing'; error: ArtifactError }

/**
 * Sends a part and returns once the store holds it. Throws what cannot be mended by sending it
 * again, and `unreachable` when the patience is at its end.
 */
export async function sendPart(context: SendContext, part: OutgoingPart): Promise<void> {
  const { connection, signal } = context
  let wrongBytes = 0
  let refusedGrants = 0
  for (let tries = 1; ; tries++) {
    const verdict = await attempt(context, part)
    if (verdict.kind === 'stored') return
    if (verdict.kind === 'conflict' && (await isHeld(context, part))) return
    if (verdict.kind === 'wrong-bytes') {
      const found = await part.rehash()
      if (found !== part.sha256) throw part.changed(found)
      if (++wrongBytes > WRONG_BYTES_MAX) throw verdict.error
    }
    if (verdict.kind === 'refused-grant' && ++refusedGrants > REFUSED_GRANTS_MAX)
      throw verdict.error
    if (isCrowded(verdict.error)) context.crowded?.()
    const quietMs = performance.now() - context.lastMove.atMs
    if (tries >= TRIES_MAX || quietMs > connection.timing.noProgressMs) throw verdict.error
    await pause(retryDelayMs(connection.timing, tries, verdict.error), signal)
  }
}

async function attempt(context: SendContext, part: OutgoingPart): Promise<Verdict> {
  const { connection, grants, meter, signal } = context
  const grant = await grants.request(part)
  let moved = 0
  const onMove = (count: number) => {
    moved += count
    meter.move(count)
    context.lastMove.atMs = performance.now()
  }
  let verdict: Verdict
  try {
    verdict = await put(connection, grant, part, onMove, signal)
  } catch (error) {
    if (!isPassing(error)) throw error
    verdict = { kind: 'passing', error }
  }
  if (verdict.kind !== 'stored') meter.move(-moved)
  return verdict
}

async function put(
  connection: Connection,
  grant: PartGrant,
  part: OutgoingPart,
  onMove: (count: number) => void,
  signal: AbortSignal,
): Promise<Verdict> {
  using stall = watchForStall(connection.timing.stallMs, `part ${part.number}`)
  async function* body() {
    for await (const chunk of part.chunks()) {
      yield chunk
      onMove(chunk.length)
      stall.moved()
    }
    // From here on the store is at work; how long it may take is another limit.
    stall.stop()
  }
  const reply = await connection.send({
    method: grant.method,
    url: grant.url,
    headers: { ...grant.headers, 'content-length': String(part.sizeBytes) },
    body: body(),
    authorize: false,
    signal: AbortSignal.any([signal, stall.signal]),
  })
  stall.stop()
  const text = await readText(reply, ERROR_BYTES_MAX)
  return await judge(reply, text, part)
}

/** What stores say when the bytes are not those of the digest (S3 API, "List of error codes"). */
const WRONG_BYTES = ['XAmzContentSHA256Mismatch', 'XAmzContentChecksumMismatch', 'BadDigest']
/** What they say when only this try failed. */
const PASSING = ['RequestTimeout', 'IncompleteBody', 'SlowDown', 'InternalError']

async function judge(reply: HttpReply, text: string, part: OutgoingPart): Promise<Verdict> {
  const { status } = reply
  if (status >= 200 && status < 300) return { kind: 'stored' }
  const storeCode = /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(text)?.[1] ?? ''
  const error =
    storeCode === ''
      ? await parseFailure(`send part ${part.number}`, reply, text)
      : refusal(reply, storeCode, text, part)
  if (error.code === 'part_mismatch' || error.code === 'digest_mismatch')
    return { kind: 'wrong-bytes', error }
  if (PASSING.includes(storeCode)) return { kind: 'passing', error }
  if (storeCode === 'ExpiredToken' || status === 401 || status === 403)
    return { kind: 'refused-grant', error }
  if (status === 404 || status === 409 || status === 412) return { kind: 'conflict', error }
  if (isPassing(error)) return { kind: 'passing', error }
  throw error
}

/** The error that a store of its own wrote, in the words of this project. */
function refusal(
  reply: HttpReply,
  storeCode: string,
  text: string,
  part: OutgoingPart,
): ArtifactError {
  const isWrong = WRONG_BYTES.includes(storeCode)
  const isWeather = [408, 429, 500, 502, 503, 504].includes(reply.status)
  const code = isWrong ? 'part_mismatch' : isWeather ? 'store_unavailable' : 'bad_reply'
  const message = /<Message>([^<]{1,300})<\/Message>/.exec(text)?.[1] ?? ''
  return new ArtifactError(
    reply.status === 403 ? 'grant_invalid' : code,
    `Cannot send part ${part.number}: the store answers ${reply.status} ${storeCode}`,
    isWrong ? { expected: part.sha256, found: message } : { found: message },
  )
}

/**
 * Whether the store holds the part after all: an answer can be lost on its way. Throws
 * `upload_ended` when the upload is over.
 */
async function isHeld(context: SendContext, part: Part): Promise<boolean> {
  const { upload, parts } = await call(
    context.connection,
    'getUpload',
    { params: { id: context.uploadId } },
    { signal: context.signal, tries: PATIENT_TRIES },
  )
  if (upload.state !== 'open')
    throw new ArtifactError(
      'upload_ended',
      `Cannot go on with upload ${upload.id}: it is ${upload.state}`,
      { expected: 'open', found: upload.state },
    )
  return parts.some((held) => held.number === part.number && held.sha256 === part.sha256)
}
