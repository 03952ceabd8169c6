import { describe, expect, test } from 'vitest'
import { parseLeaf } from '../../client/verify/leaf.ts'
import { readHead, readLeaves } from '../../server/records/log.ts'
import { createTestDatabase } from '../support/database.ts'
import { startTestServer } from '../support/server.ts'
import { makeContent, sealContent } from '../support/upload.ts'

describe('makeStatement()', () => {
  test('revokes once, as a leaf about the seal, and nobody gets the artifact any more', async () => {
    await using database = await createTestDatabase()
    await using server = await startTestServer({ database })
    await sealContent(server, { task: 'said', run: 0, name: 'a.txt' }, makeContent(10))
    const path = '/v1/tasks/said/runs/0/artifacts/a.txt/statements'
    const body = { kind: 'revoke', reason: 'wrong customer' }
    const first = await server.request('POST', path, { body })
    expect(first.status).toBe(201)
    const again = await server.request('POST', path, { body: { ...body, reason: 'other' } })
    expect(again.body).toEqual(first.body)
    expect((await readHead(database.server)).size).toBe(2)
    const [, row] = await readLeaves(database.server, 0, 2)
    expect(row && parseLeaf(row.leaf)).toMatchObject({
      ...{ kind: 'revoke', name: 'said/0/a.txt', of: 0, reason: 'wrong customer' },
    })
    const content = await server.request('GET', '/v1/tasks/said/runs/0/content/a.txt')
    expect(content.status).toBe(410)
    expect(content.body).toMatchObject({ code: 'artifact_revoked', found: 'wrong customer' })
    const record = await server.request('GET', '/v1/tasks/said/runs/0/artifacts/a.txt')
    expect(record.status).toBe(200)
    const listed = await server.request('GET', path)
    expect(listed.body).toEqual({ items: [first.body] })
  })

  test('removes the bytes, keeps the record and never frees the name', async () => {
    await using database = await createTestDatabase()
    await using server = await startTestServer({ database })
    const target = { task: 'said', run: 0, name: 'b.txt' }
    const artifact = await sealContent(server, target, makeContent(10))
    const path = '/v1/tasks/said/runs/0/artifacts/b.txt/statements'
    const said = await server.request('POST', path, { body: { kind: 'remove', reason: 'old' } })
    expect(said.status).toBe(201)
    const content = await server.request('GET', '/v1/tasks/said/runs/0/content/b.txt')
    expect(content.body).toMatchObject({ code: 'artifact_removed' })
    const record = await server.request('GET', '/v1/tasks/said/runs/0/artifacts/b.txt')
    expect(record.body).toEqual(artifact)
  })

  test('is for admins', async () => {
    await using server = await startTestServer()
    await sealContent(server, { task: 'said', run: 0, name: 'c.txt' }, makeContent(10))
    const token = await server.createToken(['upload:said/**', 'get:said/**', 'list:said/**'])
    const reply = await server.request('POST', '/v1/tasks/said/runs/0/artifacts/c.txt/statements', {
      token,
      body: { kind: 'revoke', reason: 'no' },
    })
    expect(reply.status).toBe(403)
  })
})
