/** Who gets into the inspector, how far, and for how long. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { endpoints } from '../../schemas/api.ts'
import type { Endpoint } from '../../schemas/endpoint.ts'
import { SignInLink } from '../../schemas/sign-in.ts'
import { CreatedToken } from '../../schemas/token.ts'
import { createAttemptLimit } from '../../server/access/attempt-limit.ts'
import { formatSessionCookie, readSessionCookie } from '../../server/access/session-cookie.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { addressOf, makeContent, openTestUpload, sealContent } from '../support/upload.ts'
import { signIn, visit } from '../support/visitor.ts'

let now = Date.parse('2026-11-21T20:00:00Z')
let server: TestServer
const content = makeContent(300)
const target = { task: 'mine', run: 0, name: 'a.txt' }
beforeAll(async () => {
  server = await startTestServer({ clock: () => new Date(now) })
  await sealContent(server, target, content)
})
afterAll(() => server[Symbol.asyncDispose]())

const makeLink = async (token = server.token) => {
  const { body } = await server.request('POST', '/v1/sign-in-links', { token })
  return SignInLink.parse(body)
}

describe('signing in', () => {
  it('gives a cookie that scripts and other sites do not get, and goes where one was', async () => {
    const form = { token: server.token, next: '/tasks?prefix=a' }
    const reply = await visit(server, '/sign-in', { form })
    expect(reply).toMatchObject({ status: 303, headers: { location: '/tasks?prefix=a' } })
    expect(reply.headers['set-cookie']).toMatch(
      /^artifact_session=[\w-]{43}; Path=\/; Max-Age=28800; HttpOnly; SameSite=Strict$/,
    )
    const secure = await visit(server, '/sign-in', {
      form,
      headers: { 'x-forwarded-proto': 'https' },
    })
    expect(secure.headers['set-cookie']).toMatch(/; Secure$/)
  })

  it.each([
    'https://elsewhere.example/',
    '//elsewhere.example',
    '/\\elsewhere.example',
    '/a/..//elsewhere.example',
    '\\\\elsewhere.example',
    '/\t/elsewhere.example',
    'javascript:alert(1)',
    '/v1/tokens',
    '/sign-out',
  ])('goes to no other site and to no address for programs: %s', async (next) => {
    const { headers } = await visit(server, '/sign-in', { form: { token: server.token, next } })
    expect(headers.location).toBe('/')
  })

  it('refuses what is no live token with one answer, and says what to do', async () => {
    const revoked = CreatedToken.parse(
      (
        await server.request('POST', '/v1/tokens', {
          body: { name: 'x', scopes: ['list:*/**'], ttlSeconds: null },
        })
      ).body,
    )
    await server.request('DELETE', `/v1/tokens/${revoked.token.id}`)
    const answers = new Set<string>()
    for (const token of ['', 'artifact_short', `artifact_${'A'.repeat(43)}`, revoked.secret]) {
      const reply = await visit(server, '/sign-in', { form: { token } })
      expect(reply).toMatchObject({ status: 401, cookie: undefined })
      answers.add(reply.text)
    }
    expect(answers.size).toBe(1)
    expect([...answers][0]).toContain('mistyped, expired or revoked')
  })

  it('refuses a token that may read nothing', async () => {
    const token = await server.createToken(['upload:*/**'])
    const reply = await visit(server, '/sign-in', { form: { token } })
    expect(reply).toMatchObject({ status: 403, cookie: undefined })
    expect(reply.text).toContain('neither list nor get')
    const link = await server.request('POST', '/v1/sign-in-links', { token })
    expect(link).toMatchObject({ status: 403, body: { code: 'forbidden' } })
  })

  it('takes no form of another site, and none that is too large', async () => {
    const form = { token: server.token }
    const foreign = { 'sec-fetch-site': 'cross-site' }
    for (const path of ['/sign-in', '/sign-out'])
      expect(await visit(server, path, { form, headers: foreign })).toMatchObject({
        status: 403,
        cookie: undefined,
      })
    const large = await visit(server, '/sign-in', { form: { token: 'x'.repeat(9000) } })
    expect(large.status).toBe(413)
  })
})

