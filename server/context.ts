/**
 * Everything that a running server holds, opened in order and let go in reverse: folder, Postgres,
 * store, feed, sealer, socket, sweep.
 */
import { randomUUID } from 'node:crypto'
import { readProfile, writeProfile } from '../client/profile.ts'
import { LINK_SECONDS, makeLink, readingScopes, SESSION_SECONDS_MAX } from './access/sign-in.ts'
import { createToken, ensureAdminToken, findToken, isLiveSecret } from './access/tokens.ts'
import { createApp } from './app.ts'
import { type ReverifyParts, type ReverifyStep, startReverifying } from './care/reverify.ts'
import { scrubNext } from './care/scrub.ts'
import { sweep } from './care/sweep.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Config, readSecretFile, type Secrets } from './config.ts'
import type { Delivery } from './delivery/artifacts.ts'
import { openEventFeed } from './delivery/event-feed.ts'
import { openHoldings } from './holdings.ts'
import { readAssets } from './inspector/assets.ts'
import type { Intake } from './intake/session.ts'
import { type Listener, listen } from './listener.ts'
import { openHeads } from './log/heads.ts'
import { createSequencer, type Sequencer } from './log/sequencer.ts'
import type { Logger } from './logger.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { createOpenApi } from './openapi.ts'
import { checkDatabase, type Sql } from './records/database.ts'
import { openOutbox } from './records/outbox.ts'
import { countAllActiveUploads } from './records/uploads.ts'
import { createRooms, type RoomOptions } from './room.ts'
import { createSealer, type Sealer } from './seal/seal.ts'
import type { AnyStore } from './stores/open-store.ts'

export interface ServerOptions {
  config: Config
  secrets: Secrets
  log: Logger
  version: string
  clock?: Clock
  /** Of the memory that large requests share, what shall differ from the usual. */
  room?: Partial<RoomOptions>
}

export interface RunningServer extends AsyncDisposable {
  readonly url: string
  /** Path of the profile that was written, if any. */
  readonly profile: string | undefined
  /** A link that signs a browser in to the inspector, once; only with a Postgres of its own. */
  readonly inspector: string | undefined
  /** Rejects when what the server stands on is gone. Never resolves. */
  readonly failed: Promise<never>
}

/** How long a seal request waits for the outcome before it answers "verifying". */
const SEAL_PATIENCE_MS = 2000

/**
 * Starts a server. It is ready when this returns; disposing of it ends it in good order. Throws
 * `locked`, `configuration`, `privileges`, `store_unfit`, `store_unavailable` or
 * `database_unavailable`, and has let go of everything then.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { config, log } = options
  const clock = options.clock ?? systemClock
  await using stack = new AsyncDisposableStack()
  const failure = Promise.withResolvers<never>()
  // Nobody may be listening yet when it fails.
  failure.promise.catch(() => undefined)

  const holdings = { ...options, clock, onFailure: failure.reject }
  const { sql, store } = stack.use(await openHoldings(holdings))
  const intake = openIntake(stack, options, { sql, store, clock })
  const metrics = createMetrics(() => countAllActiveUploads(sql))

  const stop = new AbortController()
  const feed = stack.use(
    await openEventFeed(sql, {
      watchersMax: config.events.watchersMax,
      onFault: (error) => log.error({ err: error }, 'event feed failed'),
    }),
  )
  const heads = stack.use(
    await openHeads(sql, (error) => log.error({ err: error }, 'signed heads cannot be read')),
  )
  const sequencer = createSequencer(intake.outbox, clock)
  const sealer = stack.use(openSealer(intake, sequencer, config, log, metrics))
  const app = createApp({
    ...{ intake, sealer, feed, heads, log },
    assets: await readAssets(),
    delivery: createDelivery(config, sql, store),
    health: {
      metrics,
      openApi: createOpenApi(options.version),
      checkReady: (signal) => checkReady(sql, store, signal),
    },
    ...createRooms(config.requestMemoryBytes, options.room),
    door: store.kind === 'filesystem' ? store : undefined,
    stop: stop.signal,
  })
  if (config.access.adminTokenFile !== undefined) {
    const secret = await readSecretFile(config.access.adminTokenFile)
    await ensureAdminToken(sql, secret, 'admin token file')
  }
  const listener = stack.use(
    await listen(app, { ...config.listen, graceSeconds: config.shutdownSeconds }),
  )
  // Event streams never end by themselves: they go before the listener waits for its requests.
  stack.defer(() => stop.abort())
  const profile = await keepProfile(config, sql, listener, clock)
  const inspector =
    config.database.kind === 'embedded'
      ? await makeInspectorLink(sql, listener, profile?.token, clock)
      : undefined
  stack.use(startSweeping(intake, sealer, config, log))
  stack.use(startLooking(intake, config, log, metrics))
  log.info(
    { url: listener.url, store: config.store.address, database: config.database.kind },
    'ready',
  )

  const held = stack.move()
  return {
    url: listener.url,
    profile: profile?.path,
    inspector,
    failed: failure.promise,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

async function checkReady(sql: Sql, store: AnyStore, signal: AbortSignal): Promise<void> {
  await checkDatabase(sql)
  await store.check(signal)
}

function createDelivery({ access, grants }: Config, sql: Sql, store: AnyStore): Delivery {
  const settings = { publicRead: access.publicRead, grantTtlSeconds: grants.ttlSeconds }
  return { sql, store, settings }
}

function openIntake(
  stack: AsyncDisposableStack,
  { config: { uploads, grants }, log }: ServerOptions,
  parts: Pick<Intake, 'sql' | 'store' | 'clock'>,
): Intake {
  const onFault = (error: unknown) => log.error({ err: error }, 'events cannot be announced')
  return {
    ...parts,
    outbox: stack.use(openOutbox(parts.sql, onFault)),
    settings: {
      partSizeBytes: uploads.partSizeBytes,
      sizeBytesMax: uploads.sizeBytesMax,
      uploadTtlSeconds: uploads.ttlSeconds,
      grantTtlSeconds: grants.ttlSeconds,
      openUploadsMax: uploads.openMax,
      policy: uploads.policy,
    },
  }
}

function openSealer(
  intake: Intake,
  sequencer: Sequencer,
  config: Config,
  log: Logger,
  metrics: Metrics,
): Sealer {
  return createSealer(intake, sequencer, {
    concurrency: config.uploads.rereadConcurrency,
    patienceMs: SEAL_PATIENCE_MS,
    onOutcome(outcome, { id, task, run, name, claim }) {
      metrics.countSeal(outcome, claim?.sizeBytes ?? 0n)
      log.info({ upload: id, reference: `${task}/${run}/${name}`, outcome }, 'seal ended')
    },
    onSetback(upload, error) {
      metrics.countSetback()
      log.warn({ upload: upload.id, err: error }, 'seal set back')
    },
    onMisread(upload, { expected, found }) {
      metrics.countMisread()
      log.warn({ upload: upload.id, expected, found }, MISREAD)
    },
  })
}

/** Writes the local profile, with the token that is in it as long as that one is good here. */
async function keepProfile(
  config: Config,
  sql: Sql,
  { url }: Listener,
  clock: Clock,
): Promise<{ path: string; token: string } | undefined> {
  const folder = config.profileFolder
  if (folder === undefined) return undefined
  const known = readProfile(folder)
  const isGood = known !== undefined && (await isLiveSecret(sql, known.token, clock))
  const request = { name: 'local profile', scopes: ['admin'], ttlSeconds: null }
  const token = isGood ? known.token : (await createToken(sql, request, clock)).secret
  return { path: await writeProfile(folder, { url, token }), token }
}

