/** `artifact inspect`. */
import { z } from 'zod'
import { call } from '../api.ts'
import { resolveServer } from '../server-settings.ts'
import { formatMoment } from '../terminal-format.ts'
import { defineCommand } from './command.ts'
import { connectServer } from './connection.ts'

export const inspect = defineCommand({
  usage: ['inspect [OPTION…]'],
  description:
    'Prints a link that opens the inspector in a browser: uploads as they happen, and what is sealed. The link signs in once, within ten minutes, and shows what the token in use may list and get. The pages change nothing.',
  options: z.object({}),
  positionals: z.object({}),
  examples: [
    { line: 'artifact inspect', about: 'a link to open' },
    { line: 'artifact inspect --json', about: 'the same for a program' },
  ],
  exits: {
    notAllowed: 'the token is missing or not valid, or may read nothing',
    unreachable: 'the server cannot be reached',
  },
  async run(_, context) {
    const { terminal, globals, signal, environment } = context
    await using connection = await connectServer(context)
    const link = await call(connection, 'makeSignInLink', {}, { signal })
    const { url: server } = await resolveServer(globals, environment)
    const url = new URL(link.path, server).href
    if (globals.json) return await terminal.printJson({ url, expiresAt: link.expiresAt })
    terminal.say(`Signs in once, until ${formatMoment(link.expiresAt)}:`)
    await terminal.print(url)
  },
})
