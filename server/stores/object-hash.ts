/**
 * Objects of a bucket hashed by threads: what those are given, and the signature that each of their
 * requests needs. Credentials stay where they are; a thread holds the leave to read one range of one
 * object, as a client does.
 */
import { z } from 'zod'
import type { Pace } from '../../client/wire/pace.ts'
import type { HashProgram } from './hash-threads.ts'
import type { AheadSettings } from './long-read.ts'
import type { ReadSigner } from './s3-bulk-read.ts'
import type { SignedRead } from './s3-signing.ts'

/** The object with this tag, whole. */
export interface ObjectToHash {
  key: string
  tag: string
}

/** What such a thread is started with. */
export interface ObjectThreadData {
  /** What a body has to keep. */
  pace: Pace
  ahead: Partial<Omit<AheadSettings, 'now'>>
  /** Of what all these threads have ahead. */
  counts: Int32Array
}

/** What it asks: a signature for a GET that it sends at once. */
const SignQuestion = z.object({
  number: z.int(),
  key: z.string(),
  headers: z.record(z.string(), z.string()),
})
export type SignQuestion = z.infer<typeof SignQuestion>

/** What it is answered. */
export type SignAnswer = { number: number } & (
  | { url: string; headers: SignedRead['headers'] }
  | { error: Error }
)

/** A thread whose requests `signer` signs; all that are started by it share what runs ahead. */
export function describeObjectThread(
  signer: ReadSigner,
  pace: Pace,
  { now: _, ...ahead }: Partial<AheadSettings> = {},
): HashProgram {
  const counts = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT))
  return {
    name: 'object-hash-thread',
    data: { pace, ahead, counts } satisfies ObjectThreadData,
    // One that died in the middle of a read gave nothing back.
    onNoneLeft: () => counts.fill(0),
    async onQuestion(question): Promise<SignAnswer> {
      const { number, key, headers } = SignQuestion.parse(question)
      try {
        const signed = await signer.signRead(key, headers)
        return { number, url: signed.url.href, headers: signed.headers }
      } catch (error) {
        return { number, error: error instanceof Error ? error : new Error(String(error)) }
      }
    },
  }
}
