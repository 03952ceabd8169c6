/** Every record that a server serves against its leaf, and every leaf against the records. */

import type { Artifact } from '../../schemas/artifact.ts'
import { PAGE_MAX } from '../../schemas/pages.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { call } from '../api.ts'
import type { Connection } from '../transfer/connection.ts'
import { present } from '../trust/log-files.ts'
import { checkLeaf, checkLeafRecord, parseLeaf } from '../verify/leaf.ts'
import type { AuditMemory, KnownSeal, RunKey } from './audit-memory.ts'
import type { Findings } from './findings.ts'
import { holding } from './rebuild.ts'

/** Records without a leaf that are looked at again; whatever is beyond is no accident. */
const UNMATCHED_MAX = 10_000
/** Part lists that are asked for at the same time. */
const PARTS_AT_ONCE = 8

export interface RecordParts {
  connection: Connection
  memory: AuditMemory
  findings: Findings
  signal: AbortSignal | undefined
  /** Compare the part digests too: one request for each artifact. */
  full: boolean
}

export interface RecordCount {
  records: number
  /** Records without a leaf: sealed this very moment, perhaps. */
  unmatched: Artifact[]
}

/** Compares the runs that the leaves from an index on seal something in. */
export async function compareSealedRuns(
  fromIndex: number,
  parts: RecordParts,
  count: RecordCount,
): Promise<void> {
  for (const run of parts.memory.runs(fromIndex)) await compareRun(run, parts, count)
}

/** Compares the runs that the server lists and no leaf knows. */
export async function compareUnsealedRuns(parts: RecordParts, count: RecordCount): Promise<void> {
  const { connection, memory, signal } = parts
  const byTask = (page: { after?: string; limit: number }) =>
    call(connection, 'listTasks', { query: page }, { signal })
  for await (const { task } of readAll(byTask)) {
    const byRun = ({ limit, after }: { after?: string; limit: number }) => {
      const query = { limit, ...(after === undefined ? {} : { after: Number(after) }) }
      return call(connection, 'listRuns', { params: { task }, query }, { signal })
    }
    for await (const { run } of readAll(byRun))
      if (!memory.hasRun({ task, run })) await compareRun({ task, run }, parts, count)
  }
}

/** Compares a record with the leaf that is known by now; answers whether there is one. */
export async function compareRecord(record: Artifact, parts: RecordParts): Promise<boolean> {
  const { task, run, name } = record
  const index = parts.memory.findSeal(`${task}/${run}/${name}`)
  if (index === undefined) return false
  const seal = parts.memory.seals({ task, run }, undefined, name).at(-1)
  if (seal !== undefined) await compare(record, seal, parts)
  return true
}

/** Side by side, page by page: both sides are in the order of the bytes of their names. */
async function compareRun(run: RunKey, parts: RecordParts, count: RecordCount): Promise<void> {
  const { connection, memory, findings, signal } = parts
  const params = { task: run.task, run: run.run }
  let after: string | undefined
  for (;;) {
    const page = await listPage(connection, params, after, signal)
    const upTo = page.next ?? undefined
    const seals = new Map(memory.seals(run, after, upTo).map((seal) => [seal.name, seal]))
    for (const group of chunk(page.items, PARTS_AT_ONCE))
      await Promise.all(
        group.map(async (record) => {
          count.records += 1
          const name = `${run.task}/${run.run}/${record.name}`
          const seal = seals.get(name)
          seals.delete(name)
          if (seal !== undefined) await compare(record, seal, parts)
          else if (count.unmatched.length < UNMATCHED_MAX) count.unmatched.push(record)
        }),
      )
    for (const { name, index } of seals.values()) findings.add('records', unrecorded(name, index))
    if (upTo === undefined) return
    if (after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(upTo)) >= 0)
      throw new ArtifactError(
        'bad_reply',
        `Cannot list ${run.task}/${run.run}: it goes in circles`,
        {
          expected: `a name after ${after}`,
          found: upTo,
        },
      )
    after = upTo
  }
}

async function compare(record: Artifact, seal: KnownSeal, parts: RecordParts): Promise<void> {
  const leaf = parseLeaf(seal.leaf)
  const isSame = await holding(parts.findings, 'records', async () => checkLeafRecord(leaf, record))
  if (!parts.full || !isSame) return
  const { task, run, name } = record
  await holding(parts.findings, 'parts', async () => {
    const input = { params: { task, run, name } }
    const found = await present(`the parts of ${record.reference}`, () =>
      call(parts.connection, 'getArtifactParts', input, { signal: parts.signal }),
    )
    checkLeaf(leaf, record, found.parts)
  })
}

async function listPage(
  connection: Connection,
  params: RunKey,
  after: string | undefined,
  signal: AbortSignal | undefined,
): Promise<{ items: Artifact[]; next: string | null }> {
  try {
    const query = { limit: PAGE_MAX, ...(after === undefined ? {} : { after }) }
    return await call(connection, 'listArtifacts', { params, query }, { signal })
  } catch (error) {
    // A run without records is not there; whether it may be so, the leaves tell.
    if (error instanceof ArtifactError && error.code === 'not_found')
      return { items: [], next: null }
    throw error
  }
}

async function* readAll<T>(
  fetchPage: (page: { after?: string; limit: number }) => Promise<{
    items: T[]
    next: string | null
  }>,
): AsyncGenerator<T> {
  let after: string | null | undefined
  do {
    const page = await fetchPage({
      limit: PAGE_MAX,
      ...(typeof after === 'string' ? { after } : {}),
    })
    yield* page.items
    after = page.next
  } while (after !== null)
}

function chunk<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) =>
    items.slice(at * size, (at + 1) * size),
  )
}

function unrecorded(name: string, index: number): ArtifactError {
  return new ArtifactError('log_record', `Cannot find the record of ${name}: the server hides it`, {
    expected: `the record that leaf ${index} seals`,
    found: 'none',
  })
}
