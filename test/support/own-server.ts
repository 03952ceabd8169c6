/**
 * A server of its own on the embedded default, run as a process from any installation: the checkout
 * for the tour, the packed tarball for the test of the package.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'

const READY_MILLISECONDS = 60_000

/** An installation of the program, and a place that is its own. */
export interface Place extends AsyncDisposable {
  /** Everything lies here; removed with all that is in it when this is disposed. */
  folder: string
  /** Of the server. */
  dataFolder: string
  /** Path of the program: TypeScript in a checkout, JavaScript in a package. */
  program: string
  /** Without the settings of whoever runs this, and with folders of its own. */
  environment: NodeJS.ProcessEnv
}

export interface OwnServer extends AsyncDisposable {
  readonly pid: number
  /** Seconds until it was ready. */
  readySeconds: number
  /** What it wrote so far. */
  log: () => string
  /** Stops it as an operator would; resolves to its exit code. May be repeated. */
  stop: () => Promise<number | null>
}

export interface Outcome {
  /** `null` when a signal ended it. */
  exit: number | null
  stdout: string
  stderr: string
}

/** Makes an empty place in the folder for temporary files, or in another one. */
export async function makePlace(program: string, parent = tmpdir()): Promise<Place> {
  const folder = await mkdtemp(join(parent, 'artifact-'))
  // The embedded Postgres runs as another user when this runs as root, and must reach its folder.
  await chmod(folder, 0o711)
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ARTIFACT_'))
  return {
    folder,
    dataFolder: join(folder, 'data'),
    program,
    environment: {
      ...Object.fromEntries(inherited),
      XDG_CONFIG_HOME: join(folder, 'config'),
      XDG_STATE_HOME: join(folder, 'state'),
      APPDATA: join(folder, 'config'),
      LOCALAPPDATA: join(folder, 'state'),
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true, maxRetries: 3 }),
  }
}

/**
 * Starts `artifact serve` on a free port, with further flags if given; resolves when it is ready,
 * rejects with its log when it ends or takes too long.
 */
export async function startOwnServer(
  place: Place,
  signal?: AbortSignal,
  flags: readonly string[] = [],
): Promise<OwnServer> {
  const started = performance.now()
  const child = spawnProgram(
    place,
    ['serve', '--data-dir', place.dataFolder, '--port', '0', ...flags],
    'pipe',
  )
  let log = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      log += chunk.toString()
    })
  const ended = once(child, 'close')
  const stop = async () => {
    child.kill('SIGTERM')
    await ended
    return child.exitCode
  }
  const profile = join(place.folder, 'config', 'artifact', 'profile.json')
  while (!(await isReady(profile))) {
    const late = performance.now() - started > READY_MILLISECONDS
    if (late || child.exitCode !== null || signal?.aborted) {
      await stop()
      throw new Error(`Cannot start the server: it is not ready\n${log}`)
    }
    await delay(50)
  }
  return {
    pid: child.pid ?? 0,
    readySeconds: (performance.now() - started) / 1000,
    log: () => log,
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop()
    },
  }
}

/** Runs one command to its end. With `stderr` `inherit` its messages and progress show as they come. */
export async function runProgram(
  place: Place,
  args: readonly string[],
  options: { stderr?: 'inherit' | 'pipe'; signal?: AbortSignal } = {},
): Promise<Outcome> {
  const child = spawnProgram(place, args, options.stderr ?? 'pipe')
  const interrupt = () => child.kill('SIGINT')
  options.signal?.addEventListener('abort', interrupt)
  const outcome: Outcome = { exit: null, stdout: '', stderr: '' }
  child.stdout?.on('data', (chunk: Buffer) => {
    outcome.stdout += chunk.toString()
  })
  child.stderr?.on('data', (chunk: Buffer) => {
    outcome.stderr += chunk.toString()
  })
  await once(child, 'close')
  options.signal?.removeEventListener('abort', interrupt)
  return { ...outcome, exit: child.exitCode }
}

function spawnProgram(
  place: Place,
  args: readonly string[],
  stderr: 'inherit' | 'pipe',
): ChildProcess {
  return spawn(process.execPath, [place.program, ...args], {
    cwd: place.folder,
    env: place.environment,
    stdio: ['ignore', 'pipe', stderr],
  })
}

/** Whether the profile that the server writes leads to one that is ready. */
async function isReady(profile: string): Promise<boolean> {
  try {
    const { url } = z.object({ url: z.url() }).parse(JSON.parse(await readFile(profile, 'utf8')))
    return (await fetch(new URL('/readyz', url))).status === 200
  } catch {
    return false
  }
}
