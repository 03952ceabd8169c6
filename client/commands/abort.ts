/** `artifact abort`: gives up an upload. */
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { call } from '../api.ts'
import { sanitise } from '../terminal-format.ts'
import { defineCommand, positional } from './command.ts'
import { connectServer } from './connection.ts'
import { findOpenUploads } from './open-uploads.ts'
import { isUuid, parseArtifactReference } from './target.ts'

export const abort = defineCommand({
  usage: ['abort [OPTION…] UPLOAD-ID', 'abort [OPTION…] TASK/RUN/NAME'],
  description:
    'Aborts an upload that is open. What the store holds of it is given up, and the name stays free. A sealed artifact cannot be aborted.',
  options: z.object({}),
  positionals: z.object({
    upload: positional('UPLOAD', 'Id of the upload, or the reference that it is for'),
  }),
  examples: [
    { line: 'artifact abort turtle-db/8/db.dump', about: 'the open upload of this name' },
    { line: 'artifact ls --uploads', about: 'find the ids of open uploads' },
  ],
  exits: {
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such upload, or it is not yours to see',
    conflict: 'the upload has ended already',
    unreachable: 'the server cannot be reached',
  },
  async run({ positionals }, context) {
    const { terminal, globals, signal } = context
    const isId = isUuid(positionals.upload)
    const reference = isId ? undefined : parseArtifactReference(positionals.upload)
    await using connection = await connectServer(context)
    const ids =
      reference === undefined
        ? [positionals.upload.toLowerCase()]
        : (await findOpenUploads(connection, reference, signal)).map(({ id }) => id)
    const id = chooseOnly(ids, positionals.upload)
    const upload = await call(connection, 'abortUpload', { params: { id } }, { signal })
    if (globals.json) return await terminal.printJson(upload)
    terminal.say(`Aborted the upload of ${sanitise(upload.reference)}; the name is free`)
    await terminal.print(upload.id)
  },
})

function chooseOnly(ids: readonly string[], reference: string): string {
  const [id, ...others] = ids
  if (id === undefined)
    throw new ArtifactError('not_found', `Cannot abort ${reference}: no upload of it is open`)
  if (others.length > 0)
    throw new ArtifactError('usage', `Cannot abort ${reference}: several uploads of it are open`, {
      expected: 'the id of one of them',
      found: ids.join(', '),
    })
  return id
}
