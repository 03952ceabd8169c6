/** The seal as a client meets it. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CreatedToken } from '../../schemas/token.ts'
import { holdRecords } from '../support/hold-records.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import {
  addressOf,
  claimOf,
  makeContent,
  openAndSend,
  seal,
  sealContent,
  wordsFor,
} from '../support/upload.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer({ settings: { sealPolicy: 'parts' } })
})
afterAll(() => server[Symbol.asyncDispose]())

const content = makeContent(200_000, 'sealed')
let runs = 0
const fresh = () => ({ task: 'seal', run: runs++, name: 'logs/a.bin' })

describe('sealUpload', () => {
  it('knows that all of it was sent, though nobody reported that', async () => {
    const { id } = await openAndSend(server, fresh(), content)
    await server.request('PUT', `/v1/uploads/${id}/progress`, {
      body: { bytes: '5', totalBytes: null, attempt: 3 },
    })
    const { body } = await seal(server, id, claimOf(content))
    const progress = { bytes: '200000', totalBytes: '200000', attempt: 3 }
    expect(body).toMatchObject({ state: 'sealed', progress })
    expect((await server.request('GET', `/v1/uploads/${id}`)).body).toMatchObject({
      upload: { progress },
    })
  })

  it('records who sealed what, when, how, and out of which parts', async () => {
    const { token, secret } = CreatedToken.parse(
      (
        await server.request('POST', '/v1/tokens', {
          body: { name: 'builder 7', scopes: ['upload:seal/**'], ttlSeconds: 60 },
        })
      ).body,
    )
    const target = fresh()
    const builder: Pick<TestServer, 'request' | 'url'> = {
      url: server.url,
      request: (method, path, options) =>
        server.request(method, path, { ...options, token: secret }),
    }
    const labels = { commit: 'abc', 'ci/job': 'ünï' }
    const artifact = await sealContent(builder, target, content, {
      labels,
      contentType: 'application/gzip',
      policy: 'reread',
    })
    expect(artifact).toMatchObject({
      ...target,
      reference: `seal/${target.run}/logs/a.bin`,
      sha256: content.sha256,
      sizeBytes: '200000',
      partSizeBytes: 65_536,
      partCount: 4,
      contentType: 'application/gzip',
      labels,
      policy: 'reread',
      sealedBy: { tokenId: token.id, tokenName: 'builder 7' },
    })
    expect(Date.parse(artifact.openedAt)).toBeLessThanOrEqual(Date.parse(artifact.sealedAt))
    expect((await server.request('GET', addressOf(target))).body).toEqual(artifact)
    const parts = await server.request('GET', `${addressOf(target)}/parts`)
    expect(parts.body).toEqual({
      reference: artifact.reference,
      partSizeBytes: 65_536,
      parts: content.parts,
    })
  })

  it('follows the policy that the operator set where the client asks for none', async () => {
    expect(await sealContent(server, fresh(), content)).toMatchObject({ policy: 'parts' })
  })

  it('answers 202 while it is not done, and the artifact when it is', async () => {
    const target = fresh()
    const { id } = await openAndSend(server, target, content, { policy: 'reread' })
    const path = `/v1/uploads/${id}`
    {
      await using _ = await holdRecords(server.admin)
      const waiting = await server.request('POST', `${path}/seal`, { body: claimOf(content) })
      expect(waiting).toMatchObject({ status: 202, body: { state: 'verifying' } })
      const shown = await server.request('GET', path)
      expect(shown.body).toMatchObject({ upload: { state: 'verifying' }, parts: [] })
      const active = await server.request('GET', '/v1/uploads?task=seal')
      expect(active.body).toMatchObject({ items: [{ id, state: 'verifying' }] })
      for (const [method, below, body] of [
        ['DELETE', '', undefined],
        ['PUT', '/progress', { bytes: '1', totalBytes: null, attempt: 2 }],
        ['POST', '/grants', { parts: content.parts }],
      ] as const)
        expect(await server.request(method, `${path}${below}`, { body })).toMatchObject({
          status: 409,
          body: { code: 'upload_ended', found: 'verifying' },
        })
      expect((await server.request('GET', addressOf(target))).status).toBe(404)
    }
    const sealed = await seal(server, id, claimOf(content))
    expect(sealed).toMatchObject({ status: 200, body: { state: 'sealed', artifact: target } })
  })

  it('tells what was expected and found when the bytes were changed, as often as it is asked', async () => {
    const target = fresh()
    const { id } = await openAndSend(server, target, content, { policy: 'reread' })
    const stored = join(server.storeFolder, 'incoming', 'blobs', id.slice(-2), id)
    const bytes = await readFile(stored)
    bytes[100_000] = (bytes[100_000] ?? 0) ^ 1
    await writeFile(stored, bytes)
    const problem = {
      code: 'part_mismatch',
      expected: content.parts[1]?.sha256,
      found: expect.stringMatching(/^[0-9a-f]{64}$/),
    }
    const first = await seal(server, id, claimOf(content))
    expect(first).toMatchObject({ status: 422, body: problem })
    expect(await seal(server, id, claimOf(content))).toMatchObject({ status: 422, body: problem })
    const shown = await server.request('GET', `/v1/uploads/${id}`)
    expect(shown.body).toMatchObject({ upload: { state: 'failed', problem }, parts: [] })
    const reopened = await server.request('POST', '/v1/uploads', {
      body: wordsFor(target, { id, sizeBytes: content.sizeBytes, policy: 'reread' }),
    })
    expect(reopened).toMatchObject({ status: 422, body: problem })
    const failed = await server.request('GET', '/v1/uploads?state=failed')
    expect(failed.body).toMatchObject({ items: [{ id }] })
    expect((await server.request('GET', addressOf(target))).status).toBe(404)
    expect(await sealContent(server, target, content)).toMatchObject({ sha256: content.sha256 })
  })
})
