/** The present as one picture: what the live feed begins with, and what the first page shows. */
import type { Upload } from '../../schemas/upload.ts'
import { isAllowed, type Principal } from '../access/scopes.ts'
import { describeUpload } from '../intake/uploads.ts'
import type { AnySql, Sql, Transaction } from '../records/database.ts'
import { listEventIds, readEventHorizon } from '../records/events.ts'
import { formatUpload, type UploadRecord } from '../records/upload-row.ts'
import { listEndedUploads, listUploads } from '../records/uploads.ts'

/** Active uploads in one picture. */
export const PICTURE_MAX = 1000
/** Ended uploads that are looked through for those that somebody may see. */
const ENDED_SCAN_MAX = 500

/** Every active upload at one moment. */
export interface Picture {
  /** All events up to this id are in it, and whoever goes on after it misses none. */
  last: bigint
  /** Ids of further events that are in it: later ones, of transactions that ended out of order. */
  ahead: Set<bigint>
  uploads: UploadRecord[]
}

/** Every active upload as one consistent picture, and the events that are in it. */
export async function readPicture(sql: Sql): Promise<Picture> {
  return inOneMoment(sql, async (tx, last) => ({
    last,
    ahead: new Set(await listEventIds(tx, last)),
    uploads: await listActive(tx),
  }))
}

/** Reads what was there at one moment; it has all events up to `last`, and maybe later ones. */
async function inOneMoment<T>(
  sql: Sql,
  read: (tx: Transaction, last: bigint) => Promise<T>,
): Promise<T> {
  // Before the snapshot: an event that is only just committed after it would be in neither.
  const { last } = await readEventHorizon(sql)
  const { found } = await sql.begin('isolation level repeatable read read only', async (tx) => ({
    found: await read(tx, last),
  }))
  return found
}

function listActive(tx: AnySql): Promise<UploadRecord[]> {
  const page = { task: undefined, after: undefined, limit: PICTURE_MAX }
  return listUploads(tx, { state: 'active', ...page })
}

/** What somebody sees of the present. */
export interface View {
  /** All events up to this id are in it: what follows may tell again of what it shows. */
  last: bigint
  /** The oldest first. */
  active: Upload[]
  /** The last that ended, the latest first; at most `endedMax`. */
  ended: Upload[]
  /** Whether there are more active uploads than a picture holds. */
  isPartial: boolean
}

/** The picture with the last uploads that ended, as far as the principal may list them. */
export async function readView(sql: Sql, principal: Principal, endedMax: number): Promise<View> {
  const isVisible = ({ task, name }: UploadRecord) => isAllowed(principal, 'list', task, name)
  const { last, uploads, ended } = await inOneMoment(sql, async (tx, newest) => ({
    last: newest,
    uploads: await listActive(tx),
    ended: await listEndedUploads(tx, ENDED_SCAN_MAX),
  }))
  const active = uploads.filter(isVisible).map((upload) => formatUpload(upload))
  const shown = ended.filter(isVisible).slice(0, endedMax)
  return {
    last,
    active: active.toSorted(byAge),
    // A sealed upload never changes again: its artifact may be read after the picture was taken.
    ended: await Promise.all(shown.map((upload) => describeUpload(sql, upload))),
    isPartial: uploads.length === PICTURE_MAX,
  }
}

function byAge(one: Upload, other: Upload): number {
  const [first, second] = [one.openedAt + one.id, other.openedAt + other.id]
  return first < second ? -1 : 1
}
