/** A client whose reply got lost repeats its request: the answer and the world must be as before. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'
import {
  claimOf,
  grantParts,
  makeContent,
  openAndSend,
  openTestUpload,
  seal,
  sealContent,
  sendParts,
  sliceOf,
  useGrant,
  wordsFor,
} from '../support/upload.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server[Symbol.asyncDispose]())

const content = makeContent(150_000)
let runs = 0
/** A name that no other test has. */
const fresh = () => ({ task: 'idem', run: runs++, name: 'a.bin' })

describe('openUpload()', () => {
  it('gives the same upload for the same id and words', async () => {
    const body = wordsFor(fresh(), { labels: { b: '2', a: '1' }, sizeBytes: '150000' })
    const first = await server.request('POST', '/v1/uploads', { body })
    const again = await server.request('POST', '/v1/uploads', {
      body: { ...body, id: body.id.toUpperCase(), labels: { a: '1', b: '2' } },
    })
    expect(first.status).toBe(201)
    expect(again.status).toBe(200)
    expect(again.body).toEqual(first.body)
  })

  it('opens one upload when the same request comes ten times at once', async () => {
    const body = wordsFor(fresh())
    const replies = await Promise.all(
      Array.from({ length: 10 }, () => server.request('POST', '/v1/uploads', { body })),
    )
    expect(replies.map((reply) => reply.status).sort()).toEqual([...Array(9).fill(200), 201])
    const [row] = await server.sql<[{ count: bigint }]>`
      select count(*) from artifact.event where upload_id = ${body.id}`
    expect(row.count).toBe(1n)
  })

  it.each([
    ['another name', { name: 'b.bin' }],
    ['another task', { task: 'idem-2' }],
    ['another run', { run: 999 }],
    ['another size', { sizeBytes: '1' }],
    ['another digest', { sha256: 'a'.repeat(64) }],
    ['another content type', { contentType: 'text/plain' }],
    ['other labels', { labels: { a: '1' } }],
    ['another policy', { policy: 'parts' }],
  ])('refuses the same id with %s', async (_, change) => {
    const body = wordsFor(fresh())
    await server.request('POST', '/v1/uploads', { body })
    const reply = await server.request('POST', '/v1/uploads', { body: { ...body, ...change } })
    expect(reply).toMatchObject({ status: 409, body: { code: 'upload_conflict' } })
  })

  it('says the id is in use without naming what the caller may not see', async () => {
    const { id } = await openTestUpload(server, { task: 'secret-task', run: 0, name: 'plan.txt' })
    const token = await server.createToken(['upload:mine/**'])
    const body = wordsFor({ task: 'mine', run: 0, name: 'x' }, { id })
    const reply = await server.request('POST', '/v1/uploads', { body, token })
    expect(reply).toMatchObject({ status: 409, body: { code: 'upload_conflict' } })
    expect(JSON.stringify(reply.body)).not.toMatch(/secret-task|plan/)
  })

  it('says that the very content is sealed already, whoever asks and however often', async () => {
    const target = fresh()
    const artifact = await sealContent(server, target, content)
    const { sha256, sizeBytes } = content
    for (const body of [
      wordsFor(target, { sha256, sizeBytes }),
      wordsFor(target, { sha256, sizeBytes }),
    ]) {
      const reply = await server.request('POST', '/v1/uploads', { body })
      expect(reply).toMatchObject({ status: 200, body: { outcome: 'already-sealed', artifact } })
    }
  })

  it('shows both contents when the name is sealed with another one', async () => {
    const target = fresh()
    await sealContent(server, target, content)
    const body = wordsFor(target, { sha256: 'b'.repeat(64), sizeBytes: '7' })
    const reply = await server.request('POST', '/v1/uploads', { body })
    expect(reply).toMatchObject({
      status: 409,
      body: {
        code: 'already_sealed',
        expected: expect.stringContaining(content.sha256),
        found: expect.stringContaining('b'.repeat(64)),
      },
    })
  })

  it('allots the run that a request id stands for, and the same one again', async () => {
    const { id, name, sizeBytes } = { ...fresh(), id: randomUUID(), sizeBytes: '150000' }
    const body = { id, task: 'placed', name, sizeBytes, requestId: randomUUID() }
    const first = await server.request('POST', '/v1/uploads', { body })
    const again = await server.request('POST', '/v1/uploads', { body })
    const next = { ...body, id: randomUUID(), requestId: randomUUID() }
    const other = await server.request('POST', '/v1/uploads', { body: next })
    expect([first.status, again.status, other.status]).toEqual([201, 200, 201])
    expect(first.body).toMatchObject({ upload: { id, reference: `placed/0/${name}` } })
    expect(again.body).toEqual(first.body)
    expect(other.body).toMatchObject({ upload: { reference: `placed/1/${name}` } })
  })

  it('allots no run to who may not write the name', async () => {
    const token = await server.createToken(['upload:mine/**'])
    const body = { id: randomUUID(), task: 'theirs', name: 'x', requestId: randomUUID() }
    const reply = await server.request('POST', '/v1/uploads', { body, token })
    expect(reply.status).toBe(403)
    expect((await server.request('GET', '/v1/tasks/theirs/runs')).status).toBe(404)
  })

  it('gives grants with the reply for parts that are known already', async () => {
    const body = wordsFor(fresh(), { parts: content.parts })
    const first = await server.request('POST', '/v1/uploads', { body })
    const again = await server.request('POST', '/v1/uploads', { body })
    expect(first.body).toMatchObject({ grants: content.parts.map(({ number }) => ({ number })) })
    expect(again.body).toMatchObject({ grants: content.parts.map(({ number }) => ({ number })) })
  })
})

