/** Door of the filesystem store: granted requests for its bytes, `PUT` and `GET /v1/blobs/…`. */
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import { freeBehind } from '../../client/memory/spent-chunk.ts'
import type { FilesystemStore } from '../stores/filesystem.ts'
import { type App, type Environment, invalid } from './mount.ts'
import { pour } from './pour.ts'

/** The grant in the address is the permission: no token is asked for. */
export function mountBlobs(app: App, store: FilesystemStore): void {
  app.put('/v1/blobs/*', async (c) => {
    c.set('endpoint', 'putBlobPart')
    await store.receivePart({
      ...readAddress(c),
      sizeBytes: readLength(c),
      // The request of Node itself: a detour through a web stream costs a third of the speed.
      body: freeBehind(c.env.incoming),
      signal: c.req.raw.signal,
    })
    return c.body(null, 200)
  })

  app.get('/v1/blobs/*', async (c) => {
    c.set('endpoint', 'getBlob')
    const content = await store.openContent({
      ...readAddress(c),
      range: c.req.header('range'),
      ifMatch: c.req.header('if-match'),
      ifRange: c.req.header('if-range'),
      signal: c.req.raw.signal,
    })
    if (content.body === undefined)
      return new Response(null, { status: content.status, headers: content.headers })
    // To the socket of Node itself, from buffers that are used again.
    const { outgoing } = c.env
    outgoing.writeHead(content.status, { ...content.headers, 'x-request-id': c.get('requestId') })
    await pour(content.body, outgoing)
    return RESPONSE_ALREADY_SENT
  })
}

function readAddress(c: Context<Environment>): { path: string; query: URLSearchParams } {
  const url = new URL(c.req.url)
  return { path: url.pathname, query: url.searchParams }
}

function readLength(c: Context<Environment>): number | undefined {
  const text = c.req.header('content-length')
  if (text === undefined) return undefined
  if (/^[0-9]{1,15}$/.test(text)) return Number(text)
  throw invalid([
    { field: 'content-length', expected: 'a number of bytes', found: text.slice(0, 40) },
  ])
}
