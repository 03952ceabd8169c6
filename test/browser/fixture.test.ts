/** The fixture itself: a page at fault does not pass, whatever the test looks at. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findOverflow, findViolations } from '../support/accessibility.ts'
import { openBrowser, type TestBrowser } from '../support/browser.ts'

let browser: TestBrowser
beforeAll(async () => {
  browser = await openBrowser()
})
afterAll(() => browser[Symbol.asyncDispose]())

/** Closes a page with this markup, and returns what closing says. */
async function closeWith(markup: string, permits: RegExp[] = []): Promise<string> {
  await using site = await serve(markup)
  const tab = await browser.open({ url: site.url, permits })
  await tab.page.goto('/')
  // Awaited here, so that the site outlives the page: a browser asks for icons after all else.
  return await tab[Symbol.asyncDispose]().then(
    () => 'closed in peace',
    (error: Error) => error.message,
  )
}

async function serve(markup: string): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    if (request.url !== '/') return response.writeHead(204).end()
    return response
      .writeHead(200, {
        'content-type': 'text/html',
        'content-security-policy': "default-src 'self'; script-src 'self' 'sha256-abc'",
      })
      .end(`<!doctype html><link rel="icon" href="/icon">${markup}`)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}

describe('a page', () => {
  it('passes when nothing is wrong with it', async () => {
    expect(await closeWith('<p>quiet</p>')).toBe('closed in peace')
  })

  it('fails by a breach of its policy', async () => {
    expect(await closeWith('<script>1</script>')).toMatch(/policy: script-src/)
  })

  it('fails by a style that its policy forbids', async () => {
    expect(await closeWith('<p style="color: red">red</p>')).toMatch(/policy: style-src/)
  })

  it('fails by a request to another origin', async () => {
    const markup = '<img alt="" src="http://127.0.0.1:9/picture.png">'
    expect(await closeWith(markup)).toMatch(/foreign request|forbids/)
  })

  it('passes with a fault that the test brings about', async () => {
    expect(await closeWith('<script>1</script>', [/script-src|inline script/])).toBe(
      'closed in peace',
    )
  })
})

it('reports a request to another origin that the policy lets through', async () => {
  await using site = await serve('')
  const tab = await browser.open({ url: site.url, permits: [/net::ERR/] })
  await tab.page.goto('/')
  await tab.page.goto('http://localhost:9/').catch(() => undefined)
  expect(tab.faults).toEqual(['foreign request: http://localhost:9/'])
  await expect(tab[Symbol.asyncDispose]()).rejects.toThrow('foreign request')
})

it('finds what is wrong for those who cannot see, under any policy', async () => {
  await using site = await serve('<img src="/icon"><h1>Title</h1>')
  await using tab = await browser.open({ url: site.url })
  await tab.page.goto('/')
  const violations = await findViolations(tab.page)
  expect(violations.map((text) => text.split(':')[0])).toContain('image-alt')
})

it('finds by how much a page is too wide', async () => {
  await using site = await serve(`<pre>${'x'.repeat(1000)}</pre>`)
  await using tab = await browser.open({ url: site.url, viewport: { width: 320, height: 400 } })
  await tab.page.goto('/')
  expect(await findOverflow(tab.page)).toBeGreaterThan(1000)
})
