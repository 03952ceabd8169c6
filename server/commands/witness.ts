/** `artifact witness`: somebody else's eyes on a log, as a small server of its own. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import {
  type CommandContext,
  count,
  defineCommand,
  flag,
  list,
  option,
  positional,
  text,
} from '../../client/commands/command.ts'
import { writeDurable } from '../../client/disk/durable.ts'
import { type ForkEvidence, formatEvidence } from '../../client/verify/history.ts'
import { formatNoteKey, type NoteKey, parseNoteKey } from '../../client/verify/note-key.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { readSecretFile } from '../config.ts'
import { createLogger } from '../logger.ts'
import { createEntryAudit } from '../witness/audit-entries.ts'
import { initWitness, openWitness } from '../witness/witness-folder.ts'
import { listenAsWitness } from '../witness/witness-server.ts'
import type { WitnessState } from '../witness/witness-state.ts'
import { whenAborted } from './serve.ts'

const PORT_DEFAULT = 7421

const stateDir = () =>
  option(z.string(), {
    kind: 'text',
    placeholder: 'DIR',
    summary: 'Folder of the witness: its key and its memory',
  })

export const witnessInit = defineCommand({
  usage: ['witness init NAME --state-dir DIR'],
  description:
    'Makes the key and the empty memory of a witness, and prints the public key, for the policies of logs and clients. The memory must never be replaced by an older copy.',
  positionals: z.object({
    name: positional('NAME', 'Of the witness, as a URL without scheme'),
  }),
  options: z.object({ stateDir: stateDir() }),
  examples: [
    {
      line: 'artifact witness init witness.example.org/w1 --state-dir witness',
      about: 'a new witness',
    },
  ],
  exits: { refused: 'there is a witness in the folder' },
  connects: false,
  async run({ options, positionals }, { terminal }) {
    await terminal.print(await initWitness(options.stateDir, positionals.name))
  },
})

export const witnessServe = defineCommand({
  usage: ['witness serve --state-dir DIR --log KEY… [OPTION…]'],
  description:
    'Cosigns the heads of logs that only grow (C2SP tlog-witness): POST /add-checkpoint, and GET /SHA256-OF-ORIGIN/checkpoint for the newest one. With --audit it also reads the entries of the log and refuses to cosign a log that seals a name twice. It belongs on a machine of somebody who does not run the log.',
  positionals: z.object({}),
  options: z.object({
    stateDir: stateDir(),
    log: list('KEY', 'Key of a log, or a file that holds it; may be given again'),
    host: text('HOST', 'Address to listen on [127.0.0.1]'),
    port: count('PORT', `Port to listen on, 0 for any free one [${PORT_DEFAULT}]`, {
      min: 0,
      max: 65_535,
    }),
    audit: text('URL', 'Server of the log: read its entries too; for a single log'),
    tokenFile: text('PATH', 'File that holds a token with list:*/** for --audit'),
    verbose: flag('Say what every request came to'),
  }),
  examples: [{ line: 'artifact witness serve --help', about: 'all options' }],
  exits: {
    locked: 'another witness has the folder',
  },
  connects: false,
  async run({ options }, context) {
    const logs = await Promise.all(options.log.map(readLogKey))
    if (logs.length === 0)
      throw new ArtifactError('usage', 'Cannot witness: no log is given', { expected: '--log KEY' })
    const log = createLogger(options.verbose ? 'info' : 'warn', context.stderr.stream)
    await using folder = await openWitness(options.stateDir)
    const { state, signer } = folder
    const audit = await openAudit(options, logs, state)
    await using running = await listenAsWitness(
      {
        state,
        signer,
        logs,
        audit,
        clock: context.clock,
        onEvidence: (evidence) => keepEvidence(options.stateDir, evidence, context),
      },
      { host: options.host ?? '127.0.0.1', port: options.port ?? PORT_DEFAULT, log },
    )
    context.terminal.say(`artifact ${context.version} witnesses at ${running.url}`)
    context.terminal.say(`  ${formatNoteKey(signer.key)}`)
    await whenAborted(context.signal)
  },
})

async function readLogKey(given: string): Promise<NoteKey> {
  const key = parseNoteKey(given.includes('+') ? given : await readSecretFile(given))
  if (key.kind === 'note') return key
  throw new ArtifactError('usage', 'Cannot witness: the key is not one of a log', {
    expected: 'a key of type 1',
    found: formatNoteKey(key),
  })
}

async function openAudit(
  { audit, tokenFile }: { audit?: string | undefined; tokenFile?: string | undefined },
  logs: readonly NoteKey[],
  state: WitnessState,
): Promise<ReturnType<typeof createEntryAudit> | undefined> {
  if (audit === undefined) return undefined
  const origins = new Set(logs.map(({ name }) => name))
  if (tokenFile === undefined || origins.size > 1 || !/^https?:/.test(audit))
    throw new ArtifactError('usage', 'Cannot audit: it takes one log, its address and a token', {
      expected: '--log KEY --audit URL --token-file PATH',
    })
  const token = await readSecretFile(tokenFile)
  return createEntryAudit(state, { url: audit.replace(/\/+$/, ''), token })
}

/** The same evidence goes to the same file, however often it is sent. */
async function keepEvidence(
  folder: string,
  evidence: ForkEvidence,
  { terminal }: CommandContext,
): Promise<void> {
  const text = formatEvidence(evidence)
  const digest = createHash('sha256').update(text).digest('hex')
  const path = join(folder, `evidence-${digest}.txt`)
  await writeDurable(path, text)
  terminal.warn(`A log showed two histories; the evidence is kept in ${path}`)
}
