/** `artifact token revoke`. */
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { call } from '../api.ts'
import { sanitise } from '../terminal-format.ts'
import { defineCommand, positional } from './command.ts'
import { connectServer } from './connection.ts'
import { isUuid } from './target.ts'

export const tokenRevoke = defineCommand({
  usage: ['token revoke [OPTION…] ID'],
  description: 'Revokes a token. It stops at once, and cannot be brought back.',
  options: z.object({}),
  positionals: z.object({ id: positional('ID', 'Id of the token, as artifact token ls shows it') }),
  examples: [
    {
      line: 'artifact token revoke 0b9cf0d2-3c39-4c0e-9a6e-6c2a63e2a1c5',
      about: 'a token that has leaked',
    },
  ],
  exits: {
    notAllowed: 'the token in use lacks the scope admin',
    notFound: 'there is no such token',
    unreachable: 'the server cannot be reached',
  },
  async run({ positionals }, context) {
    const { terminal, globals, signal } = context
    const id = positionals.id.toLowerCase()
    if (!isUuid(id))
      throw new ArtifactError('usage', 'Cannot revoke the token: its id is a UUID', {
        expected: 'an id from artifact token ls',
      })
    await using connection = await connectServer(context)
    const token = await call(connection, 'revokeToken', { params: { id } }, { signal })
    if (globals.json) return await terminal.printJson(token)
    terminal.say(`Revoked token ${token.id} (${sanitise(token.name)})`)
  },
})
