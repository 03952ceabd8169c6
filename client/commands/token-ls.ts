/** `artifact token ls`. */
import { z } from 'zod'
import type { Token } from '../../schemas/token.ts'
import { call } from '../api.ts'
import { formatMoment, formatTable, sanitise } from '../terminal-format.ts'
import { defineCommand } from './command.ts'
import { connectServer } from './connection.ts'
import { readPages } from './pages.ts'

export const tokenLs = defineCommand({
  usage: ['token ls [OPTION…]'],
  description: 'Lists all tokens with their scopes and how they stand. Secrets are not shown.',
  options: z.object({}),
  positionals: z.object({}),
  examples: [{ line: 'artifact token ls', about: 'all tokens' }],
  exits: {
    notAllowed: 'the token in use lacks the scope admin',
    unreachable: 'the server cannot be reached',
  },
  async run(_, context) {
    const { terminal, globals, signal, clock } = context
    await using connection = await connectServer(context)
    const tokens: Token[] = []
    const pages = readPages((query) => call(connection, 'listTokens', { query }, { signal }))
    for await (const { items } of pages) tokens.push(...items)
    if (globals.json) return await terminal.printJson({ tokens })
    const rows = tokens.map((token) => [
      token.id,
      describeState(token, clock()),
      token.expiresAt === null ? 'never' : formatMoment(token.expiresAt),
      sanitise(token.name),
      sanitise(token.scopes.join(' ')),
    ])
    await terminal.print(...formatTable([['ID', 'STATE', 'EXPIRES', 'NAME', 'SCOPES'], ...rows]))
  },
})

function describeState({ revokedAt, expiresAt }: Token, now: Date): string {
  if (revokedAt !== null) return 'revoked'
  return expiresAt !== null && new Date(expiresAt) <= now ? 'expired' : 'valid'
}
