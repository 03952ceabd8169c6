/** Long ranges of objects, over a socket of their own and into memory that is used again. */
import { type HeldBody, requestBulk } from '../../client/wire/bulk-reply.ts'
import type { Pace } from '../../client/wire/pace.ts'
import {
  CALL_TIMEOUT_MS,
  CONNECT_TIMEOUT_MS,
  nameSilence,
  type ObjectBody,
  type ObjectRange,
  rangeHeader,
  readSteadily,
} from './object-body.ts'
import type { S3Signer } from './s3-signing.ts'

/** Whoever holds the credentials. */
export type ReadSigner = Pick<S3Signer, 'signRead'>

/** From this size on a connection and its memory cost less than what the SDK spends on every byte. */
export const BULK_FROM_BYTES = 8n * 1024n ** 2n

/**
 * `[start, end)` of the object with this tag, as `getObject` reads it, in chunks that are good until the
 * next one is asked for; held in memory as a whole if `hold` says so. `undefined` for any answer but
 * the plain one: the SDK has the words for it. Throws `store_unavailable` when there is none.
 */
export async function getObjectInBulk(
  signer: ReadSigner,
  key: string,
  tag: string,
  range: ObjectRange,
  { pace, hold }: { pace: Pace; hold?: HeldBody },
): Promise<ObjectBody | undefined> {
  const { signal = new AbortController().signal } = range
  const verb = `read ${key}`
  const asked = rangeHeader(range)
  try {
    const { url, headers } = await signer.signRead(key, { 'if-match': tag, ...asked })
    const reply = await requestBulk({
      url,
      headers,
      connectMs: CONNECT_TIMEOUT_MS,
      replyMs: CALL_TIMEOUT_MS,
      hold,
      signal,
    })
    if (reply === undefined) return undefined
    if (reply.status !== ('range' in asked ? 206 : 200)) {
      reply.drop()
      return undefined
    }
    const sizeBytes = BigInt(reply.sizeBytes)
    return { sizeBytes, chunks: readSteadily(reply.body, reply.drop, verb, pace, signal) }
  } catch (error) {
    signal.throwIfAborted()
    throw nameSilence(verb, error)
  }
}
