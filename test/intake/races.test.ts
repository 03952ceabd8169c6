/** Many clients, two servers on one database: a name is bound once, whatever comes together. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { type JsonReply, startTestServer, type TestServer } from '../support/server.ts'
import {
  addressOf,
  claimOf,
  makeContent,
  openAndSend,
  openTestUpload,
  seal,
  type TestContent,
  wordsFor,
} from '../support/upload.ts'

let database: TestDatabase
/** Each has a folder of its own, as two machines would; the record is one. */
let servers: [TestServer, TestServer]
beforeAll(async () => {
  database = await createTestDatabase()
  servers = [await startTestServer({ database }), await startTestServer({ database })]
})
afterAll(async () => {
  for (const server of servers) await server[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const ROUNDS = 6
const same = makeContent(150_000, 'same')
const other = makeContent(150_000, 'other')
const nameOf = (round: number) => ({ task: 'race', run: round, name: 'prize.bin' })

/** Each server gets one client with one content; they seal at the same moment. */
async function race(round: number, contents: [TestContent, TestContent]): Promise<JsonReply[]> {
  const uploads = await Promise.all(
    servers.map((server, index) =>
      openAndSend(server, nameOf(round), contents[index === 0 ? 0 : 1]),
    ),
  )
  return Promise.all(
    servers.map((server, index) =>
      seal(server, uploads[index]?.id ?? '', claimOf(contents[index === 0 ? 0 : 1])),
    ),
  )
}

const Sealed = z.object({ artifact: z.object({ sha256: z.string(), uploadId: z.string() }) })

describe('two clients racing for one name', () => {
  it('seals exactly one of two contents, and shows the other client both', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const replies = await race(round, [same, other])
      const won = replies.filter(({ status }) => status === 200)
      const lost = replies.filter(({ status }) => status === 409)
      expect([won.length, lost.length]).toEqual([1, 1])
      const { artifact } = Sealed.parse(won[0]?.body)
      const [winner, loser] = artifact.sha256 === same.sha256 ? [same, other] : [other, same]
      expect(lost[0]?.body).toMatchObject({
        code: 'already_sealed',
        expected: expect.stringContaining(winner.sha256),
        found: expect.stringContaining(loser.sha256),
      })
      for (const server of servers) {
        const { body } = await server.request('GET', addressOf(nameOf(round)))
        expect(body).toMatchObject({ sha256: winner.sha256 })
      }
    }
  })

  it('gives both the one artifact when the content is the same', async () => {
    for (let round = 100; round < 100 + ROUNDS; round += 1) {
      const replies = await race(round, [same, same])
      expect(replies.map(({ status }) => status)).toEqual([200, 200])
      const [one, two] = replies.map(({ body }) => Sealed.parse(body).artifact)
      expect(one).toEqual(two)
    }
  })

  it('seals once for sixteen clients with sixteen contents', async () => {
    const target = { task: 'crowd', run: 0, name: 'prize.bin' }
    const contents = Array.from({ length: 16 }, (_, index) => makeContent(200, `crowd ${index}`))
    const serverOf = (index: number) => servers[index % 2 === 0 ? 0 : 1]
    const uploads = await Promise.all(
      contents.map((content, index) => openAndSend(serverOf(index), target, content)),
    )
    const replies = await Promise.all(
      contents.map((content, index) =>
        seal(serverOf(index), uploads[index]?.id ?? '', claimOf(content)),
      ),
    )
    const statuses = replies.map(({ status }) => status).sort()
    expect(statuses).toEqual([200, ...Array(15).fill(409)])
    const [row] = await database.server<[{ count: bigint }]>`
      select count(*) from artifact.artifact where task = 'crowd'`
    expect(row.count).toBe(1n)
  })
})

describe('one upload through two servers', () => {
  it('is one upload, whichever server is asked', async () => {
    const body = wordsFor({ task: 'both', run: 0, name: 'a' })
    const replies = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        servers[index % 2 === 0 ? 0 : 1].request('POST', '/v1/uploads', { body }),
      ),
    )
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(1)
    expect(new Set(replies.map((reply) => JSON.stringify(reply.body))).size).toBe(1)
  })

  it('gives one id to one of two who open with other words at once', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const id = randomUUID()
      const replies = await Promise.all(
        servers.map((server, index) =>
          server.request('POST', '/v1/uploads', {
            body: wordsFor({ task: 'words', run: round, name: `${index}` }, { id }),
          }),
        ),
      )
      expect(replies.map(({ status }) => status).sort()).toEqual([201, 409])
    }
  })

  it('either seals or aborts when both come at once, never half of each', async () => {
    const [server] = servers
    for (let round = 0; round < ROUNDS; round += 1) {
      const target = { task: 'half', run: round, name: 'a' }
      const { id } = await openAndSend(server, target, same)
      const [sealed, aborted] = await Promise.all([
        seal(server, id, claimOf(same)),
        server.request('DELETE', `/v1/uploads/${id}`),
      ])
      const record = await server.request('GET', addressOf(target))
      if (sealed.status === 200) {
        expect([aborted.status, record.status]).toEqual([409, 200])
        const content = await server.request('GET', addressOf(target, 'content'))
        expect(content.status).toBe(303)
      } else expect([sealed.status, aborted.status, record.status]).toEqual([409, 200, 404])
    }
  })
})

describe('allotRun()', () => {
  it('passes over a run that someone opens an upload in at that moment', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const task = `allot-${round}`
      const [opened, allotted] = await Promise.all([
        openTestUpload(servers[0], { task, run: 0, name: 'a' }),
        servers[1].request('POST', `/v1/tasks/${task}/runs`, {
          body: { requestId: randomUUID() },
        }),
      ])
      expect(opened.run).toBe(0)
      expect(allotted.status).toBe(201)
    }
  })
})