describe('requestGrants()', () => {
  it('keeps an upload alive, by one commit a second however many parts are granted', async () => {
    let now = new Date()
    await using own = await startTestServer({ clock: () => now })
    const { id } = await openTestUpload(own, fresh())
    const readExpiry = async () => {
      const [row] = await own.sql<[{ at: Date }]>`
        select expires_at as at from artifact.upload where id = ${id}`
      return row.at.getTime()
    }
    const opened = await readExpiry()
    now = new Date(now.getTime() + 999)
    await grantParts(own, id, content.parts.slice(0, 1))
    expect(await readExpiry()).toBe(opened)
    now = new Date(now.getTime() + 1)
    await grantParts(own, id, content.parts.slice(1))
    expect(await readExpiry()).toBe(opened + 1000)
  })

  it('leaves no line for every part in the log that people read', async () => {
    const { id } = await openTestUpload(server, fresh())
    await grantParts(server, id, content.parts)
    const levels = server.log.flatMap((line) => {
      const { endpoint, level } = JSON.parse(line)
      return endpoint === 'requestGrants' ? [level] : []
    })
    expect(levels.length).toBeGreaterThan(0)
    // Of pino: 20 is debug, 30 what is shown unless told otherwise.
    expect(Math.max(...levels)).toBe(20)
  })

  it('grants the same parts again', async () => {
    const { id } = await openTestUpload(server, fresh())
    await grantParts(server, id, content.parts)
    await sendParts(server, id, content)
    expect(await grantParts(server, id, content.parts)).toHaveLength(3)
  })

  it('keeps the digest that the first grant bound to a part', async () => {
    const { id } = await openTestUpload(server, fresh())
    await grantParts(server, id, content.parts)
    const other = makeContent(150_000, 'other').parts
    const reply = await server.request('POST', `/v1/uploads/${id}/grants`, {
      body: { parts: [content.parts[0], other[1]] },
    })
    expect(reply).toMatchObject({
      status: 409,
      body: {
        code: 'part_conflict',
        expected: expect.stringContaining(content.parts[1]?.sha256 ?? '-'),
        found: expect.stringContaining(other[1]?.sha256 ?? '-'),
      },
    })
  })

  it('binds a part once when two digests for it race', async () => {
    const { id } = await openTestUpload(server, fresh())
    const rivals = Array.from({ length: 8 }, (_, index) => makeContent(150_000, `rival ${index}`))
    const replies = await Promise.all(
      rivals.map(({ parts }) =>
        server.request('POST', `/v1/uploads/${id}/grants`, { body: { parts } }),
      ),
    )
    const statuses = replies.map(({ status }) => status).sort()
    expect(statuses).toEqual([200, ...Array(7).fill(409)])
  })
})

describe('PUT of a part', () => {
  it('takes the same bytes again, and holds them once', async () => {
    const { id } = await openTestUpload(server, fresh())
    const [part, grant] = [content.parts[0], (await grantParts(server, id, content.parts))[0]]
    if (part === undefined || grant === undefined) throw new Error('three parts have a first one')
    const bytes = sliceOf(content, part)
    expect((await useGrant(server, grant, bytes)).status).toBe(200)
    expect((await useGrant(server, grant, bytes)).status).toBe(200)
    const reply = await server.request('GET', `/v1/uploads/${id}`)
    expect(reply.body).toMatchObject({ parts: [part] })
  })

  it('refuses other bytes for a part that it holds, and keeps what it held', async () => {
    const target = fresh()
    const { id } = await openAndSend(server, target, content)
    const grants = await grantParts(server, id, content.parts)
    for (const [index, part] of content.parts.entries()) {
      const wrong = Buffer.from(sliceOf(content, part))
      wrong[0] = (wrong[0] ?? 0) ^ 1
      const grant = grants[index]
      if (grant === undefined) throw new Error('a grant for every part')
      expect(await useGrant(server, grant, wrong)).toMatchObject({
        status: 422,
        body: { code: 'part_mismatch' },
      })
    }
    expect((await seal(server, id, claimOf(content))).status).toBe(200)
  })
})

