/** `artifact info`: what is recorded about an artifact. */
import { z } from 'zod'
import type { Artifact, Part } from '../../schemas/artifact.ts'
import type { Verification } from '../../schemas/verification.ts'
import { call } from '../api.ts'
import { formatBytes, formatMoment, formatTable, sanitise } from '../terminal-format.ts'
import { defineCommand, flag, positional } from './command.ts'
import { connectServer } from './connection.ts'
import { parseArtifactReference } from './target.ts'

export const info = defineCommand({
  usage: ['info [OPTION…] TASK/RUN/NAME'],
  description:
    'Shows the sealed record: SHA-256, size, parts, labels, times, and who sealed it. Nothing in it ever changes.',
  options: z.object({ parts: flag('Show the digest of every part as well') }),
  positionals: z.object({ reference: positional('TASK/RUN/NAME', 'The artifact') }),
  examples: [
    { line: 'artifact info turtle-db/latest/db.dump', about: 'the record, for people' },
    { line: 'artifact info --json --parts turtle-db/7/db.dump', about: 'and for programs' },
  ],
  exits: {
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such artifact, or it is not yours to see',
    unreachable: 'the server cannot be reached',
  },
  async run({ options, positionals }, context) {
    const { terminal, globals, signal } = context
    const params = parseArtifactReference(positionals.reference)
    await using connection = await connectServer(context)
    const findLast = async (run: number) => {
      const input = { params: { ...params, run }, query: { limit: 1 } }
      return (await call(connection, 'listVerifications', input, { signal })).items[0]
    }
    // Side by side where the run is a number: between two calls, latest may come to mean another one.
    const early = params.run === 'latest' ? undefined : findLast(params.run)
    early?.catch(() => undefined)
    const artifact = await call(connection, 'getArtifact', { params }, { signal })
    const exact = { ...params, run: artifact.run }
    const parts = options.parts
      ? (await call(connection, 'getArtifactParts', { params: exact }, { signal })).parts
      : undefined
    const verification = await (early ?? findLast(artifact.run))
    if (globals.json)
      await terminal.printJson({
        ...artifact,
        ...(verification ? { verification } : {}),
        ...(parts ? { parts } : {}),
      })
    else
      await terminal.print(
        ...formatRecord(artifact, verification),
        ...(parts ? formatParts(parts) : []),
      )
  },
})

function formatRecord(artifact: Artifact, verification: Verification | undefined): string[] {
  const { sizeBytes, partCount, partSizeBytes, sealedBy, labels } = artifact
  const exact = BigInt(sizeBytes) < 1024n ? '' : ` (${sizeBytes} bytes)`
  const rows = [
    ['reference', artifact.reference],
    ['sha256', artifact.sha256],
    ['size', `${formatBytes(BigInt(sizeBytes))}${exact}`],
    ['parts', partCount > 1 ? `${partCount} of ${formatBytes(partSizeBytes)}` : String(partCount)],
    ['type', artifact.contentType],
    ['policy', artifact.policy],
    ['opened', formatMoment(artifact.openedAt)],
    ['sealed', `${formatMoment(artifact.sealedAt)} by ${sealedBy.tokenName}`],
    ['verified', formatVerification(artifact, verification)],
    ['upload', artifact.uploadId],
    ...Object.entries(labels).map(([key, value]) => [`label`, `${key}=${value}`]),
  ]
  return formatTable(rows.map((row) => row.map(sanitise)))
}

/** What the last look at the stored bytes found; the seal is the first one. */
function formatVerification(artifact: Artifact, last: Verification | undefined): string {
  if (last === undefined)
    return artifact.policy === 'reread'
      ? 'at the seal: all bytes were read again'
      : 'at the seal: the store checked every part'
  const when = formatMoment(last.at)
  if (last.outcome === 'agreed') return `${when}: the stored bytes agree`
  if (last.outcome === 'missing') return `${when}: THE STORE HAS NO SUCH OBJECT`
  return `${when}: THE STORED BYTES DO NOT AGREE, found ${last.found ?? last.code}`
}

function formatParts(parts: readonly Part[]): string[] {
  const rows = parts.map((part) => [String(part.number), part.sha256, formatBytes(part.sizeBytes)])
  return ['', ...formatTable([['part', 'sha256', 'size'], ...rows], [0, 2])]
}
