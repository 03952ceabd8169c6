/** Who gets what answer, at every door. */
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { endpoints } from '../../schemas/api.ts'
import type { Endpoint } from '../../schemas/endpoint.ts'
import { CreatedToken } from '../../schemas/token.ts'
import { type JsonReply, startTestServer, type TestServer } from '../support/server.ts'
import {
  addressOf,
  claimOf,
  makeContent,
  openAndSend,
  openTestUpload,
  sealContent,
  sha256,
  wordsFor,
} from '../support/upload.ts'

let now = Date.parse('2026-11-21T20:00:00Z')
let server: TestServer
const content = makeContent(300)
const secretTarget = { task: 'secret', run: 0, name: 'plan.txt' }
const publicTarget = { task: 'secret', run: 0, name: 'public/readme.txt' }
const ownTarget = { task: 'mine', run: 0, name: 'a.txt' }
let secretUpload = ''
beforeAll(async () => {
  server = await startTestServer({ clock: () => new Date(now) })
  for (const target of [secretTarget, publicTarget, ownTarget])
    await sealContent(server, target, content)
  secretUpload = (await openTestUpload(server, { ...secretTarget, run: 1 })).id
})
afterAll(() => server[Symbol.asyncDispose]())

const uuid = '00000000-0000-4000-8000-000000000000'
const bodies: Partial<Record<keyof typeof endpoints, unknown>> = {
  openUpload: wordsFor(ownTarget),
  requestGrants: { parts: content.parts },
  reportProgress: { bytes: '1', totalBytes: null, attempt: 1 },
  sealUpload: claimOf(content),
  allotRun: { requestId: uuid },
  createToken: { name: 'x', scopes: ['admin'], ttlSeconds: null },
}

/** A request of every endpoint that is not for anyone, about the secret artifact or the secret upload. */
const everyDoor = () =>
  Object.entries<Endpoint>(endpoints)
    .filter(([, { access }]) => access !== 'anyone')
    .map(([name, { method, path }]) => ({
      name,
      method,
      path: path
        .replace(':task', 'secret')
        .replace(':run', '0')
        .replace(':name', 'plan.txt')
        .replace('/tokens/:id', `/tokens/${uuid}`)
        .replace(':id', secretUpload),
      options:
        name in bodies ? { body: Object.entries(bodies).find(([key]) => key === name)?.[1] } : {},
    }))

/** All that a caller can see of a reply, but for what tells one request from another. */
function visible({ status, body, headers }: JsonReply) {
  const { requestId: _, ...rest } = z.looseObject({ requestId: z.string() }).parse(body)
  const { date, 'x-request-id': __, ...others } = headers
  return { status, body: rest, headers: others }
}

describe('without a valid token', () => {
  it('no door waits for a body that is still on its way', async () => {
    const doors = everyDoor().filter(({ method }) => method === 'POST')
    expect(doors.length).toBeGreaterThan(5)
    for (const { method, path } of doors) {
      const headers = { 'content-type': 'application/json' }
      const sent = request(`${server.url}${path}`, { method, headers })
      sent.write('{"half":')
      const [reply]: IncomingMessage[] = await once(sent, 'response')
      expect(reply?.statusCode).toBe(401)
      sent.on('error', () => undefined).destroy()
    }
  })

  it.each([
    ['no token', null, {}],
    ['a malformed token', 'artifact_short', {}],
    ['a token that there is not', `artifact_${'A'.repeat(43)}`, {}],
    ['basic authentication', null, { authorization: 'Basic YWRtaW46YWRtaW4=' }],
    ['an empty bearer', null, { authorization: 'Bearer' }],
  ])('with %s every door answers 401', async (_, token, headers) => {
    for (const { name, method, path, options } of everyDoor()) {
      const reply = await server.request(method, path, { ...options, token, headers })
      expect({ name, status: reply.status }).toEqual({ name, status: 401 })
      expect(reply.headers['www-authenticate']).toBe('Bearer')
    }
  })

  it('a token ends with its time, to the second', async () => {
    const token = await server.createToken(['list:**/**'], 60)
    now += 59_999
    expect((await server.request('GET', '/v1/tasks', { token })).status).toBe(200)
    now += 1
    expect((await server.request('GET', '/v1/tasks', { token })).status).toBe(401)
  })

  it('a token ends with its revocation, at once and for every door', async () => {
    const created = await server.request('POST', '/v1/tokens', {
      body: { name: 'short', scopes: ['admin'], ttlSeconds: null },
    })
    const { token, secret } = CreatedToken.parse(created.body)
    expect((await server.request('GET', '/v1/tokens', { token: secret })).status).toBe(200)
    const first = await server.request('DELETE', `/v1/tokens/${token.id}`)
    expect((await server.request('GET', '/v1/tokens', { token: secret })).status).toBe(401)
    now += 1000
    const again = await server.request('DELETE', `/v1/tokens/${token.id}`)
    expect(again.body).toEqual(first.body)
  })
})