describe('a session', () => {
  it('lasts eight hours', async () => {
    const cookie = await signIn(server, server.token)
    now += 8 * 3_600_000 - 1
    expect((await visit(server, '/', { cookie })).status).toBe(200)
    now += 1
    const ended = await visit(server, '/tasks?prefix=a', { cookie })
    expect(ended.status).toBe(401)
    expect(ended.text).toContain('You were signed out')
    expect(ended.text).toContain('name="next" value="/tasks?prefix=a"')
  })

  it('ends with its token, by time and by revocation', async () => {
    const short = await signIn(server, await server.createToken(['list:*/**'], 60))
    const { body } = await server.request('POST', '/v1/tokens', {
      body: { name: 'short', scopes: ['list:*/**'], ttlSeconds: null },
    })
    const { token, secret } = CreatedToken.parse(body)
    const revoked = await signIn(server, secret)
    for (const cookie of [short, revoked])
      expect((await visit(server, '/', { cookie })).status).toBe(200)
    now += 60_000
    await server.request('DELETE', `/v1/tokens/${token.id}`)
    for (const cookie of [short, revoked]) {
      expect((await visit(server, '/', { cookie })).status).toBe(401)
      expect((await visit(server, addressOf(target), { cookie })).status).toBe(401)
    }
  })

  it('ends when its visitor signs out, for that cookie', async () => {
    const [one, other] = [await signIn(server, server.token), await signIn(server, server.token)]
    const out = await visit(server, '/sign-out', { form: {}, cookie: one })
    expect(out).toMatchObject({ status: 303, headers: { location: '/sign-in?out' } })
    expect(out.headers['set-cookie']).toMatch(/Max-Age=0/)
    expect((await visit(server, '/', { cookie: one })).status).toBe(401)
    expect((await visit(server, '/', { cookie: other })).status).toBe(200)
  })

  it('is taken by pages and by what they ask for, and by nothing else', async () => {
    const cookie = await signIn(server, server.token)
    const { id } = await openTestUpload(server, { ...target, run: 1 })
    for (const [name, { method, path, session, access }] of Object.entries<Endpoint>(endpoints)) {
      if (access === 'anyone' || name === 'watchEvents') continue
      const address = path
        .replace(':task', 'mine')
        .replace(':run', '0')
        .replace(':name', 'a.txt')
        .replace(':id', id)
      const { status } = await server.request(method, address, {
        token: null,
        headers: { cookie },
      })
      // There is no log here: its doors answer so, to whoever may ask.
      expect([name, status === 401]).toEqual([name, session !== true])
    }
    for (const path of ['/metrics', '/tile/entries/000'])
      expect((await visit(server, path, { cookie })).status).toBe(401)
  })

  it('gives of an admin token only what reads', async () => {
    const cookie = await signIn(server, server.token)
    const record = await server.request('GET', addressOf(target), {
      token: null,
      headers: { cookie },
    })
    expect(record).toMatchObject({ status: 200, body: { sha256: content.sha256 } })
    const token = await server.createToken(['list:mine/**', 'upload:mine/**'])
    const narrow = { token: null, headers: { cookie: await signIn(server, token) } }
    expect((await server.request('GET', addressOf(target, 'content'), narrow)).status).toBe(404)
  })

  it('gives way to a token that is sent along', async () => {
    const cookie = await signIn(server, server.token)
    const token = await server.createToken(['list:other/**'])
    const reply = await server.request('GET', addressOf(target), { token, headers: { cookie } })
    expect(reply.status).toBe(404)
  })

  it('is no way past a grant of a store, and no cookie of anybody else', async () => {
    for (const cookie of ['artifact_session=', `artifact_session=${'A'.repeat(43)}`, 'x=y; z'])
      expect((await visit(server, '/', { cookie })).status).toBe(401)
  })
})

