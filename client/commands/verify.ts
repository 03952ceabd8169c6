/** `artifact verify`: is this local file the artifact? */
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { formatReference } from '../../schemas/reference.ts'
import { formatBytes, sanitise } from '../terminal-format.ts'
import { showProgress } from '../terminal-progress.ts'
import { verifyFile } from '../transfer/verify-file.ts'
import { verifyFileReceipt } from '../transfer/verify-receipt.ts'
import { readSmallFile } from '../trust/given-policy.ts'
import { formatNoteKey } from '../verify/note-key.ts'
import type { Policy } from '../verify/policy.ts'
import {
  type CommandContext,
  defineCommand,
  optionalPositional,
  positional,
  text,
} from './command.ts'
import { connectServer } from './connection.ts'
import { parseArtifactReference } from './target.ts'
import { givenPolicy, trustOptions, trustServer } from './trust.ts'

const options = z.object({
  receipt: text('PATH', 'Ask no server: believe this receipt, as far as the key of the log goes'),
  ...trustOptions.shape,
})

type Options = z.infer<typeof options>

export const verify = defineCommand({
  usage: [
    'verify [OPTION…] FILE TASK/RUN/NAME',
    'verify [OPTION…] FILE [TASK/RUN/NAME] --receipt PATH --log-key KEY',
  ],
  description:
    'Reads a local file and checks its size, every part and its SHA-256 against the record, and the record against the log when the server has one. With a receipt it checks the file against the leaf in it, and the leaf against the head that the log signed, without a server. Nothing is downloaded and nothing is changed.',
  options,
  positionals: z.object({
    file: positional('FILE', 'The local file'),
    reference: optionalPositional('TASK/RUN/NAME', 'The artifact that it must be'),
  }),
  examples: [
    {
      line: 'artifact verify db.dump turtle-db/7/db.dump',
      about: 'check a copy before it is used',
    },
    {
      line: 'artifact verify db.dump --receipt db.dump.tlog-proof --log-key log.pub',
      about: 'the same where no server can be reached',
    },
  ],
  exits: {
    integrity: 'the file is not the artifact, or the log does not say so',
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such artifact, or it is not yours to see',
    unreachable: 'the server cannot be reached',
  },
  async run({ options, positionals: { file, reference } }, context) {
    if (options.receipt !== undefined)
      return verifyOffline(file, reference, options.receipt, options, context)
    if (reference === undefined)
      throw new ArtifactError('usage', 'Cannot run the command: TASK/RUN/NAME is missing', {
        expected: 'a reference, or --receipt',
      })
    return verifyOnline(file, reference, options, context)
  },
})

async function verifyOnline(
  file: string,
  text: string,
  options: Options,
  context: CommandContext,
): Promise<void> {
  const { terminal, globals, signal } = context
  const reference = parseArtifactReference(text)
  await using connection = await connectServer(context)
  const trust = await trustServer(connection, options, context)
  const result = await verifyAloud()
  if (globals.json) return await terminal.printJson(result)
  const { artifact, checks } = result
  const size = formatBytes(BigInt(artifact.sizeBytes))
  terminal.say(
    `${file} is ${sanitise(artifact.reference)}: ${size}, verified: ${checks.join(', ')}`,
  )

  async function verifyAloud() {
    using view = await showProgress(context)
    return await verifyFile(connection, file, reference, {
      trust,
      signal,
      onProgress: (progress) => view.update('', progress),
    })
  }
}

async function verifyOffline(
  file: string,
  text: string | undefined,
  path: string,
  options: Options,
  context: CommandContext,
): Promise<void> {
  const { terminal, globals, signal } = context
  const policy = await givenPolicy(options, context)
  if (policy === undefined)
    throw new ArtifactError('usage', 'Cannot judge the receipt: no key of a log is given', {
      expected: '--log-key or --log-policy',
    })
  const reference = text === undefined ? undefined : formatFixed(text)
  const { sealed, checks, index, checkpoint } = await verifyAloud(policy)
  if (globals.json) {
    const { origin, size, key } = checkpoint
    const log = { origin, key: formatNoteKey(key), size, index }
    return await terminal.printJson({ sealed, checks, log })
  }
  const size = formatBytes(BigInt(sealed.sizeBytes))
  terminal.say(
    `${file} is ${sanitise(sealed.name)}, sealed ${sealed.time}: ${size}, verified: ${checks.join(', ')}`,
  )
  terminal.say(`Leaf ${index} of ${sanitise(checkpoint.origin)} at ${checkpoint.size}`)

  async function verifyAloud(trusted: Policy) {
    const receipt = await readSmallFile(path)
    using view = await showProgress(context)
    return await verifyFileReceipt(file, receipt, {
      policy: trusted,
      reference,
      signal,
      onProgress: (progress) => view.update('', progress),
    })
  }
}

/** Without a server nobody knows what is the latest. */
function formatFixed(text: string): string {
  const reference = parseArtifactReference(text)
  if (reference.run !== 'latest') return formatReference(reference)
  throw new ArtifactError('usage', 'Cannot compare the receipt with latest: name the run')
}
