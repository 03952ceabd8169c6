/** `artifact log verify`: the whole log, and all that the server serves, as an auditor sees it. */
import { join } from 'node:path'
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { type AuditReport, auditLog } from '../audit/audit.ts'
import { type Finding, formatFindings } from '../audit/findings.ts'
import { formatElapsed, sanitise } from '../terminal-format.ts'
import { readSmallFile } from '../trust/given-policy.ts'
import { formatBase64 } from '../verify/strict-text.ts'
import { type CommandContext, defineCommand, flag, text } from './command.ts'
import { connectServer } from './connection.ts'
import { findLogTrust } from './log-trust.ts'
import { tell, trustOptions } from './trust.ts'

export const logVerify = defineCommand({
  usage: ['log verify [OPTION…]'],
  description:
    'Audits the log of a server. It reads every entry, builds the tree from them, compares its root with the signed one and its tiles with those that the server shows, looks for names that were sealed twice, and compares every record with its leaf. What was found faultless is remembered, and the next audit holds the log to it. The token must cover all entries: list:*/** or admin.',
  options: z.object({
    full: flag('Compare every tile, and the digests of all parts'),
    sinceLast: flag('Go on where the last audit ended, and compare the runs that grew since'),
    checkpoint: text('FILE', 'A signed head from elsewhere that the log must continue'),
    ...trustOptions.shape,
  }),
  positionals: z.object({}),
  examples: [
    { line: 'artifact log verify', about: 'everything, with a sample of the tiles' },
    { line: 'artifact log verify --since-last', about: 'what is new, for example every hour' },
    { line: 'artifact log verify --full', about: 'every tile and every part digest too' },
  ],
  exits: {
    integrity: 'the log, or what the server serves, is not what was signed; each finding is named',
    notAllowed: 'the token does not cover all entries',
    unreachable: 'the server cannot be reached',
  },
  async run({ options }, context) {
    const { terminal, globals, signal, environment, clock } = context
    await using connection = await connectServer(context)
    const { known, policy, pin } = await findLogTrust(connection, options, context)
    const startedAt = clock().getTime()
    const report = await auditLog(connection, {
      policy,
      known,
      folder: join(environment.stateFolder, 'logs'),
      checkpoint:
        options.checkpoint === undefined ? undefined : await readSmallFile(options.checkpoint),
      full: options.full,
      sinceLast: options.sinceLast,
      onNotice: (notice) => tell(notice, context),
      signal,
    })
    const { findings, head } = report
    const evidence =
      findings.count === 0
        ? undefined
        : await known.saveEvidence(formatFindings(head.note, findings))
    if (findings.count === 0) await pin(head.key)
    if (globals.json) await terminal.printJson({ ...describe(report), evidence })
    else await printReport(report, clock().getTime() - startedAt, context)
    if (evidence !== undefined) terminal.warn(`The findings are kept in ${evidence}`)
    const [first] = findings.list
    if (first !== undefined) throw summary(report, first)
  },
})

async function printReport(
  report: AuditReport,
  elapsedMs: number,
  { terminal }: CommandContext,
): Promise<void> {
  const { head, findings, from, leaves, tiles, records } = report
  await terminal.print(
    ...findings.list.flatMap(({ check, code, message, expected, found }) => [
      `finding   ${check}: ${sanitise(message)} (${code})`,
      ...(expected === undefined ? [] : [`  expected  ${sanitise(expected)}`]),
      ...(found === undefined ? [] : [`  found     ${sanitise(found)}`]),
    ]),
  )
  const since = from === 0 ? '' : ` after the first ${from}`
  terminal.say(
    `Read ${leaves} leaves${since}, ${tiles} tiles and ${records} records of ${sanitise(head.origin)} in ${formatElapsed(elapsedMs)}`,
  )
  if (findings.count > 0) return
  await terminal.print(`ok ${head.size} leaves, root ${formatBase64(head.root)}`)
}

function describe({ head, findings, ...counts }: AuditReport): object {
  return {
    kind: 'audit',
    origin: head.origin,
    size: head.size,
    root: formatBase64(head.root),
    ok: findings.count === 0,
    ...counts,
    findingCount: findings.count,
    findings: findings.list,
  }
}

/** The first finding stands for all: what comes later is often its consequence. */
function summary({ head, findings }: AuditReport, first: Finding): ArtifactError {
  const { expected, found } = first
  return new ArtifactError(
    first.code,
    `Cannot vouch for ${head.origin}: ${findings.count === 1 ? 'one finding' : `${findings.count} findings`}; the first: ${first.message}`,
    { expected, found },
  )
}
