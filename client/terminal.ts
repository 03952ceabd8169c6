/**
 * The two streams that a person or a script reads: data on stdout, everything else on stderr.
 *
 * What is said while a bar is drawn goes above the bar.
 */
import type { Writable } from 'node:stream'
import { styleText } from 'node:util'
import { ArtifactError } from '../schemas/problems.ts'
import { formatJson } from './terminal-format.ts'

/** A stream to write to, and what is known about its other end. */
export interface Output {
  stream: Writable
  isTerminal: boolean
  /** Width in characters. */
  columns: number
}

export interface TerminalOptions {
  stdout: Output
  stderr: Output
  quiet: boolean
  /** No colour, even on a terminal: `--no-color`, `NO_COLOR` or a dumb terminal. */
  plain: boolean
}

/** How a piece of text is set off. */
export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow'

export interface Terminal {
  /** Writes data, one line or several, to stdout; returns when they are written. Throws {@link OutputClosed}. */
  print(...lines: string[]): Promise<void>
  /** Writes one JSON value as one line to stdout, after `lead` on the same line. */
  printJson(value: unknown, lead?: string): Promise<void>
  /** Writes bytes to stdout as they are. */
  write(bytes: Uint8Array): Promise<void>
  /** Writes a line to stderr, unless the user wants quiet. */
  say(line: string): void
  /** Writes a line to stderr in any case. */
  warn(line: string): void
  /** Sets off text, when the stream takes colour. */
  style(stream: 'stdout' | 'stderr', style: Style, text: string): string
  /** Whether stdout is a terminal that a person looks at. */
  readonly interactive: boolean
  readonly quiet: boolean
  /** Writes a line to stderr in place of the stream, while a bar is drawn there. */
  speak: ((line: string) => void) | undefined
}

/** The reader of stdout has gone: no failure, there is just nobody left to write to. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed'
}

/** A terminal over two streams. Errors of the streams are met where something is written. */
export function openTerminal(options: TerminalOptions): Terminal {
  const { stdout, stderr, quiet } = options
  const colored = (output: Output) => output.isTerminal && !options.plain
  const colors = { stdout: colored(stdout), stderr: colored(stderr) }
  const terminal: Terminal = {
    print: (...lines) => writeAll(stdout, lines.map((line) => `${line}\n`).join('')),
    printJson: (value, lead = '') => writeAll(stdout, `${lead}${formatJson(value)}\n`),
    write: (bytes) => writeAll(stdout, bytes),
    say(line) {
      if (!quiet) terminal.warn(line)
    },
    warn(line) {
      if (terminal.speak === undefined) stderr.stream.write(`${line}\n`)
      else terminal.speak(line)
    },
    style: (stream, style, text) =>
      colors[stream] ? styleText(style, text, { validateStream: false }) : text,
    interactive: stdout.isTerminal,
    quiet,
    speak: undefined,
  }
  return terminal
}

function writeAll(output: Output, text: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    if (text.length === 0) return resolve()
    if (output.stream.destroyed) return reject(new OutputClosed('stdout is closed'))
    output.stream.write(text, (fault) => {
      if (fault === null || fault === undefined) return resolve()
      if ('code' in fault && (fault.code === 'EPIPE' || fault.code === 'ERR_STREAM_DESTROYED'))
        return reject(new OutputClosed('stdout is closed', { cause: fault }))
      reject(
        new ArtifactError('local_io', `Cannot write to stdout: ${fault.message}`, { cause: fault }),
      )
    })
  })
}
