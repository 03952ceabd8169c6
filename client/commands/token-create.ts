/** `artifact token create`: the secret goes to stdout, alone and this once. */
import { z } from 'zod'
import { SCOPES_MAX, Scope } from '../../schemas/token.ts'
import { call } from '../api.ts'
import { Duration } from '../duration.ts'
import { formatMoment, sanitise } from '../terminal-format.ts'
import { defineCommand, option } from './command.ts'
import { connectServer } from './connection.ts'

/** Lifetime when none is given. */
const TTL_DEFAULT_SECONDS = 30 * 86_400

const Ttl = z.union([z.literal('never').transform(() => null), Duration], {
  error: 'expected a number with s, m, h, d or w, for example 30d, or never',
})

export const tokenCreate = defineCommand({
  usage: ['token create --name NAME --scope SCOPE… [OPTION…]'],
  description:
    'Makes a token and prints its secret, which the server keeps only as a hash. A scope is admin, or upload:, get: or list: with TASK/NAME, where * stands for anything but a slash and ** for anything.',
  options: z.object({
    name: option(z.string(), {
      kind: 'text',
      placeholder: 'NAME',
      summary: 'Whose it is, for the record',
    }),
    scope: option(z.array(Scope).min(1).max(SCOPES_MAX), {
      kind: 'list',
      placeholder: 'SCOPE',
      summary: 'What it may do, for example get:turtle-db/**',
    }),
    ttl: option(Ttl.optional(), {
      kind: 'text',
      placeholder: 'TIME',
      summary: 'How long it lasts, for example 12h, 30d or never [30d]',
    }),
  }),
  positionals: z.object({}),
  examples: [
    {
      line: "artifact token create --name nightly --scope 'upload:turtle-db/**' --ttl 90d > nightly.token",
      about: 'a token for a backup job, into a file',
    },
    {
      line: "artifact token create --name readers --scope 'get:*/public/**' --scope 'list:*/public/**'",
      about: 'a token that reads what is public in every task',
    },
  ],
  exits: {
    notAllowed: 'the token in use lacks the scope admin',
    unreachable: 'the server cannot be reached',
  },
  async run({ options }, context) {
    const { terminal, globals, signal } = context
    await using connection = await connectServer(context)
    const ttlSeconds = options.ttl === undefined ? TTL_DEFAULT_SECONDS : options.ttl
    const body = { name: options.name, scopes: options.scope, ttlSeconds }
    const created = await call(connection, 'createToken', { body }, { signal })
    if (globals.json) return await terminal.printJson(created)
    const { token, secret } = created
    const end = token.expiresAt === null ? 'never' : formatMoment(token.expiresAt)
    terminal.say(`Made token ${token.id} (${sanitise(token.name)}), expires ${end}`)
    terminal.say('This is its secret; it is not shown again:')
    await terminal.print(secret)
  },
})