describe('a one-time link', () => {
  it('signs in once, as the token that asked for it', async () => {
    const token = await server.createToken(['list:mine/**'])
    const { path } = await makeLink(token)
    const first = await visit(server, path)
    expect(first).toMatchObject({ status: 303, headers: { location: '/' } })
    expect((await visit(server, '/', { cookie: first.cookie })).text).toContain('test')
    const second = await visit(server, path)
    expect(second).toMatchObject({ status: 401, cookie: undefined })
    expect(second.text).toContain('This link has been used')
    expect(second.text).toContain('artifact inspect')
  })

  it('lets one of many in who come at once', async () => {
    const { path } = await makeLink()
    const replies = await Promise.all(Array.from({ length: 8 }, () => visit(server, path)))
    expect(replies.map(({ status }) => status).sort()).toEqual([303, ...Array(7).fill(401)])
  })

  it('ends after ten minutes, and is no session', async () => {
    const { path } = await makeLink()
    const cookie = `artifact_session=${path.split('/').at(-1)}`
    expect((await visit(server, '/', { cookie })).status).toBe(401)
    now += 600_000
    expect((await visit(server, path)).status).toBe(401)
  })

  it('is stored as a hash, as a session is, and is in no line of the log', async () => {
    const { path } = await makeLink()
    const code = path.split('/').at(-1) ?? ''
    const stored = await server.admin<{ hash: string }[]>`
      select encode(secret_sha256, 'hex') as hash from artifact.sign_in`
    const sha256 = createHash('sha256').update(code).digest('hex')
    expect(stored.map(({ hash }) => hash)).toContain(sha256)
    const { cookie = '' } = await visit(server, path)
    await visit(server, '/', { cookie })
    const log = server.log.join('')
    expect(log).toContain('/sign-in/…')
    expect(log).not.toContain(code)
    expect(log).not.toContain(cookie.split('=')[1])
  })
})

describe('visitors from another site', () => {
  it('are sent to the same address once more, since their cookie stayed behind', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }
    const first = await visit(server, "/tasks?prefix='a", { headers })
    expect(first.status).toBe(200)
    expect(first.text).toContain('http-equiv="refresh" content="0; url=/tasks?prefix=%27a"')
    const again = await visit(server, '/tasks', { headers: { 'sec-fetch-site': 'same-origin' } })
    expect(again.status).toBe(401)
  })
})

describe('attempts', () => {
  it('that fail are limited by address, and forgotten one by one', () => {
    let at = 0
    const limit = createAttemptLimit(() => new Date(at))
    for (let failure = 0; failure < 10; failure++) {
      expect(limit.waitSeconds('a')).toBe(0)
      limit.fail('a')
    }
    expect([limit.waitSeconds('a'), limit.waitSeconds('b')]).toEqual([6, 0])
    at += 6_000
    expect(limit.waitSeconds('a')).toBe(0)
    limit.fail('a')
    expect(limit.waitSeconds('a')).toBe(6)
  })

  it('beyond the limit get 429 and a time, whatever the token', async () => {
    await using fresh = await startTestServer()
    for (let failure = 0; failure < 10; failure++)
      expect((await visit(fresh, '/sign-in', { form: { token: 'wrong' } })).status).toBe(401)
    for (const path of ['/sign-in', `/sign-in/${'A'.repeat(43)}`]) {
      const form = path === '/sign-in' ? { form: { token: fresh.token } } : {}
      const reply = await visit(fresh, path, form)
      expect(reply.status).toBe(429)
      expect(Number(reply.headers['retry-after'])).toBeGreaterThan(0)
    }
  })
})

describe('the cookie', () => {
  it.each([
    [undefined, undefined],
    ['artifact_session=abc', 'abc'],
    ['a=b; artifact_session=abc; c=d', 'abc'],
    ['xartifact_session=abc', undefined],
    ['artifact_session=', undefined],
  ])('is read from %j', (header, secret) => {
    expect(readSessionCookie(header)).toBe(secret)
  })

  it('lives no longer than was said', () => {
    expect(formatSessionCookie('s', 1.9, true)).toContain('Max-Age=1;')
    expect(formatSessionCookie('s', -5, false)).toContain('Max-Age=0;')
  })
})
