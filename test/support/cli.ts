/**
 * The real command line as a child process, in folders of its own, so that nothing of whoever runs
 * the tests is read or written.
 *
 *     await using cli = await openCli(server)
 *     const { exit, stdout, stderr } = await cli.run(['ls', '--json'])
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PROGRAM = join(import.meta.dirname, '..', '..', 'server', 'main.ts')

export interface CliOutcome {
  /** As a shell shows it: 128 and the number of the signal that ended it, or its exit code. */
  exit: number
  stdout: string
  stderr: string
}

export interface CliOptions {
  /** Beyond, or instead of, what the folder gives; `undefined` takes a variable away. */
  env?: Record<string, string | undefined>
  /** What comes on stdin; without it stdin is empty. */
  input?: string | Uint8Array
  /** Working folder [that of the cli]. */
  cwd?: string
}

/** A command that runs. Disposing of it kills it. */
export interface RunningCli extends AsyncDisposable {
  readonly child: ChildProcess
  /** Resolves once stderr (or stdout) holds the pattern; rejects when the command ends without it. */
  sees(stream: 'stdout' | 'stderr', pattern: RegExp): Promise<string>
  kill(signal: NodeJS.Signals): void
  readonly outcome: Promise<CliOutcome>
}

export interface Cli extends AsyncDisposable {
  /** Empty at first; the working folder of every command. */
  readonly folder: string
  /** Environment of every command. */
  readonly environment: Record<string, string | undefined>
  run(args: readonly string[], options?: CliOptions): Promise<CliOutcome>
  start(args: readonly string[], options?: CliOptions): RunningCli
}

/** Makes the folders; with a server, its address and token are in the environment. */
export async function openCli(server?: { url: string; token: string }): Promise<Cli> {
  const root = await mkdtemp(join(tmpdir(), 'artifact-cli-'))
  const folder = await mkdtemp(join(root, 'work-'))
  const tokenFile = join(root, 'token')
  if (server !== undefined) await writeFile(tokenFile, `${server.token}\n`, { mode: 0o600 })
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(ARTIFACT_|NO_COLOR$|FORCE_COLOR$|COLUMNS$|https?_proxy$)/i.test(name),
  )
  const environment = {
    ...Object.fromEntries(inherited),
    XDG_CONFIG_HOME: join(root, 'config'),
    XDG_STATE_HOME: join(root, 'state'),
    ...(server === undefined ? {} : { ARTIFACT_URL: server.url, ARTIFACT_TOKEN_FILE: tokenFile }),
  }
  const start = (args: readonly string[], options: CliOptions = {}) =>
    startCli(args, {
      cwd: folder,
      ...options,
      env: { ...environment, ...options.env },
    })
  return {
    folder,
    environment,
    start,
    run: (args, options) => start(args, options).outcome,
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 3 }),
  }
}

function startCli(
  args: readonly string[],
  { env, cwd, input }: CliOptions & { env: Record<string, string | undefined> },
): RunningCli {
  const child = spawn(process.execPath, [PROGRAM, ...args], { cwd, env, stdio: 'pipe' })
  const seen = { stdout: '', stderr: '' }
  const arrivals = new EventTarget()
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      seen[name] += text
      arrivals.dispatchEvent(new Event('data'))
    })
  // A command that does not read its stdin closes it while it is written.
  child.stdin.on('error', () => {})
  child.stdin.end(input ?? '')
  const ended = once(child, 'close')
  const outcome = ended.then(() => ({ exit: exitOf(child), ...seen }))
  return {
    child,
    outcome,
    kill: (signal) => void child.kill(signal),
    async sees(stream, pattern) {
      for (;;) {
        if (pattern.test(seen[stream])) return seen[stream]
        const arrival = new Promise<'data'>((resolve) =>
          arrivals.addEventListener('data', () => resolve('data'), { once: true }),
        )
        const first = await Promise.race([arrival, ended.then(() => 'end' as const)])
        if (first === 'end' && !pattern.test(seen[stream]))
          throw new Error(`${stream} never had ${pattern}:\n${seen.stdout}\n${seen.stderr}`)
      }
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await ended
    },
  }
}

const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = {
  SIGINT: 2,
  SIGKILL: 9,
  SIGTERM: 15,
}

function exitOf({ exitCode, signalCode }: ChildProcess): number {
  if (exitCode !== null) return exitCode
  return 128 + (signalCode === null ? 0 : (SIGNAL_NUMBERS[signalCode] ?? 0))
}
