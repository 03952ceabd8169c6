/**
 * The two streams that a person or a script reads: data on stdout, everything else on stderr.
 *
 * What is said while a bar is drawn goes above the bar.
 */
import type { Writable } from 'node:stream'
import { styleText } from 'node:util'
import { ArtifactError } from '../schemas/problems.ts'
import { formatJson } from './terminal-format.ts'

/** A stream to write to, and what is known about its other end; each may be asked late, or never. */
export interface Output {
  readonly stream: Writable
  readonly isTerminal: boolean
  /** Width in characters. */
  readonly columns: number
}

export interface TerminalOptions {
  stdout: Output
  stderr: Output
  quiet: boolean
  /** No colour, even on a terminal: `--no-color`, `NO_COLOR` or a dumb terminal. */
  plain: boolean
}

/** Of a list, what is written at once. */
const LIST_CHARACTERS = 64 * 1024

/** How a piece of text is set off. */
export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow'

export interface Terminal {
  /** Writes data, one line or several, to stdout; returns when they are written, or nobody reads them. */
  print(...lines: string[]): Promise<void>
  /** The same of however many lines: of more than 100,000 arguments no call is possible. */
  printList(lines: Iterable<string>): Promise<void>
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
  /** Nobody reads stdout any more, as after `| head`. What only lists may end then, with success. */
  readonly isClosed: boolean
  /** Whether stdout is a terminal that a person looks at. */
  readonly interactive: boolean
  readonly quiet: boolean
  /** Writes a line to stderr in place of the stream, while a bar is drawn there. */
  speak: ((line: string) => void) | undefined
}

/** A terminal over two streams. Errors of the streams are met where something is written. */
export function openTerminal(options: TerminalOptions): Terminal {
  const { stdout, stderr, quiet } = options
  let isClosed = false
  const write = async (data: string | Uint8Array) => {
    isClosed ||= !(await writeAll(stdout, data))
  }
  const terminal: Terminal = {
    print: (...lines) => write(lines.map((line) => `${line}\n`).join('')),
    async printList(lines) {
      let text = ''
      for (const line of lines) {
        text += `${line}\n`
        if (text.length < LIST_CHARACTERS) continue
        await write(text)
        text = ''
      }
      if (text !== '') await write(text)
    },
    printJson: (value, lead = '') => write(`${lead}${formatJson(value)}\n`),
    write,
    get isClosed() {
      return isClosed
    },
    say(line) {
      if (!quiet) terminal.warn(line)
    },
    warn(line) {
      if (terminal.speak === undefined) stderr.stream.write(`${line}\n`)
      else terminal.speak(line)
    },
    style: (stream, style, text) =>
      !options.plain && options[stream].isTerminal
        ? styleText(style, text, { validateStream: false })
        : text,
    get interactive() {
      return stdout.isTerminal
    },
    quiet,
    speak: undefined,
  }
  return terminal
}

/** Whether it was written; not when the reader has gone. Throws `local_io` for anything worse. */
function writeAll(output: Output, data: string | Uint8Array): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (data.length === 0) return resolve(true)
    if (output.stream.destroyed) return resolve(false)
    output.stream.write(data, (fault) => {
      if (fault === null || fault === undefined) return resolve(true)
      const code = 'code' in fault ? fault.code : undefined
      if (code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED') return resolve(false)
      const message = `Cannot write to stdout: ${fault.message}`
      reject(new ArtifactError('local_io', message, { cause: fault }))
    })
  })
}
