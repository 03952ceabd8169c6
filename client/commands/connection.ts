/** From the settings to a server. */
import { resolveServer } from '../server-settings.ts'
import type { Connection } from '../transfer/connection.ts'
import type { CommandContext } from './command.ts'

/**
 * A connection to the server that flags, environment or profile name. The signal of the context does
 * not end it, since cleaning up after an interruption needs the server too: give it to every call.
 */
export async function connectServer(context: CommandContext): Promise<Connection> {
  const { environment, globals, version, headStart } = context
  const { url, token } = await resolveServer(globals, environment)
  // Only a command that runs needs the HTTP client; its help does not.
  const { connect } = await import('../transfer/connection.ts')
  const patience = globals.timeout
  const timing =
    patience === undefined
      ? undefined
      : { noProgressMs: patience * 1000, replyMs: Math.min(120_000, patience * 1000) }
  const userAgent = `artifact/${version}`
  return connect({ url, token, userAgent, proxy: environment.proxy, timing }, headStart)
}
