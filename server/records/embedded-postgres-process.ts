/** One Postgres process: starting, stopping, and finding one that a killed server left behind. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, realpath, rename, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { platform } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Account } from './embedded-postgres-account.ts'
import type { Binaries } from './embedded-postgres-binaries.ts'

export interface PostgresPlace {
  binaries: Binaries
  account: Account | undefined
  /** PGDATA. */
  dataFolder: string
  logFile: string
}

export interface RunningPostgres {
  readonly port: number
  readonly pid: number
  /** Settles when the process has ended, whoever ended it. */
  readonly ended: Promise<void>
  /** Ends connections and the process in good order; may be repeated. */
  stop(): Promise<void>
}

/** `postmaster.pid`, of which these lines matter here. */
interface PostmasterFile {
  pid: number
  status: string
}

const START_LIMIT_MS = 120_000
const STOP_LIMIT_MS = 30_000
const POLL_MS = 20
const PORT_TRIES = 5
const run = promisify(execFile)

/**
 * For a small machine, and durable: fsync, full_page_writes and synchronous_commit stay on. Statements
 * that fail are answered, not logged: they would carry what users sent.
 */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '64MB',
  max_wal_size: '256MB',
  max_parallel_workers_per_gather: '0',
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_checkpoints: 'off',
  cluster_name: 'artifact',
}

/** The environment of every program of Postgres: nothing of ours. Windows needs what it has. */
export const bareEnvironment =
  platform() === 'win32' ? {} : { env: { LC_ALL: 'C', PATH: '/usr/local/bin:/usr/bin:/bin' } }

/**
 * Starts Postgres on a free port of 127.0.0.1 and waits until it takes connections.
 * Throws `configuration` with the end of its log when it does not start.
 */
export async function startPostgres(
  place: PostgresPlace,
  signal?: AbortSignal,
): Promise<RunningPostgres> {
  for (let attempt = 1; ; attempt++) {
    const port = await findFreePort()
    const started = await spawnPostgres(place, port, signal)
    if (started !== undefined) return started
    const lines = await readLogEnd(place.logFile)
    // Somebody else can take the port before Postgres does.
    if (attempt < PORT_TRIES && /could not bind|Address already in use/.test(lines)) continue
    throw new ArtifactError(
      'configuration',
      `Cannot start the embedded database: Postgres ended at once; ${place.logFile} says:\n${lines}`,
    )
  }
}

/**
 * A server that was killed leaves its Postgres running: ends it. The caller holds the lock of the
 * folder, so nobody is using it. Returns its process id, or `undefined` when there was none.
 */
export async function stopOrphan(place: PostgresPlace): Promise<number | undefined> {
  const file = await readPostmasterFile(place.dataFolder)
  if (file === undefined || !isAlive(file.pid)) return undefined
  if (!(await isPostgresOf(file.pid, place.dataFolder))) {
    // The id has gone to another program, which Postgres would take for itself.
    await rm(join(place.dataFolder, 'postmaster.pid'), { force: true })
    return undefined
  }
  await endProcess(place, file.pid, () => isAlive(file.pid))
  return file.pid
}

async function spawnPostgres(
  place: PostgresPlace,
  port: number,
  signal: AbortSignal | undefined,
): Promise<RunningPostgres | undefined> {
  const settings = Object.entries({ ...SETTINGS, port: String(port) })
  await rename(place.logFile, `${place.logFile}.1`).catch(() => {})
  await using log = await open(place.logFile, 'a', 0o600)
  const child = spawn(
    place.binaries.postgres,
    ['-D', place.dataFolder, ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    {
      ...place.account,
      ...bareEnvironment,
      cwd: place.dataFolder,
      stdio: ['ignore', log.fd, log.fd],
      // Ctrl-C in the terminal is for us: Postgres is needed until the last request has ended.
      detached: platform() !== 'win32',
      windowsHide: true,
    },
  )
  await once(child, 'spawn')
  const running = watch(child, place, port)
  try {
    const isReady = await waitUntilReady(child, place.dataFolder, signal)
    return isReady ? running : undefined
  } catch (error) {
    await running.stop()
    throw error
  }
}

function watch(child: ChildProcess, place: PostgresPlace, port: number): RunningPostgres {
  const { pid } = child
  if (pid === undefined) throw new Error('Cannot watch Postgres: it has no process id')
  // An exit without a chance to wait, such as an uncaught exception: it ends by itself, fast and clean.
  const onExit = () => child.kill('SIGINT')
  process.once('exit', onExit)
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      process.off('exit', onExit)
      resolve()
    })
  })
  child.unref()
  let stopping: Promise<void> | undefined
  const stop = async () => {
    child.ref()
    if (isRunning(child)) await endProcess(place, pid, () => isRunning(child))
    await ended
  }
  return { port, pid, ended, stop: () => (stopping ??= stop()) }
}

/** `false` when the process ended instead. */
async function waitUntilReady(
  child: ChildProcess,
  dataFolder: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const limit = AbortSignal.timeout(START_LIMIT_MS)
  const either = signal === undefined ? limit : AbortSignal.any([limit, signal])
  while (isRunning(child)) {
    const file = await readPostmasterFile(dataFolder)
    if (file?.pid === child.pid && file?.status === 'ready') return true
    await delay(POLL_MS, undefined, { signal: either })
  }
  return false
}

const isRunning = (child: ChildProcess) => child.exitCode === null && child.signalCode === null

/** Fast shutdown; when that takes too long immediate shutdown; at last the kernel. */
async function endProcess(place: PostgresPlace, pid: number, lives: () => boolean): Promise<void> {
  // On Windows a signal would kill: there pg_ctl knows how to ask.
  if (platform() === 'win32')
    await run(place.binaries.pgCtl, ['stop', '-D', place.dataFolder, '-m', 'fast', '-W'])
  const steps =
    platform() === 'win32' ? (['SIGKILL'] as const) : (['SIGINT', 'SIGQUIT', 'SIGKILL'] as const)
  if (platform() === 'win32') await waitWhile(lives, STOP_LIMIT_MS)
  for (const step of steps) {
    if (!lives()) return
    process.kill(pid, step)
    await waitWhile(lives, STOP_LIMIT_MS)
  }
}

async function waitWhile(lives: () => boolean, limitMs: number): Promise<void> {
  for (let waited = 0; lives() && waited < limitMs; waited += POLL_MS) await delay(POLL_MS)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** Process ids are used again: is this one the Postgres of our folder? */
async function isPostgresOf(pid: number, dataFolder: string): Promise<boolean> {
  if (platform() === 'win32') return true
  try {
    // Anyone may read the words of a command. Its working folder needs CAP_SYS_PTRACE, which root in
    // a container lacks, and a wrong "no" would cost the file that guards the data.
    if (platform() === 'linux') {
      const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0')
      const given = words[words.indexOf('-D') + 1]
      return given !== undefined && (await realpath(given)) === (await realpath(dataFolder))
    }
    const { stdout } = await run('ps', ['-o', 'command=', '-p', String(pid)])
    return stdout.includes(dataFolder)
  } catch {
    return false
  }
}

async function readPostmasterFile(dataFolder: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(join(dataFolder, 'postmaster.pid'), 'utf8').catch(() => '')
  const lines = text.split('\n')
  const pid = Number.parseInt(lines[0] ?? '', 10)
  return pid > 0 ? { pid, status: lines[7]?.trim() ?? '' } : undefined
}

async function readLogEnd(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.trimEnd().split('\n').slice(-10).join('\n')
}

async function findFreePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('Cannot find a free port')
  return address.port
}
