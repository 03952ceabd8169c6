/** What the contract suite works with: a store, the address of its bytes, and sample data. */
import { createHash, randomUUID } from 'node:crypto'
import { request } from 'undici'
import { z } from 'zod'
import type { Part } from '../../schemas/artifact.ts'
import type { Grant } from '../../schemas/upload.ts'
import type { BlobSession, Store } from '../../server/stores/store.ts'

export interface Subject extends AsyncDisposable {
  store: Store
  /** For grants that are relative to the server. */
  origin: string
  /** Size of a part that is not the last, as small as the store allows. */
  partSizeBytes: number
  /** Shifts the clock of the store, in seconds. */
  shiftClock(seconds: number): void
}

/** Bytes and what is said about them. */
export interface Sample {
  bytes: Buffer
  pieces: Buffer[]
  parts: Part[]
}

export interface Reply {
  /** 0 when the store closed the connection without an answer. */
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Buffer
}

export const TTL_SECONDS = 60
const CONTENT_TYPE = 'text/plain'

export function newKey(): string {
  const id = randomUUID()
  return `blobs/${id.slice(-2)}/${id}`
}

export const sha256Of = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Bytes that look random, are the same in every run, and differ from seed to seed. */
export function makeBytes(sizeBytes: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(sizeBytes)
  let state = (seed + 1) * 0x9e3779b1
  for (let at = 0; at < sizeBytes; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}

/** Cuts pieces into a sample: part numbers from 1 in order. */
export function sampleOf(pieces: Buffer[]): Sample {
  const parts = pieces.map((piece, index) => ({
    number: index + 1,
    sizeBytes: piece.length,
    sha256: sha256Of(piece),
  }))
  return { bytes: Buffer.concat(pieces), pieces, parts }
}

/** Three parts, the last one short. */
export function makeSample({ partSizeBytes }: Subject, seed = 1): Sample {
  const sizes = [partSizeBytes, partSizeBytes, 1000]
  return sampleOf(sizes.map((sizeBytes, index) => makeBytes(sizeBytes, seed * 10 + index)))
}

/** Begins an upload; the size is told unless `isUnknown`. */
export async function begin(
  { store, partSizeBytes }: Subject,
  sample: Sample,
  isUnknown = false,
): Promise<BlobSession> {
  const plan = {
    key: newKey(),
    sizeBytes: isUnknown ? undefined : BigInt(sample.bytes.length),
    partSizeBytes,
    contentType: CONTENT_TYPE,
  }
  return { ...plan, session: await store.begin(plan) }
}

/** Grants for all parts of a sample, in order. */
export function grantAll({ store }: Subject, session: BlobSession, sample: Sample) {
  return Promise.all(sample.parts.map((part) => store.grantPart(session, part, TTL_SECONDS)))
}

/** Sends parts, all of them unless told which, and throws when one is refused. */
export async function sendParts(
  subject: Subject,
  session: BlobSession,
  sample: Sample,
  numbers = sample.parts.map(({ number }) => number),
): Promise<void> {
  for (const number of numbers) {
    const grant = await subject.store.grantPart(session, partOf(sample, number), TTL_SECONDS)
    let reply = await send(subject, grant, pieceOf(sample, number))
    // The store may not have noticed yet that an earlier sender hung up.
    for (let tries = 1; reply.status === 409 && tries < 100; tries += 1)
      reply = await send(subject, grant, pieceOf(sample, number))
    if (reply.status !== 200)
      throw new Error(`Cannot send part ${number}: ${reply.status} ${reply.body}`)
  }
}

/** A finished blob of this sample. */
export async function storeSample(subject: Subject, sample: Sample) {
  const session = await begin(subject, sample)
  await sendParts(subject, session, sample)
  return { session, blob: await subject.store.complete(session, sample.parts) }
}

export function partOf(sample: Sample, number: number): Part {
  const part = sample.parts[number - 1]
  if (part === undefined) throw new RangeError(`The sample has no part ${number}`)
  return part
}

export function pieceOf(sample: Sample, number: number): Buffer {
  const piece = sample.pieces[number - 1]
  if (piece === undefined) throw new RangeError(`The sample has no part ${number}`)
  return piece
}

/** The same length, one bit other. */
export function flipBit(bytes: Uint8Array, at = bytes.length >> 1): Buffer {
  const flipped = Buffer.from(bytes)
  flipped[at] = (flipped[at] ?? 0) ^ 1
  return flipped
}

const Closed = z.object({ code: z.enum(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']) })

/** Sends a granted request, with headers put over those of the grant. */
export async function send(
  { origin }: Pick<Subject, 'origin'>,
  grant: Pick<Grant, 'method' | 'url' | 'headers'>,
  body?: Uint8Array,
  headers: Record<string, string> = {},
): Promise<Reply> {
  try {
    const reply = await request(new URL(grant.url, origin), {
      method: grant.method,
      headers: { ...grant.headers, ...headers },
      ...(body === undefined ? {} : { body }),
    })
    const bytes = Buffer.from(await reply.body.arrayBuffer())
    return { status: reply.statusCode, headers: reply.headers, body: bytes }
  } catch (error) {
    // A store may refuse before it has read everything, and hang up.
    if (Closed.safeParse(error).success) return { status: 0, headers: {}, body: Buffer.alloc(0) }
    throw error
  }
}

export const isRefused = ({ status }: Reply) => status === 0 || status >= 400

/** All bytes of a blob, as the server reads them. */
export async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  // A copy: a chunk is good until the next one is asked for.
  for await (const chunk of chunks) all.push(Buffer.from(chunk))
  return Buffer.concat(all)
}

/** A grant to read a blob under a name that needs every kind of care. */
export function grantRead({ store }: Subject, key: string, tag: string, { bound = false } = {}) {
  return store.grantRead(key, tag, {
    fileName: 'naïve% "x".txt',
    contentType: 'text/html',
    ttlSeconds: TTL_SECONDS,
    bound,
  })
}
