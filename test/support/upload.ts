/** An upload step by step, each step one call, so that a test can do the wrong thing at any of them. */
import { createHash, randomUUID } from 'node:crypto'
import { request } from 'undici'
import { Artifact, type Part } from '../../schemas/artifact.ts'
import { type Grant, Grants, OpenedUpload, type PartGrant, Upload } from '../../schemas/upload.ts'
import type { JsonReply, TestServer } from './server.ts'

/** Of the test server's parts, unless it is told otherwise. */
export const TEST_PART_BYTES = 65_536

/** Some bytes and what is true of them. */
export interface TestContent {
  bytes: Buffer
  sha256: string
  sizeBytes: string
  parts: Part[]
}

export interface TestTarget {
  task: string
  run: number
  name: string
}

type Caller = Pick<TestServer, 'request' | 'url'>

/** Bytes that look random and are the same for the same seed. */
export function makeContent(
  sizeBytes: number,
  seed = 'content',
  partSizeBytes = TEST_PART_BYTES,
): TestContent {
  const blocks: Buffer[] = []
  for (let block = 0; block * 32 < sizeBytes; block += 1)
    blocks.push(createHash('sha256').update(`${seed}/${block}`).digest())
  return describeContent(Buffer.concat(blocks).subarray(0, sizeBytes), partSizeBytes)
}

export function describeContent(bytes: Buffer, partSizeBytes = TEST_PART_BYTES): TestContent {
  const count = Math.ceil(bytes.length / partSizeBytes)
  const parts = Array.from({ length: count }, (_, index) => {
    const slice = bytes.subarray(index * partSizeBytes, (index + 1) * partSizeBytes)
    return { number: index + 1, sizeBytes: slice.length, sha256: sha256(slice) }
  })
  return { bytes, sha256: sha256(bytes), sizeBytes: String(bytes.length), parts }
}

/** The bytes of one part. */
export function sliceOf(content: TestContent, part: Part): Buffer {
  const full = content.parts[0]?.sizeBytes ?? 0
  const start = (part.number - 1) * full
  return content.bytes.subarray(start, start + part.sizeBytes)
}

/** Words of an opening: nothing is declared but what `more` says. */
export function wordsFor(target: TestTarget, more: object = {}): TestTarget & { id: string } {
  const { task, run, name } = target
  return { id: randomUUID(), task, run, name, ...more }
}

/** Opens an upload and returns it; throws unless it is open. */
export async function openTestUpload(
  server: Caller,
  target: TestTarget,
  more: object = {},
  token?: string,
): Promise<Upload> {
  const body = wordsFor(target, more)
  const reply = await server.request('POST', '/v1/uploads', { body, ...withToken(token) })
  const opened = OpenedUpload.safeParse(reply.body)
  if (!opened.success || opened.data.outcome !== 'open') throw unexpected('open', reply)
  return opened.data.upload
}

export async function grantParts(
  server: Caller,
  id: string,
  parts: readonly Part[],
): Promise<PartGrant[]> {
  const reply = await server.request('POST', `/v1/uploads/${id}/grants`, { body: { parts } })
  const grants = Grants.safeParse(reply.body)
  if (!grants.success) throw unexpected('grant', reply)
  return grants.data.grants
}

/** Uses a grant as it stands; the reply is text or JSON. */
export async function useGrant(
  server: Pick<TestServer, 'url'>,
  grant: Grant,
  body?: Buffer,
  headers: Record<string, string> = {},
): Promise<JsonReply & { bytes: Buffer }> {
  const reply = await request(new URL(grant.url, server.url), {
    method: grant.method,
    headers: { ...grant.headers, ...headers },
    body: body ?? null,
  })
  const bytes = Buffer.from(await reply.body.arrayBuffer())
  const isJson = String(reply.headers['content-type'] ?? '').includes('json')
  return {
    status: reply.statusCode,
    headers: reply.headers,
    body: isJson ? JSON.parse(bytes.toString()) : undefined,
    bytes,
  }
}

/** Sends all parts, a hundred grants at a time. */
export async function sendParts(
  server: Caller,
  id: string,
  content: TestContent,
  parts: readonly Part[] = content.parts,
): Promise<void> {
  for (let start = 0; start < parts.length; start += 100) {
    const batch = parts.slice(start, start + 100)
    const grants = await grantParts(server, id, batch)
    for (const [index, part] of batch.entries()) {
      const grant = grants[index]
      if (grant === undefined) throw new Error(`No grant for part ${part.number}`)
      const reply = await useGrant(server, grant, sliceOf(content, part))
      if (reply.status !== 200) throw unexpected(`send part ${part.number}`, reply)
    }
  }
}

export function claimOf({ sha256, sizeBytes, parts }: TestContent) {
  return { sha256, sizeBytes, parts }
}

/** Asks for the seal until the answer is another one than "verifying". */
export async function seal(server: Caller, id: string, claim: object): Promise<JsonReply> {
  for (;;) {
    const reply = await server.request('POST', `/v1/uploads/${id}/seal`, { body: claim })
    if (reply.status !== 202) return reply
  }
}

/** Opens with the size alone declared, sends, and returns the upload that is ready to be sealed. */
export async function openAndSend(
  server: Caller,
  target: TestTarget,
  content: TestContent,
  more: object = {},
): Promise<Upload> {
  const upload = await openTestUpload(server, target, { sizeBytes: content.sizeBytes, ...more })
  await sendParts(server, upload.id, content)
  return upload
}

/** The whole way: an artifact. */
export async function sealContent(
  server: Caller,
  target: TestTarget,
  content: TestContent,
  more: object = {},
): Promise<Artifact> {
  const { id } = await openAndSend(server, target, content, more)
  const reply = await seal(server, id, claimOf(content))
  const upload = Upload.safeParse(reply.body)
  if (!upload.success || upload.data.state !== 'sealed') throw unexpected('seal', reply)
  return Artifact.parse(upload.data.artifact)
}

/** Path of a record; `below` is `artifacts` or `content`. */
export function addressOf({ task, run, name }: TestTarget, below = 'artifacts'): string {
  return `/v1/tasks/${task}/runs/${run}/${below}/${encodeURIComponent(name)}`
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function withToken(token: string | undefined): { token?: string } {
  return token === undefined ? {} : { token }
}

function unexpected(verb: string, reply: JsonReply): Error {
  return new Error(`Cannot ${verb}: ${reply.status} ${JSON.stringify(reply.body)}`)
}
