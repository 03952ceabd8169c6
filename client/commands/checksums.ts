/** `artifact checksums`: the SHA256SUMS of a run, from the record, without a download. */
import { randomUUID } from 'node:crypto'
import { open, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { readChecksums } from '../api.ts'
import { publishFile } from '../disk/durable.ts'
import { localError } from '../disk/local-error.ts'
import { defineCommand, flag, positional, text } from './command.ts'
import { connectServer } from './connection.ts'
import { parseRunReference } from './target.ts'

export const checksums = defineCommand({
  usage: ['checksums [OPTION…] TASK/RUN'],
  description:
    'Writes one line per artifact of the run, as sha256sum -c reads them. The digests are those that were recorded at the sealing; nothing is downloaded.',
  options: z.object({
    output: text('PATH', 'File to write [stdout]', { short: 'o' }),
    force: flag('Replace the file if it exists'),
  }),
  positionals: z.object({ run: positional('TASK/RUN', 'The run') }),
  examples: [
    { line: 'artifact checksums turtle-db/7 -o SHA256SUMS', about: 'write the file' },
    {
      line: 'artifact checksums turtle-db/latest | sha256sum --check --ignore-missing',
      about: 'check the files that are here',
    },
  ],
  exits: {
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such run, or it is not yours to see',
    unreachable: 'the server cannot be reached',
    refused: 'the file exists already',
  },
  async run({ options, positionals }, context) {
    const params = parseRunReference(positionals.run)
    await using connection = await connectServer(context)
    const lines = readChecksums(connection, params, { signal: context.signal })
    if (options.output === undefined || options.output === '-') {
      for await (const chunk of lines) {
        await context.terminal.write(chunk)
        if (context.terminal.isClosed) return
      }
      return
    }
    await writeWhole(options.output, lines, options.force)
    context.terminal.say(`Wrote ${options.output}`)
  },
})

/** The file comes to be when all of it is there. */
async function writeWhole(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  replace: boolean,
): Promise<void> {
  if (!replace && (await exists(path)))
    throw new ArtifactError('target_exists', `Cannot write ${path}: it exists already`)
  const draft = join(dirname(path), `.checksums.${randomUUID()}`)
  try {
    {
      await using file = await openNew(draft)
      for await (const chunk of chunks) await file.writeFile(chunk)
      await file.sync()
    }
    await publishFile(draft, path, { replace })
  } finally {
    await rm(draft, { force: true })
  }
}

async function openNew(path: string) {
  try {
    return await open(path, 'wx')
  } catch (error) {
    throw localError('write', path, error)
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
