/** Doors of `/v1/tokens`; an admin's only. */
import { endpoints } from '../../schemas/api.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { checkIsAdmin } from '../access/scopes.ts'
import { createToken } from '../access/tokens.ts'
import type { Clock } from '../clock.ts'
import type { Sql } from '../records/database.ts'
import { listTokens, revokeToken } from '../records/tokens.ts'
import { type App, mount, reply } from './mount.ts'

/** Doors to tokens, for admins. */
export function mountTokens(app: App, sql: Sql, clock: Clock): void {
  mount(app, 'createToken', endpoints.createToken, async ({ body, principal }) => {
    checkIsAdmin(principal)
    const created = await createToken(sql, body, clock)
    return reply(201, created, { 'cache-control': 'no-store' })
  })

  mount(app, 'listTokens', endpoints.listTokens, async ({ query, principal }) => {
    checkIsAdmin(principal)
    const items = await listTokens(sql, { after: query.after, limit: query.limit })
    const next = items.length < query.limit ? null : (items.at(-1)?.id ?? null)
    return reply(200, { items, next })
  })

  mount(app, 'revokeToken', endpoints.revokeToken, async ({ params, principal }) => {
    checkIsAdmin(principal)
    const token = await revokeToken(sql, params.id, clock())
    if (token === undefined)
      throw new ArtifactError('not_found', `Cannot find token ${params.id}: there is none`)
    return reply(200, token)
  })
}
