/** A process context whose streams are memory, for commands that run inside a test. */
import { PassThrough, Readable, Writable } from 'node:stream'
import { formatInterruption } from '../../client/exits.ts'
import type { ProcessContext } from '../../client/process-context.ts'
import { readEnvironment } from '../../client/settings.ts'

export interface MemoryProcess {
  readonly context: ProcessContext
  readonly stdout: string
  readonly stderr: string
  /** As Ctrl-C, or as a request to end. */
  interrupt(name: 'SIGINT' | 'SIGTERM'): void
  /** Moves the clock on. */
  pass(milliseconds: number): void
}

export interface MemoryOptions {
  variables?: Record<string, string>
  isTerminal?: boolean
  columns?: number
  input?: string
}

/** Everything is empty, nothing is a terminal, unless told otherwise. */
export function openMemoryProcess(options: MemoryOptions = {}): MemoryProcess {
  const { variables = {}, isTerminal = false, columns = 80, input = '' } = options
  const controller = new AbortController()
  const written = { stdout: '', stderr: '' }
  let now = Date.UTC(2026, 10, 21, 12, 0, 0)
  const output = (name: 'stdout' | 'stderr') => ({
    stream: Object.assign(
      new Writable({
        write(chunk, _encoding, done) {
          written[name] += String(chunk)
          done()
        },
      }),
      { isTTY: isTerminal, columns },
    ),
    isTerminal,
    columns,
  })
  return {
    context: {
      openStdin: () =>
        input === '' ? new PassThrough().end() : Readable.from([Buffer.from(input)]),
      stdout: output('stdout'),
      stderr: output('stderr'),
      environment: readEnvironment(
        { XDG_CONFIG_HOME: '/nowhere', ...variables },
        'linux',
        '/nobody',
      ),
      signal: controller.signal,
      clock: () => new Date(now),
      version: '1.2.3',
    },
    get stdout() {
      return written.stdout
    },
    get stderr() {
      return written.stderr
    },
    interrupt: (name) => controller.abort(formatInterruption(name)),
    pass(milliseconds) {
      now += milliseconds
    },
  }
}
