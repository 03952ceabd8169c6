/**
 * The real server in this process: a fresh database, a store in a temporary folder (or the one
 * given), a free port, and an admin token.
 *
 *     await using server = await startTestServer()
 *     await server.request('GET', '/v1/tasks')
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { request } from 'undici'
import { createToken } from '../../server/access/tokens.ts'
import { type Clock, systemClock } from '../../server/clock.ts'
import { buildConfig } from '../../server/config.ts'
import { startServer } from '../../server/context.ts'
import { createLogger } from '../../server/logger.ts'
import type { Sql } from '../../server/records/database.ts'
import type { RoomOptions } from '../../server/room.ts'
import type { RawSettings } from '../../server/settings.ts'
import { createTestDatabase } from './database.ts'
import { checkReply } from './reply-checker.ts'

export interface TestServerOptions {
  /** As on the command line; by default parts of 64 KiB in a folder, no profile. */
  settings?: RawSettings
  clock?: Clock
  /** Less memory for large requests, or less patience. */
  room?: Partial<RoomOptions>
  /** Instead of a fresh one; it stays when the server ends. */
  database?: { serverUrl: string; signerUrl?: string; server: Sql; admin: Sql }
  /** Has a log, and signs it: its key is in `signer/` below the data folder. */
  signed?: boolean
  /** Instead of a temporary one; it stays when the server ends. */
  dataFolder?: string
}

export interface JsonReply {
  status: number
  headers: Record<string, string | string[] | undefined>
  /** Parsed when it is JSON, else text. */
  body: unknown
}

export interface TestServer extends AsyncDisposable {
  readonly url: string
  /** An admin's. */
  readonly token: string
  /** As the runtime role. */
  readonly sql: Sql
  /** As superuser. */
  readonly admin: Sql
  readonly dataFolder: string
  readonly storeFolder: string
  /** All lines of the log so far. */
  readonly log: string[]
  /** Makes another token. */
  createToken(scopes: string[], ttlSeconds?: number): Promise<string>
  /**
   * One request; JSON in and out; as admin unless another token, or `null`, is given. Throws when
   * the reply is not one that `/openapi.json` promises.
   */
  request(
    method: string,
    path: string,
    options?: { body?: unknown; token?: string | null; headers?: Record<string, string> },
  ): Promise<JsonReply>
}

export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  await using stack = new AsyncDisposableStack()
  const database = options.database ?? stack.use(await createTestDatabase())
  const dataFolder = options.dataFolder ?? (await mkdtemp(join(tmpdir(), 'artifact-server-')))
  if (options.dataFolder === undefined)
    stack.defer(() => rm(dataFolder, { recursive: true, force: true }))
  const clock = options.clock ?? systemClock
  const log: string[] = []
  const sink = new Writable({
    write(line, _encoding, done) {
      log.push(String(line))
      done()
    },
  })
  const settings: RawSettings = {
    dataDir: dataFolder,
    port: '0',
    noProfile: 'true',
    partSizeBytes: '65536',
    shutdownSeconds: '5',
    logLevel: 'debug',
    databaseUrl: database.serverUrl,
    ...(options.signed === true && database.signerUrl !== undefined
      ? { signerUrl: database.signerUrl }
      : {}),
    ...options.settings,
  }
  const server = stack.use(
    await startServer({
      config: buildConfig(settings, { profile: dataFolder }),
      secrets: {
        databaseUrl: settings.databaseUrl,
        migrationUrl: undefined,
        signerUrl: settings.signerUrl,
        toJSON: () => '[secrets]',
      },
      log: createLogger('debug', sink),
      version: '0.0.0-test',
      clock,
      room: options.room ?? {},
    }),
  )
  const { secret } = await createToken(
    database.server,
    { name: 'test admin', scopes: ['admin'], ttlSeconds: null },
    clock,
  )
  const held = stack.move()
  return {
    url: server.url,
    token: secret,
    sql: database.server,
    admin: database.admin,
    dataFolder,
    storeFolder: join(dataFolder, 'store'),
    log,
    async createToken(scopes, ttlSeconds) {
      const request = { name: 'test', scopes, ttlSeconds: ttlSeconds ?? null }
      return (await createToken(database.server, request, clock)).secret
    },
    request: (method, path, { body, token = secret, headers = {} } = {}) =>
      send(server.url, method, path, {
        body,
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
      }),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

/** One request to any server; throws when the reply is not one that `/openapi.json` promises. */
export async function send(
  url: string,
  method: string,
  path: string,
  { body, headers }: { body: unknown; headers: Record<string, string> },
): Promise<JsonReply> {
  const reply = await request(`${url}${path}`, {
    method,
    headers,
    body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
  })
  const text = await reply.body.text()
  const contentType = String(reply.headers['content-type'] ?? '')
  const answer = {
    status: reply.statusCode,
    headers: reply.headers,
    body: contentType.includes('json') && text !== '' ? JSON.parse(text) : text,
  }
  checkReply(method, path, { ...answer, contentType })
  return answer
}
