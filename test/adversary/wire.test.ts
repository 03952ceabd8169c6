/** Somebody between client and server changes what passes: records, part digests, grants, bytes. */
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { request } from 'undici'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ArtifactError, type Connection, connect, get } from '../../client/client.ts'
import { EXITS } from '../../schemas/problems.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeContent, sealContent } from '../support/upload.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART_BYTES = 20
const content = makeContent(3 * PART_BYTES - 7, 'wire', PART_BYTES)
const target = { task: 'wire', run: 0, name: 'a.bin' }

interface Passing {
  path: string
  status: number
  headers: Record<string, string>
  body: Buffer
}

/** What the one in the middle does; `undefined` lets it pass. */
let tamper: (reply: Passing) => Passing | undefined = () => undefined

interface Middle extends AsyncDisposable {
  url: string
}

/** A proxy in front of the real server. */
async function openMiddle(server: TestServer): Promise<Middle> {
  const door = createServer(async (asked, answer) => {
    const headers = Object.fromEntries(
      Object.entries(asked.headers).filter(([name]) => name !== 'host' && name !== 'connection'),
    )
    const chunks: Buffer[] = []
    for await (const chunk of asked) chunks.push(Buffer.from(chunk))
    const reply = await request(`${server.url}${asked.url}`, {
      method: asked.method ?? 'GET',
      headers,
      body: chunks.length > 0 ? Buffer.concat(chunks) : null,
    })
    const passing: Passing = {
      path: asked.url ?? '/',
      status: reply.statusCode,
      headers: Object.fromEntries(
        Object.entries(reply.headers).map(([name, value]) => [name, String(value)]),
      ),
      body: Buffer.from(await reply.body.arrayBuffer()),
    }
    const { status, headers: sent, body } = tamper(passing) ?? passing
    const { 'transfer-encoding': _, ...others } = sent
    answer.writeHead(status, { ...others, 'content-length': body.length }).end(body)
  })
  door.listen(0, '127.0.0.1')
  await once(door, 'listening')
  const address = door.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
    async [Symbol.asyncDispose]() {
      door.closeAllConnections()
      door.close()
    },
  }
}

let server: TestServer
let middle: Middle
let connection: Connection
let work: WorkFolder
beforeAll(async () => {
  server = await startTestServer({
    settings: { partSizeBytes: String(PART_BYTES), logLevel: 'error' },
  })
  middle = await openMiddle(server)
  connection = connect({
    url: middle.url,
    token: server.token,
    timing: { retryFirstMs: 1, retryMaxMs: 2 },
  })
  await sealContent(server, target, content)
})
afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await middle[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})
beforeEach(async () => {
  work = await makeWorkFolder()
  tamper = () => undefined
  return () => work[Symbol.asyncDispose]()
})

const isBytes = ({ path }: Passing) => path.startsWith('/v1/blobs/')
/** The answer that has record, part digests and grant. */
const isRecord = ({ path }: Passing) => path.endsWith('/delivery/a.bin')

