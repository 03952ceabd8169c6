/** Doors of the log: C2SP tlog-tiles at the root of the server, receipts beside the records. */

import { parseTilePath } from '../../client/verify/tile.ts'
import { endpoints } from '../../schemas/api.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { checkIsAdmin, isAllowedEverywhere } from '../access/scopes.ts'
import { unauthenticated } from '../access/tokens.ts'
import { type Delivery, getArtifact } from '../delivery/artifacts.ts'
import type { Intake } from '../intake/session.ts'
import type { Heads } from '../log/heads.ts'
import { listStatements, makeStatement } from '../log/statements.ts'
import { findReceipt, readTile } from '../log/tiles.ts'
import { findLogKey } from '../records/log.ts'
import { type App, mount, reply } from './mount.ts'

/** How long a request for a receipt waits for the signer. */
const RECEIPT_PATIENCE_MS = 5000

/** Doors of the log: head, tiles, entries, receipts, statements. */
export function mountLog(app: App, delivery: Delivery, intake: Intake, heads: Heads): void {
  const { sql } = delivery

  app.get('/checkpoint', (c) => {
    c.set('endpoint', 'checkpoint')
    const head = heads.newest()
    if (head === undefined) throw noLog()
    return c.body(head.note, 200, {
      'content-type': 'text/plain; charset=utf-8',
      'cache-control': 'public, max-age=1',
    })
  })

  app.get('/tile/*', async (c) => {
    c.set('endpoint', 'tile')
    const tile = parseTilePath(c.req.path.slice(1))
    // Entries name every artifact; hashes tell nothing.
    if (tile?.level === 'entries') {
      const principal = c.get('principal')
      if (principal.token === undefined) throw unauthenticated()
      if (!isAllowedEverywhere(principal, 'list'))
        throw new ArtifactError('forbidden', 'Cannot read entries: no scope covers all of them', {
          expected: 'list:*/** or admin',
        })
    }
    const head = heads.newest()
    const bytes = tile && head && (await readTile(sql, head, tile))
    if (bytes === undefined)
      throw new ArtifactError('not_found', 'Cannot find the tile: the signed log does not have it')
    return c.body(new Uint8Array(bytes), 200, {
      'content-type': 'application/octet-stream',
      'cache-control':
        tile?.level === 'entries' ? 'no-store' : 'public, max-age=31536000, immutable',
    })
  })

  mount(app, 'getStatements', endpoints.getStatements, async ({ params, principal }) => {
    const { artifact } = await getArtifact(delivery, principal, ['get', 'list', 'upload'], params)
    return reply(200, { items: await listStatements(sql, artifact) })
  })

  mount(app, 'makeStatement', endpoints.makeStatement, async ({ params, body, principal }) => {
    checkIsAdmin(principal)
    const stored = await getArtifact(delivery, principal, ['get'], params)
    return reply(201, await makeStatement(intake, stored, body, principal.token?.id ?? 'server'))
  })

  mount(app, 'getLog', endpoints.getLog, async () => {
    const key = await findLogKey(sql)
    if (key === undefined) throw noLog()
    return reply(200, { origin: key.origin, key: key.vkey, size: heads.newest()?.size ?? 0 })
  })

  mount(
    app,
    'getReceipt',
    endpoints.getReceipt,
    async ({ params, principal }) => {
      const { artifact } = await getArtifact(delivery, principal, ['get', 'list', 'upload'], params)
      const receipt = await findReceipt(sql, heads, artifact, RECEIPT_PATIENCE_MS)
      if (receipt === undefined) throw noLog()
      const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' }
      return { raw: new Response(receipt, { headers }) }
    },
    { anonymous: delivery.settings.publicRead },
  )
}

function noLog(): ArtifactError {
  return new ArtifactError('log_absent', 'Cannot show the log: no signer has signed anything yet')
}
