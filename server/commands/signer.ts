/** `artifact signer`: signs the log as a process of its own, on a machine and under a user of its own. */
import { z } from 'zod'
import { type CommandContext, defineCommand, flag } from '../../client/commands/command.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { buildConfig, readSecrets, readSettings } from '../config.ts'
import { runSigner } from '../log/run-signer.ts'
import { initSigner, readPublicKey } from '../log/signer-folder.ts'
import { createLogger } from '../logger.ts'
import type { SettingKey } from '../settings.ts'
import { whenAborted } from './serve.ts'
import { readFlags, settingOptions } from './setting-options.ts'

const KEYS = [
  'signerDir',
  'logOrigin',
  'witnessPolicyFile',
  'signerUrl',
  'signerUrlFile',
  'logLevel',
] as const satisfies SettingKey[]

export const signer = defineCommand({
  usage: ['signer --init --signer-dir DIR --log-origin NAME', 'signer --signer-dir DIR'],
  description: [
    'Signs the heads of the transparency log. It needs a Postgres address as the role artifact_signer',
    '(ARTIFACT_SIGNER_URL or --signer-url-file), and a folder that nobody else can read: its key, and',
    'its own memory of every sealed name, without which it signs nothing. With the embedded Postgres',
    'artifact serve runs a signer itself.',
  ].join(' '),
  positionals: z.object({}),
  options: z.object({
    ...settingOptions(KEYS),
    init: flag('Make the key and an empty memory, print the public key, and end'),
  }),
  examples: [
    {
      line: 'artifact signer --init --signer-dir signer --log-origin artifacts.example.com/log',
      about: 'make a new log; give its public key to clients and auditors',
    },
  ],
  exits: {
    integrity: 'the signer has signed more than it remembers',
    locked: 'another signer has the folder',
  },
  connects: false,
  async run({ options }, context) {
    const { init, ...flags } = options
    const raw = readSettings(readFlags(KEYS, flags))
    const { signer: place, logLevel } = buildConfig(raw, {
      profile: context.environment.configFolder,
    })
    if (init) return makeSigner(place, context)
    const { signerUrl } = await readSecrets(raw)
    if (signerUrl === undefined)
      throw new ArtifactError('configuration', 'Cannot sign: no database is set', {
        expected: 'ARTIFACT_SIGNER_URL or --signer-url-file, as the role artifact_signer',
      })
    const log = createLogger(logLevel, context.stderr.stream)
    await using _running = await runSigner({ ...place, databaseUrl: signerUrl, log })
    context.terminal.say(`artifact ${context.version} signs the log`)
    await whenAborted(context.signal)
  },
})

async function makeSigner(
  { folder, origin }: { folder: string; origin: string | undefined },
  { terminal }: CommandContext,
): Promise<void> {
  if (origin === undefined)
    throw new ArtifactError('usage', 'Cannot make a signer: the log has no name', {
      expected: '--log-origin NAME, a URL without scheme, for example artifacts.example.com/log',
    })
  await initSigner(folder, origin)
  await terminal.print(await readPublicKey(folder))
}
