/** What somebody who owns Postgres, or the signer's key too, can do to a log. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatCheckpoint } from '../../client/verify/checkpoint.ts'
import { createFrontier } from '../../client/verify/frontier.ts'
import type { Leaf } from '../../client/verify/leaf.ts'
import { formatLeaf } from '../../client/verify/leaf.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import { type NoteSigner, parseNoteSigner } from '../../client/verify/note-key.ts'
import { signNote } from '../../client/verify/signed-note.ts'
import type { Sql } from '../../server/records/database.ts'

const GUARDED = ['artifact', 'log_leaf', 'log_node', 'log_tree', 'log_checkpoint'] as const

/** Runs statements with every trigger and foreign key of the records out of the way. */
export async function asOwner(
  admin: Sql,
  tamper: (tx: Parameters<Parameters<Sql['begin']>[1]>[0]) => Promise<unknown>,
): Promise<void> {
  await admin.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    for (const table of GUARDED)
      await tx`alter table ${tx(`artifact.${table}`)} disable trigger all`
    await tamper(tx)
    for (const table of GUARDED) {
      await tx`alter table ${tx(`artifact.${table}`)} enable trigger all`
      await tx`alter table ${tx(`artifact.${table}`)} enable always trigger write_once`
      await tx`alter table ${tx(`artifact.${table}`)} enable always trigger write_once_all`
    }
  })
}

/** The key of the log, as a thief has it. */
export async function stealKey(dataFolder: string): Promise<NoteSigner> {
  return parseNoteSigner((await readFile(join(dataFolder, 'signer', 'key'), 'utf8')).trim())
}

/** Appends a leaf as the sequencer would, but with no record and whatever it says. */
export async function appendLeaf(admin: Sql, leaf: Leaf, columnsOf: string): Promise<void> {
  await asOwner(admin, async (tx) => {
    const [task = '', run = '', ...rest] = columnsOf.split('/')
    const bytes = formatLeaf(leaf)
    const [row] = await tx<[{ size: bigint }]>`select count(*) as size from artifact.log_leaf`
    await tx`
      insert into artifact.log_leaf (idx, kind, task, run, name, leaf, leaf_hash)
      values (${Number(row.size)}, ${leaf.kind}, ${task}, ${Number(run)}, ${rest.join('/')},
        ${Buffer.from(bytes)}, ${Buffer.from(hashLeaf(bytes))})`
  })
  await rebuildTree(admin)
}

/** Replaces all trees and nodes by what the leaves make now. */
export async function rebuildTree(admin: Sql): Promise<void> {
  await asOwner(admin, async (tx) => {
    const rows = await tx<{ leaf: Uint8Array }[]>`select leaf from artifact.log_leaf order by idx`
    const frontier = createFrontier()
    await tx`delete from artifact.log_node`
    for (const { leaf } of rows)
      for (const { level, index, hash } of frontier.append(hashLeaf(leaf)))
        await tx`insert into artifact.log_node values (${level}, ${index}, ${Buffer.from(hash)})`
    await tx`delete from artifact.log_tree where size >= ${rows.length}`
    const [last] = await tx<[{ size: bigint }]>`select max(size) as size from artifact.log_tree`
    const { size, root } = frontier.head()
    await tx`
      insert into artifact.log_tree (size, prev_size, root, frontier, last_idx)
      values (${size}, ${Number(last.size)}, ${Buffer.from(root)},
        ${Buffer.concat(frontier.hashes)}, ${size - 1})`
  })
}

/** Signs what is in the tables now, as the log would, and publishes it. */
export async function signAnything(admin: Sql, signer: NoteSigner): Promise<void> {
  const rows = await admin<{ leaf: Uint8Array }[]>`
    select leaf from artifact.log_leaf order by idx`
  const frontier = createFrontier()
  for (const { leaf } of rows) frontier.append(hashLeaf(leaf))
  const head = frontier.head()
  const note = signNote(formatCheckpoint({ origin: signer.key.name, ...head }), [signer])
  await asOwner(admin, async (tx) => {
    await tx`delete from artifact.log_checkpoint where size = ${head.size}`
    await tx`
      insert into artifact.log_checkpoint (origin, size, note)
      values (${signer.key.name}, ${head.size}, ${note})`
    await tx`select pg_notify('artifact_log', '')`
  })
}
