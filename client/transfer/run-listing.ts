/** The records of a run, of which there may be more than memory is for. */
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { RunSelector } from '../../schemas/reference.ts'
import { type CallReply, call } from '../api.ts'
import type { Connection } from './connection.ts'

/** Largest page of the listing. */
const PAGE = 1000
/** Records that are kept from the counting; what is behind them is asked for again. */
const RECORDS_KEPT = 10_000

interface Wanted {
  task: string
  run: RunSelector
  /** Only names that begin with it. */
  prefix: string | undefined
}

/** What a run has: counted at once, so that the total is known, and read page by page. */
export interface Listing {
  /** `undefined` when `latest` was asked for and there is none. */
  run: number | undefined
  count: number
  sizeBytes: bigint
  /**
   * The records in order, as many at a time as are kept, once. `onFault` hears why there are no more,
   * when those that were not kept cannot be listed again.
   */
  groups(onFault: (error: unknown) => void): AsyncGenerator<readonly Artifact[]>
}

/**
 * Lists a run once to count, and once more what is too much to keep. Throws what a call throws, and
 * `bad_reply` when the listing does not end, or another run is among it.
 */
export async function openListing(
  connection: Connection,
  wanted: Wanted,
  signal: AbortSignal,
  { page = PAGE, kept: keptMax = RECORDS_KEPT } = {},
): Promise<Listing> {
  const kept: (readonly Artifact[])[] = []
  let settled = wanted.run
  let count = 0
  let sizeBytes = 0n
  let keptCount = 0
  let keptUntil: string | undefined
  const list = (after?: string) =>
    listPages(
      (at) =>
        call(
          connection,
          'listArtifacts',
          {
            params: { task: wanted.task, run: settled },
            query: { prefix: wanted.prefix, after: at, limit: page },
          },
          { signal },
        ),
      { ...wanted, after },
    )
  for await (const { items, after } of list()) {
    // Settled by the first record, so that no page is of another run.
    if (settled === 'latest') settled = items[0]?.run ?? settled
    for (const record of items) checkListed(record, wanted.task, settled)
    if (count + items.length <= keptMax) {
      kept.push(items)
      keptCount += items.length
      keptUntil = after
    }
    count += items.length
    for (const record of items) sizeBytes += BigInt(record.sizeBytes)
  }
  return {
    run: settled === 'latest' ? undefined : settled,
    count,
    sizeBytes,
    async *groups(onFault) {
      let group = kept.splice(0).flat()
      try {
        if (keptCount < count)
          for await (const { items } of list(keptUntil)) {
            for (const record of items) checkListed(record, wanted.task, settled)
            if (group.length > 0 && group.length + items.length > keptMax) {
              yield group
              group = []
            }
            group.push(...items)
          }
      } catch (error) {
        onFault(error)
      }
      if (group.length > 0) yield group
    },
  }
}

/** Pages in order, each with the name that the next one begins behind. */
async function* listPages(
  ask: (after: string | undefined) => Promise<CallReply<'listArtifacts'>>,
  { task, run, after: from }: Wanted & { after: string | undefined },
): AsyncGenerator<{ items: readonly Artifact[]; after: string | undefined }> {
  let after = from
  do {
    const { items, next } = await ask(after)
    if (next !== null && next === after)
      throw new ArtifactError('bad_reply', `Cannot list ${task}/${run}: the listing does not end`)
    after = next ?? undefined
    yield { items, after }
  } while (after !== undefined)
}

function checkListed(record: Artifact, task: string, run: RunSelector): void {
  const isListed = record.task === task && (run === 'latest' || record.run === run)
  if (isListed) return
  throw new ArtifactError('bad_reply', `Cannot list ${task}/${run}: another run is among it`, {
    expected: `${task}/${run}`,
    found: record.reference,
  })
}
