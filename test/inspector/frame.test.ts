/** What all pages have in common: headers, assets, errors in words, and nothing that runs inline. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeContent, sealContent } from '../support/upload.ts'
import { signIn, visit } from '../support/visitor.ts'

let server: TestServer
let cookie: string
beforeAll(async () => {
  server = await startTestServer()
  await sealContent(server, { task: 'mine', run: 0, name: 'a.txt' }, makeContent(300))
  cookie = await signIn(server, server.token)
})
afterAll(() => server[Symbol.asyncDispose]())

const PAGES = ['/', '/tasks', '/tasks/mine', '/tasks/mine/0', '/artifacts/mine/0/a.txt', '/log']

describe('every page', () => {
  it('forbids what it does not need, and is kept by nobody', async () => {
    for (const path of [...PAGES, '/search?q=none', '/nowhere']) {
      const { headers } = await visit(server, path, { cookie })
      const policy = String(headers['content-security-policy']).split('; ')
      expect(policy).toEqual(
        expect.arrayContaining([
          "default-src 'none'",
          "style-src 'self'",
          "form-action 'self'",
          "base-uri 'none'",
          "frame-ancestors 'none'",
        ]),
      )
      expect(policy.find((each) => each.startsWith('script-src'))).toBe("script-src 'self'")
      expect(headers).toMatchObject({
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
        'cross-origin-opener-policy': 'same-origin',
        'x-content-type-options': 'nosniff',
        'content-type': 'text/html; charset=utf-8',
      })
    }
  })

  it('has no script, style or handler inline, and loads nothing from elsewhere', async () => {
    for (const path of [...PAGES, '/sign-in']) {
      const { text } = await visit(server, path, { cookie: path === '/sign-in' ? '' : cookie })
      expect(text).not.toMatch(
        /<script(?![^>]* src="\/assets\/)[^>]*>|<style|\sstyle=|\son[a-z]+=/i,
      )
      const links = [...text.matchAll(/\s(?:src|href|action)="([^"]*)"/g)].map(([, url]) => url)
      expect(links.filter((url) => !/^(\/(?!\/)|#)/.test(url ?? ''))).toEqual([])
    }
  })

  it('says where one is, who is signed in and until when, and how to leave', async () => {
    const { text } = await visit(server, '/tasks', { cookie })
    expect(text).toContain('<a href="/tasks" aria-current="page">')
    expect(text).toContain('test admin')
    expect(text).toMatch(/until <time datetime="/)
    expect(text).toContain('<form action="/sign-out" method="post">')
    expect(text).toContain('<html lang="en">')
    expect(text).toMatch(/<a class="skip" href="#main">/)
  })

  it('is compressed for those who can read that', async () => {
    const headers = { 'accept-encoding': 'gzip' }
    const packed = await visit(server, '/', { cookie, headers })
    expect(packed.headers['content-encoding']).toBe('gzip')
    const refused = { 'accept-encoding': 'gzip;q=0, br' }
    const plain = await visit(server, '/', { cookie, headers: refused })
    expect(plain.headers['content-encoding']).toBeUndefined()
    expect(plain.text).toContain('</html>')
  })
})

describe('assets', () => {
  it('are the same for all, kept for ever, and found by what the pages name', async () => {
    const { text } = await visit(server, '/', { cookie })
    const paths = [...text.matchAll(/"(\/assets\/[^"#]+)/g)].map(([, path]) => path ?? '')
    expect(paths.length).toBeGreaterThan(3)
    for (const path of new Set(paths)) {
      const reply = await visit(server, path)
      expect(reply).toMatchObject({
        status: 200,
        headers: { 'cache-control': 'public, max-age=31536000, immutable' },
      })
      for (const [, below] of reply.text.matchAll(/^(?:import|} from) .*?'(\.\/[^']+)'/gm)) {
        const next = new URL(below ?? '', `http://server${path}`).pathname
        expect([next, (await visit(server, next)).status]).toEqual([next, 200])
      }
    }
  })

  it('are no others than these', async () => {
    const { text } = await visit(server, '/', { cookie })
    const root = /\/assets\/[0-9a-f]+\//.exec(text)?.[0] ?? ''
    for (const path of [`${root}tsconfig.json`, `${root}../page.ts`, `${root}%2e%2e/page.ts`, root])
      expect([path, (await visit(server, path)).status]).toEqual([path, 404])
  })
})

describe('what goes wrong', () => {
  it('is told in words to people and as a problem document to programs', async () => {
    const page = await visit(server, '/nowhere', { cookie })
    expect(page).toMatchObject({ status: 404, headers: { 'content-type': /html/ } })
    expect(page.text).toContain('or it is not yours to see')
    const problem = await visit(server, '/nowhere', { cookie, headers: { accept: '*/*' } })
    expect(JSON.parse(problem.text)).toMatchObject({ code: 'not_found', status: 404 })
    const api = await visit(server, '/v1/nowhere', { cookie })
    expect(JSON.parse(api.text)).toMatchObject({ code: 'not_found' })
  })

  it('is the same for what is not there and what is not to be seen', async () => {
    const narrow = await signIn(server, await server.createToken(['list:other/**']))
    const strip = (text: string) =>
      text.replaceAll(/<code>[0-9a-f-]{36}<\/code>/g, '').replaceAll('absent', 'mine')
    const see = async (path: string) => visit(server, path, { cookie: narrow })
    for (const path of ['/tasks/mine', '/tasks/mine/0', '/artifacts/mine/0/a.txt']) {
      const [there, absent] = [await see(path), await see(path.replace('mine', 'absent'))]
      expect([path, there.status, absent.status]).toEqual([path, 404, 404])
      expect(strip(there.text)).toBe(strip(absent.text))
    }
  })

  it('asks whoever is not signed in to sign in, wherever there is a page, and nowhere tells more', async () => {
    for (const path of PAGES) {
      const reply = await visit(server, path)
      expect([path, reply.status]).toEqual([path, 401])
      expect(reply.text).toContain(`name="next" value="${path}"`)
      expect(reply.text).not.toContain('a.txt</')
    }
  })
})
