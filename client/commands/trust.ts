/** Whom a command trusts: from flags, the environment, a lock file, or the memory of this user. */
import { join } from 'node:path'
import { z } from 'zod'
import { sanitise } from '../terminal-format.ts'
import type { Connection } from '../transfer/connection.ts'
import { readGivenPolicy } from '../trust/given-policy.ts'
import type { Anchor, TrustNotice } from '../trust/history.ts'
import { openKnownLogs } from '../trust/known-logs.ts'
import type { Pin } from '../trust/lock-file.ts'
import { openTrust, type Trust } from '../trust/trust.ts'
import { formatFingerprint, formatNoteKey, type NoteKey } from '../verify/note-key.ts'
import type { Policy } from '../verify/policy.ts'
import { type CommandContext, text } from './command.ts'

/** Options of every command that checks a log. */
export const trustOptions = z.object({
  logKey: text('KEY', 'Key of the log, or a file that holds it [the one met first]', {
    variable: 'ARTIFACT_LOG_KEY',
  }),
  logPolicy: text('FILE', 'Whose signatures count, as C2SP tlog-policy', {
    variable: 'ARTIFACT_LOG_POLICY',
  }),
})

type TrustFlags = z.infer<typeof trustOptions>

/** The policy that flags or environment give; a flag hides both variables. */
export async function givenPolicy(
  { logKey, logPolicy }: TrustFlags,
  { environment }: CommandContext,
): Promise<Policy | undefined> {
  if (logKey !== undefined || logPolicy !== undefined)
    return readGivenPolicy({ key: logKey, policyFile: logPolicy })
  return readGivenPolicy({ key: environment.logKey, policyFile: environment.logPolicy })
}

/** Trust in the log of a server, which tells on stderr whom it meets. */
export async function trustServer(
  connection: Connection,
  flags: TrustFlags,
  context: CommandContext,
  lock: { anchor?: Anchor | undefined; pins?: ReadonlyMap<string, Pin> | undefined } = {},
): Promise<Trust> {
  return openTrust(connection, {
    ...lock,
    known: openKnownLogs(join(context.environment.stateFolder, 'logs'), context.clock),
    policy: await givenPolicy(flags, context),
    onNotice: (notice) => tell(notice, context),
  })
}

/** Tells on stderr whom a command meets, and what it holds against a log. */
export function tell(notice: TrustNotice, { terminal }: CommandContext): void {
  switch (notice.kind) {
    case 'first-contact':
      terminal.say(`First contact with the log of ${notice.url}; from now on its key is pinned:`)
      for (const line of describeKey(notice.key)) terminal.say(line)
      return
    case 'key-replaced':
      terminal.say(`The log of ${notice.url} has another key, as given; from now on it is pinned:`)
      for (const line of describeKey(notice.key)) terminal.say(line)
      terminal.say(`  before      ${sanitise(formatNoteKey(notice.before))}`)
      return
    case 'evidence':
      // With tabs as they are, so that what is copied from here is what is in the file.
      for (const line of notice.text.split('\n').slice(0, -1))
        terminal.warn(line.split('\t').map(sanitise).join('\t'))
      if (notice.path !== undefined) terminal.warn(`The evidence is kept in ${notice.path}`)
  }
}

function describeKey(key: NoteKey): string[] {
  return [
    `  origin      ${sanitise(key.name)}`,
    `  key         ${sanitise(formatNoteKey(key))}`,
    `  fingerprint ${formatFingerprint(key)}`,
  ]
}
