/**
 * `artifact serve` as a child process that can be killed and started again on the same port:
 *
 *     await using site = await openSite()
 *     await using server = await site.serve()
 *     server.kill('SIGKILL')
 *
 * A site is what outlives the process: folder, port, admin token.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'

const PROGRAM = join(import.meta.dirname, '..', '..', 'server', 'main.ts')

export interface SiteOptions {
  /** Settings of `artifact serve` by their flag without dashes, beyond or instead of those of the site. */
  settings?: Record<string, string>
  /** Further variables. */
  env?: Record<string, string>
}

export interface Site extends AsyncDisposable {
  readonly folder: string
  readonly dataFolder: string
  readonly url: string
  readonly port: number
  /** An admin's. */
  readonly token: string
  /** Starts the server and waits until it is ready; rejects with what it wrote when it ends before. */
  serve(options?: SiteOptions): Promise<ServeProcess>
  /** Starts it without waiting for anything. */
  spawn(options?: SiteOptions): ServeProcess
}

export interface ServeProcess extends AsyncDisposable {
  readonly child: ChildProcess
  /** All it wrote so far. */
  output(): string
  /** Finished requests of an endpoint, from the log. */
  requests(endpoint: string): Request[]
  /** Resolves when a line of the output matches; rejects when the process ends before. */
  says(pattern: RegExp): Promise<void>
  /** Sends the signal; resolves to the exit code once it has ended, `null` when the signal ended it. */
  kill(signal: NodeJS.Signals): Promise<number | null>
}

const Request = z.object({
  msg: z.literal('request'),
  endpoint: z.string(),
  method: z.string(),
  path: z.string(),
  status: z.number(),
})
export type Request = z.infer<typeof Request>

/** Makes the folder and chooses the port. Disposing of it ends a Postgres that a killed server left. */
export async function openSite(given: SiteOptions = {}): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), 'artifact-site-'))
  // The embedded Postgres runs as another user when this runs as root, and must reach its folder.
  await chmod(folder, 0o711)
  const dataFolder = join(folder, 'data')
  const port = await findFreePort()
  const token = `artifact_${randomBytes(32).toString('base64url')}`
  const tokenFile = join(folder, 'admin-token')
  await writeFile(tokenFile, `${token}\n`, { mode: 0o600 })
  const start = (options: SiteOptions = {}) => {
    const settings = {
      'data-dir': dataFolder,
      port: String(port),
      'admin-token-file': tokenFile,
      'log-level': 'debug',
      ...given.settings,
      ...options.settings,
    }
    const flags = Object.entries(settings).flatMap(([flag, value]) => [`--${flag}`, value])
    return startProcess(['serve', '--no-profile', ...flags], folder, {
      ...given.env,
      ...options.env,
    })
  }
  return {
    folder,
    dataFolder,
    port,
    token,
    url: `http://127.0.0.1:${port}`,
    spawn: start,
    async serve(options) {
      const server = start(options)
      await server.says(/^artifact \S+ serves /m)
      return server
    },
    async [Symbol.asyncDispose]() {
      await endOrphan(join(dataFolder, 'postgres', 'data'))
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

function startProcess(
  args: readonly string[],
  folder: string,
  env: Record<string, string>,
): ServeProcess {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(ARTIFACT|AWS)_/.test(name))
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: folder,
    env: { ...Object.fromEntries(inherited), XDG_CONFIG_HOME: join(folder, 'config'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  const arrivals = new EventTarget()
  for (const stream of [child.stdout, child.stderr])
    createInterface(stream).on('line', (line) => {
      lines.push(line)
      arrivals.dispatchEvent(new Event('line'))
    })
  const ended = once(child, 'close')
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  const kill = async (signal: NodeJS.Signals) => {
    if (!hasEnded()) child.kill(signal)
    await ended
    return child.exitCode
  }
  return {
    child,
    kill,
    output: () => lines.join('\n'),
    requests: (endpoint) =>
      lines.flatMap(parseRequest).filter((each) => each.endpoint === endpoint),
    async says(pattern) {
      while (!lines.some((line) => pattern.test(line))) {
        const arrival = new Promise<'line'>((resolve) =>
          arrivals.addEventListener('line', () => resolve('line'), { once: true }),
        )
        const first = await Promise.race([arrival, ended.then(() => 'end' as const)])
        if (first === 'end' && !lines.some((line) => pattern.test(line)))
          throw new Error(`artifact serve never said ${pattern}:\n${lines.join('\n')}`)
      }
    },
    async [Symbol.asyncDispose]() {
      await kill('SIGTERM')
    },
  }
}

function parseRequest(line: string): Request[] {
  if (!line.startsWith('{')) return []
  const { success, data } = Request.safeParse(JSON.parse(line))
  return success ? [data] : []
}

/** A port that is free now, and most likely a moment later too. */
async function findFreePort(): Promise<number> {
  await using server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('Cannot find a free port')
  return address.port
}

/** Its first line is the process id (PostgreSQL documentation, "Database File Layout"). */
async function endOrphan(pgdata: string): Promise<void> {
  const text = await readFile(join(pgdata, 'postmaster.pid'), 'utf8').catch(() => '')
  const pid = Number.parseInt(text, 10)
  if (!(pid > 1)) return
  try {
    process.kill(pid, 'SIGQUIT')
    // Its own last act is to remove the file; a test that failed need not wait for more.
    for (let waits = 0; waits < 100; waits++) {
      process.kill(pid, 0)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  } catch {
    // It is gone.
  }
}
