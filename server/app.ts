/** The HTTP application: who asks, limits, doors, and one place where an error becomes an answer. */
import { randomUUID } from 'node:crypto'
import { type Context, Hono } from 'hono'
import { formatProblem } from '../schemas/problem-document.ts'
import { ArtifactError } from '../schemas/problems.ts'
import { NOBODY } from './access/scopes.ts'
import { readSessionCookie } from './access/session-cookie.ts'
import { findVisitor, isStillIn } from './access/sign-in.ts'
import { authenticate } from './access/tokens.ts'
import type { Delivery } from './delivery/artifacts.ts'
import type { EventFeed } from './delivery/event-feed.ts'
import { mountBatch } from './http/batch.ts'
import { mountBlobs } from './http/blobs.ts'
import { mountContents } from './http/contents.ts'
import { mountEvents } from './http/events.ts'
import { type Health, mountHealth } from './http/health.ts'
import { mountLog } from './http/log.ts'
import { type App, type Environment, findMethods } from './http/mount.ts'
import { mountSignInLinks } from './http/sign-in-links.ts'
import { mountTasks } from './http/tasks.ts'
import { mountTokens } from './http/tokens.ts'
import { mountUploads } from './http/uploads.ts'
import type { Assets } from './inspector/assets.ts'
import { mountInspector } from './inspector/inspector.ts'
import { renderProblem, wantsPage } from './inspector/problem-page.ts'
import type { Intake } from './intake/session.ts'
import type { Heads } from './log/heads.ts'

import type { Logger } from './logger.ts'
import { toDatabaseProblem } from './records/database.ts'
import type { Room } from './room.ts'
import type { Sealer } from './seal/seal.ts'
import type { FilesystemStore } from './stores/filesystem.ts'

export interface AppParts {
  intake: Intake
  sealer: Sealer
  delivery: Delivery
  feed: EventFeed
  heads: Heads
  health: Health
  log: Logger
  /** The store, when this server is its HTTP door. */
  door: FilesystemStore | undefined
  /** What the pages of the inspector load. */
  assets: Assets
  /** What large requests hold together while they come. */
  arrivals: Room
  /** What large requests and answers hold together. */
  room: Room
  /** Ends event streams when the server shuts down. */
  stop: AbortSignal
}

/** The whole HTTP face of the server: every endpoint, and every error as a problem document. */
export function createApp(parts: AppParts): App {
  const app: App = new Hono<Environment>({ strict: true })
  const { intake, log, health } = parts
  watchRequests(app, parts)
  app.onError(async (error, c) => {
    const problem = toProblem(error)
    const document = formatProblem(problem, c.get('requestId'))
    if (document.status >= 500)
      log.error(
        { err: error, requestId: c.get('requestId'), code: document.code },
        'request failed',
      )
    const page = wantsPage(c) ? await renderProblem(c, document) : undefined
    const headers = page?.headers ?? new Headers({ 'content-type': 'application/problem+json' })
    if (document.status === 405) headers.set('allow', problem.expected ?? '')
    if (document.status === 401) headers.set('www-authenticate', 'Bearer')
    // What is left of such a body is not read: nothing else can come over this connection.
    if (document.status === 413) headers.set('connection', 'close')
    if (document.status === 503 || document.status === 429)
      headers.set('retry-after', String(problem.retryAfterSeconds ?? 1))
    return page ?? new Response(JSON.stringify(document), { status: document.status, headers })
  })
  app.notFound((c) => {
    const methods = findMethods(c.req.path)
    if (methods.length === 0)
      throw new ArtifactError('not_found', 'Cannot find the address: there is nothing here')
    throw new ArtifactError('method_not_allowed', `Cannot ${c.req.method} this address`, {
      expected: methods.join(', '),
      found: c.req.method,
    })
  })
  mountHealth(app, health)
  if (parts.door !== undefined) mountBlobs(app, parts.door)
  mountUploads(app, intake, parts.sealer, parts.heads)
  mountBatch(app, intake, parts.sealer, parts.heads)
  mountContents(app, parts.delivery, parts.heads, parts.room)
  mountLog(app, parts.delivery, intake, parts.heads)
  mountTasks(app, parts.delivery)
  mountTokens(app, intake.sql, intake.clock)
  mountSignInLinks(app, intake.sql, intake.clock)
  mountEvents(app, {
    feed: parts.feed,
    stop: parts.stop,
    clock: intake.clock,
    isLive: (principal) => isStillIn(intake.sql, principal, intake.clock),
  })
  mountInspector(app, parts)
  return app
}

/** What comes so often that it would hide the rest of the log. */
const QUIET: ReadonlySet<string> = new Set([
  'healthz',
  'readyz',
  'metrics',
  'putBlobPart',
  'getBlob',
  'requestGrants',
  'reportProgress',
])

/** Names every request, finds out who sends it, and notes how it went. */
function watchRequests(app: App, { intake, log, health, assets, arrivals, room }: AppParts): void {
  app.use('*', async (c, next) => {
    const began = performance.now()
    const requestId = readRequestId(c.req.header('x-request-id'))
    c.set('requestId', requestId)
    c.set('endpoint', 'none')
    c.set('principal', NOBODY)
    c.set('visitor', undefined)
    c.set('assets', assets)
    c.set('arrivals', arrivals)
    c.set('room', room)
    await next()
    c.res.headers.set('x-request-id', requestId)
    c.res.headers.set('x-content-type-options', 'nosniff')
    const endpoint = c.get('endpoint')
    const seconds = (performance.now() - began) / 1000
    health.metrics.observeRequest(endpoint, c.req.method, c.res.status, seconds)
    log[QUIET.has(endpoint) ? 'debug' : 'info'](
      {
        requestId,
        endpoint,
        method: c.req.method,
        path: redactPath(c.req.path),
        status: c.res.status,
        ms: Math.round(seconds * 1000),
        token: c.get('principal').token?.id,
      },
      'request',
    )
  })
  app.use('*', async (c, next) => {
    if (!isOpen(c.req.path)) await findCaller(c, intake)
    await next()
  })
}

/** Sets who sends a token, or else whose session the cookie names: a token that is sent wins. */
async function findCaller(c: Context<Environment>, { sql, clock }: Intake): Promise<void> {
  const authorization = c.req.header('authorization')
  if (authorization !== undefined) {
    c.set('principal', await authenticate(sql, authorization, clock))
    return
  }
  // A session is for looking: what changes anything never sees it.
  if (c.req.method !== 'GET' && c.req.method !== 'HEAD') return
  const secret = readSessionCookie(c.req.header('cookie'))
  if (secret !== undefined) c.set('visitor', await findVisitor(sql, secret, clock))
}

/** The code of a one-time link is a secret, and no matter of the log. */
function redactPath(path: string): string {
  return path.replace(/^\/sign-in\/.+$/, '/sign-in/…')
}

/**
 * Addresses where nobody is asked who they are: a grant is its own permission, assets are the same for
 * all, and whether the server lives must not depend on a look-up in Postgres.
 */
function isOpen(path: string): boolean {
  return (
    path.startsWith('/v1/blobs/') ||
    path.startsWith('/assets/') ||
    /^\/(healthz|readyz|openapi\.json)$/.test(path)
  )
}

/** The caller's own id for a request when it is harmless, else a new one. */
function readRequestId(given: string | undefined): string {
  return given !== undefined && /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : randomUUID()
}

function toProblem(error: unknown): ArtifactError {
  const known = toDatabaseProblem(error)
  if (known instanceof ArtifactError) return known
  return new ArtifactError('internal', 'Cannot answer: the server failed', { cause: error })
}
