/** `artifact verify`: is this local file the artifact? */
import { z } from 'zod'
import { formatBytes, sanitise } from '../terminal-format.ts'
import { showProgress } from '../terminal-progress.ts'
import { verifyFile } from '../transfer/verify-file.ts'
import { defineCommand, positional } from './command.ts'
import { connectServer } from './connection.ts'
import { parseArtifactReference } from './target.ts'

export const verify = defineCommand({
  usage: ['verify [OPTION…] FILE TASK/RUN/NAME'],
  description:
    'Reads a local file and checks its size, every part and its SHA-256 against the record. Nothing is downloaded and nothing is changed.',
  options: z.object({}),
  positionals: z.object({
    file: positional('FILE', 'The local file'),
    reference: positional('TASK/RUN/NAME', 'The artifact that it must be'),
  }),
  examples: [
    {
      line: 'artifact verify db.dump turtle-db/7/db.dump',
      about: 'check a copy before it is used',
    },
  ],
  exits: {
    integrity: 'the file is not the artifact',
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such artifact, or it is not yours to see',
    unreachable: 'the server cannot be reached',
  },
  async run({ positionals }, context) {
    const { terminal, globals, signal } = context
    const reference = parseArtifactReference(positionals.reference)
    await using connection = await connectServer(context)
    const result = await verifyAloud()
    if (globals.json) return await terminal.printJson(result)
    const { artifact, checks } = result
    const size = formatBytes(BigInt(artifact.sizeBytes))
    terminal.say(
      `${positionals.file} is ${sanitise(artifact.reference)}: ${size}, verified: ${checks.join(', ')}`,
    )

    async function verifyAloud() {
      using view = await showProgress(context)
      return await verifyFile(connection, positionals.file, reference, {
        signal,
        onProgress: (progress) => view.update('', progress),
      })
    }
  },
})
