/** How many events the stream carries: open uploads that move, and watchers of all of them. */
import { randomUUID } from 'node:crypto'
import { request } from 'undici'
import type { Upload } from '../../schemas/upload.ts'
import type { Sql } from '../../server/records/database.ts'
import { appendUploadEvents } from '../../server/records/events.ts'
import { type Outbox, openOutbox } from '../../server/records/outbox.ts'
import { formatUpload } from '../../server/records/upload-row.ts'
import { moveProgress } from '../../server/records/uploads.ts'

export interface Carried {
  watchers: number
  /** Events per second that were appended. */
  appended: number
  /** Events per second that each watcher got, of the slowest one. */
  slowest: number
  /** Events per second that all watchers got together. */
  together: number
  /** Streams that the server ended. */
  dropped: number
  /** Between an append and its arrival: median and 99th percentile. */
  delayMs: { median: number; most: number }
}

const UPLOAD_BYTES = 4 * 1024 ** 3
const TICK_MS = 100

/** Opens uploads straight in the database, as many different tasks. */
export async function openUploads(sql: Sql, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, () => randomUUID())
  await sql`insert into artifact.task (task) select 'moving-' || n from generate_series(1, ${count}) as n
    on conflict do nothing`
  await sql`insert into artifact.run (task, run) select 'moving-' || n, 0 from generate_series(1, ${count}) as n
    on conflict do nothing`
  await sql`
    insert into artifact.upload (
      id, task, run, name, size, part_size, content_type, labels, policy, blob_key, progress_total,
      token_id, token_name, opened_at, moved_at, progress_at, expires_at)
    select id::uuid, 'moving-' || n, 0, 'volume.tar', ${UPLOAD_BYTES}, 16777216, 'application/x-tar', '{}', 'reread',
      'blobs/' || id, ${UPLOAD_BYTES}, '00000000-0000-4000-8000-000000000001', 'nightly',
      now(), now(), now(), now() + interval '1 day'
    from unnest(${ids}::text[]) with ordinality as new (id, n)`
  return ids
}

/** Takes the uploads away again. */
export async function closeUploads(sql: Sql, ids: string[]): Promise<void> {
  await sql`delete from artifact.upload where id = any(${ids}::uuid[])`
}

/** Moves uploads in turn at a rate until it is stopped; resolves to the number of events. */
export function moveUploads(
  sql: Sql,
  ids: readonly string[],
  perSecond: number,
): { stop(): Promise<number> } {
  let isStopped = false
  let count = 0
  const run = async () => {
    await using outbox = openOutbox(sql, (error) => {
      throw error
    })
    const began = performance.now()
    for (let next = 0; !isStopped; ) {
      const due = Math.floor(((performance.now() - began) / 1000) * perSecond)
      const batch = Array.from({ length: Math.min(due - count, 500) }, () => {
        const id = ids[next++ % ids.length] ?? ''
        return { id, bytes: Math.floor((next / ids.length) * 20_000_000) % UPLOAD_BYTES }
      })
      if (batch.length > 0) await move(outbox, batch)
      count += batch.length
      if (due - count < perSecond * (TICK_MS / 1000))
        await new Promise((resolve) => setTimeout(resolve, TICK_MS))
    }
    return count
  }
  const running = run()
  return {
    stop() {
      isStopped = true
      return running
    },
  }
}

/** As the endpoint of progress does it, with fewer transactions: what is measured is the stream. */
async function move(
  outbox: Outbox,
  batch: readonly { id: string; bytes: number }[],
): Promise<void> {
  await outbox.change(async (tx) => {
    const at = new Date()
    const uploads: Upload[] = []
    for (const { id, bytes } of batch) {
      const progress = {
        bytes: String(bytes),
        totalBytes: String(UPLOAD_BYTES),
        attempt: 1,
      }
      const moved = await moveProgress(tx, id, progress, at, new Date(at.getTime() + 86_400_000))
      if (moved !== undefined) uploads.push(formatUpload(moved))
    }
    await appendUploadEvents(tx, uploads, at)
  })
}

/** Watches for a while with several watchers, while the uploads move. */
export async function carry(
  place: { url: string; token: string; sql: Sql; ids: readonly string[] },
  watchers: number,
  perSecond: number,
  seconds: number,
): Promise<Carried> {
  const stop = new AbortController()
  const all = await Promise.all(
    Array.from({ length: watchers }, () => watch(place.url, place.token, stop.signal)),
  )
  await Promise.all(all.map(({ whenCurrent }) => whenCurrent))
  for (const one of all) one.begin()
  const began = performance.now()
  const moving = moveUploads(place.sql, place.ids, perSecond)
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const counts = all.map((one) => one.count())
  const took = (performance.now() - began) / 1000
  const appended = await moving.stop()
  stop.abort()
  const delays = all.flatMap((one) => one.delaysMs).sort((one, other) => one - other)
  return {
    watchers,
    appended: appended / took,
    slowest: Math.min(...counts) / took,
    together: counts.reduce((sum, count) => sum + count, 0) / took,
    dropped: all.filter((one) => one.isEnded()).length,
    delayMs: {
      median: delays[Math.floor(delays.length / 2)] ?? Number.NaN,
      most: delays[Math.floor(delays.length * 0.99)] ?? Number.NaN,
    },
  }
}

const EVENT = Buffer.from('\nevent: upload\n')
const AT = Buffer.from('"at":"')

/** One watcher that counts; it parses one event of a chunk only, or it would be what is measured. */
async function watch(url: string, token: string, signal: AbortSignal) {
  const reply = await request(new URL('/v1/events', url), {
    headers: { authorization: `Bearer ${token}` },
    signal,
  })
  let count = 0
  let isCounting = false
  let isEnded = false
  const delaysMs: number[] = []
  const current = Promise.withResolvers<void>()
  reply.body.on('error', () => undefined)
  reply.body.on('close', () => {
    isEnded = !signal.aborted
    current.resolve()
  })
  reply.body.on('data', (chunk: Buffer) => {
    // An id comes with live events, and at the end of the first picture.
    if (chunk.includes('id: ')) current.resolve()
    if (!isCounting) return
    for (let at = chunk.indexOf(EVENT); at !== -1; at = chunk.indexOf(EVENT, at + 1)) count++
    const stamp = chunk.lastIndexOf(AT)
    if (stamp === -1 || stamp + 30 > chunk.length) return
    const text = chunk.subarray(stamp + AT.length, stamp + AT.length + 24).toString()
    const delay = Date.now() - Date.parse(text)
    if (!Number.isNaN(delay)) delaysMs.push(delay)
  })
  return {
    whenCurrent: current.promise,
    begin() {
      isCounting = true
    },
    count: () => count,
    isEnded: () => isEnded,
    delaysMs,
  }
}
