/** `artifact lock add`: pin artifacts in a lock file. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { writeDurable } from '../disk/durable.ts'
import { localError } from '../disk/local-error.ts'
import { acquireLock } from '../disk/lock.ts'
import { formatCount, sanitise } from '../terminal-format.ts'
import { fetchClaim } from '../transfer/record.ts'
import { describePin, formatLock, type LockFile, type Pin } from '../trust/lock-file.ts'
import { type CommandContext, defineCommand, manyPositionals } from './command.ts'
import { connectServer } from './connection.ts'
import { lockOptions, pathOfLock, readLockIfThere } from './lock-options.ts'
import { parseArtifactReference } from './target.ts'
import { trustOptions, trustServer } from './trust.ts'

export const lockAdd = defineCommand({
  usage: ['lock add [OPTION…] TASK/RUN/NAME…'],
  description:
    'Pins artifacts in a lock file, which is made when it is missing: digest and size of each, the key of the log and its newest head. Commit the file: whoever gets with it gets these very bytes, from a log that continues this one. An artifact that is pinned already stays as it is, or the command fails.',
  options: z.object({ ...lockOptions.shape, ...trustOptions.shape }),
  positionals: z.object({ references: manyPositionals('TASK/RUN/NAME', 'What to pin') }),
  examples: [
    { line: 'artifact lock add turtle-db/latest/db.dump', about: 'latest is pinned as its number' },
  ],
  exits: {
    integrity: 'an artifact is not what is pinned, or the log does not say so',
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such artifact, or it is not yours to see',
    unreachable: 'the server cannot be reached',
    locked: 'another process writes a lock file',
  },
  async run({ options, positionals }, context) {
    const { terminal, globals, signal } = context
    const references = positionals.references.map(parseArtifactReference)
    if (references.length === 0)
      throw new ArtifactError('usage', 'Cannot pin: no artifact is named', {
        expected: 'artifact lock add TASK/RUN/NAME…',
      })
    const path = pathOfLock(options, context)
    await using connection = await connectServer(context)
    await using _held = await holdLockFiles(context)
    const before = await readLockIfThere(path)
    const { anchor } = before
    const trust = await trustServer(connection, options, context, { anchor })
    const pins = new Map(before.pins)
    const added: { reference: string; sha256: string; sizeBytes: string }[] = []
    for (const reference of references) {
      const claim = await fetchClaim(connection, reference, signal)
      // Once a log is pinned, nothing is pinned without it.
      await trust.vouch(claim, { demand: anchor !== undefined, signal })
      const { reference: name, sha256, sizeBytes } = claim.record
      checkSame(name, pins.get(name), { sha256, sizeBytes })
      pins.set(name, { sha256, sizeBytes })
      added.push({ reference: name, sha256, sizeBytes })
    }
    const { head } = trust
    const after: LockFile = {
      pins,
      anchor: head === undefined ? anchor : { key: head.key, head },
    }
    await writeDurable(path, formatLock(after), 0o644)
    if (globals.json) return await terminal.printJson({ path, artifacts: added })
    await terminal.print(...added.map(({ reference }) => sanitise(reference)))
    terminal.say(`Pinned ${formatCount(added.length, 'artifact')} in ${path}`)
  },
})

/** One at a time, lest one forgets what the other adds; beside the lock file it would be litter. */
async function holdLockFiles({ environment }: CommandContext): Promise<AsyncDisposable> {
  const folder = environment.stateFolder
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localError('write into', folder, error)
  })
  return acquireLock(join(folder, 'lock-add'))
}

function checkSame(reference: string, pin: Pin | undefined, found: Pin): void {
  if (pin === undefined || describePin(pin) === describePin(found)) return
  throw new ArtifactError(
    'digest_mismatch',
    `Cannot pin ${reference}: the lock file pins other content`,
    { expected: describePin(pin), found: describePin(found) },
  )
}