const withText = (reply: Passing, change: (text: string) => string): Passing => ({
  ...reply,
  body: Buffer.from(change(reply.body.toString())),
})
const withBytes = (reply: Passing, change: (body: Buffer) => Buffer): Passing => ({
  ...reply,
  body: change(reply.body),
})
/** Takes away the bytes that come with the record, so that they are fetched from the store. */
const withoutBytes = (reply: Passing) =>
  isRecord(reply)
    ? withText(reply, (text) => text.replace(/"content":"[^"]*"/, '"content":""'))
    : undefined
const digit = (text: string) => (text === '0' ? '1' : '0')

async function expectRefused(exit: number = EXITS.integrity): Promise<void> {
  const outcome = await get(connection, target, { output: work.at('out') }).then(
    () => 'got',
    (error: unknown) => error,
  )
  expect(outcome).toBeInstanceOf(ArtifactError)
  expect(outcome).toMatchObject({ row: { exit } })
  expect(await readdir(work.path)).toEqual([])
}

describe('get() through somebody in the middle', () => {
  it('brings the bytes when nothing is changed', async () => {
    await get(connection, target, { output: work.at('out') })
    expect((await readFile(work.at('out'))).equals(content.bytes)).toBe(true)
  })

  it('refuses a changed byte at every place of every part', { timeout: 120_000 }, async () => {
    for (let place = 0; place < PART_BYTES; place += 1) {
      tamper = (reply) =>
        isBytes(reply)
          ? withBytes(reply, (body) => {
              body[place] = (body[place] ?? 0) ^ 0x80
              return body
            })
          : withoutBytes(reply)
      await expectRefused()
    }
  })

  it.each<[string, (reply: Passing) => Passing | undefined]>([
    [
      'bytes that go on',
      (reply) =>
        isBytes(reply)
          ? withBytes(reply, (body) => Buffer.concat([body, body]))
          : withoutBytes(reply),
    ],
    [
      'another digest of the whole',
      (reply) =>
        isRecord(reply)
          ? withText(reply, (text) => text.replace(content.sha256, 'a'.repeat(64)))
          : undefined,
    ],
    [
      'another size',
      (reply) =>
        isRecord(reply)
          ? withText(reply, (text) => text.replace('"sizeBytes":"53"', '"sizeBytes":"52"'))
          : undefined,
    ],
    [
      'a record of another artifact',
      (reply) =>
        isRecord(reply) ? withText(reply, (text) => text.replaceAll('a.bin', 'b.bin')) : undefined,
    ],
    [
      'another digest of a part',
      (reply) =>
        isRecord(reply)
          ? withText(reply, (text) => text.replace(content.parts[1]?.sha256 ?? '-', 'b'.repeat(64)))
          : undefined,
    ],
    [
      'a part left out',
      (reply) =>
        isRecord(reply)
          ? withText(reply, (text) => text.replace(/\{"number":3[^}]*\}/, '').replace(',]', ']'))
          : undefined,
    ],
    [
      'part numbers exchanged',
      (reply) =>
        isRecord(reply)
          ? withText(reply, (text) =>
              text
                .replace('"number":1', '"number":X')
                .replace('"number":2', '"number":1')
                .replace('"number":X', '"number":2'),
            )
          : undefined,
    ],
    [
      'a record that is none',
      (reply) => (isRecord(reply) ? withText(reply, () => '{}') : undefined),
    ],
    [
      'a record that is no JSON',
      (reply) => (isRecord(reply) ? withText(reply, (text) => text.slice(1)) : undefined),
    ],
  ])('refuses %s', async (_, change) => {
    tamper = change
    await expectRefused()
  })

  it.each<[string, (body: Buffer) => Buffer]>([
    ['by a byte', (body) => body.subarray(1)],
    ['to nothing', () => Buffer.alloc(0)],
  ])('takes bytes cut short %s for a line that broke, and keeps none', async (_, change) => {
    tamper = (reply) => (isBytes(reply) ? withBytes(reply, change) : withoutBytes(reply))
    await expectRefused(EXITS.unreachable)
  })

  it('refuses any one digit of a recorded digest changed', { timeout: 120_000 }, async () => {
    for (let place = 0; place < 64; place += 8) {
      for (const sha256 of [content.sha256, ...content.parts.map((part) => part.sha256)]) {
        const changed =
          sha256.slice(0, place) + digit(sha256.charAt(place)) + sha256.slice(place + 1)
        tamper = (reply) =>
          isRecord(reply) ? withText(reply, (text) => text.replaceAll(sha256, changed)) : undefined
        await expectRefused()
      }
    }
  })

  it('takes no byte that differs of those that come with the record', async () => {
    const text = content.bytes.toString('base64')
    for (let place = 0; place < content.bytes.length; place += 1) {
      const other = Buffer.from(content.bytes)
      other[place] = (other[place] ?? 0) ^ 0x80
      let spoiled = 0
      tamper = (reply) => {
        if (!isRecord(reply)) return undefined
        spoiled += 1
        return withText(reply, (body) => body.replace(text, other.toString('base64')))
      }
      // They come from the store then.
      await get(connection, target, { output: work.at(`out-${place}`) })
      expect(spoiled).toBe(1)
      expect((await readFile(work.at(`out-${place}`))).equals(content.bytes)).toBe(true)
    }
  })

  it('heals a part that was spoiled once, by getting it again', async () => {
    let spoiled = 0
    tamper = (reply) => {
      if (!isBytes(reply) || spoiled > 0) return withoutBytes(reply)
      spoiled += 1
      return withBytes(reply, (body) => body.fill(0, 0, 1).fill(1, 1, 2))
    }
    await get(connection, target, { output: work.at('out') })
    expect(spoiled).toBe(1)
    expect((await readFile(work.at('out'))).equals(content.bytes)).toBe(true)
  })
})
