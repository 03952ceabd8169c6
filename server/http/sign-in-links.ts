/** Door of `POST /v1/sign-in-links`: links that sign a browser in to the inspector, once. */
import { endpoints } from '../../schemas/api.ts'
import { makeLink } from '../access/sign-in.ts'
import { unauthenticated } from '../access/tokens.ts'
import type { Clock } from '../clock.ts'
import type { Sql } from '../records/database.ts'
import { type App, mount, reply } from './mount.ts'

/** Door to a link for whoever has a token. */
export function mountSignInLinks(app: App, sql: Sql, clock: Clock): void {
  mount(app, 'makeSignInLink', endpoints.makeSignInLink, async ({ principal }) => {
    const { token, scopes } = principal
    if (token === undefined) throw unauthenticated()
    const link = await makeLink(sql, { id: token.id, scopes: [...scopes], expiresAt: null }, clock)
    const body = { path: `/sign-in/${link.secret}`, expiresAt: link.endsAt.toISOString() }
    return reply(201, body, { 'cache-control': 'no-store' })
  })
}
