/**
 * The one place where the client touches its process: streams, signals and the clock.
 *
 * The first SIGINT or SIGTERM aborts the signal of the context; the command says so, cleans up and
 * ends. Then the system's own behaviour is back, so a second one ends the process at once.
 */
import type { Readable, Writable } from 'node:stream'
import { formatInterruption } from './exits.ts'
import { type ClientEnvironment, readEnvironment } from './settings.ts'
import type { Output } from './terminal.ts'

/** What a process lends to a command. Nothing else of the process is touched. */
export interface ProcessContext {
  /** Opens stdin; a command that reads none leaves it alone. */
  openStdin: () => Readable & { isTTY?: boolean | undefined }
  stdout: Output
  stderr: Output
  environment: ClientEnvironment
  /** Aborted by Ctrl-C or a request to end; its reason is an `ArtifactError` `interrupted`. */
  signal: AbortSignal
  clock: () => Date
  /** Version of this program. */
  version: string
}

/** Width that is assumed where nobody says. */
const COLUMNS_DEFAULT = 80

/** The context of this process; dispose of it to stop listening for signals. */
export function openProcessContext(version: string): ProcessContext & Disposable {
  const controller = new AbortController()
  const listeners = (['SIGINT', 'SIGTERM'] as const).map((name) => {
    const listener = () => {
      stop()
      controller.abort(formatInterruption(name))
    }
    return { name, listener }
  })
  const stop = () => {
    for (const { name, listener } of listeners) process.off(name, listener)
  }
  for (const { name, listener } of listeners) process.on(name, listener)
  return {
    openStdin: () => process.stdin,
    stdout: describeOutput(() => process.stdout),
    stderr: describeOutput(() => process.stderr),
    environment: readEnvironment(),
    signal: controller.signal,
    clock: () => new Date(),
    version,
    [Symbol.dispose]: stop,
  }
}

/** An output of the process, opened when it is first asked about: most commands need only one of the two. */
function describeOutput(find: () => Writable & { isTTY?: boolean; columns?: number }): Output {
  let opened: ReturnType<typeof find> | undefined
  const open = () => {
    // A closed pipe shows where something is written; as an unhandled event it would end the process.
    opened ??= find().on('error', () => {})
    return opened
  }
  return {
    get stream() {
      return open()
    },
    get isTerminal() {
      return open().isTTY === true
    },
    get columns() {
      return open().columns ?? COLUMNS_DEFAULT
    },
  }
}
