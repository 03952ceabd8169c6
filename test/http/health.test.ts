/** Doors for machines: whether it lives, whether it can serve, what it counts; and addresses that lead nowhere. */
import { once } from 'node:events'
import { rename } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase } from '../support/database.ts'
import { watchEvents } from '../support/events.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeContent, openTestUpload, sealContent } from '../support/upload.ts'

let database: TestDatabase
let line: DatabaseLine
let server: TestServer
beforeAll(async () => {
  database = await createTestDatabase()
  line = await openLine(new URL(database.serverUrl))
  server = await startTestServer({ database: { ...database, serverUrl: line.url } })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await line[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

/** The way from the server to Postgres. */
interface DatabaseLine extends AsyncDisposable {
  url: string
  /** Breaks every connection and takes no new one, as a stopped Postgres would, until it is disposed of. */
  cut(): Promise<AsyncDisposable>
}

async function openLine(target: URL): Promise<DatabaseLine> {
  const sockets = new Set<Socket>()
  const door = createServer((inner) => {
    const outer = connect(Number(target.port), target.hostname)
    for (const socket of [inner, outer]) {
      sockets.add(socket)
      // The other end goes with it; what was on its way is what an outage loses.
      socket.on('error', () => undefined)
      socket.on('close', () => {
        inner.destroy()
        outer.destroy()
      })
    }
    inner.pipe(outer).pipe(inner)
  })
  const listen = async (port: number) => {
    door.listen(port, '127.0.0.1')
    await once(door, 'listening')
  }
  const close = async () => {
    const closed = once(door, 'close')
    door.close()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  await listen(0)
  const address = door.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const url = new URL(target)
  url.host = `127.0.0.1:${port}`
  return {
    url: url.href,
    async cut() {
      await close()
      return { [Symbol.asyncDispose]: () => listen(port) }
    },
    [Symbol.asyncDispose]: close,
  }
}

const nobody = { token: null }
const ready = async () => (await server.request('GET', '/readyz', nobody)).status
const patience = { timeout: 20_000, interval: 100 }

describe('/healthz and /readyz', () => {
  it('say yes to anyone while all is well', async () => {
    expect(await server.request('GET', '/healthz', nobody)).toMatchObject({
      status: 200,
      body: { status: 'ok' },
    })
    expect(await server.request('GET', '/readyz', nobody)).toMatchObject({
      status: 200,
      body: { status: 'ready' },
    })
  })

  it('do not care for a token', async () => {
    const stale = { token: `artifact_${'A'.repeat(43)}` }
    for (const path of ['/healthz', '/readyz', '/openapi.json'])
      expect((await server.request('GET', path, stale)).status).toBe(200)
  })

  it('not ready while Postgres is gone, and ready with live events when it is back', async () => {
    const lastEventId = await (async () => {
      await using watcher = await watchEvents(server, '?task=outage')
      await watcher.whenCurrent()
      return watcher.lastEventId
    })()
    {
      await using _ = await line.cut()
      expect(await server.request('GET', '/readyz', nobody)).toMatchObject({
        status: 503,
        body: { code: 'database_unavailable' },
      })
      // A probe may send a token, a stale one too: it asks for life, not for Postgres.
      expect((await server.request('GET', '/healthz')).status).toBe(200)
      const asked = await server.request('GET', '/v1/tasks')
      expect(asked).toMatchObject({
        status: 503,
        body: { code: 'database_unavailable', retryable: true },
        headers: { 'retry-after': expect.any(String) },
      })
      expect(JSON.stringify(asked.body)).not.toMatch(/postgres:|password|127\.0\.0\.1/)
    }
    await expect.poll(ready, patience).toBe(200)
    await openTestUpload(server, { task: 'outage', run: 0, name: 'after' })
    await using watcher = await watchEvents(server, '?task=outage', { lastEventId })
    expect((await watcher.next()).upload.name).toBe('after')
    // Live, not from the backfill: the feed listens again.
    const live = watcher.next()
    await openTestUpload(server, { task: 'outage', run: 0, name: 'live' })
    expect((await live).upload.name).toBe('live')
  })

  it('not ready while the folder of the store is gone', async () => {
    const away = `${server.storeFolder}-away`
    await rename(server.storeFolder, away)
    try {
      expect(await server.request('GET', '/readyz', nobody)).toMatchObject({
        status: 503,
        body: { code: 'store_unavailable' },
      })
      expect((await server.request('GET', '/healthz', nobody)).status).toBe(200)
    } finally {
      await rename(away, server.storeFolder)
    }
    expect(await ready()).toBe(200)
  })
})

describe('/metrics', () => {
  it('need a token, and are what Prometheus reads', async () => {
    expect((await server.request('GET', '/metrics', nobody)).status).toBe(401)
    await sealContent(server, { task: 'counted', run: 0, name: 'a' }, makeContent(1234))
    const { status, headers, body } = await server.request('GET', '/metrics')
    expect(status).toBe(200)
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/)
    const lines = String(body)
      .split('\n')
      .filter((line) => line !== '')
    // Text format 0.0.4: comments, or name, labels, value.
    const sample = /^[a-zA-Z_:][\w:]*(\{(\w+="([^"\\]|\\.)*",?)*\})? (NaN|[+-]?(Inf|[0-9.e+-]+))$/
    for (const line of lines)
      expect(line).toMatch(line.startsWith('#') ? /^# (HELP|TYPE) / : sample)
    expect(lines).toContain('artifact_seals_total{outcome="sealed"} 1')
    expect(lines).toContain('artifact_sealed_bytes_total 1234')
    expect(lines.find((line) => line.startsWith('artifact_active_uploads '))).toBeDefined()
    expect(String(body)).toMatch(
      /artifact_http_request_duration_seconds_count\{endpoint="sealUpload"/,
    )
    expect(String(body)).not.toMatch(/counted|outage/)
  })
})

describe('an address', () => {
  it.each([
    '/v1',
    '/v2/uploads',
    '/v1/upload',
    '/v1/uploads/',
    '/v1/uploads/a/b',
    '/favicon.ico',
    '/.env',
    '//v1/tasks',
  ])('%s is not found', async (path) => {
    const reply = await server.request('GET', path)
    expect(reply).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect(reply.headers['content-type']).toBe('application/problem+json')
  })

  it.each([
    ['PUT', '/v1/uploads', 'POST, GET'],
    ['PATCH', '/v1/uploads/00000000-0000-4000-8000-000000000000', 'GET, DELETE'],
    ['DELETE', '/v1/tasks', 'GET'],
    ['DELETE', '/v1/tasks/a/runs/0/artifacts/b', 'GET'],
    ['POST', '/v1/tasks/a/runs/0/content/b/c', 'GET'],
    ['POST', '/v1/events', 'GET'],
    ['POST', '/healthz', 'GET'],
    ['DELETE', '/metrics', 'GET'],
  ])('does not take %s %s', async (method, path, allow) => {
    const reply = await server.request(method, path)
    expect(reply).toMatchObject({
      status: 405,
      body: { code: 'method_not_allowed' },
      headers: { allow },
    })
  })

  it('answers HEAD as GET without a body', async () => {
    const reply = await server.request('HEAD', '/v1/tasks')
    expect(reply).toMatchObject({ status: 200, body: '' })
  })
})

describe('every reply', () => {
  it('has a request id: the one of the caller when it is harmless', async () => {
    const send = async (id: string) =>
      (await server.request('GET', '/v1/tasks', { headers: { 'x-request-id': id } })).headers
    expect(await send('build-7.a_b')).toMatchObject({ 'x-request-id': 'build-7.a_b' })
    for (const id of ['a b', 'x'.repeat(65), '{}'])
      expect((await send(id))['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
    const problem = await server.request('GET', '/v1/none', { headers: { 'x-request-id': 'p-1' } })
    expect(problem.body).toMatchObject({ requestId: 'p-1' })
    expect(problem.headers).toMatchObject({
      'x-request-id': 'p-1',
      'x-content-type-options': 'nosniff',
    })
  })
})