/** For the token of the profile; without one for a token that is made for it and can only read. */
async function makeInspectorLink(
  sql: Sql,
  { url }: Listener,
  secret: string | undefined,
  clock: Clock,
): Promise<string | undefined> {
  const known = secret === undefined ? undefined : await findToken(sql, secret, clock)
  const request = {
    name: 'inspector link',
    scopes: ['get:*/**', 'list:*/**'],
    ttlSeconds: LINK_SECONDS + SESSION_SECONDS_MAX,
  }
  const token = known ?? (await createToken(sql, request, clock)).token
  // A profile may hold a token that somebody made narrow: the server runs without a link then.
  if (readingScopes(token.scopes).length === 0) return undefined
  return `${url}/sign-in/${(await makeLink(sql, token, clock)).secret}`
}

/** Sweeps now and then until disposed of; a round under way ends first. */
function startSweeping(
  intake: Intake,
  sealer: Sealer,
  config: Config,
  log: Logger,
): AsyncDisposable {
  const scrub = async (): Promise<void> => {
    for (const fault of await scrubNext(intake.sql, intake.clock))
      log.error({ fault }, 'THE LOG WAS ALTERED')
  }
  const settings = { eventTtlSeconds: config.events.ttlSeconds, endedTtlSeconds: ENDED_TTL_SECONDS }
  let round: Promise<void> = Promise.resolve()
  const start = (): void => {
    round = round
      .then(() =>
        sweep(intake, sealer, settings, (step, subject, error) =>
          log.warn({ step, subject, err: error }, 'sweep met a fault'),
        ),
      )
      .then(scrub)
      .catch((error: unknown) => log.error({ err: error }, 'sweep failed'))
  }
  start()
  const timer = setInterval(start, config.sweepSeconds * 1000)
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await round
    },
  }
}

/** Reads stored bytes again, and says aloud what it finds. */
function startLooking(
  { sql, store, clock }: Intake,
  config: Config,
  log: Logger,
  metrics: Metrics,
): AsyncDisposable {
  const server = randomUUID()
  const tell = (step: ReverifyStep): void => {
    if (step.kind === 'idle' || step.kind === 'busy') return
    const { task, run, name } = step.turn
    const subject = { reference: `${task}/${run}/${name}`, server }
    if (step.kind === 'setback')
      log.warn({ ...subject, err: step.cause }, 'stored bytes cannot be read now')
    if (step.kind !== 'seen') return
    const { outcome, code, expected, found, bytes, seconds } = step.seen
    metrics.countVerification(outcome, bytes)
    if (outcome === 'agreed')
      log.info({ ...subject, bytes: bytes.toString(), seconds }, 'stored bytes still agree')
    else log.error({ ...subject, code, expected, found }, 'STORED BYTES DO NOT AGREE')
  }
  const onMisread: ReverifyParts['onMisread'] = ({ task, run, name }, { expected, found }) => {
    metrics.countMisread()
    log.warn({ reference: `${task}/${run}/${name}`, server, expected, found }, MISREAD)
  }
  return startReverifying(
    { sql, store, clock, server, onMisread },
    { ...config.reverify, idleSeconds: config.sweepSeconds },
    tell,
    (error) => log.error({ err: error }, 'looking at stored bytes failed'),
  )
}

const MISREAD = 'stored bytes differed, and agreed when they were read once more'

/** Ended uploads stay this long for those who ask what became of them. */
const ENDED_TTL_SECONDS = 30 * 86_400
