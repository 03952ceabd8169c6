/** `POST /v1/artifacts`: every artifact of a batch is sealed or refused by itself. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BATCH_CONTENT_BYTES_MAX, BATCH_MAX, SealedBatch } from '../../schemas/batch.ts'
import { codesOf, countRecords, makeSmall, sendBatch } from '../support/batch.ts'
import { fillLabels } from '../support/labels.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import {
  addressOf,
  makeContent,
  openTestUpload,
  sealContent,
  useGrant,
  wordsFor,
} from '../support/upload.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server[Symbol.asyncDispose]())

const name = (index: number) => `n/${index}`

describe('sealBatch()', () => {
  it('seals every artifact with its record, leaf and event, in the order of the request', async () => {
    const batch = Array.from({ length: 40 }, (_, index) =>
      makeSmall({ task: 'many', name: name(index) }, `content ${index}`, {
        labels: { index: String(index) },
      }),
    )
    const outcomes = await sendBatch(server, batch)
    expect(codesOf(outcomes)).toEqual(batch.map(() => 'sealed'))
    for (const [index, outcome] of outcomes.entries())
      expect(outcome).toMatchObject({
        artifact: {
          reference: `many/0/${name(index)}`,
          uploadId: batch[index]?.id,
          sha256: batch[index]?.sha256,
          labels: { index: String(index) },
          contentType: 'text/plain',
          partCount: 1,
          sealedBy: { tokenName: 'test admin' },
        },
      })
    expect(await countRecords(server.sql, 'many')).toEqual({
      artifacts: 40,
      leaves: 40,
      uploads: 40,
      events: 40,
    })
    const record = await server.request('GET', addressOf({ task: 'many', run: 0, name: name(7) }))
    expect(outcomes[7]).toEqual({ outcome: 'sealed', artifact: record.body })
    const content = await useGrant(server, {
      method: 'GET',
      url: addressOf({ task: 'many', run: 0, name: name(7) }, 'content'),
      headers: { authorization: `Bearer ${server.token}` },
      expiresAt: '',
    })
    expect(content.status).toBe(303)
    const bytes = await useGrant(server, {
      method: 'GET',
      url: String(content.headers.location),
      headers: {},
      expiresAt: '',
    })
    expect(bytes.bytes.toString()).toBe('content 7')
  })

  it('allots one run to those that name none, and the same one again', async () => {
    const artifacts = ['a', 'b'].map((each) =>
      makeSmall({ task: 'allotted', name: each }, each, { run: undefined }),
    )
    const body = { artifacts, requestId: randomUUID() }
    const first = await server.request('POST', '/v1/artifacts', { body })
    const again = await server.request('POST', '/v1/artifacts', { body })
    const references = (reply: typeof first) =>
      SealedBatch.parse(reply.body).outcomes.map((one) =>
        one.outcome === 'sealed' ? one.artifact.reference : one.problem.code,
      )
    expect(references(first)).toEqual(['allotted/0/a', 'allotted/0/b'])
    expect(references(again)).toEqual(references(first))
    const next = { artifacts: [makeSmall({ task: 'allotted' }, 'c', { run: undefined })] }
    const other = { ...next, requestId: randomUUID() }
    const third = await server.request('POST', '/v1/artifacts', { body: other })
    expect(references(third)).toEqual(['allotted/1/a'])
  })

  it('asks for a run, or for an id that allots one of one task', async () => {
    const without = (task: string) => makeSmall({ task }, task, { run: undefined })
    for (const body of [
      { artifacts: [without('nowhere')] },
      { artifacts: [without('one'), without('other')], requestId: randomUUID() },
    ]) {
      const { status } = await server.request('POST', '/v1/artifacts', { body })
      expect(status).toBe(400)
    }
  })

  it('allots no run for what it refuses', async () => {
    const token = await server.createToken(['upload:mine/**'])
    const foreign = makeSmall({ task: 'foreign' }, 'x', { run: undefined })
    const wrong = { ...foreign, task: 'mine', sha256: 'a'.repeat(64) }
    for (const [artifact, code] of [
      [foreign, 'forbidden'],
      [wrong, 'digest_mismatch'],
    ] as const) {
      const body = { artifacts: [artifact], requestId: randomUUID() }
      const reply = await server.request('POST', '/v1/artifacts', { body, token })
      expect(codesOf(SealedBatch.parse(reply.body).outcomes)).toEqual([code])
      const runs = await server.request('GET', `/v1/tasks/${artifact.task}/runs`)
      expect(runs.status).toBe(404)
    }
  })

  it('brings no receipts where nobody signs', async () => {
    const body = { artifacts: [makeSmall({ task: 'unsigned' }, 'x')], receipts: true, since: 1 }
    const reply = await server.request('POST', '/v1/artifacts', { body })
    const { outcomes, consistency } = SealedBatch.parse(reply.body)
    expect(outcomes).toMatchObject([{ outcome: 'sealed' }])
    expect(outcomes[0]).not.toHaveProperty('receipt')
    expect(consistency).toBeUndefined()
  })

  it('seals an artifact without content', async () => {
    const outcomes = await sendBatch(server, [makeSmall({ task: 'empty' }, '')])
    expect(outcomes).toMatchObject([
      { outcome: 'sealed', artifact: { sizeBytes: '0', partCount: 0 } },
    ])
  })

  it('refuses alone what has another digest than it says', async () => {
    const wrong = makeSmall({ task: 'wrong', name: 'b' }, 'b', { sha256: 'a'.repeat(64) })
    const outcomes = await sendBatch(server, [
      makeSmall({ task: 'wrong', name: 'a' }, 'a'),
      wrong,
      makeSmall({ task: 'wrong', name: 'c' }, 'c'),
    ])
    expect(codesOf(outcomes)).toEqual(['sealed', 'digest_mismatch', 'sealed'])
    expect(outcomes[1]).toMatchObject({ problem: { expected: wrong.sha256, status: 422 } })
    expect(await countRecords(server.sql, 'wrong')).toMatchObject({ artifacts: 2, uploads: 2 })
    // The name is still free, and so is the id.
    const right = { ...makeSmall({ task: 'wrong', name: 'b' }, 'b'), id: wrong.id }
    expect(codesOf(await sendBatch(server, [right]))).toEqual(['sealed'])
  })

  it('gives the record of the same content that is sealed, and refuses other content', async () => {
    const target = { task: 'known', run: 0, name: 'a' }
    const artifact = await sealContent(server, target, makeContent(900))
    const same = { ...makeSmall(target, makeContent(900).bytes), sha256: artifact.sha256 }
    const outcomes = await sendBatch(server, [same, makeSmall(target, 'other')])
    expect(outcomes[0]).toEqual({ outcome: 'sealed', artifact })
    expect(outcomes[1]).toMatchObject({
      problem: { code: 'already_sealed', expected: expect.stringContaining(artifact.sha256) },
    })
    expect(await countRecords(server.sql, 'known')).toMatchObject({ artifacts: 1, uploads: 1 })
  })

  it('gives two of one name and content one record', async () => {
    const [one, other] = [makeSmall({ task: 'twins' }, 'x'), makeSmall({ task: 'twins' }, 'x')]
    const outcomes = await sendBatch(server, [one, other])
    expect(codesOf(outcomes)).toEqual(['sealed', 'sealed'])
    expect(outcomes[0]).toEqual(outcomes[1])
    expect(await countRecords(server.sql, 'twins')).toMatchObject({ artifacts: 1, leaves: 1 })
  })

  it('seals one of two that want a name for other content, and fails the other on record', async () => {
    const rivals = [makeSmall({ task: 'rivals' }, 'x'), makeSmall({ task: 'rivals' }, 'y')]
    const outcomes = await sendBatch(server, rivals)
    expect(codesOf(outcomes).sort()).toEqual(['already_sealed', 'sealed'])
    const lost = rivals[codesOf(outcomes).indexOf('already_sealed')]
    const upload = await server.request('GET', `/v1/uploads/${lost?.id}`)
    expect(upload.body).toMatchObject({
      upload: { state: 'failed', problem: { code: 'already_sealed' } },
    })
  })

  it('gives the same answer when it is repeated', async () => {
    const batch = ['a', 'b'].map((name) => makeSmall({ task: 'again', name }, name))
    const first = await sendBatch(server, batch)
    expect(await sendBatch(server, batch)).toEqual(first)
    expect(await sendBatch(server, batch.toReversed())).toEqual(first.toReversed())
    expect(await countRecords(server.sql, 'again')).toEqual({
      artifacts: 2,
      leaves: 2,
      uploads: 2,
      events: 2,
    })
  })

  it('gives all the same answer when it comes several times at once', async () => {
    const batch = Array.from({ length: 20 }, (_, index) =>
      makeSmall({ task: 'storm', name: name(index) }, `${index}`),
    )
    const [first, ...others] = await Promise.all([
      sendBatch(server, batch),
      sendBatch(server, batch.toReversed()).then((outcomes) => outcomes.toReversed()),
      sendBatch(server, batch),
    ])
    expect(codesOf(first)).toEqual(batch.map(() => 'sealed'))
    for (const other of others) expect(other).toEqual(first)
    expect(await countRecords(server.sql, 'storm')).toMatchObject({ artifacts: 20, events: 20 })
  })

  it('takes an artifact that is in it twice once, and refuses its id for another', async () => {
    const one = makeSmall({ task: 'twice', name: 'a' }, 'x')
    const outcomes = await sendBatch(server, [
      one,
      { ...one },
      { ...makeSmall({ task: 'twice', name: 'b' }, 'x'), id: one.id },
      { ...one, labels: { more: 'words' } },
    ])
    expect(codesOf(outcomes)).toEqual(['sealed', 'sealed', 'upload_conflict', 'upload_conflict'])
    expect(outcomes[0]).toEqual(outcomes[1])
    expect(await countRecords(server.sql, 'twice')).toMatchObject({ artifacts: 1, uploads: 1 })
  })

  it('refuses an id that stands for something else', async () => {
    const before = makeSmall({ task: 'used', name: 'before' }, 'x')
    await sendBatch(server, [before])
    const open = await openTestUpload(server, { task: 'used', run: 0, name: 'open' })
    const words = { sizeBytes: '1', contentType: 'text/plain' }
    const alike = await openTestUpload(server, { task: 'used', run: 0, name: 'alike' }, words)
    const outcomes = await sendBatch(server, [
      { ...makeSmall({ task: 'used', name: 'after' }, 'x'), id: before.id },
      { ...makeSmall({ task: 'used', name: 'other' }, 'x'), id: open.id },
      { ...makeSmall({ task: 'used', name: 'alike' }, 'x'), id: alike.id },
      makeSmall({ task: 'used', name: 'free' }, 'x'),
    ])
    expect(codesOf(outcomes)).toEqual([...Array(3).fill('upload_conflict'), 'sealed'])
    const reply = await server.request('GET', `/v1/uploads/${alike.id}`)
    expect(reply.body).toMatchObject({ upload: { state: 'open' } })
  })

  it('refuses what no scope of the token covers, and an unknown caller whole', async () => {
    const token = await server.createToken(['upload:scoped/mine/*'])
    const batch = ['mine/a', 'yours/a', 'mine/b'].map((name) =>
      makeSmall({ task: 'scoped', name }, name),
    )
    expect(codesOf(await sendBatch(server, batch, token))).toEqual([
      'sealed',
      'forbidden',
      'sealed',
    ])
    const reader = await server.createToken(['get:*/**'])
    expect(new Set(codesOf(await sendBatch(server, batch, reader)))).toEqual(new Set(['forbidden']))
    for (const unknown of [null, 'art_unknown'])
      expect(
        await server.request('POST', '/v1/artifacts', {
          body: { artifacts: batch },
          token: unknown,
        }),
      ).toMatchObject({ status: 401, body: { code: 'unauthenticated' } })
  })

  it('refuses a batch beyond its limits whole, and takes one at them', async () => {
    const full = Buffer.alloc(BATCH_CONTENT_BYTES_MAX, 'x')
    const post = (artifacts: unknown) =>
      server.request('POST', '/v1/artifacts', { body: { artifacts } })
    const one = makeSmall({ task: 'limits' }, 'x')
    const tooMany = Array.from({ length: BATCH_MAX + 1 }, (_, index) =>
      makeSmall({ task: 'limits', name: name(index) }, 'x'),
    )
    const invalid = { status: 400, body: { code: 'invalid_request' } }
    expect(await post(tooMany)).toMatchObject(invalid)
    expect(await post([])).toMatchObject(invalid)
    expect(await post([one, { ...one, content: 'no base 64!' }])).toMatchObject(invalid)
    expect(await post([{ ...one, content: 'eA' }])).toMatchObject(invalid)
    const larger = makeSmall({ task: 'limits' }, Buffer.concat([full, Buffer.from('x')]))
    expect(await post([larger])).toMatchObject(invalid)
    expect(await post([{ ...one, surplus: 1 }])).toMatchObject(invalid)
    const heavy = Array.from({ length: 60 }, (_, index) =>
      makeSmall({ task: 'limits', name: name(index) }, full),
    )
    expect(await post(heavy)).toMatchObject({ status: 413, body: { code: 'body_too_large' } })
    expect(await countRecords(server.sql, 'limits')).toMatchObject({ uploads: 0 })
    const many = [makeSmall({ task: 'limits', name: 'full' }, full), ...tooMany.slice(2)]
    expect(many).toHaveLength(BATCH_MAX)
    expect(new Set(codesOf(await sendBatch(server, many)))).toEqual(new Set(['sealed']))
  })

  it('seals the most labels that it takes, and begins nothing for more', async () => {
    const most = makeSmall({ task: 'labels' }, 'x', { labels: fillLabels('"'.repeat(848)) })
    expect(codesOf(await sendBatch(server, [most]))).toEqual(['sealed'])
    const labels = fillLabels(`${'"'.repeat(848)}x`)
    const small = { artifacts: [makeSmall({ task: 'labels', name: 'b' }, 'x', { labels })] }
    const words = wordsFor({ task: 'labels', run: 0, name: 'c' }, { labels })
    for (const [path, body] of [
      ['/v1/artifacts', small],
      ['/v1/uploads', words],
    ] as const)
      expect(await server.request('POST', path, { body })).toMatchObject({ status: 400 })
    expect(await countRecords(server.sql, 'labels')).toMatchObject({ uploads: 1 })
  })

  it('refuses what is larger than this server takes at all', async () => {
    await using strict = await startTestServer({ settings: { sizeBytesMax: '10' } })
    const batch = [
      makeSmall({ name: 'a' }, 'x'.repeat(10)),
      makeSmall({ name: 'b' }, 'x'.repeat(11)),
    ]
    expect(codesOf(await sendBatch(strict, batch))).toEqual(['sealed', 'limit_exceeded'])
  })

  it('counts its seals like any other', async () => {
    const count = async () => {
      const { body } = await server.request('GET', '/metrics')
      return Number(/seals_total\{outcome="sealed"\} (\d+)/.exec(String(body))?.[1] ?? 0)
    }
    const before = await count()
    await sendBatch(server, [makeSmall({ task: 'metrics', name: randomUUID() }, 'x')])
    expect(await count()).toBe(before + 1)
  })
})