describe('with a token that does not cover it', () => {
  it('the answer for what is there equals the answer for what is not', async () => {
    const token = await server.createToken(['get:mine/**', 'list:mine/**', 'upload:mine/**'])
    const ask = (path: string) => server.request('GET', path, { token })
    const suffixes = [
      ...['artifacts/NAME', 'artifacts/NAME/parts', 'artifacts/NAME/verifications'],
      'content/NAME',
    ]
    for (const suffix of suffixes) {
      const there = await ask(`/v1/tasks/secret/runs/0/${suffix.replace('NAME', 'plan.txt')}`)
      const admin = await server.request(
        'GET',
        `/v1/tasks/secret/runs/0/${suffix.replace('NAME', 'plan.not')}`,
      )
      const notThere = await ask(`/v1/tasks/secret/runs/0/${suffix.replace('NAME', 'plan.not')}`)
      const renamed = JSON.parse(JSON.stringify(visible(there)).replaceAll('plan.txt', 'plan.not'))
      expect(there.status).toBe(404)
      expect(renamed).toEqual(visible(notThere))
      expect(visible(notThere)).toEqual(visible(admin))
    }
    for (const suffix of [
      'runs',
      'runs/0/artifacts',
      'runs/0/SHA256SUMS',
      'runs/latest/artifacts',
    ]) {
      const there = await ask(`/v1/tasks/secret/${suffix}`)
      const notThere = await ask(`/v1/tasks/absent/${suffix}`)
      expect(there.status).toBe(404)
      expect(JSON.stringify(visible(there)).replaceAll('secret', 'absent')).toBe(
        JSON.stringify(visible(notThere)),
      )
    }
  })

  it('an upload of others is not there, whatever is done to it', async () => {
    const token = await server.createToken(['get:**/**', 'list:**/**', 'upload:mine/**'])
    const doors = everyDoor().filter(({ path }) => path.includes(secretUpload))
    expect(doors).toHaveLength(5)
    for (const { method, path, options } of doors) {
      const there = await server.request(method, path, { ...options, token })
      const notThere = await server.request(method, path.replace(secretUpload, uuid), {
        ...options,
        token,
      })
      expect(there.status).toBe(404)
      expect(JSON.stringify(visible(there)).replaceAll(secretUpload, uuid)).toBe(
        JSON.stringify(visible(notThere)),
      )
    }
    const { body } = await server.request('GET', `/v1/uploads/${secretUpload}`)
    expect(body).toMatchObject({ upload: { state: 'open', progress: { bytes: '0' } } })
  })

  it('a new name or run is forbidden, and nothing is opened', async () => {
    const token = await server.createToken(['upload:mine/logs/*', 'get:**/**', 'list:**/**'])
    const open = (name: string, task = 'mine') =>
      server.request('POST', '/v1/uploads', { token, body: wordsFor({ task, run: 5, name }) })
    expect((await open('logs/a')).status).toBe(201)
    for (const [name, task] of [['a'], ['logs/a/b'], ['logs'], ['logs/a', 'theirs']] as const)
      expect(await open(name, task)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
    const allot = await server.request('POST', '/v1/tasks/theirs/runs', {
      token,
      body: { requestId: uuid },
    })
    expect(allot).toMatchObject({ status: 403, body: { code: 'forbidden' } })
    const tasks = await server.request('GET', '/v1/tasks?prefix=theirs')
    expect(tasks.body).toMatchObject({ items: [] })
  })

  it('tokens are an admin matter', async () => {
    const token = await server.createToken(['upload:**/**', 'get:**/**', 'list:**/**'])
    for (const { method, path, options } of everyDoor().filter(({ path }) => /tokens/.test(path)))
      expect(await server.request(method, path, { ...options, token })).toMatchObject({
        status: 403,
        body: { code: 'forbidden' },
      })
  })

  it('reading the record needs any scope for the name, reading the bytes needs "get"', async () => {
    for (const verb of ['get', 'list', 'upload']) {
      const token = await server.createToken([`${verb}:mine/**`])
      const record = await server.request('GET', addressOf(ownTarget), { token })
      const bytes = await server.request('GET', addressOf(ownTarget, 'content'), { token })
      expect([verb, record.status, bytes.status]).toEqual([verb, 200, verb === 'get' ? 303 : 404])
    }
  })
})

describe('lists', () => {
  it('show what the scopes cover, and nothing else', async () => {
    const token = await server.createToken(['list:secret/public/**'])
    const ask = (path: string) => server.request('GET', path, { token })
    expect((await ask('/v1/tasks')).body).toMatchObject({ items: [{ task: 'secret' }] })
    expect((await ask('/v1/tasks/secret/runs/0/artifacts')).body).toMatchObject({
      items: [{ name: 'public/readme.txt' }],
    })
    expect((await ask('/v1/tasks/secret/runs/0/SHA256SUMS')).body).toBe(
      `${content.sha256}  public/readme.txt\n`,
    )
    expect((await ask('/v1/uploads')).body).toEqual({ items: [], next: null })
  })
})

describe('names under public/', () => {
  it('need a token like all others unless the operator says otherwise', async () => {
    const reply = await server.request('GET', addressOf(publicTarget), { token: null })
    expect(reply.status).toBe(401)
  })

  it('can be read by anyone when the operator says so, and only they', async () => {
    await using open = await startTestServer({ settings: { publicRead: 'true' } })
    for (const target of [secretTarget, publicTarget]) await sealContent(open, target, content)
    const anyone = { token: null }
    for (const below of ['artifacts', 'content']) {
      const shown = await open.request('GET', addressOf(publicTarget, below), anyone)
      expect(shown.status).toBe(below === 'content' ? 303 : 200)
      const hidden = await open.request('GET', addressOf(secretTarget, below), anyone)
      expect(hidden.status).toBe(404)
    }
    const other = { ...publicTarget, name: 'publicly/readme.txt' }
    expect((await open.request('GET', addressOf(other), anyone)).status).toBe(404)
    expect((await open.request('GET', '/v1/tasks', anyone)).status).toBe(401)
  })
})

describe('secrets', () => {
  it('are stored as a hash alone, and shown once', async () => {
    const body = { name: 'once', scopes: ['get:a/**'], ttlSeconds: 60 }
    const created = await server.request('POST', '/v1/tokens', { body })
    const { secret, token } = CreatedToken.parse(created.body)
    expect(secret).toMatch(/^artifact_[A-Za-z0-9_-]{43}$/)
    const [row] = await server.admin<[{ hash: string; whole: string }]>`
      select encode(secret_sha256, 'hex') as hash, token::text as whole
      from artifact.token where id = ${token.id}`
    expect(row.hash).toBe(sha256(secret))
    expect(row.whole).not.toContain(secret.slice(9))
    const list = await server.request('GET', '/v1/tokens?limit=1000')
    expect(JSON.stringify(list.body)).not.toMatch(/artifact_[A-Za-z0-9_-]{43}|secret_sha256|hash/)
  })

  it('are in no line of the log: no token, no signature, no password', async () => {
    await openAndSend(server, { task: 'logged', run: 0, name: 'a' }, content)
    const reply = await server.request('GET', addressOf(ownTarget, 'content'))
    await fetch(new URL(String(reply.headers.location), server.url))
    await fetch(`${server.url}/v1/tasks?token=${server.token}`, {
      headers: { authorization: `Bearer ${server.token}x` },
    })
    const log = server.log.join('')
    expect(log).toContain('putBlobPart')
    expect(log).not.toMatch(/artifact_[A-Za-z0-9_-]{43}|signature=|Bearer|postgres:\/\//)
    expect(log).not.toContain(server.token)
  })
})
