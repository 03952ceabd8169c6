/** `artifact revoke` and `artifact remove`: what is said about a sealed artifact later. */
import { z } from 'zod'
import type { StatementKind } from '../../schemas/statement.ts'
import { call } from '../api.ts'
import { sanitise } from '../terminal-format.ts'
import { type Command, defineCommand, positional, text } from './command.ts'
import { connectServer } from './connection.ts'
import { parseArtifactReference } from './target.ts'

export const revoke = statementCommand({
  kind: 'revoke',
  description:
    'Says that an artifact must not be used any more. It is a leaf of the log, for everyone to see and for ever; get refuses the artifact from then on. The record and the bytes stay.',
  about: 'nobody gets it any more',
})

export const remove = statementCommand({
  kind: 'remove',
  description:
    'Removes the bytes of an artifact for good, and says so in the log first. The record stays, and the name is never free again.',
  about: 'its time is over',
})

function statementCommand(said: {
  kind: StatementKind
  description: string
  about: string
}): Command {
  const { kind, description, about } = said
  return defineCommand({
    usage: [`${kind} [OPTION…] TASK/RUN/NAME --reason TEXT`],
    description,
    options: z.object({ reason: text('TEXT', 'Why; up to 512 bytes, public and permanent') }),
    positionals: z.object({ reference: positional('TASK/RUN/NAME', 'The artifact') }),
    examples: [{ line: `artifact ${kind} turtle-db/7/db.dump --reason 'wrong customer'`, about }],
    exits: {
      notAllowed: 'the token is not an admin token',
      notFound: 'there is no such artifact',
      unreachable: 'the server cannot be reached',
    },
    async run({ options, positionals }, context) {
      const { terminal, globals, signal } = context
      const params = parseArtifactReference(positionals.reference)
      const body = { kind, reason: options.reason ?? '' }
      await using connection = await connectServer(context)
      const statement = await call(connection, 'makeStatement', { params, body }, { signal })
      if (globals.json) return await terminal.printJson(statement)
      terminal.say(
        `${kind === 'revoke' ? 'Revoked' : 'Removed'} ${sanitise(positionals.reference)}: leaf ${statement.index} of the log`,
      )
    },
  })
}
