/** The inspector: pages that show uploads as they happen and what is sealed. They change nothing. */
import type { App } from '../http/mount.ts'
import { acceptsGzip, type InspectorParts, type PageContext } from './page.ts'
import { mountRecordPages } from './records.ts'
import { mountSignIn } from './sign-in-page.ts'
import { mountUploadsPage } from './uploads-page.ts'

/** Mounts all pages and what they load. */
export function mountInspector(app: App, parts: InspectorParts): void {
  app.get('/assets/*', async (c) => {
    c.set('endpoint', 'asset')
    return sendAsset(c) ?? c.notFound()
  })
  mountSignIn(app, parts)
  mountUploadsPage(app, parts)
  mountRecordPages(app, parts)
}

function sendAsset(c: PageContext): Response | undefined {
  const asset = c.get('assets').find(c.req.path)
  if (asset === undefined) return undefined
  const headers = new Headers({
    'content-type': asset.contentType,
    'cache-control': 'public, max-age=31536000, immutable',
    'cross-origin-resource-policy': 'same-origin',
    // A worker brings its own policy: the one that hashes compiles WebAssembly, which no page may.
    'content-security-policy': "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'",
    vary: 'accept-encoding',
  })
  if (!acceptsGzip(c)) return new Response(asset.bytes, { headers })
  headers.set('content-encoding', 'gzip')
  return new Response(asset.gzipped, { headers })
}
