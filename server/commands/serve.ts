/** `artifact serve`: the server, on the embedded default or on what the settings name. */
import { z } from 'zod'
import { type CommandContext, defineCommand, flag } from '../../client/commands/command.ts'
import { buildConfig, readSecrets, readSettings } from '../config.ts'
import { startServer } from '../context.ts'
import { createLogger } from '../logger.ts'
import { rolesSql } from '../records/roles.ts'
import { type RawSettings, settingKeys } from '../settings.ts'
import { readFlags, settingOptions } from './setting-options.ts'

export const serve = defineCommand({
  usage: ['serve [OPTION]…'],
  description: [
    'Runs the server until it is told to stop. Without options it starts a Postgres of its own and',
    'keeps everything under one data folder; commands on this machine then find it by themselves.',
    'Every option can be given as the environment variable that is named with it. Credentials of an',
    'S3 store come from AWS_ACCESS_KEY_ID and its kin, never from the command line.',
  ].join('\n'),
  positionals: z.object({}),
  options: z.object({
    ...settingOptions(settingKeys()),
    printRolesSql: flag('Print the SQL that makes the database roles, and do nothing else'),
  }),
  examples: [
    { line: 'artifact serve', about: 'everything on this machine' },
    {
      line: 'artifact serve --data-dir /srv/artifacts --port 8080',
      about: 'in a folder and on a port of your choice',
    },
    {
      line: 'artifact serve --print-roles-sql',
      about: 'what an administrator runs in your own Postgres',
    },
  ],
  exits: {
    done: 'it was told to stop, and did',
    unreachable: 'the database or the store does not answer',
    refused: 'the database role could rewrite history, or the store accepts wrong bytes',
    locked: 'another server has the data folder, or the port is taken',
  },
  connects: false,
  async run({ options }, context) {
    const { printRolesSql, ...flags } = options
    if (printRolesSql) return context.terminal.print(await rolesSql())
    await runServer(readSettings(readFlags(settingKeys(), flags)), context)
  },
})

async function runServer(raw: RawSettings, context: CommandContext): Promise<void> {
  const config = buildConfig(raw, { profile: context.environment.configFolder })
  const log = createLogger(config.logLevel, context.stderr.stream)
  await using server = await startServer({
    config,
    secrets: await readSecrets(raw),
    log,
    version: context.version,
    clock: context.clock,
  })
  const { terminal } = context
  terminal.say(`artifact ${context.version} serves ${server.url}`)
  if (server.profile !== undefined)
    terminal.say(`The next terminal just works: artifact upload FILE TASK (${server.profile})`)
  if (server.inspector !== undefined)
    terminal.say(`Inspector: ${server.inspector} (signs in once, within 10 minutes)`)
  await Promise.race([server.failed, whenAborted(context.signal)])
}

/** A server that is told to stop and does has done what it was told: this is no failure. */
export async function whenAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
}
