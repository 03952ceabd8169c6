/** `artifact packs rebuild`: what to do when Postgres comes from a backup older than the bucket. */
import { z } from 'zod'
import { type CommandContext, defineCommand, flag } from '../../client/commands/command.ts'
import { sanitise } from '../../client/terminal-format.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { buildConfig, readSecrets, readSettings } from '../config.ts'
import { openHoldings } from '../holdings.ts'
import { createLogger } from '../logger.ts'
import { toDatabaseProblem } from '../records/database.ts'
import type { SettingKey } from '../settings.ts'
import type { FoundFault, RebuildReport } from '../stores/pack-rebuild.ts'
import { readFlags, settingOptions } from './setting-options.ts'

const KEYS = [
  'store',
  's3Endpoint',
  's3Region',
  's3PathStyle',
  'databaseUrl',
  'databaseUrlFile',
  'migrationUrl',
  'migrationUrlFile',
  'dataDir',
  'logLevel',
] as const satisfies SettingKey[]

export const packsRebuild = defineCommand({
  usage: ['packs rebuild [--dry-run] [OPTION…]'],
  description: [
    'Makes the index of packs agree with the bucket. Small artifacts share objects there, and Postgres',
    'notes which object has them: when it comes from a backup older than the bucket, that is wrong. Every',
    'pack is read and compared with the digests of the records; what a record wants gets its place, and',
    'places of packs that are gone are forgotten. No object is changed or removed. It takes the settings',
    'of the servers, best before they start; beside them it is safe too, but for a Postgres of their own.',
  ].join(' '),
  positionals: z.object({}),
  options: z.object({
    dryRun: flag('Only say what would be done'),
    ...settingOptions(KEYS),
  }),
  examples: [
    {
      line: 'artifact packs rebuild --store s3://backups/artifacts --dry-run',
      about: 'what a restored database does not know',
    },
  ],
  exits: {
    integrity: 'the bytes of a sealed artifact are in no pack, or differ there; each is named',
    partly: 'a pack could not be read, or a server was at it: run it again',
    unreachable: 'the database or the store does not answer',
    locked: 'a server has the data folder with the Postgres',
  },
  connects: false,
  async run({ options }, context) {
    const { dryRun, ...flags } = options
    const report = await rebuild(readFlags(KEYS, flags), dryRun, context)
    const { terminal, globals } = context
    if (globals.json) await terminal.printJson(describe(report, dryRun))
    else await terminal.print(...formatReport(report, dryRun))
    const problem = judge(report)
    if (problem !== undefined) throw problem
  },
})

async function rebuild(
  flags: ReturnType<typeof readFlags>,
  dryRun: boolean,
  { environment, stderr, clock, signal, terminal }: CommandContext,
): Promise<RebuildReport> {
  const raw = readSettings(flags)
  const config = buildConfig(raw, { profile: environment.configFolder })
  if (config.store.kind !== 's3')
    throw new ArtifactError('configuration', 'Cannot rebuild the index: the store has no packs', {
      expected: '--store s3://BUCKET/PREFIX, as the servers have it',
      found: 'a folder, where every artifact is a file of its own',
    })
  const secrets = await readSecrets(raw)
  const failure = new AbortController()
  await using holdings = await openHoldings({
    ...{ config, clock, isSigner: false },
    // Who only looks migrates nothing either.
    secrets: dryRun ? { ...secrets, migrationUrl: undefined } : secrets,
    log: createLogger(config.logLevel, stderr.stream),
    onFailure: (error) => failure.abort(error),
  })
  const { store } = holdings
  if (store.kind !== 's3') throw new Error('The store is not the configured one')
  try {
    return await store.rebuildIndex({
      dryRun,
      signal: AbortSignal.any([signal, failure.signal]),
      onProgress: (packs) => terminal.say(`${packs} packs read`),
    })
  } catch (error) {
    throw toDatabaseProblem(error)
  }
}

function formatReport(report: RebuildReport, dryRun: boolean): string[] {
  const { packs, records, added, moved, dropped, unrecorded, busy, lost, faults } = report
  const would = dryRun ? 'would be ' : ''
  return [
    ...faults.list.map(formatFault),
    ...lost.references.map((reference) => `lost     ${sanitise(reference)}: it is in no pack`),
    `packs    ${packs} read, with ${records} blobs`,
    `places   ${added} ${would}added, ${moved} ${would}moved, ${dropped} ${would}dropped`,
    ...(unrecorded === 0
      ? []
      : [`kept     ${unrecorded} of the added, of which there is no record`]),
    ...(busy === 0 ? [] : [`busy     ${busy} packs that a server was at`]),
    `lost     ${lost.count} sealed artifacts`,
    `faults   ${faults.count} in objects of the bucket`,
  ]
}

function formatFault(fault: FoundFault): string {
  const { object, kind } = fault
  const words = {
    foreign: 'it is no pack',
    'too-large': 'it is too large for a pack',
    cut: 'it is cut, or something else follows',
    changed: 'bytes in it differ from their digest',
    other: 'it has other bytes than the record',
    unread: 'it cannot be read',
  }[kind]
  const details =
    kind === 'changed'
      ? (fault.reference ?? fault.key)
      : kind === 'other'
        ? `${fault.reference}, expected ${fault.expected}, found ${fault.found}`
        : fault.found
  return sanitise(`fault    ${object}: ${words} (${details})`)
}

function describe(report: RebuildReport, dryRun: boolean): object {
  const { lost, faults, ...counts } = report
  return {
    kind: 'packs-rebuild',
    dryRun,
    ...counts,
    lostCount: lost.count,
    lost: lost.references,
    faultCount: faults.count,
    faults: faults.list,
  }
}

/** Why the outcome is no success, if it is none. */
function judge({ lost, faults, busy }: RebuildReport): ArtifactError | undefined {
  const [reference] = lost.references
  if (lost.count > 0)
    return new ArtifactError(
      'blob_missing',
      `Cannot find the bytes of ${lost.count === 1 ? 'an artifact' : `${lost.count} artifacts`}: they are in no pack`,
      { found: reference },
    )
  const changed = faults.list.find(
    (fault) => fault.kind === 'changed' && fault.reference !== undefined,
  )
  if (changed !== undefined)
    return new ArtifactError('digest_mismatch', 'Cannot vouch for all packs: bytes differ', {
      found: formatFault(changed),
    })
  const unread = faults.list.filter(({ kind }) => kind === 'unread').length
  if (unread + busy === 0) return undefined
  return new ArtifactError('partly_done', 'Cannot say all of the packs: some were not looked at', {
    found: `${unread} could not be read, a server was at ${busy}`,
  })
}
