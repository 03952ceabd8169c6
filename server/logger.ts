/** Structured logs, one JSON object a line. Secrets are cut out where a line is made. */
import { type DestinationStream, type Logger, pino } from 'pino'
import type { LogLevel } from './settings.ts'

export type { Logger }

/** What must never be in a log, wherever it turns up. */
const SECRETS = [
  /artifact_[A-Za-z0-9_-]{43}/g,
  /(?<=[?&](?:signature|X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential)=)[^&\s"]+/gi,
  /(?<=:\/\/[^:/\s"]*:)[^@\s"]+(?=@)/g,
]

/** Logs to `destination`. */
export function createLogger(level: LogLevel, destination: DestinationStream): Logger {
  const redacting: DestinationStream = {
    write: (line) => destination.write(redact(line)),
  }
  return pino(
    {
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      base: null,
      redact: ['*.authorization', '*.password', '*.secret'],
      serializers: { err: pino.stdSerializers.errWithCause },
    },
    redacting,
  )
}

/** The text without tokens, signatures and passwords of addresses. */
export function redact(text: string): string {
  return SECRETS.reduce((clean, secret) => clean.replace(secret, '[redacted]'), text)
}
