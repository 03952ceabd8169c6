/** Records of any size and any time whose bytes nobody ever had, with the leaves of the log that belong to them. */
import { randomUUID } from 'node:crypto'
import { restoreFrontier } from '../../client/verify/frontier.ts'
import { formatLeaf, leafOfArtifact } from '../../client/verify/leaf.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import { splitHashes } from '../../server/log/sequencer.ts'
import { insertArtifacts, type NewArtifact } from '../../server/records/artifacts.ts'
import type { Sql } from '../../server/records/database.ts'
import { appendBatch, type LeafRow, lockHead, type NodeRow } from '../../server/records/log.ts'
import { sha256 } from './upload.ts'

export interface Planted {
  task: string
  run: number
  name: string
  sizeBytes: number
  sealedAt: Date
  /** From opening to seal. */
  tookSeconds: number
  by?: string
  labels?: Record<string, string>
  contentType?: string
}

const PART_BYTES = 16_777_216
export const PLANTED_TOKEN = '00000000-0000-4000-8000-000000000001'

/** Seals them in order, as superuser. */
export async function plantRecords(admin: Sql, records: readonly Planted[]): Promise<void> {
  for (const record of records) await plantArtifact(admin, describe(record), record.sealedAt)
}

/** Seals what was put into a store by hand, as superuser. Throws when the name is taken. */
export async function plantArtifact(
  admin: Sql,
  artifact: NewArtifact,
  sealedAt: Date,
): Promise<void> {
  const { task, run, name } = artifact
  await admin.begin(async (tx) => {
    const before = await lockHead(tx)
    await tx`insert into artifact.task (task, opened_at) values (${task}, ${artifact.openedAt}) on conflict do nothing`
    await tx`insert into artifact.run (task, run, opened_at) values (${task}, ${run}, ${artifact.openedAt}) on conflict do nothing`
    const record = (await insertArtifacts(tx, [artifact], sealedAt)).get(artifact.uploadId)
    if (record === undefined) throw new Error(`${task}/${run}/${name} is sealed already`)
    const leaf = formatLeaf(leafOfArtifact(record, artifact.parts))
    const leafHash = hashLeaf(leaf)
    const frontier = restoreFrontier(before.size, splitHashes(before.frontier))
    const row: LeafRow = { idx: before.size, kind: 'seal', task, run, name, leaf, leafHash }
    const nodes: NodeRow[] = frontier
      .append(leafHash)
      .map(({ level, index, hash }) => ({ level, idx: index, hash }))
    const { size, root } = frontier.head()
    await appendBatch(tx, before, [row], nodes, {
      ...{ size, root },
      frontier: Buffer.concat(frontier.hashes),
    })
  })
}

function describe(planted: Planted): NewArtifact {
  const { task, run, name, sizeBytes, sealedAt } = planted
  const digest = sha256(`${task}/${run}/${name}`)
  const count = Math.ceil(sizeBytes / PART_BYTES)
  const parts = Array.from({ length: count }, (_, index) => ({
    number: index + 1,
    sizeBytes: Math.min(PART_BYTES, sizeBytes - index * PART_BYTES),
    sha256: count === 1 ? digest : sha256(`${digest}/${index}`),
  }))
  const uploadId = randomUUID()
  return {
    ...{ task, run, name, parts, uploadId },
    sha256: digest,
    sizeBytes: BigInt(sizeBytes),
    partSizeBytes: PART_BYTES,
    contentType: planted.contentType ?? 'application/octet-stream',
    labels: planted.labels ?? {},
    policy: 'reread',
    store: 'file',
    blobKey: `blobs/${uploadId.slice(-2)}/${uploadId}`,
    blobTag: 'planted',
    openedAt: new Date(sealedAt.getTime() - planted.tookSeconds * 1000),
    tokenId: PLANTED_TOKEN,
    tokenName: planted.by ?? 'nightly@backup-1',
  }
}