describe('reportProgress()', () => {
  it('takes the same report again', async () => {
    const { id } = await openTestUpload(server, fresh())
    const body = { bytes: '65536', totalBytes: '150000', attempt: 2 }
    const path = `/v1/uploads/${id}/progress`
    const first = await server.request('PUT', path, { body })
    const again = await server.request('PUT', path, { body })
    expect([first, again]).toMatchObject([
      { status: 200, body },
      { status: 200, body },
    ])
  })
})

describe('sealUpload()', () => {
  it('gives the same artifact as often as it is asked', async () => {
    const { id } = await openAndSend(server, fresh(), content)
    const first = await seal(server, id, claimOf(content))
    const again = await seal(server, id, claimOf(content))
    expect(first.status).toBe(200)
    expect(again).toMatchObject({ status: 200, body: first.body })
  })

  it('seals once when the same request comes ten times at once', async () => {
    const { id } = await openAndSend(server, fresh(), content)
    const replies = await Promise.all(
      Array.from({ length: 10 }, () => seal(server, id, claimOf(content))),
    )
    expect(new Set(replies.map(({ body }) => JSON.stringify(body))).size).toBe(1)
    expect(replies.every(({ status }) => status === 200)).toBe(true)
    const [row] = await server.sql<[{ count: bigint }]>`
      select count(*) from artifact.event
      where upload_id = ${id} and body->>'state' = 'sealed'`
    expect(row.count).toBe(1n)
  })

  it('refuses another claim for an upload that is sealed', async () => {
    const { id } = await openAndSend(server, fresh(), content)
    await seal(server, id, claimOf(content))
    const reply = await seal(server, id, { ...claimOf(content), sha256: 'c'.repeat(64) })
    expect(reply).toMatchObject({ status: 409, body: { code: 'upload_conflict' } })
  })
})

describe('abortUpload()', () => {
  it('says the same again', async () => {
    const { id } = await openTestUpload(server, fresh())
    const first = await server.request('DELETE', `/v1/uploads/${id}`)
    const again = await server.request('DELETE', `/v1/uploads/${id}`)
    expect(first).toMatchObject({ status: 200, body: { state: 'aborted' } })
    expect(again.body).toEqual(first.body)
  })

  it('refuses to abort what is sealed', async () => {
    const { id } = await openAndSend(server, fresh(), content)
    await seal(server, id, claimOf(content))
    const reply = await server.request('DELETE', `/v1/uploads/${id}`)
    expect(reply).toMatchObject({ status: 409, body: { code: 'upload_ended', found: 'sealed' } })
  })
})

describe('allotRun()', () => {
  it('gives the same run for the same request id, and another task a conflict', async () => {
    const body = { requestId: randomUUID() }
    const first = await server.request('POST', '/v1/tasks/allot/runs', { body })
    const again = await server.request('POST', '/v1/tasks/allot/runs', { body })
    const elsewhere = await server.request('POST', '/v1/tasks/allot-2/runs', { body })
    expect(first).toMatchObject({ status: 201, body: { task: 'allot', run: 0 } })
    expect(again).toMatchObject({ status: 200, body: first.body })
    expect(elsewhere).toMatchObject({ status: 409, body: { code: 'upload_conflict' } })
  })

  it('allots runs one after the other to twenty who ask at once', async () => {
    const replies = await Promise.all(
      Array.from({ length: 20 }, () =>
        server.request('POST', '/v1/tasks/allot-20/runs', { body: { requestId: randomUUID() } }),
      ),
    )
    const allotted = replies.map(({ body }) => Reflect.get(Object(body), 'run'))
    expect(allotted.sort((one, other) => one - other)).toEqual(Array.from(Array(20).keys()))
  })

  it('gives one request id one run when two tasks ask with it at once', async () => {
    const body = { requestId: randomUUID() }
    const replies = await Promise.all(
      ['race-a', 'race-b', 'race-c', 'race-d'].map((task) =>
        server.request('POST', `/v1/tasks/${task}/runs`, { body }),
      ),
    )
    expect(replies.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409])
  })

  it('says when a task has no further run', async () => {
    await openTestUpload(server, { task: 'full', run: 2_147_483_647, name: 'x' })
    const reply = await server.request('POST', '/v1/tasks/full/runs', {
      body: { requestId: randomUUID() },
    })
    expect(reply).toMatchObject({ status: 409, body: { code: 'runs_exhausted' } })
  })
})
