/** How an error is told on stderr. */
import { ArtifactError, EXITS } from '../schemas/problems.ts'
import { exitOf } from './exits.ts'
import type { ProcessContext } from './process-context.ts'
import type { Terminal } from './terminal.ts'
import { formatJson, sanitise } from './terminal-format.ts'

export interface ReportOptions {
  /** One JSON object on one line, instead of text. */
  json: boolean
  terminal: Terminal
  context: ProcessContext
}

/**
 * Tells an error: what could not be done, what was expected and found, what to do, and in
 * parentheses the code and the exit code. Anything but an `ArtifactError` is a bug and says so.
 */
export function reportError(error: unknown, options: ReportOptions): void {
  const { terminal, context, json } = options
  if (json) terminal.warn(formatJson(describeError(error, context)))
  else if (error instanceof ArtifactError)
    for (const line of formatError(error, options)) terminal.warn(line)
  else for (const line of formatBug(error, context)) terminal.warn(line)
  if (context.environment.debug && error instanceof Error) terminal.warn(sanitiseStack(error))
}

/** One line about an error, for lists of several. */
export function summariseError(error: ArtifactError): string {
  return `${sanitise(error.message)} (${error.code})`
}

/** An error of one of several files, as an object. */
export function describeFailure(error: ArtifactError): Record<string, unknown> {
  const { code, message, expected, found } = error
  return { code, message, expected, found }
}

/** An error as an object for `--json`, on stderr. */
export function describeError(error: unknown, context: ProcessContext): Record<string, unknown> {
  if (!(error instanceof ArtifactError))
    return {
      kind: 'error',
      code: 'internal',
      exit: EXITS.unexpected,
      message: formatBug(error, context).join(' '),
    }
  return {
    kind: 'error',
    code: error.code,
    exit: exitOf(error, context.signal),
    message: error.message,
    expected: error.expected,
    found: error.found,
    errors: error.errors,
    hint: error.row.hint,
    retryable: error.row.retryable,
    requestId: error.requestId,
  }
}

function formatError(error: ArtifactError, { terminal, context }: ReportOptions): string[] {
  const head = terminal.style('stderr', 'red', 'artifact:')
  const fields = [
    ['expected', error.expected],
    ['found', error.code === 'interrupted' ? undefined : error.found],
    // Only where the log of the server has more to say.
    ['request', (error.row.status ?? 0) >= 500 ? error.requestId : undefined],
  ] as const
  return [
    `${head} ${sanitise(error.message)}`,
    ...fields.flatMap(([name, value]) =>
      value === undefined ? [] : [`  ${name.padEnd(8)}  ${sanitise(value)}`],
    ),
    ...(error.errors ?? []).map(
      ({ field, expected, found }) =>
        `  ${sanitise(field)}: ${sanitise(expected)}${found === undefined ? '' : `, found ${sanitise(found)}`}`,
    ),
    `  ${error.row.hint}`,
    terminal.style('stderr', 'dim', `  (${error.code}, exit ${exitOf(error, context.signal)})`),
  ]
}

function formatBug(error: unknown, context: ProcessContext): string[] {
  const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return [
    `artifact: Cannot go on: unexpected ${sanitise(what)}`,
    '  This is a bug. Please report it with the command that you ran and these lines:',
    `  artifact ${context.version}, node ${process.version}, ${process.platform} ${process.arch}`,
    '  ARTIFACT_DEBUG=1 shows where it happened.',
    `  (internal, exit ${EXITS.unexpected})`,
  ]
}

function sanitiseStack(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${error.cause.stack}` : ''
  return `${error.stack}${cause}`.split('\n').map(sanitise).join('\n')
}
