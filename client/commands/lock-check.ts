/** `artifact lock check`: is the server's record still what a lock file pins? */
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { summariseError } from '../error-report.ts'
import { formatCount, sanitise } from '../terminal-format.ts'
import type { Connection } from '../transfer/connection.ts'
import { fetchClaim } from '../transfer/record.ts'
import type { Trust } from '../trust/trust.ts'
import { type CommandContext, defineCommand, manyPositionals } from './command.ts'
import { connectServer } from './connection.ts'
import { lockOptions, pathOfLock, readLock } from './lock-options.ts'
import { parseArtifactReference } from './target.ts'
import { trustOptions, trustServer } from './trust.ts'

export const lockCheck = defineCommand({
  usage: ['lock check [OPTION…] [TASK/RUN/NAME…]'],
  description:
    'Checks that the record of every artifact that a lock file pins, or of those named, is what is pinned, that the log says so, and that the log continues the head in the lock file. Nothing is downloaded and the file stays as it is.',
  options: z.object({ ...lockOptions.shape, ...trustOptions.shape }),
  positionals: z.object({ references: manyPositionals('TASK/RUN/NAME', 'Only these [all]') }),
  examples: [{ line: 'artifact lock check', about: 'before a build that needs them' }],
  exits: {
    integrity: 'an artifact is not what is pinned, or the log does not say so',
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such artifact, or it is not yours to see',
    unreachable: 'the server cannot be reached',
    refused: 'an artifact is not pinned',
    partly: 'several failed, each in its own way',
  },
  async run({ options, positionals }, context) {
    const path = pathOfLock(options, context)
    const lock = await readLock(path)
    const named = positionals.references
    const references = named.length === 0 ? [...lock.pins.keys()] : named
    await using connection = await connectServer(context)
    const trust = await trustServer(connection, options, context, lock)
    const demand = lock.anchor !== undefined
    const failures: Failure[] = []
    const checked: string[] = []
    for (const reference of references) {
      try {
        checked.push(await checkOne(connection, trust, reference, demand, context))
      } catch (error) {
        if (!(error instanceof ArtifactError) || error.code === 'interrupted') throw error
        // Nothing else that this log says is of use, or nobody answers.
        if (['log_fork', 'log_rollback', 'unreachable'].includes(error.code)) throw error
        failures.push({ reference, error })
      }
    }
    await report(context, path, checked, failures)
  },
})

interface Failure {
  reference: string
  error: ArtifactError
}

async function checkOne(
  connection: Connection,
  trust: Trust,
  text: string,
  demand: boolean,
  { signal }: CommandContext,
): Promise<string> {
  const { task, run, name } = parseArtifactReference(text)
  const claim = await fetchClaim(connection, { task, run, name }, signal)
  await trust.vouch(claim, { demand, signal })
  return claim.record.reference
}

async function report(
  { terminal, globals }: CommandContext,
  path: string,
  checked: readonly string[],
  failures: readonly Failure[],
): Promise<void> {
  if (globals.json) await terminal.printJson({ path, checked, failed: failures.length })
  else await terminal.print(...checked.map(sanitise))
  const [first, ...others] = failures
  if (first === undefined)
    return terminal.say(`${formatCount(checked.length, 'artifact')} as pinned in ${path}`)
  if (others.length > 0)
    for (const { reference, error } of failures)
      terminal.warn(`artifact: ${sanitise(reference)}: ${summariseError(error)}`)
  if (others.every(({ error }) => error.row.exit === first.error.row.exit)) throw first.error
  throw new ArtifactError('partly_done', `Cannot confirm all of ${path}: some failed`, {
    found: `${checked.length} as pinned, ${failures.length} failed`,
  })
}
