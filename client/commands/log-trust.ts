/** Which log a server has, for commands that look at the log itself. */
import { join } from 'node:path'
import type { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Connection } from '../transfer/connection.ts'
import { type KnownLogs, openKnownLogs } from '../trust/known-logs.ts'
import { findLogKey } from '../trust/log-files.ts'
import type { NoteKey } from '../verify/note-key.ts'
import { type Policy, trustLog } from '../verify/policy.ts'
import type { CommandContext } from './command.ts'
import { givenPolicy, tell, type trustOptions } from './trust.ts'

export interface LogTrust {
  known: KnownLogs
  policy: Policy
  /** Pins the key of a log that has proved itself, unless one is pinned or was given. */
  pin(key: NoteKey): Promise<void>
}

/** Whose signatures count for the log of a server. Throws `log_missing` when it has none. */
export async function findLogTrust(
  connection: Connection,
  flags: z.infer<typeof trustOptions>,
  context: CommandContext,
): Promise<LogTrust> {
  const known = openKnownLogs(join(context.environment.stateFolder, 'logs'), context.clock)
  const given = await givenPolicy(flags, context)
  if (given !== undefined) return { known, policy: given, pin: async () => undefined }
  const pinned = await known.findKey(connection.url)
  const key = pinned ?? (await findLogKey(connection, context.signal))
  if (key === undefined)
    throw new ArtifactError(
      'log_missing',
      `Cannot look at the log of ${connection.url}: it has none`,
      {
        expected: 'a server with a signer',
      },
    )
  return {
    known,
    policy: trustLog(key),
    async pin(proven) {
      if (pinned !== undefined || !(await known.swapKey(connection.url, undefined, proven))) return
      tell({ kind: 'first-contact', url: connection.url, key: proven }, context)
    },
  }
}
